"""Communities of a directed graph of 12,000 nodes: layers on its edges, message layers, and the known optimum."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

import equikit as ek
from benchmarks.core.benchmark import Benchmark, Cell, Measure, Tell
from benchmarks.core.measurement import Measurement
from benchmarks.core.task_report import TRAINED
from benchmarks.data.communities import COMMUNITIES, Communities, beliefs, communities

FOUR, OPTIMUM, LARGEST = "belief propagation, four steps", "belief propagation", "largest community"
RIVALS: dict[str, str] = {
    "equikit": 'four pairs of layers `"p"` to `"p p"` and back on the support of edges',
    "messages": "four message layers that tell sent from received messages, by hand",
    "messages, undirected": "the same without directions, as a graph convolution",
    FOUR: "with the true probabilities of edges, four steps along edges as the networks",
    OPTIMUM: "the same until it has converged: nearly the least error that is possible",
    LARGEST: "no network, no edges",
}
HOPS, REVEALED, GRAPHS = 4, 0.1, 4
# The messages of the first round know the given labels of their own nodes only.
ROUNDS = {FOUR: HOPS + 1, OPTIMUM: 30}


@dataclass(frozen=True)
class Limits:
    """Sizes of graphs and networks, and the steps of training."""

    n: int
    edges: int
    width: int
    steps: int
    rate: float


def limits(quick: bool) -> Limits:
    """Return the budget of a run."""
    return Limits(300, 1_500, 8, 5, 1e-2) if quick else Limits(12_000, 60_000, 24, 1_200, 5e-3)


class OnSupport(nnx.Module):
    """Pairs of layers, from nodes to edges and back."""

    def __init__(self, width: int, rngs: nnx.Rngs) -> None:
        widths = [COMMUNITIES + 1, *[width] * HOPS]
        self.there = nnx.List(
            [ek.nn.Linear({"p": inner}, {"p p": width}, p=ek.S, loops=False, rngs=rngs) for inner in widths[:-1]]
        )
        self.back = nnx.List(
            [
                ek.nn.Linear({"p p": width, "p": inner}, {"p": width}, p=ek.S, loops=False, rngs=rngs)
                for inner in widths[:-1]
            ]
        )
        self.head = nnx.Linear(width, COMMUNITIES, rngs=rngs)

    def __call__(self, x: jax.Array, support: ek.Support) -> jax.Array:
        for there, back in zip(self.there, self.back, strict=True):
            edges = {name: jax.nn.relu(y) for name, y in there({"p": x}, support=support).items()}
            x = jax.nn.relu(back({**edges, "p": x}, support=support)["p"])
        found: jax.Array = self.head(x)
        return found


class Messages(nnx.Module):
    """Message layers: a node from itself and the means of the messages along its edges."""

    def __init__(self, width: int, directed: bool, rngs: nnx.Rngs) -> None:
        widths = [COMMUNITIES + 1, *[width] * HOPS]
        self.directed = directed
        self.edge = nnx.List([nnx.Linear(2 * inner, width, rngs=rngs) for inner in widths[:-1]])
        self.node = nnx.List([nnx.Linear(inner + 2 * width, width, rngs=rngs) for inner in widths[:-1]])
        self.head = nnx.Linear(width, COMMUNITIES, rngs=rngs)

    def __call__(self, x: jax.Array, support: ek.Support) -> jax.Array:
        senders, receivers = support.indices()
        if not self.directed:
            senders, receivers = jnp.concatenate([senders, receivers]), jnp.concatenate([receivers, senders])
        ones, n = jnp.ones((len(senders), 1)), x.shape[0]
        sent, received = (jnp.maximum(jax.ops.segment_sum(ones, ends, n), 1) for ends in (senders, receivers))
        for edge, node in zip(self.edge, self.node, strict=True):
            made = jax.nn.relu(edge(jnp.concatenate([x[senders], x[receivers]], -1)))
            means = [
                jax.ops.segment_sum(made, senders, n) / sent,
                jax.ops.segment_sum(made, receivers, n) / received,
            ]
            x = jax.nn.relu(node(jnp.concatenate([x, *means], -1)))
        found: jax.Array = self.head(x)
        return found


MAKERS: dict[str, Callable[[int, nnx.Rngs], nnx.Module]] = {
    "equikit": OnSupport,
    "messages": lambda width, rngs: Messages(width, True, rngs),
    "messages, undirected": lambda width, rngs: Messages(width, False, rngs),
}


def inputs(given: jax.Array) -> jax.Array:
    """The features of nodes: the given label, and one."""
    return jnp.concatenate([given, jnp.ones((len(given), 1), given.dtype)], -1)


def trained(model: nnx.Module, graphs: list[Communities], size: Limits, seed: int, tell: Tell) -> nnx.Module:
    """Train on graphs whose labels are all known: in each step a random tenth is given, the others are to be found."""
    supports = [on(graph) for graph in graphs]
    labels = [jnp.asarray(graph.labels) for graph in graphs]
    optimizer = nnx.Optimizer(model, optax.adam(optax.cosine_decay_schedule(size.rate, size.steps)), wrt=nnx.Param)

    @nnx.jit
    def step(model: Any, optimizer: Any, support: ek.Support, labels: jax.Array, key: jax.Array) -> jax.Array:
        shown = jax.random.bernoulli(key, REVEALED, labels.shape)
        given = jax.nn.one_hot(labels, COMMUNITIES) * shown[:, None]

        def loss(model: Any) -> jax.Array:
            each = optax.softmax_cross_entropy_with_integer_labels(model(inputs(given), support), labels)
            return jnp.mean(each, where=~shown)

        value: jax.Array
        value, gradient = nnx.value_and_grad(loss)(model)
        optimizer.update(model, gradient)
        return value

    for i in range(size.steps):
        which = i % len(graphs)
        step(model, optimizer, supports[which], labels[which], jax.random.fold_in(jax.random.key(seed), i))
        if i % 50 == 0:
            tell(f"train, step {i} of {size.steps}")
    return model


def on(graph: Communities) -> ek.Support:
    """The edges of a graph."""
    return ek.Support("p p", graph.senders, graph.receivers, n=len(graph.labels))


def error(found: np.ndarray, graph: Communities) -> float:
    """The share of hidden labels that are wrong."""
    hidden = ~graph.revealed
    return float(np.mean(np.argmax(found, axis=-1)[hidden] != graph.labels[hidden]))


def cells(quick: bool) -> list[Cell]:
    """Return a cell for each rival."""
    return [Cell({"task": "communities"}, "train", (rival,)) for rival in RIVALS]


def start(quick: bool, seed: int, tell: Tell) -> Measure:
    """Draw graphs to train on, and another one to test on."""
    size = limits(quick)
    *graphs, last = (communities(size.n, size.edges, REVEALED, 100 * seed + i) for i in range(GRAPHS + 1))

    @functools.cache
    def optimum(rounds: int) -> float:
        tell(OPTIMUM)
        return error(beliefs(last, rounds), last)

    def measure(cell: Cell) -> list[Measurement]:
        (rival,) = cell.rivals
        m = Measurement(dict(cell.case), cell.direction, rival)
        found, parameters = 0.0, 0
        if rival in MAKERS:
            model: Any = trained(MAKERS[rival](size.width, nnx.Rngs(seed)), graphs, size, seed, tell)
            found = error(np.asarray(model(inputs(jnp.asarray(last.given)), on(last))), last)
            parameters = sum(leaf.size for leaf in jax.tree.leaves(nnx.state(model, nnx.Param)))
        elif rival == LARGEST:
            found = error(np.zeros((size.n, COMMUNITIES)), last)
        else:
            found = optimum(ROUNDS[rival])
        m.scores = {"parameters": float(parameters), "error": found, "over four steps": found / optimum(ROUNDS[FOUR])}
        return [m]

    return measure


BENCHMARK = Benchmark(
    title="Communities of a large graph",
    summary="directed communities of 12,000 nodes: layers on edges, message layers, the known optimum",
    rivals=RIVALS,
    cells=cells,
    start=start,
    limits=limits,
    style=TRAINED,
    seeds=5,
    timed=False,
)
