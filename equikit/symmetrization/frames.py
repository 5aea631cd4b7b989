"""Frames: a few group elements for every input, over which averages are equivariant."""

from equikit import _keywords
from equikit.symmetrization._stochastic import Stochastic
from equikit.symmetrization.finite._average import GroupAverage
from equikit.symmetrization.graphs._canonical import Canonical
from equikit.symmetrization.graphs._laplacian import Laplacian
from equikit.symmetrization.permutations._directions import Directions
from equikit.symmetrization.permutations._sort import Sort
from equikit.symmetrization.rotations._alignment import Alignment
from equikit.symmetrization.rotations._center import Center
from equikit.symmetrization.rotations._pca import PCA
from equikit.symmetrization.rotations._qr import QR

__all__ = [
    "PCA",
    "QR",
    "Alignment",
    "Canonical",
    "Center",
    "Directions",
    "GroupAverage",
    "Laplacian",
    "Sort",
    "Stochastic",
]

_keywords.answer_misspelled(__name__)
