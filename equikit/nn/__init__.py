"""Flax NNX layers that run plans, and networks built from them."""

from equikit.nn._arguments import Space as Space, typed_side as typed_side
from equikit.nn._bilinear import Bilinear
from equikit.nn._dtypes import checked_dtypes as checked_dtypes
from equikit.nn._features import Features as Features
from equikit.nn._functions import Activation as Activation, relu as relu, silu as silu
from equikit.nn._layer import Layer as Layer
from equikit.nn._linear import Linear
from equikit.nn._multilinear import Multilinear
from equikit.nn._nonlinear import Gated, NormGated, Pointwise
from equikit.nn._pooling import Invariant, Pool
from equikit.nn._saved import FORMAT, check_saved, describe
from equikit.nn.attention._attention import Attention
from equikit.nn.networks._group_convolution import GroupConvolution
from equikit.nn.networks._hidden import Nonlinearity as Nonlinearity
from equikit.nn.networks._matrix_networks import MatrixMLP, MatrixNetwork
from equikit.nn.networks._mlp import MLP
from equikit.nn.networks._network import Network
from equikit.nn.networks._residual import Residual
from equikit.nn.networks._sets_and_graphs import DeepSets, GraphNetwork
from equikit.nn.networks._stack import Stack
from equikit.nn.networks._vector_neurons import VectorNeurons
from equikit.nn.physics._constitutive import ConstitutiveLaw
from equikit.nn.physics._geometric import GeometricMessage
from equikit.nn.physics._radial import Radial
from equikit.nn.termwise._batch_norm import BatchNorm
from equikit.nn.termwise._dropout import Dropout, Dropped as Dropped
from equikit.nn.termwise._norms import LayerNorm, RMSNorm

__all__ = [
    "FORMAT",
    "MLP",
    "Attention",
    "BatchNorm",
    "Bilinear",
    "ConstitutiveLaw",
    "DeepSets",
    "Dropout",
    "Gated",
    "GeometricMessage",
    "GraphNetwork",
    "GroupConvolution",
    "Invariant",
    "LayerNorm",
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
    "Residual",
    "Stack",
    "VectorNeurons",
    "check_saved",
    "describe",
]
