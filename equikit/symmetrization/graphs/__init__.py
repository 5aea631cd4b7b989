"""Frames of the nodes of graphs: canonical and spectral orders."""
