"""Levels: the tuples of nodes that occur in a support, and the tables that lead from one length to the next."""

from __future__ import annotations

import dataclasses
import functools
import itertools
from typing import Any

import jax
import numpy as np

from equikit._exported import exported

Array = jax.Array | np.ndarray[Any, Any]


@functools.partial(
    jax.tree_util.register_dataclass,
    data_fields=["borrowed", "lent", "order"],
    meta_fields=["axis", "devices", "reach"],
)
@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Exchange:
    """How the devices along an axis of a mesh exchange nodes: each has one owner, and others have entries there.

    A device reaches its own nodes and, after these, foreign ones. Level 1 has its own nodes alone; `drop` of longer
    tuples has rows among the reached nodes.

    Attributes:
        axis: the axis of the mesh.
        devices: how many there are.
        reach: the number of reached nodes.
        borrowed: `[devices * slots]`, for each device as many slots: the reached nodes that it owns, or absent.
        lent: `[devices * slots]`, the own nodes that it reaches, in the same order, or absent.
        order: a stable permutation that sorts `lent`.
    """

    axis: str
    devices: int
    reach: int
    borrowed: Array
    lent: Array
    order: Array


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Level:
    r"""The tuples \((t_0, \dots, t_{m-1})\) of nodes of one length m, a row for each.

    Level 0 has a row for each graph, level 1 a row for each node, level m a row for each tuple in the data of order m
    and for each projection (one position removed) of a tuple of level m + 1. All tables are int32. An entry that is
    *absent* equals the number of rows of the level it points to, and so does every entry of a padded row.

    Attributes:
        length: m.
        count: the number of rows, padding included.
        drop: for each position a, the row in level m - 1 of the tuple without position a; for m = 1 the graph.
        repeat: for positions a < b and each row of level m - 1, the row here of that tuple with its entry a inserted at
            position b, or absent.
        merge: for positions a < b, the row in level m - 1 of the tuple without position b where \(t_a = t_b\), else
            absent.
        turned: for each permutation s after the first of `itertools.permutations(range(m))`, the row of
            \((t_{s(0)}, \dots, t_{s(m-1)})\), or absent.
        order: for each entry of `drop`, a stable permutation that sorts its entries, or `None` if they are ascending.
        own: for each row, the row of the user's data of order m, or absent; `None` if both have the same rows in the
            same order, or if there are no data of order m. For m = 0 an array only if the support is padded: the
            number of the graph, or absent.
        rows: for each row of the user's data, the row here; `None` as for `own`.
        exchange: how nodes are exchanged, for m = 1 and above, if they are spread over devices.
    """

    length: int
    count: int
    drop: tuple[Array, ...]
    repeat: dict[tuple[int, int], Array]
    merge: dict[tuple[int, int], Array]
    turned: tuple[Array, ...]
    order: tuple[Array | None, ...]
    own: Array | None
    rows: Array | None
    exchange: Exchange | None = None

    def __repr__(self) -> str:
        return f"Level({self.length}, {self.count} rows)"


FIELDS = ("drop", "repeat", "merge", "turned", "order", "own", "rows", "exchange")


def _flatten(level: Level) -> tuple[Any, Any]:
    """Return the tables with their names; dictionaries as tuples, because `jax.export` serializes only keys of text."""
    tables = [getattr(level, name) for name in FIELDS]
    values = [tuple(table[pair] for pair in sorted(table)) if isinstance(table, dict) else table for table in tables]
    keys = map(jax.tree_util.GetAttrKey, FIELDS)
    return tuple(zip(keys, values, strict=True)), (level.length, level.count)


def _unflatten(static: Any, children: Any) -> Level:
    length, count = static
    tables = dict(zip(FIELDS, children, strict=True))
    pairs = [*itertools.combinations(range(length), 2)]
    for name in ("repeat", "merge"):
        if isinstance(tables[name], tuple):  # JAX also puts other objects in the place of children
            tables[name] = dict(zip(pairs, tables[name], strict=True))
    return Level(length, count, **tables)


jax.tree_util.register_pytree_with_keys(Level, _flatten, _unflatten)

exported(Exchange, "Exchange")
exported(Level, "Level")
