"""Multilayer perceptrons without permutation symmetry of their neurons."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any, Literal, get_args

import jax
import jax.numpy as jnp
from flax import nnx

from equikit import _checks
from equikit._errors import OptionError
from equikit.nn import checked_dtypes, relu
from equikit.nn.initializers import DENSE, split_keys
from equikit.weightspace.asymmetric._layers import AsymmetricLinear, FiGLU

Breaking = Literal["weights", "gates"]
"""The method that breaks the symmetry: W-Asym ("weights") or σ-Asym ("gates")."""


class AsymmetricMLP(nnx.Module):
    """A multilayer perceptron without permutation symmetry of its neurons.

    Args:
        features: widths of the input, each hidden layer and the output.
        how: "weights" fixes some weights of every layer by `AsymmetricLinear`; "gates" replaces the activation by
            `FiGLU`.
        fixed: with "weights", the number of fixed weights of each neuron, one number for all layers or one for each
            layer. The last layer can have zero, because the outputs of the network are not permuted.
        scale: standard deviation of the fixed numbers, one number for all layers or one for each layer.
        activation: with "weights", the nonlinearity between layers.
        normalization: `"layer"` applies a layer norm to the features of every hidden layer, before the nonlinearity or
            the gates. Losses on the line between two networks are then much lower, as in the paper.
        key: JAX key for all fixed entries; see `AsymmetricLinear`. To compare, average or interpolate networks, use the
            same key and different `rngs`.
        param_dtype: dtype of all weights.
        rngs: random keys for the trained weights.

    Raises:
        OptionError: if there are fewer than two widths, a width is not positive, or another argument is invalid.

    Example:
        >>> from equikit.weightspace import symmetry_left
        >>> net = AsymmetricMLP([4, 16, 16, 2], fixed=3, key=jax.random.key(0), rngs=nnx.Rngs(1))
        >>> net(jnp.ones((5, 4))).shape, dict(symmetry_left(net, jnp.ones((5, 4))))
        ((5, 2), {})

    Source:
        Lim et al., The empirical impact of neural parameter symmetries, or lack thereof, arXiv:2405.20231.
    """

    def __init__(
        self,
        features: Sequence[int],
        *,
        how: Breaking = "weights",
        fixed: int | Sequence[int] | None = None,
        scale: float | Sequence[float] = 1.0,
        activation: Callable[[jax.Array], jax.Array] = relu,
        normalization: Literal["layer"] | None = None,
        key: jax.Array,
        param_dtype: Any = jnp.float32,
        rngs: nnx.Rngs,
    ) -> None:
        _checks.rngs(rngs)
        _, param_dtype = checked_dtypes(None, param_dtype)
        _checks.choice("how", how, get_args(Breaking))
        widths = _checks.widths("features", features, fewest=2, example="[784, 512, 10]")
        counts = _checked_counts(fixed, len(widths) - 1) if how == "weights" else [0] * (len(widths) - 1)
        scales = _checked_scales(scale, len(widths) - 1)
        _checks.choice("normalization", normalization, ("layer", None))
        keys = split_keys(_checks.key(key), len(widths) - 1)
        layers: list[Any] = []
        gates: list[Any] = []
        for number, (before, after) in enumerate(itertools.pairwise(widths)):
            options: dict[str, Any] = {"param_dtype": param_dtype, "rngs": rngs}
            if how == "weights":
                options |= {"fixed": counts[number], "scale": scales[number], "key": keys[number]}
                layers.append(AsymmetricLinear(before, after, **options))
                continue
            layers.append(nnx.Linear(before, after, **DENSE, **options))
            if number + 2 < len(widths):
                gates.append(FiGLU(after, scale=scales[number], key=keys[number], param_dtype=param_dtype))
        self.layers, self.gates = nnx.List(layers), nnx.List(gates)
        normed = widths[1:-1] if normalization == "layer" else ()
        self.norms = nnx.List([nnx.LayerNorm(width, param_dtype=param_dtype, rngs=rngs) for width in normed])
        self.activation = _checks.function("activation", activation, example="jnp.tanh")

    def __call__(self, x: jax.Array) -> jax.Array:
        """Apply the network along the last axis."""
        for number, layer in enumerate(self.layers[:-1]):
            x = self.norms[number](layer(x)) if self.norms else layer(x)
            x = self.gates[number](x) if self.gates else self.activation(x)
        found: jax.Array = self.layers[-1](x)
        return found


def _checked_counts(fixed: int | Sequence[int] | None, layers: int) -> list[int]:
    counts = list(fixed) if isinstance(fixed, list | tuple) else [fixed] * layers
    if len(counts) != layers or any(count is None for count in counts):
        raise OptionError(
            "it is not said how many weights are fixed",
            got=f"fixed={_checks.shown(fixed)}",
            expected=f"a number, or {layers} of them, one for each layer",
            step="write fixed=16",
        )
    return [_checks.count("fixed", count) for count in counts]


def _checked_scales(scale: Any, layers: int) -> list[Any]:
    scales = list(scale) if isinstance(scale, list | tuple) else [scale] * layers
    if len(scales) != layers:
        raise OptionError(
            "there is not one scale for each layer",
            got=f"scale={_checks.shown(scale)}",
            expected=f"a number, or {layers} of them",
            step="write scale=1.0",
        )
    return [_checks.number("scale", one) for one in scales]
