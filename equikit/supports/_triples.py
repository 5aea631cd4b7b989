"""Triples of nodes of a graph, by joins of sorted arrays; directions and loops do not count unless said otherwise."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np

from equikit.supports._tables import Table, refuse_too_many

CHUNK = 2**22
"""The number of pairs of edges that are joined at once in the search for triangles."""


class Linked:
    """The pairs of different nodes that are linked in one direction or the other, sorted, in both directions.

    Args:
        edges: `[2, E]`.
        n: the number of nodes.
    """

    def __init__(self, edges: Table, n: int) -> None:
        i, j = edges.astype(np.int64)
        self.n, self.loops = n, np.unique(i[i == j])
        self.keys: Table = np.unique(np.concatenate([i * n + j, j * n + i])[np.tile(i != j, 2)])

    def pairs(self) -> Table:
        """Return the pairs, `[2, L]`."""
        return np.stack(np.divmod(self.keys, max(self.n, 1)))

    def has(self, i: Table, j: Table) -> Any:
        """Whether each pair is linked."""
        return _is_in(i * self.n + j, self.keys)


def _is_in(queries: Table, keys: Table) -> Any:
    place = np.searchsorted(keys, queries)
    return np.append(keys, -1)[place] == queries


def _joined(pairs: Table, after: Table, start: Table) -> Iterator[Table]:
    """Yield i, j, k for each pair i, j and each k after j, in chunks: `after[start[j]:start[j + 1]]`."""
    i, j = pairs
    count = np.diff(start)[j]
    ends = np.cumsum(count)
    cuts = np.searchsorted(ends, np.arange(0, int(ends[-1]) if len(ends) else 0, CHUNK), side="right")
    for first, last in itertools.pairwise([*np.unique(cuts).tolist(), len(i)]):
        chunk = count[first:last]
        place = np.arange(chunk.sum()) - np.repeat(np.cumsum(chunk) - chunk, chunk)
        of_j = np.repeat(j[first:last], chunk)
        yield np.stack([np.repeat(i[first:last], chunk), of_j, after[start[of_j] + place]])


def _starts(nodes: Table, n: int) -> Table:
    return np.concatenate([[0], np.cumsum(np.bincount(nodes, minlength=n))])


def _together(chunks: Iterator[Table]) -> Table:
    return np.concatenate([np.empty((3, 0), np.int32), *(chunk.astype(np.int32) for chunk in chunks)], axis=1)


def paths(linked: Linked, *, closed: bool) -> Table:
    """Return i, j, k with i and j linked, j and k linked, and i other than k, `[3, T]`, in lexicographic order.

    Args:
        linked: the graph.
        closed: whether i and k may be linked.
    """
    pairs = linked.pairs()
    start = _starts(pairs[0], linked.n)
    degree = np.diff(start)
    refuse_too_many("paths", int((degree * (degree - 1)).sum()))
    chunks = _joined(pairs, pairs[1], start)
    different = (chunk[:, chunk[0] != chunk[2]] for chunk in chunks)
    return _together(different if closed else (chunk[:, ~linked.has(chunk[0], chunk[2])] for chunk in different))


def triangles(linked: Linked) -> Table:
    """Return the triples of different nodes that are linked in pairs, `[3, T]`, in lexicographic order.

    Each edge points to its end of larger degree, so that a node points to few others, and each triangle is met once.
    """
    pairs = linked.pairs()
    degree = np.bincount(pairs[0], minlength=linked.n)
    rank = np.argsort(np.argsort(degree, kind="stable"))
    upwards = pairs[:, rank[pairs[0]] < rank[pairs[1]]]
    chunks = _joined(upwards, upwards[1], _starts(upwards[0], linked.n))
    once = _together(chunk[:, linked.has(chunk[0], chunk[2])] for chunk in chunks)
    refuse_too_many("triangles", 6 * once.shape[1])
    return _sorted(np.concatenate([once[list(s)] for s in itertools.permutations(range(3))], axis=1))


def cliques(linked: Linked) -> Table:
    """Return the triples of nodes that are linked in pairs, a node with itself by a loop, `[3, T]`, sorted."""
    i, k = pairs = linked.pairs()
    i, k = pairs[:, _is_in(i, linked.loops)]
    loops = np.tile(linked.loops, (3, 1))
    every = [triangles(linked), loops, np.stack([i, i, k]), np.stack([i, k, i]), np.stack([k, i, i])]
    refuse_too_many("cliques", sum(each.shape[1] for each in every))
    return _sorted(np.concatenate(every, axis=1).astype(np.int32))


def _sorted(triples: Table) -> Table:
    return triples[:, np.lexsort(triples[::-1])]
