"""Divide a support of pairs between devices: rows, tables of each device, and what devices exchange. On the host."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from equikit.supports._levels import Exchange, Level
from equikit.supports._tables import Data, Sizes, Table, levels_of, refuse_too_many

MOST_UNEQUAL = 1.25
"""The largest part of the entries of own nodes, in equal parts, up to which a device gets those."""


class Parts(NamedTuple):
    """A support divided between devices.

    Attributes:
        levels: of all devices, whose tables are concatenated; counts are of one device.
        order: the entry of each row of all devices, E in padded rows.
        nodes, entries: rows of one device.
    """

    levels: tuple[Level, ...]
    order: Table
    nodes: int
    entries: int


def spread_parts(data: Data, devices: int, axis: str) -> Parts:
    """Divide the nodes into ranges of one length, and the entries into parts of nearly one length.

    Each pair of nodes is counted to one of them, to the smaller number if their sum is even. Entries are sorted by that
    node, and each device gets those of its own nodes; if this is unequal, parts of one length. An entry and its reverse
    are on one device. A device has a copy of each node of its entries that another device owns.
    """
    tuples, n, nodes = data.tuples[2], data.n, max(-(-data.n // devices), 1)
    low, high = tuples.min(axis=0), tuples.max(axis=0)
    keys = np.where((low + high) % 2, high, low)
    order = np.lexsort((high, low, keys))
    cuts = np.searchsorted(keys[order], nodes * np.arange(devices + 1)).tolist()
    if max(np.diff(cuts)) * devices > MOST_UNEQUAL * len(order):
        cuts = _equal_cuts(low[order], high[order], devices)
    parts = [order[first:last] for first, last in itertools.pairwise(cuts)]
    entries = max(*map(len, parts), 1)
    copies = []
    for device, part in enumerate(parts):
        used = np.unique(tuples[:, part])
        copies.append(used[used // nodes != device])
    count = nodes + max(map(len, copies))
    for what, total in (("entries", entries * devices), ("nodes", count * devices)):
        refuse_too_many(what, total)
    exchange = _exchanges(copies, nodes, count, axis)
    graphs, every = levels_of(dataclasses.replace(data, tuples={2: tuples[:, :0]}))[:2]
    levels = []
    for device, (part, foreign) in enumerate(zip(parts, copies, strict=True)):
        own = np.arange(device * nodes, min((device + 1) * nodes, n))
        place = np.where(
            tuples[:, part] // nodes == device,
            tuples[:, part] - device * nodes,
            nodes + np.searchsorted(foreign, tuples[:, part]),
        )
        here = Data(count, None, None, {2: place.astype(np.int32)})
        pairs = levels_of(here, Sizes(1, count, {2: entries}, {2: entries}))[2]
        rows = np.full(count, n)
        rows[: len(own)], rows[nodes : nodes + len(foreign)] = own, foreign
        graph_of = _filled(every.drop[0], n + 1, graphs.count)[rows]
        level = _nodes(graph_of, len(own), nodes, exchange[device])
        levels.append((graphs, level, dataclasses.replace(pairs, exchange=exchange[device])))
    padded = np.concatenate([_filled(part, entries, tuples.shape[1]) for part in parts])
    return Parts(jax.tree.map(lambda *tables: np.concatenate(tables), *levels), padded, nodes, entries)


def _equal_cuts(low: Table, high: Table, devices: int) -> list[int]:
    """Return where parts of one length of sorted entries begin and end; no pair of nodes is divided."""
    entries = len(low)
    first = np.flatnonzero(np.append((low[1:] != low[:-1]) | (high[1:] != high[:-1]), True)) + 1
    begins = np.concatenate([[0], first]) if entries else np.zeros(1, int)
    wanted = [entries * device // devices for device in range(devices + 1)]
    return [int(begins[np.searchsorted(begins, each)]) for each in wanted]


def _exchanges(copies: Sequence[Table], nodes: int, count: int, axis: str) -> list[Exchange]:
    """Return what each device exchanges: in slot s of devices a and b, the copy on a and the row of its owner b."""
    devices = len(copies)
    sizes = np.array([np.bincount(foreign // nodes, minlength=devices) for foreign in copies])
    slots = max(int(sizes.max()), 1)
    borrowed = np.full((devices, devices, slots), count, np.int32)
    lent = borrowed.copy()
    for a, foreign in enumerate(copies):
        owner = foreign // nodes
        slot = np.arange(len(foreign)) - np.concatenate([[0], np.cumsum(sizes[a])])[owner]
        borrowed[a, owner, slot] = nodes + np.arange(len(foreign))
        lent[owner, a, slot] = foreign - owner * nodes
    flat = [(each[0].ravel(), each[1].ravel()) for each in zip(borrowed, lent, strict=True)]
    return [Exchange(axis, devices, own, rows, np.argsort(rows, kind="stable").astype(np.int32)) for own, rows in flat]


def _nodes(graph_of: Table, present: int, nodes: int, exchange: Exchange) -> Level:
    """Return level 1 of a device: its nodes, of which some are present, and then its copies."""
    rows = np.arange(present)
    return Level(
        length=1,
        count=len(graph_of),
        drop=(graph_of,),
        repeat={},
        merge={},
        turned=(),
        order=(np.argsort(graph_of, kind="stable").astype(np.int32),),
        own=_filled(rows, len(graph_of), nodes),
        rows=_filled(rows, nodes, len(graph_of)),
        exchange=exchange,
    )


def _filled(rows: Any, count: int, absent: int) -> Table:
    found = np.full(count, absent, np.int32)
    found[: len(rows)] = rows
    return found
