"""The static arrays of a parameter graph, computed from its blocks."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np

from equikit.weightspace.graphs._layout import Block, Layout
from equikit.weightspace.specifications._terms import Element
from equikit.weightspace.tracing._nesting import Nested


def _static(array: np.ndarray) -> np.ndarray:
    array.setflags(write=False)
    return array


def _grid(block: Block) -> np.ndarray:
    """Return the index along each axis for every node or edge of the grid, `[axes, size]`."""
    return np.indices(block.shape).reshape(len(block.axes), block.size)


def repeated(blocks: Sequence[Block], numbers: Iterable[int]) -> np.ndarray:
    """Repeat the number of every block for each of its nodes or edges."""
    return _static(np.repeat(np.array([*numbers], np.int32), [block.size for block in blocks]))


def positions(blocks: Sequence[Block]) -> np.ndarray:
    """Return the id of the encoded index of every node or edge; -1 in blocks without encoded axes."""
    found, first = [np.zeros(0, np.int32)], 0
    for block in blocks:
        if not block.coded:
            found.append(np.full(block.size, -1, np.int32))
            continue
        grid = _grid(block)
        place = np.zeros(block.size, np.int32)
        for axis in block.coded:
            place = place * block.axes[axis].size + grid[axis].astype(np.int32)
        found.append(first + place)
        first += math.prod(block.axes[axis].size for axis in block.coded)
    return _static(np.concatenate(found))


def ends(blocks: Layout) -> np.ndarray:
    """Return senders and receivers, `[2, edges]`."""
    starts = np.cumsum([0, *(block.size for block in blocks.nodes)])
    found = [np.zeros((2, 0), np.int32)]
    for block in blocks.edges:
        grid = _grid(block)
        pair = []
        for number, axes in block.ends:
            place = np.zeros(block.size, np.int64)
            for axis in axes:
                place = place * block.axes[axis].size + grid[axis]
            pair.append(starts[number] + place)
        found.append(np.stack(pair).astype(np.int32))
    return _static(np.concatenate(found, axis=1))


def moved(blocks: Sequence[Block], element: Element, nested: Nested) -> np.ndarray:
    """Return the new number of every node or edge of the blocks under a group element."""
    found, start, within = [np.zeros(0, np.intp)], 0, dict(nested)
    for block in blocks:
        grid = _grid(block)
        rows = {axis.label: indices for axis, indices in zip(block.axes, grid, strict=True)}
        place = np.zeros(block.size, np.intp)
        for axis, indices in zip(block.axes, grid, strict=True):
            places = element.get(axis.label, np.arange(axis.size))
            # A nested label has a permutation for each original index of the outer label.
            to = places[rows[within[axis.label]], indices] if places.ndim == 2 else places[indices]
            place = place * axis.size + to
        found.append(start + place)
        start += block.size
    return np.concatenate(found)
