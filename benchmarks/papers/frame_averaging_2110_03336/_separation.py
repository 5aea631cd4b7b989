"""Which graphs a function of adjacency matrices distinguishes, and whether it distinguishes relabeled copies."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from scipy.spatial import KDTree

import equikit as ek
from benchmarks.data.graphs import circulants, classes, connected_graphs, equivalent_pairs, relabeled
from benchmarks.models.networks import Perceptron
from equikit.symmetrization.frames import Canonical, Laplacian

APART = 1e-3
"""Outputs of a random network with smaller differences count as equal."""

Invariant = Callable[[np.ndarray], np.ndarray]
"""Maps adjacency matrices `[graphs, n, n]` to outputs `[graphs, k]`."""

Separator = Callable[[np.ndarray, np.ndarray, int], dict[str, float]]
"""Maps distinct graphs, `[graphs, n, n]`, relabeled copies `[copies, graphs, n, n]` and a seed to scores."""

CLASSES = 10
"""Outputs of the random network."""


def graph_set(name: str, quick: bool, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return graphs and relabeled copies: all connected graphs of a size, or the circulants of CSL, 15 of each.

    Raises:
        Skip: where the graphs cannot be listed.
    """
    if name == "CSL":
        graphs, copies = circulants()[: 2 if quick else None], 14
    else:
        graphs, copies = connected_graphs({"graphs": 6 if quick else 7, "GRAPH8c": 8}[name]), 1
    if quick and name == "GRAPH8c":
        graphs = graphs[::20]
    generator = np.random.default_rng(seed)
    return graphs, np.array([relabeled(graphs, generator) for _ in range(copies)])


def random_network(nodes: int, seed: int) -> Callable[[jax.Array], jax.Array]:
    """A perceptron n² - 64 - 10 with random weights, from adjacency matrices `[*batch, n, n]` to `[*batch, 10]`."""
    network = Perceptron([nodes**2, 64, CLASSES], nnx.Rngs(seed), jax.numpy.tanh)
    return lambda a: network(a.reshape(*a.shape[:-2], nodes**2))


def near_pairs(outputs: np.ndarray, most: float = APART) -> int:
    """The number of pairs of rows that differ by at most `most` in every entry.

    Rows are sorted by one entry, and each is compared with those that follow it closely.
    """
    entry = np.argmax(np.ptp(outputs, axis=0))
    rows = outputs[np.argsort(outputs[:, entry])]
    found = 0
    for step in range(1, len(rows)):
        close = np.flatnonzero(rows[step:, entry] - rows[:-step, entry] <= most)
        if not len(close):  # nor are rows that are farther apart in this order
            break
        found += int(np.sum(np.abs(rows[close + step] - rows[close]).max(axis=1) <= most))
    return found


def counted(graphs: int) -> dict[str, float]:
    """Count the pairs to distinguish."""
    return {"graphs": graphs, "pairs": graphs * (graphs - 1) // 2}


def refinement_scores(graphs: np.ndarray, copies: np.ndarray, seed: int) -> dict[str, float]:
    """Return the best possible scores of color refinement, and so of every message-passing network."""
    count = len(graphs)
    colors = classes(np.concatenate([graphs, *copies]))
    apart = colors[count:].reshape(len(copies), count) != colors[:count]
    return {
        **counted(count),
        "pairs not told apart": len(equivalent_pairs(graphs)),
        "copies told apart": int(np.sum(apart)),
    }


def separation_scores(invariant: Invariant, graphs: np.ndarray, copies: np.ndarray) -> dict[str, float]:
    """Score a function: it should distinguish graphs, but not relabeled copies of a graph.

    Both are counted, because a function with errors above the threshold distinguishes everything.
    """
    one = invariant(graphs)
    gap = np.array([np.abs(one - invariant(some)).max(axis=1) for some in copies])
    distances, _ = KDTree(one).query(one, 2, p=np.inf)
    return {
        **counted(len(graphs)),
        "pairs not told apart": near_pairs(one),
        "smallest distance": float(distances[:, 1].min()),
        "copies told apart": int(np.sum(gap > APART)),
        "largest difference of copies": float(gap.max()),
    }


def bare_scores(graphs: np.ndarray, copies: np.ndarray, seed: int) -> dict[str, float]:
    """A random network on adjacency matrices as they are."""
    network = jax.jit(random_network(graphs.shape[-1], seed))
    return separation_scores(lambda some: np.asarray(network(some)), graphs, copies)


def symmetrized_scores(make: Callable[[int], Any]) -> Separator:
    """The same network, symmetrized by a method for a number of nodes; everything in float64."""

    def scores(graphs: np.ndarray, copies: np.ndarray, seed: int) -> dict[str, float]:
        how = make(graphs.shape[-1])
        with jax.enable_x64(True):
            network = random_network(graphs.shape[-1], seed)
            sym = ek.symmetrize(network, "p p -> c", p=ek.S, c=ek.Fixed(CLASSES), channels=False, how=how)
            found = separation_scores(jax.jit(lambda some: sym(jnp.asarray(some))), graphs, copies)
            evaluations = float(jnp.max(jnp.sum(sym.frame(jnp.asarray(graphs)).weights > 0, axis=0)))
        return found | {"evaluations, at most": evaluations}

    return scores


SEPARATORS: dict[str, Separator] = {
    "color refinement": refinement_scores,
    "bare": bare_scores,
    "Laplacian frame": symmetrized_scores(lambda nodes: Laplacian(max_size=6 * nodes)),
    "canonical form": symmetrized_scores(lambda nodes: Canonical()),
}
