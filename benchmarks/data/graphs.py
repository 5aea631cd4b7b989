"""Graphs to distinguish: all connected ones, circulants with skip links, and relabeled copies."""

from __future__ import annotations

import itertools
import subprocess
from importlib.util import find_spec
from pathlib import Path

import networkx as nx
import numpy as np

from benchmarks.core.measurement import Skip

ATLAS = 7
"""The most nodes of a graph in the atlas of networkx."""

SKIPS = (2, 3, 4, 5, 6, 9, 11, 12, 13, 16)
"""No two of the circulants with 41 nodes and these skips are isomorphic (Murphy et al., arXiv:1903.02541)."""


def connected_graphs(nodes: int = 7) -> np.ndarray:
    """Adjacency matrices `[graphs, nodes, nodes]` of all connected graphs, no two of them isomorphic.

    There are 1, 1, 2, 6, 21, 112, 853 and 11,117 with one to eight nodes. Those with more than seven are listed by
    nauty's program geng.

    Raises:
        Skip: where geng is needed and not installed.
    """
    if nodes > ATLAS:
        found = [nx.from_graph6_bytes(line) for line in geng("-c", nodes).splitlines()]
    else:
        found = [g for g in nx.graph_atlas_g() if len(g) == nodes and nx.is_connected(g)]
    return np.array([nx.to_numpy_array(graph) for graph in found])


def geng(option: str, nodes: int) -> bytes:
    """Return the graphs that nauty's program geng lists, one a line in the format graph6.

    Raises:
        Skip: where the package that brings the program is not installed.
    """
    spec = find_spec("sage_wheels")
    programs = [Path(folder) / "bin" / "geng" for folder in (spec.submodule_search_locations or [] if spec else [])]
    for program in programs:
        if program.is_file():
            return subprocess.run([program, "-q", option, str(nodes)], capture_output=True, check=True).stdout
    raise Skip("passagemath-nauty, which has the program geng, is not installed")


def relabeled(adjacency: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Relabel copies `[graphs, n, n]`, each graph by its own permutation."""
    order = generator.permuted(np.tile(np.arange(adjacency.shape[-1]), (len(adjacency), 1)), axis=1)
    rows = np.take_along_axis(adjacency, order[:, :, None], axis=1)
    return np.take_along_axis(rows, order[:, None, :], axis=2)


def circulant(nodes: int, skip: int) -> np.ndarray:
    """A ring `[nodes, nodes]` in which every node is also joined to those `skip` steps away."""
    steps = np.subtract.outer(np.arange(nodes), np.arange(nodes)) % nodes
    return np.isin(steps, [1, nodes - 1, skip, nodes - skip]).astype(float)


def circulants() -> np.ndarray:
    """The graphs of the data set CSL, one of each class, `[skips, nodes, nodes]`."""
    return np.array([circulant(41, skip) for skip in SKIPS])


def refined_colors(adjacency: np.ndarray) -> np.ndarray:
    """Return stable colors `[graphs, n]` of color refinement (1-WL), comparable between graphs.

    A node's color becomes its own and the sorted ones of its neighbors, until there are no more colors than before.
    """
    graphs, n = adjacency.shape[:2]
    colors, known = np.zeros((graphs, n), int), 1
    while True:
        around = np.sort(np.where(adjacency > 0, colors[:, None, :], -1), axis=2)
        seen = np.concatenate([colors[:, :, None], around], axis=2).reshape(graphs * n, n + 1)
        unique, place = np.unique(seen, axis=0, return_inverse=True)
        colors = place.reshape(graphs, n)
        if len(unique) == known:
            return colors
        known = len(unique)


def classes(adjacency: np.ndarray) -> np.ndarray:
    """The class of each graph, `[graphs]`: color refinement cannot distinguish graphs of one class."""
    found: np.ndarray = np.unique(np.sort(refined_colors(adjacency), axis=1), axis=0, return_inverse=True)[1].ravel()
    return found


def equivalent_pairs(adjacency: np.ndarray) -> list[tuple[int, int]]:
    """Return the pairs of graphs that color refinement, and so a message-passing network, cannot distinguish."""
    place = classes(adjacency)
    order = np.argsort(place, kind="stable")
    groups = np.split(order, np.flatnonzero(np.diff(place[order])) + 1)
    return [pair for one in groups for pair in itertools.combinations(one.tolist(), 2)]
