"""Build the parameter graph of a model from its program."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from equikit.weightspace.graphs._graph import ParameterGraph
from equikit.weightspace.graphs._layout import GraphKind
from equikit.weightspace.tracing._trace import traced
from equikit.weightspace.tracing._usage import usage_of


def graph(
    apply: Callable[..., Any],
    params: Any,
    x: Any,
    kind: GraphKind = "neurons",
    *,
    neurons: Sequence[str] | None = None,
) -> ParameterGraph:
    """Trace a model, and build its parameter graph, which is valid for all networks of the architecture.

    A hidden layer of width one has no neurons: `trace` cannot tell its axis from an axis that is broadcast. Weights
    before and after it are laid out by their other axis.

    Args:
        apply: the model, a pure function `apply(params, x)` that JAX can trace.
        params: a tree of arrays, or of `jax.ShapeDtypeStruct`s.
        x: an input, or several in a tuple.
        kind: a node for each neuron (`"neurons"`), or an edge or node for each entry of a parameter (`"parameters"`):
            see `ParameterGraph`.
        neurons: fixed labels whose indices are nodes; by default the labels of inputs, outputs and looked-up rows.

    Returns:
        The graph. To build it from a specification, write `ParameterGraph(spec, kind)`: it has no `usage`.

    Raises:
        DTypeError, OptionError: if the model cannot be traced, or the kind or a label is unknown.

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
    spec, call, labels = traced(apply, params, x)
    return ParameterGraph(spec, kind, neurons, usage_of(call, [leaf.shape for leaf in spec.leaves], labels))
