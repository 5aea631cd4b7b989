"""Finite groups of permutations and signed permutations that a function or a data set admits."""
