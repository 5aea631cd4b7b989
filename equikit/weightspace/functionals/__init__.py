"""Functionals of parameters: equivariant layers between them, and networks of such layers."""
