"""Subgroups of finite groups: one subgroup as a value with a name, and the lattice of all of them."""
