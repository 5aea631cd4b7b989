"""Which graphs a function of adjacency matrices tells apart, and whether it tells a graph from its own copies."""

from __future__ import annotations

from collections.abc import Callable

import jax
import numpy as np
from flax import nnx
from scipy.spatial import KDTree

from benchmarks._symmetrization_graphs import connected_graphs, equivalent_pairs, relabelled
from benchmarks._symmetrization_models import Perceptron

APART = 1e-3
"""Outputs of a random network that differ by less count as equal."""

Invariant = Callable[[np.ndarray], np.ndarray]
"""Adjacency matrices `[graphs, n, n]` to outputs `[graphs, k]`."""


def random_network(nodes: int, seed: int) -> Callable[[jax.Array], jax.Array]:
    """A perceptron n² - 64 - 10 with random weights, from adjacency matrices `[*batch, n, n]` to `[*batch, 10]`."""
    network = Perceptron([nodes**2, 64, 10], nnx.Rngs(seed), jax.numpy.tanh)
    return lambda a: network(a.reshape(*a.shape[:-2], nodes**2))


def unseparated(outputs: np.ndarray, most: float = APART) -> int:
    """The number of pairs of rows that differ by at most `most` in every entry."""
    return len(KDTree(outputs).query_pairs(most, p=np.inf))


def refinement_scores(nodes: int, seed: int) -> dict[str, float]:
    """What colour refinement, and so every message-passing network, can do at best."""
    graphs = connected_graphs(nodes)
    copies = relabelled(graphs, np.random.default_rng(seed))
    together = {pair for pair in equivalent_pairs(np.concatenate([graphs, copies])) if pair[1] == pair[0] + len(graphs)}
    count = len(graphs)
    return {
        "graphs": count,
        "pairs": count * (count - 1) // 2,
        "pairs not told apart": len(equivalent_pairs(graphs)),
        "copies told apart": count - len(together),
    }


def separation_scores(invariant: Invariant, nodes: int, seed: int) -> dict[str, float]:
    """What a function tells apart: graphs, as it should, and relabelled copies of one graph, as it should not.

    Both have to be counted: a function with errors above the threshold tells everything apart.
    """
    graphs = connected_graphs(nodes)
    copies = relabelled(graphs, np.random.default_rng(seed))
    one, two = invariant(graphs), invariant(copies)
    count, gap = len(graphs), np.abs(one - two).max(axis=1)
    distances, _ = KDTree(one).query(one, 2, p=np.inf)
    return {
        "graphs": count,
        "pairs": count * (count - 1) // 2,
        "pairs not told apart": unseparated(one),
        "smallest distance": float(distances[:, 1].min()),
        "copies told apart": float(np.sum(gap > APART)),
        "largest difference of copies": float(gap.max()),
    }


def bare_scores(nodes: int, seed: int) -> dict[str, float]:
    """A random network on adjacency matrices as they are."""
    network = jax.jit(random_network(nodes, seed))
    return separation_scores(lambda graphs: np.asarray(network(graphs)), nodes, seed)


SEPARATORS: dict[str, Callable[[int, int], dict[str, float]]] = {
    "colour refinement": refinement_scores,
    "bare": bare_scores,
}
