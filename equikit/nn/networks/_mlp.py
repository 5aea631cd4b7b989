"""A multilayer perceptron for any group: linear and bilinear layers, gated."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from flax import nnx

from equikit.nn._features import Features
from equikit.nn._functions import Activation, sigmoid, silu
from equikit.nn.networks._network import Network


class MLP(Network):
    """A multilayer perceptron on tensors of any group, from a list of features: a gated `Network` without options.

    Each hidden layer adds a linear and a bilinear map of what came before, and puts the sum through gates; the last
    layer is linear. Every hidden layer doubles the degree: with long-tailed inputs a bounded activation, such as tanh,
    may train better than the default, or `Network` with `normalize_features`.

    Args:
        features: of the input, of each hidden layer, of the output; each a dictionary, labels to channels or name to
            labels and channels.
        products: channels of the products in each bilinear layer; 0 for linear layers alone.
        activation: for terms on which only permutations act.
        gate: for the gates of all others.
        rngs: random keys for the parameters.
        groups: the group of each label, as a dictionary; labels may also be given as keywords.
        **options: options of the `Linear` layers, and labels with their groups.

    Raises:
        OptionError: if there are fewer than two lists of features.

    Example:
        >>> from equikit import O
        >>> import jax.numpy as jnp
        >>> net = MLP([{"x": 2}, {"": 32, "x": 8}, {"": 1}], x=O(5), rngs=nnx.Rngs(0))
        >>> net({"x": jnp.ones((7, 5, 2))})[""].shape
        (7, 1)
    """

    def __init__(
        self,
        features: Sequence[Features],
        *,
        products: int = 8,
        activation: Activation = silu,
        gate: Activation = sigmoid,
        rngs: nnx.Rngs,
        groups: Mapping[str, object] | None = None,
        **options: Any,
    ) -> None:
        super().__init__(
            features, products=products, activation=activation, gate=gate, rngs=rngs, groups=groups, **options
        )
