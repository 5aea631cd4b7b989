"""The canonical order of the nodes of a small graph, and its automorphisms: a search in NumPy."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

Permutation = np.ndarray
"""Integers `[n]`."""


@dataclass(frozen=True)
class Form:
    """The result of a search.

    Attributes:
        order: the node at each position, `[n]`.
        generators: generators of the automorphism group.
        size: the number of automorphisms.
        complete: whether the search is complete; if not, the order is the best one so far, and the group is generated
            by the automorphisms found so far.
    """

    order: Permutation
    generators: tuple[Permutation, ...]
    size: int
    complete: bool

    def orbits(self, axes: int) -> np.ndarray:
        """Return for every tuple of nodes `[n, ..., n]` the row-major number of the first tuple in its orbit."""
        return _orbits(self.generators, len(self.order), axes)


@dataclass(frozen=True)
class _Leaf:
    order: Permutation
    path: tuple[int, ...]
    trace: tuple[bytes, ...]
    graph: bytes

    @property
    def key(self) -> tuple[tuple[bytes, ...], bytes]:
        return self.trace, self.graph


def canonical_form(nodes: np.ndarray, edges: np.ndarray, most: int) -> Form:
    """Find the order that minimizes a graph among the leaves of a search tree, and the graph's automorphisms.

    Two graphs with the same colors have the same matrix in this order exactly if they are isomorphic. Subtrees that a
    known automorphism maps to a visited subtree are skipped, and so are subtrees whose refinements are larger than the
    best so far.

    Args:
        nodes: integers `[n]`, the colors of the nodes.
        edges: integers `[n, n]`, the colors of ordered pairs of nodes.
        most: the largest number of refinements, apart from the first path.
    """
    search = _Search(edges, most)
    blocks, trace = search.refined(np.unique(nodes, return_inverse=True)[1].reshape(-1))
    search.visit(blocks, (), (trace,))
    first, best = search.first, search.best
    assert first is not None, "the first path is followed to its end at any cost"
    assert best is not None, "the first leaf is the best at first"
    # The number of automorphisms that fix a node is the number of all over the size of the node's orbit.
    orbits = (_orbits(_fixing(search.found, first.path[:i]), len(nodes)) for i in range(len(first.path)))
    sizes = (np.count_nonzero(orbit == orbit[node]) for orbit, node in zip(orbits, first.path, strict=True))
    return Form(best.order, tuple(search.found), math.prod(map(int, sizes)), search.steps <= most)


class _Search:
    def __init__(self, edges: np.ndarray, most: int) -> None:
        self.edges, self.most, self.steps = edges, most, 0
        self.first: _Leaf | None = None
        self.best: _Leaf | None = None
        self.found: list[Permutation] = []

    def refined(self, blocks: np.ndarray) -> tuple[np.ndarray, bytes]:
        """Return blocks whose nodes see the same edge colors to the same blocks, and a trace of the refinement."""
        self.steps += 1
        trace = []
        while True:
            seen = _mixed(self.edges, blocks[None, :]).sum(axis=1, dtype=np.uint64)
            order = np.lexsort((seen, blocks))
            before, now = blocks[order], seen[order]
            new = np.concatenate([[0], np.cumsum((before[1:] != before[:-1]) | (now[1:] != now[:-1]))])[: len(blocks)]
            trace += [now.tobytes(), new.astype(np.int32).tobytes()]
            finer = np.empty_like(blocks)
            finer[order] = new
            if not len(blocks) or new[-1] == blocks.max():
                return finer, b"".join(trace)
            blocks = finer

    def visit(self, blocks: np.ndarray, path: tuple[int, ...], trace: tuple[bytes, ...]) -> int:
        """Search the subtree of a path, and return the level of the path at which to continue."""
        level = len(path)
        counts = np.bincount(blocks, minlength=1)
        if np.all(counts <= 1):
            return self._at_leaf(np.argsort(blocks), path, trace)
        cell = int(np.argmax(counts > 1))
        tried: list[int] = []
        least, known = np.arange(len(blocks)), 0
        for node in map(int, np.flatnonzero(blocks == cell)):
            if self.first is not None and self.steps > self.most:
                return -1
            if tried and len(self.found) > known:
                least, known = _orbits(_fixing(self.found, path), len(blocks)), len(self.found)
            if np.any(least[tried] == least[node]):
                continue
            tried.append(node)
            others = (blocks == cell) & (np.arange(len(blocks)) != node)
            finer, seen = self.refined(blocks + (blocks > cell) + others)
            if self._promising((*trace, seen)):
                back = self.visit(finer, (*path, node), (*trace, seen))
                if back < level:
                    return back
        return level

    def _promising(self, trace: tuple[bytes, ...]) -> bool:
        """Whether a leaf below may equal the first leaf, or be smaller than the best leaf."""
        if self.first is None or self.best is None:
            return True
        count = len(trace)
        return trace == self.first.trace[:count] or trace <= self.best.trace[:count]

    def _at_leaf(self, order: Permutation, path: tuple[int, ...], trace: tuple[bytes, ...]) -> int:
        leaf = _Leaf(order, path, trace, self.edges[np.ix_(order, order)].tobytes())
        if self.first is None or self.best is None:
            self.first = self.best = leaf
            return len(path)
        for other in (self.first, self.best):
            if leaf.key == other.key:
                automorphism = np.empty_like(order)
                automorphism[other.order] = order
                self.found.append(automorphism)
                # The automorphism maps the rest of the branch at which the paths separate to a visited branch.
                return next(i for i, (one, two) in enumerate(zip(path, other.path, strict=True)) if one != two)
        if leaf.key < self.best.key:
            self.best = leaf
        return len(path)


def _mixed(one: np.ndarray, two: np.ndarray) -> np.ndarray:
    """Hash two numbers to 64 bits; their order matters."""
    found: np.ndarray = one.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    found = found ^ (two.astype(np.uint64) + np.uint64(0x632BE59BD9B4E019))
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        found = (found ^ (found >> np.uint64(shift))) * np.uint64(factor)
    result: np.ndarray = found ^ (found >> np.uint64(31))
    return result


def _fixing(automorphisms: list[Permutation], nodes: tuple[int, ...]) -> list[Permutation]:
    return [g for g in automorphisms if all(g[node] == node for node in nodes)]


def _orbits(generators: Sequence[Permutation], count: int, axes: int = 1) -> np.ndarray:
    """Return for every tuple of nodes `[n, ..., n]` the number of the first tuple in its orbit under a group."""
    numbers = np.arange(count**axes)
    shape = (count,) * axes
    moves = [numbers.reshape(shape)[np.ix_(*[g] * axes)].reshape(-1) for g in generators]
    least = numbers
    while True:
        before = least
        for move in moves:
            least = np.minimum(least, least[move])
            least[move] = np.minimum(least[move], least)
            least = least[least]
        if np.array_equal(before, least):
            return least.reshape(shape)
