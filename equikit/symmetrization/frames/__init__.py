"""Frames: a few group elements for every input, over which averages are equivariant."""

from equikit.symmetrization.frames._alignment import Alignment
from equikit.symmetrization.frames._average import GroupAverage
from equikit.symmetrization.frames._canonical import Canonical
from equikit.symmetrization.frames._center import Center
from equikit.symmetrization.frames._directions import Directions
from equikit.symmetrization.frames._laplacian import Laplacian
from equikit.symmetrization.frames._pca import PCA
from equikit.symmetrization.frames._qr import QR
from equikit.symmetrization.frames._sort import Sort
from equikit.symmetrization.frames._stochastic import Stochastic

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
