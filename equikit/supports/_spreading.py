"""Divide a support of pairs between devices: rows, tables of each device, and what devices exchange. On the host."""

from __future__ import annotations

import dataclasses
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
    are on one device, and a loop is where its node is.
    """
    tuples, nodes = data.tuples[2], max(-(-data.n // devices), 1)
    low, high = tuples.min(axis=0), tuples.max(axis=0)
    keys = np.where((low + high) % 2, high, low)
    order = np.lexsort((high, low, keys))
    cuts = np.searchsorted(keys[order], nodes * np.arange(devices + 1)).tolist()
    if max(np.diff(cuts)) * devices > MOST_UNEQUAL * len(order):
        cuts = _equal_cuts(low[order], high[order], devices)
    device = np.repeat(np.arange(devices), np.diff(cuts))
    device = np.where((low == high)[order], keys[order] // nodes, device)
    ends = np.cumsum(np.bincount(device, minlength=devices))
    parts = np.split(order[np.argsort(device, kind="stable")], ends[:-1])
    entries = max(*map(len, parts), 1)
    used = [np.unique(tuples[:, part]) for part in parts]
    foreign = [reached[reached // nodes != device] for device, reached in enumerate(used)]
    reach = nodes + max(map(len, foreign))
    for what, total in (("entries", entries * devices), ("nodes", reach * devices)):
        refuse_too_many(what, total)
    exchange = _exchanges(foreign, nodes, reach, axis)
    graphs, every = levels_of(dataclasses.replace(data, tuples={2: tuples[:, :0]}))[:2]
    levels = []
    for here, part in enumerate(parts):
        place = np.where(
            tuples[:, part] // nodes == here,
            tuples[:, part] - here * nodes,
            nodes + np.searchsorted(foreign[here], tuples[:, part]),
        )
        local = Data(reach, None, None, {2: place.astype(np.int32)})
        pairs = levels_of(local, Sizes(1, reach, {2: entries}, {2: entries}))[2]
        pairs = dataclasses.replace(
            pairs,
            repeat={pair: rows[:nodes] for pair, rows in pairs.repeat.items()},
            merge={pair: np.minimum(rows, nodes) for pair, rows in pairs.merge.items()},
            exchange=exchange[here],
        )
        graph_of = _filled(every.drop[0][here * nodes : (here + 1) * nodes], nodes, graphs.count)
        order_of = np.argsort(graph_of, kind="stable").astype(np.int32)
        level = Level(1, nodes, (graph_of,), {}, {}, (), (order_of,), None, None, exchange[here])
        levels.append((graphs, level, pairs))
    padded = np.concatenate([_filled(part, entries, tuples.shape[1]) for part in parts])
    return Parts(jax.tree.map(lambda *tables: np.concatenate(tables), *levels), padded, nodes, entries)


def _equal_cuts(low: Table, high: Table, devices: int) -> list[int]:
    """Return where parts of one length of sorted entries begin and end; no pair of nodes is divided."""
    entries = len(low)
    first = np.flatnonzero(np.append((low[1:] != low[:-1]) | (high[1:] != high[:-1]), True)) + 1
    begins = np.concatenate([[0], first]) if entries else np.zeros(1, int)
    wanted = [entries * device // devices for device in range(devices + 1)]
    return [int(begins[np.searchsorted(begins, each)]) for each in wanted]


def _exchanges(foreign: Sequence[Table], nodes: int, reach: int, axis: str) -> list[Exchange]:
    """Return what each device exchanges: in slot s of devices a and b, a node that a reaches and b owns."""
    devices = len(foreign)
    sizes = np.array([np.bincount(each // nodes, minlength=devices) for each in foreign])
    slots = max(int(sizes.max()), 1)
    borrowed = np.full((devices, devices, slots), reach, np.int32)
    lent = np.full((devices, devices, slots), nodes, np.int32)
    for a, each in enumerate(foreign):
        owner = each // nodes
        slot = np.arange(len(each)) - np.concatenate([[0], np.cumsum(sizes[a])])[owner]
        borrowed[a, owner, slot] = nodes + np.arange(len(each))
        lent[owner, a, slot] = each - owner * nodes
    flat = [(a.ravel(), b.ravel()) for a, b in zip(borrowed, lent, strict=True)]
    return [Exchange(axis, devices, reach, a, b, np.argsort(b, kind="stable").astype(np.int32)) for a, b in flat]


def _filled(rows: Any, count: int, absent: int) -> Table:
    found = np.full(count, absent, np.int32)
    found[: len(rows)] = rows
    return found
