"""Layers and networks on parameter graphs."""
