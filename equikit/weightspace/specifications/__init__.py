"""Specifications: the symmetry of parameters as labels of axes, and the actions of its elements on parameters."""
