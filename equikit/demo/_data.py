"""The graph atlas of NetworkX as arrays: all graphs with at most seven nodes, and the targets."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import networkx as nx
import numpy as np
from jaxtyping import Bool, Float

NODES = 7
TARGETS = ("triangles", "spectral radius")
TRAIN, VALIDATION = 896, 157  # the other 200 of 1,253 are the test set; 896 is 28 whole batches of 32


@dataclass(frozen=True, slots=True, eq=False)
class Graphs:
    """Graphs padded to the same number of nodes, with their targets.

    Attributes:
        adjacency: zeros and ones, zero at absent nodes.
        mask: which nodes are present; the absent ones come last.
        targets: columns as in `TARGETS`.
    """

    adjacency: Float[np.ndarray, "graphs n n"]
    mask: Bool[np.ndarray, "graphs n"]
    targets: Float[np.ndarray, "graphs targets"]

    def __len__(self) -> int:
        return len(self.targets)

    def take(self, index: np.ndarray) -> Graphs:
        """Return the graphs at the given positions, in that order."""
        return Graphs(self.adjacency[index], self.mask[index], self.targets[index])

    def relabeled(self, generator: np.random.Generator, *, padding: bool = False) -> Graphs:
        """Relabel the nodes of every graph at random; the targets do not change.

        Args:
            generator: the source of the permutations, which differ between graphs.
            padding: also permute absent nodes. Otherwise they stay last, as a model without a mask expects.
        """
        key = generator.random(self.mask.shape)
        order = np.argsort(key if padding else key + ~self.mask, axis=1)
        rows = np.take_along_axis(self.adjacency, order[:, :, None], axis=1)
        moved = np.take_along_axis(rows, order[:, None, :], axis=2)
        return Graphs(moved, np.take_along_axis(self.mask, order, axis=1), self.targets)


@dataclass(frozen=True, slots=True, eq=False)
class Split:
    """The training, validation and test graphs."""

    train: Graphs
    validation: Graphs
    test: Graphs


def targets_of(graph: nx.Graph) -> tuple[float, float]:
    """Return the number of triangles, counted by NetworkX, and the largest absolute eigenvalue of the adjacency matrix.

    Example:
        >>> targets_of(nx.complete_graph(4))
        (4.0, 3.0)
    """
    triangles = sum(nx.triangles(graph).values()) // 3
    values = np.linalg.eigvalsh(nx.to_numpy_array(graph)) if len(graph) else np.zeros(1)
    return float(triangles), round(float(np.max(np.abs(values))), 12)


def to_graphs(graphs: Sequence[nx.Graph], nodes: int) -> Graphs:
    """Pad NetworkX graphs to the same number of nodes, and compute their targets.

    Example:
        >>> to_graphs([nx.empty_graph(0), nx.path_graph(2)], 3).mask.tolist()
        [[False, False, False], [True, True, False]]
    """
    adjacency = np.zeros((len(graphs), nodes, nodes), np.float32)
    mask = np.zeros((len(graphs), nodes), bool)
    for i, graph in enumerate(graphs):
        if n := len(graph):  # NetworkX makes no matrix without nodes
            adjacency[i, :n, :n] = nx.to_numpy_array(graph)
            mask[i, :n] = True
    return Graphs(adjacency, mask, np.array([targets_of(graph) for graph in graphs], np.float32))


def atlas() -> Graphs:
    """Return the 1,253 graphs with at most seven nodes, including the empty graph, no two isomorphic.

    Source:
        Read and Wilson, An Atlas of Graphs, 1998; `networkx.graph_atlas_g`.
    """
    return to_graphs(nx.graph_atlas_g(), NODES)


def split(graphs: Graphs, seed: int) -> Split:
    """Split graphs into train, validation and test at random, reproducibly for a seed."""
    order = np.random.default_rng(seed).permutation(len(graphs))
    parts = np.split(order, [TRAIN, TRAIN + VALIDATION])
    return Split(*(graphs.take(part) for part in parts))


def twins(graphs: Graphs) -> list[list[int]]:
    """Return the positions of graphs that color refinement cannot distinguish, class by class.

    A 2-IGN predicts the same for all graphs of a class, so if their triangle counts differ, an error remains.

    Source:
        Geerts, The expressive power of kth-order invariant graph networks, arXiv:2007.12035.
    """
    names: dict[tuple[object, ...], int] = {}  # one color for each signature, over all graphs
    classes: defaultdict[tuple[int, ...], list[int]] = defaultdict(list)
    for place, (adjacency, mask) in enumerate(zip(graphs.adjacency, graphs.mask, strict=True)):
        neighbors = [np.flatnonzero(row) for row in adjacency]
        colors = [0] * len(mask)
        for _ in range(len(mask)):
            seen = [(colors[v], *sorted(colors[u] for u in neighbors[v])) for v in range(len(mask))]
            colors = [names.setdefault(signature, len(names)) for signature in seen]
        classes[tuple(sorted(color for color, there in zip(colors, mask, strict=True) if there))].append(place)
    return [places for places in classes.values() if len(places) > 1]
