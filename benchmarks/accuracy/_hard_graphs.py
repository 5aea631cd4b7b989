"""Graphs that are hard for canonical orders: regular, disconnected, and with nearly equal weights."""

from __future__ import annotations

from collections.abc import Iterator

import networkx as nx
import numpy as np

from benchmarks.accuracy._hard_copies import Input

MOST = 16


def _rook() -> nx.Graph:
    return nx.line_graph(nx.complete_bipartite_graph(4, 4))


def _shrikhande() -> nx.Graph:
    steps = ((1, 0), (0, 1), (1, 1))
    places = [(i, j) for i in range(4) for j in range(4)]
    return nx.Graph([((i, j), ((i + a) % 4, (j + b) % 4)) for i, j in places for a, b in steps])


def _unweighted() -> Iterator[tuple[str, str, nx.Graph]]:
    for n in (3, 4, 5, 8, 12):
        yield "cycle", f"cycle {n}", nx.cycle_graph(n)
    for n in (3, 6, 11):
        yield "star", f"star {n}", nx.star_graph(n)
    for n in (1, 2, 5, 9):
        yield "complete or empty", f"complete {n}", nx.complete_graph(n)
        yield "complete or empty", f"empty {n}", nx.empty_graph(n)
    yield "strongly regular", "Petersen", nx.petersen_graph()
    yield "strongly regular", "Paley 13", nx.to_undirected(nx.paley_graph(13))
    yield "strongly regular", "rook 4x4", _rook()
    yield "strongly regular", "Shrikhande", _shrikhande()
    yield "strongly regular", "octahedron", nx.octahedral_graph()
    yield "strongly regular", "cube", nx.hypercube_graph(3)
    yield "in parts", "two triangles", nx.disjoint_union(nx.cycle_graph(3), nx.cycle_graph(3))
    yield "in parts", "triangle and square", nx.disjoint_union(nx.cycle_graph(3), nx.cycle_graph(4))
    yield "in parts", "five edges", nx.from_edgelist([(2 * i, 2 * i + 1) for i in range(5)])
    yield "in parts", "Petersen and star", nx.disjoint_union(nx.petersen_graph(), nx.star_graph(4))
    yield "random graph", "random regular", nx.random_regular_graph(3, 12, seed=0)
    yield "random graph", "random tree", nx.from_prufer_sequence([3, 3, 1, 0, 0, 7, 2, 2])
    for n in (6, 10, 14):
        yield "random graph", f"random {n}", nx.gnp_random_graph(n, 0.4, seed=n)


def _weighted(seed: int) -> Iterator[tuple[str, str, np.ndarray]]:
    generator = np.random.default_rng(seed)
    for n in (5, 9):
        multiple = np.triu(generator.integers(0, 4, size=(n, n)), 1)
        yield "weights", f"multiple edges {n}", multiple + multiple.T
        weights = np.triu(generator.normal(size=(n, n)), 1)
        yield "weights", f"random weights {n}", weights + weights.T
    ring = nx.to_numpy_array(nx.cycle_graph(7))
    for power in (2, 4, 6, 7, 8, 10, 12):
        change = np.triu(generator.normal(size=(7, 7)), 1) * 10.0**-power
        yield "nearly equal weights", f"cycle 7, weights 1e-{power} apart", ring * (1 + change + change.T)
    yield "not finite", "NaN", np.where(ring * np.arange(7) == 3, np.nan, ring)
    yield "not finite", "inf", np.where(ring * np.arange(7) == 3, np.inf, ring)


def graphs(seed: int = 0) -> list[Input]:
    """All hard graphs, of at most sixteen nodes, as weighted adjacency matrices."""
    plain = [(family, name, nx.to_numpy_array(graph)) for family, name, graph in _unweighted()]
    return [Input(name, family, matrix, 1.0) for family, name, matrix in [*plain, *_weighted(seed)]]
