"""Learned matrices that a loss moves into a group, by the invariants of the group."""
