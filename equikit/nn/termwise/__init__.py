"""Layers that act on each term of their features separately."""
