"""Flax NNX layers over plans, and networks built from them."""

from equikit.nn._bilinear import Bilinear
from equikit.nn._constitutive import ConstitutiveLaw
from equikit.nn._geometric import GeometricMessage
from equikit.nn._group_convolution import GroupConvolution
from equikit.nn._linear import Linear
from equikit.nn._matrix_networks import MatrixMLP, MatrixNetwork
from equikit.nn._mlp import MLP
from equikit.nn._multilinear import Multilinear
from equikit.nn._network import Network
from equikit.nn._networks import DeepSets, GraphNetwork
from equikit.nn._nonlinear import Gated, NormGated, Pointwise
from equikit.nn._normalization import RMSNorm
from equikit.nn._pooling import Invariant, Pool
from equikit.nn._radial import Radial
from equikit.nn._saved import FORMAT, check_saved, describe
from equikit.nn._vector_neurons import VectorNeurons

__all__ = [
    "FORMAT",
    "MLP",
    "Bilinear",
    "ConstitutiveLaw",
    "DeepSets",
    "Gated",
    "GeometricMessage",
    "GraphNetwork",
    "GroupConvolution",
    "Invariant",
    "Linear",
    "MatrixMLP",
    "MatrixNetwork",
    "Multilinear",
    "Network",
    "NormGated",
    "Pointwise",
    "Pool",
    "RMSNorm",
    "Radial",
    "VectorNeurons",
    "check_saved",
    "describe",
]
