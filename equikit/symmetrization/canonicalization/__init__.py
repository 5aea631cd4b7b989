"""Canonicalization: one group element for every input, that a network of any kind learns to choose."""

from equikit.nn import GroupConvolution, VectorNeurons
from equikit.symmetrization.canonicalization._assignment import assignment_entropy, sinkhorn, soft_sort
from equikit.symmetrization.canonicalization._canonicalize import Canonicalize
from equikit.symmetrization.canonicalization._descent import EnergyDescent
from equikit.symmetrization.canonicalization._energy import EnergyCanonicalization, separation_loss
from equikit.symmetrization.canonicalization._image import ImageCanonicalization
from equikit.symmetrization.canonicalization._permutation import PermutationCanonicalization
from equikit.symmetrization.canonicalization._prior import prior_loss
from equikit.symmetrization.canonicalization._rotation import RotationCanonicalization

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
