"""Symmetrization wrappers over any backbone."""

from equikit.symmetrization._eigh import eigh

__all__ = ["eigh"]
