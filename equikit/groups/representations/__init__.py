"""Irreducible representations of symmetric groups: partitions, dimensions, characters, orthogonal matrices."""
