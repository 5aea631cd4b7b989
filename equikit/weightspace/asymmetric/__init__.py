"""Networks without permutation symmetry, and ensembles and mixtures of networks."""

from equikit import _keywords
from equikit.weightspace.asymmetric._ensemble import Ensemble
from equikit.weightspace.asymmetric._experts import InterpolatedExperts, MixtureOfExperts
from equikit.weightspace.asymmetric._fixed import FixedEntries, FixedWeights, fixed_weights, impose
from equikit.weightspace.asymmetric._layers import AsymmetricLinear, FiGLU
from equikit.weightspace.asymmetric._network import AsymmetricMLP
from equikit.weightspace.asymmetric._symmetry_left import SymmetryLeft, symmetry_left

__all__ = [
    "AsymmetricLinear",
    "AsymmetricMLP",
    "Ensemble",
    "FiGLU",
    "FixedEntries",
    "FixedWeights",
    "InterpolatedExperts",
    "MixtureOfExperts",
    "SymmetryLeft",
    "fixed_weights",
    "impose",
    "symmetry_left",
]

_keywords.answer_misspelled(__name__)
