"""A multilayer perceptron for any group: linear and bilinear layers, gated."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from flax import nnx

from equikit.nn._features import Features
from equikit.nn._functions import Activation, sigmoid, silu
from equikit.nn.networks._network import Network


class MLP(Network):
    """Equivariant multilayer perceptron on tensors of any group: a gated `Network` with few options.

    Each hidden layer adds a linear and a bilinear map of its input and applies gates to the sum; the last layer is
    linear. Every hidden layer doubles the polynomial degree: with long-tailed inputs a bounded activation such as tanh,
    or `Network` with `normalize_features`, may train better than the default.

    Args:
        features: dictionaries for the input, each hidden layer and the output: labels to channels, or name to labels
            and channels.
        products: channels of the products in each bilinear layer; 0 for linear layers only.
        activation: activation of terms on which only permutations act.
        gate: activation of the gates of all other terms.
        rngs: random keys for the parameters.
        groups: a dictionary from label to group; labels may also be given as keywords.
        **options: options of the `Linear` layers, and labels with their groups.

    Raises:
        OptionError: if there are fewer than two dictionaries of features.

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
