"""Align networks by permutations of their neurons."""
