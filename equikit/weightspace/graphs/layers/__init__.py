"""Layers and networks on graphs of parameters."""
