"""Layers that map every term of their features to itself."""
