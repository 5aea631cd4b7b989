"""Perceptrons on the channels of features, at the output of a functional."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import jax
from flax import nnx

from equikit.nn import Activation
from equikit.nn.initializers import DENSE


class Perceptron(nnx.Module):
    """The activation followed by a dense layer, for each pair of widths, on the last axis of each array."""

    def __init__(self, widths: Sequence[int], activation: Activation, rngs: nnx.Rngs) -> None:
        self.activation = activation
        self.layers = nnx.List([nnx.Linear(*pair, **DENSE, rngs=rngs) for pair in itertools.pairwise(widths)])

    def __call__(self, x: Any) -> Any:
        """Apply the perceptron to an array, or to each array of a tree."""
        for dense in self.layers:
            x = jax.tree.map(lambda array, dense=dense: dense(self.activation(array)), x)
        return x
