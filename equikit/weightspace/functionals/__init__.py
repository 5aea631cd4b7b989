"""Functionals: equivariant networks whose inputs are the parameters of other networks."""
