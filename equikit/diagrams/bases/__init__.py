"""Bases of equivariant maps: independent diagrams, inner products, projections."""
