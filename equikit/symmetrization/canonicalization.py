"""Canonicalization: one group element for every input, chosen by a learned network."""

from equikit import _keywords
from equikit.nn import GroupConvolution, VectorNeurons
from equikit.symmetrization._canonicalize import Canonicalize
from equikit.symmetrization.finite._energy import EnergyCanonicalization, separation_loss
from equikit.symmetrization.finite._image import ImageCanonicalization
from equikit.symmetrization.finite._prior import prior_loss
from equikit.symmetrization.permutations._assignment import assignment_entropy, sinkhorn, soft_sort
from equikit.symmetrization.permutations._permutation import PermutationCanonicalization
from equikit.symmetrization.rotations._descent import EnergyDescent
from equikit.symmetrization.rotations._rotation import RotationCanonicalization

__all__ = [
    "Canonicalize",
    "EnergyCanonicalization",
    "EnergyDescent",
    "GroupConvolution",
    "ImageCanonicalization",
    "PermutationCanonicalization",
    "RotationCanonicalization",
    "VectorNeurons",
    "assignment_entropy",
    "prior_loss",
    "separation_loss",
    "sinkhorn",
    "soft_sort",
]

_keywords.answer_misspelled(__name__)
