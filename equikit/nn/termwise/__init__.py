"""Layers that act on each term separately."""
