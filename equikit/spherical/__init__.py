"""Irreducible representations of SO(3) and O(3): exact conversion from and to Cartesian tensors."""

from equikit import _keywords
from equikit.spherical._characters import count_irreps
from equikit.spherical._coupling import Coupling, coupling
from equikit.spherical._decomposition import Decomposition, Piece, change_of_basis, decompose
from equikit.spherical._e3j import from_o3_array, to_o3_array
from equikit.spherical._e3nn import from_irreps_array, to_irreps_array
from equikit.spherical._transform import from_irreps, to_irreps

__all__ = [
    "Coupling",
    "Decomposition",
    "Piece",
    "change_of_basis",
    "count_irreps",
    "coupling",
    "decompose",
    "from_irreps",
    "from_irreps_array",
    "from_o3_array",
    "to_irreps",
    "to_irreps_array",
    "to_o3_array",
]

_keywords.answer_misspelled(__name__)
