"""Canonicalization: one group element for every input, that a network of any kind learns to choose."""

from equikit.symmetrization.canonicalization._assignment import assignment_entropy, sinkhorn, soft_sort
from equikit.symmetrization.canonicalization._permutation import PermutationCanonicalization
from equikit.symmetrization.canonicalization._rotation import RotationCanonicalization
from equikit.symmetrization.canonicalization._vector_neurons import VectorNeurons

__all__ = [
    "PermutationCanonicalization",
    "RotationCanonicalization",
    "VectorNeurons",
    "assignment_entropy",
    "sinkhorn",
    "soft_sort",
]
