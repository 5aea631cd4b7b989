"""Bases of equivariant maps: which diagrams are independent, inner products, nearest maps."""
