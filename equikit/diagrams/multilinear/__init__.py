"""Multilinear maps, symmetric or antisymmetric in some of their axes or inputs."""
