"""From a program to the graph of its parameters."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from equikit.weightspace.graphs._graph import ParameterGraph
from equikit.weightspace.graphs._layout import GraphKind
from equikit.weightspace.tracing._trace import trace


def graph(
    apply: Callable[..., Any],
    params: Any,
    x: Any,
    kind: GraphKind = "neurons",
    *,
    neurons: Sequence[str] | None = None,
) -> ParameterGraph:
    """Trace a model, and build the graph of its parameters; one graph serves all networks of the architecture.

    Args:
        apply: the model, a pure function `apply(params, x)` that JAX can trace.
        params: a tree of arrays, or of `jax.ShapeDtypeStruct`s.
        x: an input, or several in a tuple.
        kind: a node for each neuron (`"neurons"`), or an edge, or node, for each parameter (`"parameters"`): see
            `ParameterGraph`.
        neurons: labels on which nothing acts whose indices are nodes; by default those of inputs, outputs and looked-up
            rows.

    Returns:
        The graph. From a specification it is made by `ParameterGraph(spec, kind)`.

    Raises:
        DTypeError, OptionError: if the model cannot be traced, or there is no such kind or label.

    Cost: tracing the model once.

    Example:
        >>> import jax.numpy as jnp
        >>> params = {"first": jnp.ones((3, 8)), "second": jnp.ones((8, 2))}
        >>> made = graph(lambda p, x: jnp.tanh(x @ p["first"]) @ p["second"], params, jnp.ones((5, 3)))
        >>> made.node_layers, made.edge_kinds
        (('in', 'h0', 'out'), ('first', 'second'))

    Source:
        see `ParameterGraph`.
    """
    return ParameterGraph(trace(apply, params, x), kind, neurons)
