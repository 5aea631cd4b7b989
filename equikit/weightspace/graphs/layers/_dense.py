"""Parts of metanetworks that act on each node, edge or graph separately."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from equikit.nn import Activation
from equikit.nn.initializers import DENSE, ones, scaled, unit_normal, zeros


class State(NamedTuple):
    """The features that a layer updates.

    Attributes:
        nodes: features of nodes, `[*batch, nodes, c]`.
        edges: features of edges, `[*batch, edges, c]`; some layers use arcs (edges in both directions and self-loops).
        whole: features of the whole graph, `[*batch, c]`, or None.
    """

    nodes: jax.Array
    edges: jax.Array
    whole: jax.Array | None


class Options(NamedTuple):
    """Options that all layers of a network share."""

    rngs: nnx.Rngs
    activation: Activation
    dtype: Any
    param_dtype: Any
    use_global: bool

    def linear(self, before: int, after: int, *, use_bias: bool = True) -> nnx.Linear | None:
        """Return a linear map of the channels; `None` without input or output channels."""
        if not (before and after):
            return None
        types = {"dtype": self.dtype, "param_dtype": self.param_dtype}
        return nnx.Linear(before, after, use_bias=use_bias, **DENSE, **types, rngs=self.rngs)

    def norm(self, width: int) -> nnx.LayerNorm:
        """Return a layer norm of the channels."""
        types = {"dtype": self.dtype, "param_dtype": self.param_dtype}
        return nnx.LayerNorm(width, scale_init=ones, bias_init=zeros, **types, rngs=self.rngs)

    def codes(self, count: int, width: int) -> nnx.Param[jax.Array] | None:
        """Return a learned embedding, `[count, width]`, with small initial values; `None` if `count` is zero."""
        if count == 0:
            return None
        scale = np.full(count, 0.3)
        return nnx.Param(scaled(unit_normal, self.rngs.params(), (count, width), self.param_dtype, scale))


class Joined(nnx.Module):
    """A perceptron with one hidden layer of gated units on several inputs, whose linear maps are added.

    Inputs are mapped before they are added, so that a node is mapped once and not once for every edge. Units are gated
    because functions of weights contain products: without gates, `sum_h a_h b_h c_h` is not learned in 1000 steps.

    Source:
        Shazeer, GLU variants improve transformer, arXiv:2002.05202.
    """

    def __init__(self, widths: dict[str, int], out: int, options: Options) -> None:
        first, self.count = next(iter(widths)), len(widths)  # only the first map has a bias
        self.maps = nnx.Dict(
            {name: options.linear(width, 2 * out, use_bias=name == first) for name, width in widths.items()}
        )
        self.last = options.linear(out, out)
        self.activation = options.activation

    def part(self, name: str, x: jax.Array) -> jax.Array:
        """Return the contribution of one input to the sum."""
        linear = self.maps[name]
        assert linear is not None
        result: jax.Array = linear(x)
        return result

    def __call__(self, total: jax.Array) -> jax.Array:
        """Apply the gated nonlinearity and the last map to the sum of contributions."""
        assert self.last is not None
        gate, value = jnp.split(total / jnp.sqrt(jnp.asarray(self.count, total.dtype)), 2, axis=-1)
        result: jax.Array = self.last(self.activation(gate) * value)
        return result
