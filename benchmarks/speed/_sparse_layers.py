"""The layers of `sparse`: equikit on a support, and its rivals in JAX.

A layer takes its weights, its inputs and the indices of the graph as arguments, so that no array is a constant of the
program.
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

import equikit as ek
from benchmarks.core.harness import Entry
from benchmarks.core.measurement import Skip
from benchmarks.speed._entry import half_squares

CHANNELS = 16
NODES = ("diagonal", "row", "column")
"""The sums from pairs to nodes, and where a map writes them."""
MAPS = (
    "same",
    "reversed",
    *((source, target) for source in NODES for target in NODES),
    *((source, target) for source in ("trace", "all") for target in ("diagonal", "all")),
)
"""What each of the fifteen maps takes from its input and where it adds it, in the order of the weights."""


@dataclass(frozen=True)
class Graph:
    """A random directed graph, sorted by sender; each of the n^2 pairs, loops included, is as likely as another."""

    n: int
    edges: int
    seed: int

    @functools.cached_property
    def indices(self) -> tuple[np.ndarray, np.ndarray]:
        """Senders and receivers."""
        draw, found = np.random.default_rng(self.seed), np.empty(0, np.int64)
        if self.edges > self.n**2 // 2:
            found = np.arange(self.n**2)
        while len(found) < self.edges:
            found = np.unique(np.concatenate([found, draw.integers(0, self.n**2, self.edges)]))
        kept = np.sort(draw.permutation(found)[: self.edges])
        return kept // self.n, kept % self.n

    @functools.cached_property
    def support(self) -> ek.Support:
        """The support of pairs."""
        return ek.Support("p p", *self.indices, n=self.n)

    @functools.cached_property
    def arrays(self) -> tuple[jax.Array, jax.Array]:
        """Senders and receivers as arrays of JAX."""
        senders, receivers = (jnp.asarray(each, jnp.int32) for each in self.indices)
        return senders, receivers

    @functools.cached_property
    def features(self) -> dict[str, jax.Array]:
        """Random features of edges and of nodes."""
        draw = np.random.default_rng(self.seed + 1)
        rows = {"edges": self.edges, "nodes": self.n}
        return {name: jnp.asarray(draw.normal(size=(count, CHANNELS)), jnp.float32) for name, count in rows.items()}


@dataclass(frozen=True)
class SparseLayer:
    """A layer as a rival computes it.

    Attributes:
        apply: maps weights, inputs and data to the output.
        weights, inputs: arrays with gradients.
        data: what has no gradient, such as indices.
        compared: maps the output to arrays that all rivals share; `None` if the rivals compute different functions.
        whole: whether the output has rows beyond what is compared, so that losses differ.
    """

    apply: Callable[[Any, Any, Any], Any]
    weights: Any
    inputs: Any
    data: Any
    compared: Callable[[Any], jax.Array] | None = None
    whole: bool = False


def timed(layer: SparseLayer, direction: str) -> Entry:
    """Return the function to time: the layer, or a loss and its gradient with respect to weights and inputs."""
    arguments = layer.weights, layer.inputs, layer.data
    compared = layer.compared

    def outputs(result: Any) -> Mapping[str, jax.Array]:
        return {} if compared is None else {"output": compared(result)}

    if direction == "forward":
        return Entry(layer.apply, arguments, outputs)

    def value(weights: Any, inputs: Any, data: Any) -> jax.Array:
        return half_squares(layer.apply(weights, inputs, data))

    def losses(result: Any) -> Mapping[str, jax.Array]:
        return {} if compared is None or layer.whole else {"loss": result[0]}

    return Entry(jax.value_and_grad(value, argnums=(0, 1)), arguments, losses)


def _linear(inputs: Any, outputs: Any, graph: Graph) -> ek.nn.Linear:
    return ek.nn.Linear(
        inputs, outputs, p=ek.S, use_bias=False, normalize="sum", init_size=graph.n, rngs=nnx.Rngs(graph.seed)
    )


def _weights(module: ek.nn.Linear) -> dict[str, jax.Array]:
    return {name: parameter[...] for name, parameter in module.kernel.items()}


def fifteen(graph: Graph) -> SparseLayer:
    """All fifteen maps between features of edges, on a support."""
    module = _linear({"p p": CHANNELS}, {"p p": CHANNELS}, graph)
    plan, x = module.plan, graph.features["edges"]

    def apply(weights: Any, x: jax.Array, support: Any) -> jax.Array:
        found: jax.Array = ek.plans.apply(plan, x, weights, support=support)
        return found

    return SparseLayer(apply, _weights(module), x, graph.support, lambda y: y)


def fifteen_by_hand(graph: Graph) -> SparseLayer:
    """The fifteen maps as a user writes them: sums by segments, gathers, one product for each map."""
    n, (senders, receivers) = graph.n, graph.indices
    keys, back = senders * n + receivers, receivers * n + senders
    place = np.minimum(np.searchsorted(keys, back), len(keys) - 1)
    reverse = jnp.asarray(np.where(keys[place] == back, place, len(keys)), jnp.int32)

    def apply(weights: jax.Array, x: jax.Array, indices: tuple[jax.Array, ...]) -> jax.Array:
        w, (senders, receivers, reverse) = dict(zip(MAPS, weights, strict=True)), indices
        is_loop = (senders == receivers)[:, None]
        sums = {
            "diagonal": jax.ops.segment_sum(jnp.where(is_loop, x, 0), senders, n, indices_are_sorted=True),
            "row": jax.ops.segment_sum(x, senders, n, indices_are_sorted=True),
            "column": jax.ops.segment_sum(x, receivers, n),
        }
        totals = {"trace": sums["diagonal"].sum(0), "all": sums["row"].sum(0)}
        diagonal, rows, columns = (sum(sums[source] @ w[source, target] for source in NODES) for target in NODES)
        diagonal += sum(totals[source] @ w[source, "diagonal"] for source in totals)
        y = x @ w["same"] + x.at[reverse].get(mode="fill", fill_value=0) @ w["reversed"]
        y += rows[senders] + columns[receivers] + sum(totals[source] @ w[source, "all"] for source in totals)
        return y + jnp.where(is_loop, diagonal[senders], 0)

    (weights,) = _weights(_linear({"p p": CHANNELS}, {"p p": CHANNELS}, graph)).values()
    return SparseLayer(apply, weights, graph.features["edges"], (*graph.arrays, reverse), lambda y: y)


def dense(graph: Graph) -> SparseLayer:
    """The dense layer on the matrix of edge features."""
    module = _linear({"p p": CHANNELS}, {"p p": CHANNELS}, graph)
    plan = module.plan
    matrix = jnp.zeros((graph.n, graph.n, CHANNELS)).at[graph.arrays].set(graph.features["edges"])

    def apply(weights: Any, x: jax.Array, data: Any) -> jax.Array:
        found: jax.Array = ek.plans.apply(plan, x, weights)
        return found

    return SparseLayer(apply, _weights(module), matrix, (), lambda y: y[graph.arrays], whole=True)


def edges_and_nodes(graph: Graph) -> SparseLayer:
    """All maps from features of edges and nodes to features of edges and nodes."""
    sides = {"edges": ("p p", CHANNELS), "nodes": ("p", CHANNELS)}
    module = _linear(sides, sides, graph)
    plan = module.plan

    def apply(weights: Any, x: Any, support: Any) -> Any:
        return ek.plans.apply(plan, x, weights, support=support)

    return SparseLayer(apply, _weights(module), graph.features, graph.support)


def _message_weights(graph: Graph) -> tuple[jax.Array, jax.Array]:
    draw = np.random.default_rng(graph.seed + 2)
    scale = 1 / np.sqrt(3 * CHANNELS)
    first, second = (jnp.asarray(draw.normal(size=(3 * CHANNELS, CHANNELS)) * scale, jnp.float32) for _ in range(2))
    return first, second


def messages(graph: Graph) -> SparseLayer:
    """One message layer: edges from themselves and both ends, nodes from themselves and sums over their edges."""
    n = graph.n

    def apply(weights: tuple[jax.Array, jax.Array], x: Any, indices: tuple[jax.Array, jax.Array]) -> Any:
        (senders, receivers), nodes = indices, x["nodes"]
        edges = jnp.concatenate([x["edges"], nodes[senders], nodes[receivers]], -1) @ weights[0]
        sent = jax.ops.segment_sum(edges, senders, n, indices_are_sorted=True)
        received = jax.ops.segment_sum(edges, receivers, n)
        return {"edges": edges, "nodes": jnp.concatenate([nodes, sent, received], -1) @ weights[1]}

    return SparseLayer(apply, _message_weights(graph), graph.features, graph.arrays)


def of_jraph(graph: Graph) -> SparseLayer:
    """The same layer as a `jraph.GraphNetwork`."""
    try:
        jraph: Any = importlib.import_module("jraph")
    except ImportError as error:
        raise Skip("jraph is not installed") from error

    def apply(weights: tuple[jax.Array, jax.Array], x: Any, indices: tuple[jax.Array, jax.Array]) -> Any:
        (senders, receivers), one = indices, jnp.ones(1, jnp.int32)
        layer = jraph.GraphNetwork(
            update_edge_fn=lambda e, s, r, _: jnp.concatenate([e, s, r], -1) @ weights[0],
            update_node_fn=lambda v, s, r, _: jnp.concatenate([v, s, r], -1) @ weights[1],
        )
        found = layer(
            jraph.GraphsTuple(
                nodes=x["nodes"],
                edges=x["edges"],
                senders=senders,
                receivers=receivers,
                n_node=graph.n * one,
                n_edge=graph.edges * one,
                globals=None,
            )
        )
        return {"edges": found.edges, "nodes": found.nodes}

    return SparseLayer(apply, _message_weights(graph), graph.features, graph.arrays)
