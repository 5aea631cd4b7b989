"""From index arrays to levels, on the host: sorts and lookups of NumPy, no loop over rows."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from equikit import _checks
from equikit.supports._levels import Level

Table = np.ndarray[Any, Any]

MOST_ROWS = 2**31 - 1
"""The largest number of rows of a level, so that `absent`, which equals it, is an int32."""

_ABSENT = -1
"""Stands for `absent` until the number of rows with padding is known."""


@dataclass(frozen=True)
class Data:
    """What a support is made of, without padding.

    Attributes:
        n: the number of nodes.
        graphs: the number of graphs, or `None` if there are no graph numbers.
        graph_of: the graph of each node, `[n]`, or `None`.
        tuples: by order m, the entries, `[m, E]`, all different.
    """

    n: int
    graphs: int | None
    graph_of: Table | None
    tuples: Mapping[int, Table]


@dataclass(frozen=True)
class Sizes:
    """Numbers of rows with padding: of graphs, nodes, data by order, and levels of two or more nodes by length."""

    graphs: int
    nodes: int
    entries: Mapping[int, int]
    levels: Mapping[int, int]

    @property
    def of_levels(self) -> list[int]:
        return [self.graphs, self.nodes, *(self.levels[m] for m in sorted(self.levels))]


def refuse_too_many(what: str, count: int) -> None:
    """Raise `TooLargeError` for more rows than an int32 can number."""
    _checks.refuse_if_more(
        f"a support with too many {what}", count, MOST_ROWS, what, "divide the graph into several supports"
    )


def first_rows(columns: Table, n: int) -> Table:
    """Return where each different tuple of `[m, rows]` occurs first, in lexicographic order of the tuples.

    Tuples are numbered position by position, so that keys stay below rows times n.
    """
    keys = columns[0].astype(np.int64)
    for position, column in enumerate(columns[1:]):
        if position:
            keys = np.unique(keys, return_inverse=True)[1]
        keys = keys * n + column
    return np.unique(keys, return_index=True)[1]


def tuples_of(data: Data) -> list[Table]:
    """Return the tuples of each length from 2 to the longest one, `[m, count]`: data first, in the user's order."""
    longest = max(data.tuples)
    found = [data.tuples[longest]]
    for m in range(longest - 1, 1, -1):
        projections = [np.delete(found[0], position, axis=0) for position in range(m + 1)]
        own = data.tuples.get(m, np.empty((m, 0), np.int32))
        every = np.concatenate([own, *projections], axis=1)
        first = first_rows(every, data.n)
        refuse_too_many(f"tuples of {m} nodes", len(first))
        found.insert(0, np.concatenate([own, every[:, first[first >= own.shape[1]]]], axis=1))
    return found


class _Index:
    """The row of a tuple: its key is the row of the tuple without its last entry, times n, plus the last entry.

    A node is its own row: its index has neither tuples nor a shorter index.
    """

    def __init__(self, tuples: Table | None, shorter: _Index | None, n: int) -> None:
        self._shorter, self._n = shorter, n
        if tuples is not None:
            keys = self._keys(tuples)
            self._rows = np.argsort(keys, kind="stable")
            self._sorted = keys[self._rows]

    def _keys(self, tuples: Table) -> Table:
        assert self._shorter is not None
        before = self._shorter.find(tuples[:-1]).astype(np.int64)
        return np.where(before == _ABSENT, _ABSENT, before * self._n + tuples[-1])

    def find(self, tuples: Table) -> Table:
        """Return the row of each tuple of `[m, queries]`."""
        found: Table = tuples[0]
        if self._shorter is None:
            return found.astype(np.int32)
        if not len(self._rows):
            return np.full(tuples.shape[1], _ABSENT, np.int32)
        keys = self._keys(tuples)
        place = np.minimum(np.searchsorted(self._sorted, keys), len(self._rows) - 1)
        found = np.where(self._sorted[place] == keys, self._rows[place], _ABSENT).astype(np.int32)
        return found


def rows_of(data: Data, tuples: Table) -> Table:
    """Return the row of each tuple of `[m, queries]` in the data of order m, or -1."""
    m = len(tuples)
    index = _Index(None, None, data.n)
    for level in tuples_of(Data(data.n, None, None, {m: data.tuples[m]})):
        index = _Index(level, index, data.n)
    return index.find(tuples)


def levels_of(data: Data, sizes: Sizes | None = None) -> tuple[Level, ...]:
    """Return the levels 0 to K of a support whose longest tuples have K nodes.

    Args:
        data: the entries, checked.
        sizes: the numbers of rows with padding; `None` if the support is not padded.
    """
    tuples = tuples_of(data)
    counts = [1 if data.graphs is None else data.graphs, data.n, *(rows.shape[1] for rows in tuples)]
    padded = counts if sizes is None else sizes.of_levels
    shorter = _Index(None, None, data.n)
    levels = [*_graphs_and_nodes(data, counts, padded, is_padded=sizes is not None)]
    for m, rows in enumerate(tuples, start=2):
        index = _Index(rows, shorter, data.n)
        drop = [shorter.find(np.delete(rows, a, axis=0)) for a in range(m)]
        pairs = list(itertools.combinations(range(m), 2))
        merge = {(a, b): np.where(rows[a] == rows[b], drop[b], _ABSENT) for a, b in pairs}
        repeat = {pair: _inverse(each, counts[m - 1]) for pair, each in merge.items()}
        turned = [index.find(rows[list(s)]) for s in itertools.islice(itertools.permutations(range(m)), 1, None)]
        below, count = padded[m - 1], padded[m]
        drop = [_finished(each, count, below) for each in drop]
        is_sorted = [m not in data.tuples and a == m - 1 for a in range(m)]
        if sizes is None:  # the structure of a padded support depends on its sizes alone, so that few programs compile
            is_sorted = [bool((each[1:] >= each[:-1]).all()) for each in drop]
        own = here = None
        if m in data.tuples:
            entries = data.tuples[m].shape[1]
            given = entries if sizes is None else sizes.entries[m]
            if rows.shape[1] > entries or count != given:
                own = _finished(np.arange(entries), count, given)
                here = _finished(np.arange(entries), given, count)
        levels.append(
            Level(
                length=m,
                count=count,
                drop=tuple(drop),
                repeat={pair: _finished(each, below, count) for pair, each in repeat.items()},
                merge={pair: _finished(each, count, below) for pair, each in merge.items()},
                turned=tuple(_finished(each, count, count) for each in turned),
                order=tuple(None if known else _order(each) for known, each in zip(is_sorted, drop, strict=True)),
                own=own,
                rows=here,
            )
        )
        shorter = index
    return tuple(levels)


def _graphs_and_nodes(data: Data, counts: list[int], padded: list[int], *, is_padded: bool) -> tuple[Level, Level]:
    graphs, nodes, *_ = padded
    own = _finished(np.arange(counts[0]), graphs, graphs) if is_padded and data.graphs is not None else None
    graph_of = _finished(np.zeros(data.n) if data.graph_of is None else data.graph_of, nodes, graphs)
    order = None if (graph_of[1:] >= graph_of[:-1]).all() else _order(graph_of)
    return (
        Level(0, graphs, (), {}, {}, (), (), own, own),
        Level(1, nodes, (graph_of,), {}, {}, (), (order,), None, None),
    )


def _order(table: Table) -> Table:
    return np.argsort(table, kind="stable").astype(np.int32)


def _inverse(merge: Table, count: int) -> Table:
    """Return where each row of the shorter level is merged from: no two rows merge to the same one."""
    found = np.full(count, _ABSENT, np.int32)
    present = np.flatnonzero(merge != _ABSENT)
    found[merge[present]] = present
    return found


def _finished(table: Table, count: int, absent: int) -> Table:
    """Extend a table with absent entries to `count` rows, and write `absent` for what is absent."""
    found = np.full(count, absent, np.int32)
    found[: len(table)] = np.where(table == _ABSENT, absent, table)
    return found
