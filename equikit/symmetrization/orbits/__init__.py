"""Matrices that a loss draws into a group, by the invariants of the group."""
