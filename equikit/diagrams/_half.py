"""Half diagrams: one row of a diagram, with the blocks that propagate to the other row marked.

A half diagram of the input row is a *reduction* (diagonals over blocks, sums over blocks that do not propagate). A half
diagram of the output row is an *expansion* (the transposed operations). A diagram is an input half, an output half, and
a matching of their propagating blocks (the *wires*). The name comes from the literature on cellular algebras.
"""

from __future__ import annotations

import functools
import itertools
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import numpy as np

from equikit.diagrams.counting._growth import Limits, growth_array, iter_growth
from equikit.diagrams.counting._rules import Groups, block_limits, group_of, largest_block, part_of_block, whole_block
from equikit.signatures import base


@dataclass(frozen=True, slots=True, order=True)
class Head:
    """The part in one row of a Levi-Civita tensor, or of an invariant tensor of a group without diagrams.

    An invariant tensor is not applied in either row; it enters the product between them.

    Attributes:
        label: the label of the legs.
        blocks: the legs that lie in this row only, ascending.
        axes: the number of axes that it adds to the core: one for each of `blocks`; if the tensor is applied in this
            row, one for each leg that lies only in the other row.
        applied: whether the tensor is applied in this row. It is applied in the row with more legs of its own, so that
            the core is small.
        wired: the number of propagating blocks that are also legs: all of the label, or none.
        loose: the number of legs that are summed over and joined to nothing.
        stars: for a group without diagrams, which axes of its invariant tensors carry the dual, the top row first.
    """

    label: str
    blocks: tuple[int, ...]
    axes: int
    applied: bool
    wired: int = 0
    loose: int = 0
    stars: tuple[bool, ...] = ()


@dataclass(frozen=True, slots=True, order=True)
class HalfDiagram:
    """A colored set partition of one row of vertices, with its propagating blocks marked.

    Ordered by number of blocks, then as restricted growth strings, then by the marks.

    Attributes:
        labels: the label of each vertex.
        growth: the block of each vertex, a restricted growth string.
        propagating: the numbers of the propagating blocks, ascending.
        heads: the Levi-Civita tensors, at most one for a label, sorted by label.
    """

    labels: tuple[str, ...]
    size: int = field(init=False)
    growth: tuple[int, ...]
    propagating: tuple[int, ...]
    heads: tuple[Head, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "size", max(self.growth, default=-1) + 1)

    @property
    def blocks(self) -> tuple[tuple[int, ...], ...]:
        """The vertices of each block."""
        return blocks_of(self.growth)

    @property
    def block_labels(self) -> tuple[str, ...]:
        """The label of each block, without a star if the block joins a vector and a dual vector."""
        return labels_of(self.labels, self.growth)

    @property
    def wires(self) -> tuple[int, ...]:
        """The propagating blocks in the order of the core: by label, then by the first vertex with that label."""

        return _wires(self.labels, self.growth, self.propagating)

    @property
    def core(self) -> tuple[str, ...]:
        """The labels of the tensor between reduction and expansion: labels of the wires, sorted, then of the heads."""
        labels = self.block_labels
        own = tuple(head.label for head in self.heads for _ in range(head.axes))
        return tuple(labels[block] for block in self.wires) + own

    @property
    def closed(self) -> tuple[int, ...]:
        """The blocks that neither propagate nor are legs of a head."""
        taken = {*self.propagating, *(block for head in self.heads for block in head.blocks)}
        return tuple(block for block in range(self.size) if block not in taken)


# Enumerations ask for the same rows for each half diagram of the other side, so that their blocks are kept.


@functools.lru_cache(maxsize=8192)
def blocks_of(growth: tuple[int, ...]) -> tuple[tuple[int, ...], ...]:
    """Return the vertices of each block of a restricted growth string."""
    blocks: list[list[int]] = [[] for _ in range(max(growth, default=-1) + 1)]
    for vertex, block in enumerate(growth):
        blocks[block].append(vertex)
    return tuple(map(tuple, blocks))


@functools.lru_cache(maxsize=8192)
def labels_of(labels: tuple[str, ...], growth: tuple[int, ...]) -> tuple[str, ...]:
    """Return the label of each block, without a star if the block joins a vector and a dual vector."""
    return tuple(min(labels[vertex] for vertex in block) for block in blocks_of(growth))


@functools.lru_cache(maxsize=8192)
def _wires(labels: tuple[str, ...], growth: tuple[int, ...], propagating: tuple[int, ...]) -> tuple[int, ...]:
    blocks = blocks_of(growth)
    return tuple(sorted(propagating, key=lambda block: min((labels[vertex], vertex) for vertex in blocks[block])))


def _markings(block_labels: tuple[str, ...], core: tuple[str, ...]) -> list[tuple[int, ...]]:
    """Return all choices of propagating blocks whose labels are the labels of the core."""
    wanted = Counter(core)
    choices = [
        itertools.combinations([b for b, label in enumerate(block_labels) if label == name], count)
        for name, count in wanted.items()
    ]
    return sorted(tuple(sorted(itertools.chain(*parts))) for parts in itertools.product(*choices))


def _legs(
    block_labels: tuple[str, ...], propagating: tuple[int, ...], heads: tuple[Head, ...], groups: Groups
) -> Iterator[tuple[Head, ...]]:
    """Choose the blocks that are legs of the heads: all of the label, if blocks can be of any size."""
    choices = []
    for head in heads:
        free = [b for b, label in enumerate(block_labels) if base(label) == head.label and b not in propagating]
        if group_of(groups, head.label).blocks in ("any", "whole") and len(free) != len(head.blocks):
            return
        choices.append([replace(head, blocks=blocks) for blocks in itertools.combinations(free, len(head.blocks))])
    yield from itertools.product(*choices)


def iter_halves(
    labels: tuple[str, ...], core: tuple[str, ...], groups: Groups = (), heads: tuple[Head, ...] = ()
) -> Iterator[HalfDiagram]:
    """Yield the half diagrams on a row whose propagating blocks have the labels of the core, in order.

    Args:
        labels: the label of each vertex.
        core: the labels of the wires, sorted.
        groups: the groups of the labels.
        heads: the kinds of the heads; only the number of their `blocks` is used.
    """
    limits = block_limits(groups)
    sizes = tuple((label, largest_block(group)) for label, group in groups)
    of = {label: group_of(groups, label) for label in labels} | {base(x): group_of(groups, x) for x in labels}
    sizes_tried = range(len(core), len(labels) + 1)
    if all(group.blocks in ("pair", "small") for group in of.values()):  # wires and legs are single vertices
        single = len(core) + sum(len(head.blocks) for head in heads)
        sizes_tried = range((len(labels) + single + 1) // 2, len(labels) + 1)
        if all(group.blocks == "pair" for group in of.values()):  # and all others are in pairs
            if (len(labels) - single) % 2 or single > len(labels):
                return
            sizes_tried = sizes_tried[:1]
    for size in sizes_tried:
        for growth in iter_growth(tuple(map(base, labels)), size, limits, sizes):
            names, parts = labels_of(labels, growth), [[labels[v] for v in block] for block in blocks_of(growth)]
            for propagating in _markings(names, core):
                for own in _legs(names, propagating, heads, groups):
                    legs = {*propagating, *(block for head in own for block in head.blocks)}
                    if all(
                        part_of_block(of[name], len(part)) if block in legs else whole_block(of[name], part)
                        for block, (name, part) in enumerate(zip(names, parts, strict=True))
                    ):
                        yield HalfDiagram(labels, growth, propagating, own)


@dataclass(frozen=True, eq=False)
class HalfArrays:
    """All half diagrams of a row with a given core, in order, as integer arrays.

    Attributes:
        growth: `[count, vertices]` block of each vertex.
        wire: `[count, vertices]` position of the vertex's block in the core, or -1.
        closed: `[count, vertices]` position of the vertex's block among those that do not propagate, or -1.
        blocks: for each label `[count]`, the number of blocks with that label.
    """

    growth: np.ndarray
    wire: np.ndarray
    closed: np.ndarray
    blocks: dict[str, np.ndarray]


def half_arrays(labels: tuple[str, ...], core: tuple[str, ...], limits: Limits = ()) -> HalfArrays:
    """Enumerate all half diagrams at once; the rows are in the order of `iter_halves`."""
    growth = growth_array(labels, limits)
    size = growth.max(axis=1, initial=-1).astype(np.int64) + 1
    growth = growth[np.argsort(size, kind="stable")]
    # Rows whose blocks have the same labels in the same order have the same markings: treat such rows together.
    block_label = np.full((len(growth), len(labels)), -1, np.int8)
    names = sorted(set(labels))
    for vertex, label in enumerate(labels):
        block_label[np.arange(len(growth)), growth[:, vertex]] = names.index(label)
    kind = np.zeros(len(growth), np.int64)
    for column in block_label.T:
        kind = kind * (len(names) + 1) + column + 1
        if kind.max(initial=0) > 2**40:
            kind = np.unique(kind, return_inverse=True)[1].reshape(-1)
    _, example, kind = np.unique(kind, return_index=True, return_inverse=True)
    named = [tuple(names[code] for code in block_label[row] if code >= 0) for row in example]
    markings = [_markings(name, core) for name in named]
    count = np.array([len(m) for m in markings], np.int64)[kind] if len(named) else np.zeros(0, np.int64)
    start = np.concatenate([[0], np.cumsum(count)])
    total = int(start[-1])
    row = np.repeat(np.arange(len(growth)), count)
    wire_of_block = np.full((total, len(labels)), -1, np.int8)
    closed_of_block = np.full((total, len(labels)), -1, np.int8)
    blocks = {name: np.zeros(total, np.int64) for name in names}
    for k, (name, choices) in enumerate(zip(named, markings, strict=True)):
        rows = np.flatnonzero(kind == k)
        for j, propagating in enumerate(choices):
            at = start[rows] + j
            wires = sorted(propagating, key=lambda block: (name[block], block))
            wire_of_block[at[:, None], wires] = np.arange(len(wires))
            closed = [block for block in range(len(name)) if block not in propagating]
            closed_of_block[at[:, None], closed] = np.arange(len(closed))
            for label in names:
                blocks[label][at] = name.count(label)
    growth = growth[row]
    return HalfArrays(
        growth,
        np.take_along_axis(wire_of_block, growth.astype(np.int64), axis=1),
        np.take_along_axis(closed_of_block, growth.astype(np.int64), axis=1),
        blocks,
    )
