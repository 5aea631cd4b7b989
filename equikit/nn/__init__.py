"""Flax NNX layers over plans, and networks built from them."""

from equikit.nn._linear import Linear
from equikit.nn._networks import DeepSets, GraphNetwork
from equikit.nn._pooling import Invariant, Pool

__all__ = ["DeepSets", "GraphNetwork", "Invariant", "Linear", "Pool"]
