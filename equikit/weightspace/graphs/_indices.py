"""The static arrays of a parameter graph, from its blocks."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np

from equikit.weightspace._terms import Element, Product
from equikit.weightspace.graphs._layout import Block, Layout


def _static(array: np.ndarray) -> np.ndarray:
    array.setflags(write=False)
    return array


def repeated(blocks: Sequence[Block], numbers: Iterable[int]) -> np.ndarray:
    """A number of every block, for each of its nodes or edges."""
    return _static(np.repeat(np.array([*numbers], np.int32), [block.size for block in blocks]))


def positions(blocks: Sequence[Block]) -> np.ndarray:
    """A number for every index that is coded, shared by all that have it; -1 for the others."""
    found, first = [np.zeros(0, np.int32)], 0
    for block in blocks:
        if not block.coded:
            found.append(np.full(block.size, -1, np.int32))
            continue
        grid = np.indices(block.shape).reshape(len(block.axes), -1)
        place = np.zeros(block.size, np.int32)
        for axis in block.coded:
            place = place * block.axes[axis].size + grid[axis].astype(np.int32)
        found.append(first + place)
        first += math.prod(block.axes[axis].size for axis in block.coded)
    return _static(np.concatenate(found))


def ends(blocks: Layout) -> np.ndarray:
    """Senders and receivers, `[2, edges]`."""
    starts = np.cumsum([0, *(block.size for block in blocks.nodes)])
    found = [np.zeros((2, 0), np.int32)]
    for block in blocks.edges:
        grid = np.indices(block.shape).reshape(len(block.axes), -1)
        pair = []
        for number, axes in block.ends:
            place = np.zeros(block.size, np.int64)
            for axis in axes:
                place = place * block.axes[axis].size + grid[axis]
            pair.append(starts[number] + place)
        found.append(np.stack(pair).astype(np.int32))
    return _static(np.concatenate(found, axis=1))


def moved(blocks: Sequence[Block], element: Element) -> np.ndarray:
    """Where everything in the blocks goes with an element of the group."""
    starts = np.cumsum([0, *(block.size for block in blocks)])
    found = [start + Product(block.axes).places(element) for start, block in zip(starts, blocks, strict=False)]
    return np.concatenate([np.zeros(0, np.intp), *found])
