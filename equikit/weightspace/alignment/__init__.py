"""Permutations that bring one network close to another."""
