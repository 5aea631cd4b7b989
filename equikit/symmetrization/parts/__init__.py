"""Frames of the parts of an input."""
