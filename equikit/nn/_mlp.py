"""A multilayer perceptron for any group: linear and bilinear layers, gated."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

from flax import nnx

from equikit._errors import OptionError, explain
from equikit.nn._bilinear import Bilinear
from equikit.nn._features import Features, masks_for
from equikit.nn._functions import Activation, sigmoid, silu
from equikit.nn._linear import Linear
from equikit.nn._nonlinear import Gated
from equikit.plans._apply import Feature


class MLP(nnx.Module):
    """A multilayer perceptron on tensors of any group, from a list of features.

    Each hidden layer adds a linear and a bilinear map of what came before, and puts the sum through gates; the last
    layer is linear. By linear layers alone a vector under rotations would never become an invariant. Every hidden layer
    doubles the degree: with long-tailed inputs a bounded activation, such as tanh, may train better than the default.

    Args:
        features: of the input, of each hidden layer, of the output; each a dictionary, labels to channels or name to
            labels and channels.
        products: channels of the products in each bilinear layer; 0 for linear layers alone.
        activation: for terms on which only permutations act.
        gate: for the gates of all others.
        rngs: random keys for the parameters.
        groups: what is bound to each label, as a dictionary; labels may also be given as keywords.
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
        if not isinstance(features, Sequence) or len(features) < 2 or not all(isinstance(f, Mapping) for f in features):
            raise OptionError(
                explain(
                    "the features of the network are not a list of dictionaries",
                    got=repr(features),
                    expected="those of the input, of hidden layers, and of the output",
                    step='write [{"x": 2}, {"": 32, "x": 16}, {"": 1}]',
                )
            )
        labels = set(_labels(features))
        bound = {**(groups or {}), **{name: options.pop(name) for name in [*options] if name in labels}}

        def of(*parts: Features) -> dict[str, object]:
            used = set(_labels(parts))
            return {label: what for label, what in bound.items() if label in used}

        linear, bilinear, gated = [], [], []
        for before, after in itertools.pairwise(features[:-1]):
            gates = Gated(after, activation=activation, gate=gate, groups=of(after))
            linear.append(Linear(before, gates.inputs, groups=of(before, after), rngs=rngs, **options))
            if products:
                layer = Bilinear(before, products, gates.inputs, groups=of(before, after), rngs=rngs, **options)
                bilinear.append(layer)
            gated.append(gates)
        self.linear = nnx.List(linear)
        self.bilinear = nnx.List(bilinear)
        self.gated = nnx.List(gated)
        self.head = Linear(features[-2], features[-1], groups=of(*features[-2:]), rngs=rngs, **options)

    def __call__(self, x: Mapping[str, Feature], *, mask: Mapping[str, Any] | None = None) -> dict[str, Feature]:
        """Apply the network to a dictionary of arrays `[*batch, *axes, channels]`; masks as for `Linear`."""
        whole = self.linear[0].signature if self.linear else self.head.signature
        for i, gates in enumerate(self.gated):
            masks = masks_for(self.linear[i].signature, whole, mask)
            y = self.linear[i](x, mask=masks)
            if self.bilinear:
                second = self.bilinear[i](x, mask=masks)
                y = {name: array + second[name] for name, array in y.items()}
            x = gates(y)
        result: dict[str, Feature] = self.head(x, mask=masks_for(self.head.signature, whole, mask))
        return result


def _labels(features: Sequence[Features]) -> list[str]:
    """Every label in some features."""
    texts = [value[0] if isinstance(value, tuple) else name for side in features for name, value in side.items()]
    return [label for text in texts for label in str(text).replace("()", "").split()]
