"""Symmetrization: make any backbone equivariant by frames, canonical forms and averages over groups."""

from equikit import _keywords
from equikit.nn import MatrixMLP, MatrixNetwork
from equikit.numerics import eigh
from equikit.symmetrization import canonicalization, frames
from equikit.symmetrization._probabilistic import Probabilistic
from equikit.symmetrization._symmetrize import Symmetrized, symmetrize
from equikit.symmetrization.canonicalization import Canonicalize
from equikit.symmetrization.engine._action import Action
from equikit.symmetrization.engine._element import Element, compose, inverse
from equikit.symmetrization.engine._frame import Frame
from equikit.symmetrization.engine._info import Info
from equikit.symmetrization.engine._method import Method
from equikit.symmetrization.engine._sample import Sample
from equikit.symmetrization.engine.backbones._backbone import KeyArgument as KeyArgument
from equikit.symmetrization.orbits._invariants import invariants, orbit_distance
from equikit.symmetrization.orbits._orbit import OrbitDistance
from equikit.symmetrization.orbits._orbit_losses import matrix_equivariance_loss, orbit_loss
from equikit.symmetrization.parts._fine_to_coarse import FineToCoarse
from equikit.symmetrization.parts._piecewise import Piecewise, piecewise

__all__ = [
    "Action",
    "Canonicalize",
    "Element",
    "FineToCoarse",
    "Frame",
    "Info",
    "MatrixMLP",
    "MatrixNetwork",
    "Method",
    "OrbitDistance",
    "Piecewise",
    "Probabilistic",
    "Sample",
    "Symmetrized",
    "canonicalization",
    "compose",
    "eigh",
    "frames",
    "invariants",
    "inverse",
    "matrix_equivariance_loss",
    "orbit_distance",
    "orbit_loss",
    "piecewise",
    "symmetrize",
]

_keywords.answer_misspelled(__name__)
