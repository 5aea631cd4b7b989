"""Canonicalization: one group element for every input, that a network of any kind learns to choose."""

from equikit.symmetrization.canonicalization._rotation import RotationCanonicalization
from equikit.symmetrization.canonicalization._vector_neurons import VectorNeurons

__all__ = ["RotationCanonicalization", "VectorNeurons"]
