"""Symmetrization: any backbone made equivariant by frames, canonical forms and averages over groups."""

from equikit.symmetrization import canonicalization, frames
from equikit.symmetrization._eigh import eigh
from equikit.symmetrization._element import Element, compose, inverse
from equikit.symmetrization._frame import Frame, Info, Method
from equikit.symmetrization._probabilistic import Probabilistic
from equikit.symmetrization._symmetrize import Symmetrized, symmetrize

__all__ = [
    "Element",
    "Frame",
    "Info",
    "Method",
    "Probabilistic",
    "Symmetrized",
    "canonicalization",
    "compose",
    "eigh",
    "frames",
    "inverse",
    "symmetrize",
]
