"""Calls of backbones and of the networks of learned methods, and checks of what they return."""
