"""Matrices that a loss pulls into a group, by the invariants of the group."""
