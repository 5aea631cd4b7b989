"""List colored set partitions as restricted growth strings: one at a time, or all at once as an array.

A set partition of the vertices 0..m-1 is the string whose entry `v` is the number of the block of vertex `v`. Blocks
are numbered by their first vertex, so each entry is at most one more than the largest before it. If vertices have
colors, a block has vertices of a single color.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from equikit._checks import refuse_if_more
from equikit.diagrams.counting._count import count_partitions

Limits = tuple[tuple[str, int | None], ...]
"""For each color the largest number of its blocks; `None` for no limit."""


MOST_VERTICES = 127
"""The most vertices for which diagrams are listed, and not only counted."""

MOST_ROWS = 10_000_000
"""The most rows of an array of block numbers."""

FEWER = "use fewer axes; space.dim counts without a list"
"""The next step if diagrams are too many for anything but counting them."""


def refuse_if_long(colors: Sequence[str]) -> None:
    """Raise `TooLargeError` if there are more vertices than a list of diagrams can have."""
    what, unit = "the diagrams have too many vertices to be listed", "axes in a row, or in both together"
    refuse_if_more(what, len(colors), MOST_VERTICES, unit, FEWER)


def canonical(blocks: Iterable[int]) -> tuple[int, ...]:
    """Renumber blocks by first appearance.

    Example:
        >>> canonical((7, 7, 2, 7))
        (0, 0, 1, 0)
    """
    seen: dict[int, int] = {}
    return tuple(seen.setdefault(block, len(seen)) for block in blocks)


def iter_growth(
    colors: Sequence[str], blocks: int, limits: Limits = (), sizes: Limits = ()
) -> Iterator[tuple[int, ...]]:
    """Yield the colored set partitions with exactly `blocks` blocks, in lexicographic order of their strings.

    Args:
        colors: the color of each vertex.
        blocks: the number of blocks.
        limits: the largest number of blocks of each color; other colors have no limit.
        sizes: the largest number of vertices of a block of each color; other colors have no limit.
    """
    refuse_if_long(colors)
    limit, largest = dict(limits), dict(sizes)
    if blocks > sum(min(m, m if (most := limit.get(color)) is None else most) for color, m in Counter(colors).items()):
        return iter(())  # otherwise every string with fewer blocks would be tried
    held: list[int] = []  # the number of vertices of each block so far
    string = [0] * len(colors)
    owner: list[str] = []  # the color of each block so far

    def extend(vertex: int) -> Iterator[tuple[int, ...]]:
        if len(owner) + len(colors) - vertex < blocks:
            return
        if vertex == len(colors):
            if len(owner) == blocks:
                yield tuple(string)
            return
        color = colors[vertex]
        for block, its_color in enumerate(owner):
            if its_color == color and held[block] < (largest.get(color) or len(colors)):
                string[vertex] = block
                held[block] += 1
                yield from extend(vertex + 1)
                held[block] -= 1
        most = limit.get(color)
        if len(owner) < blocks and (most is None or owner.count(color) < most):
            string[vertex] = len(owner)
            owner.append(color)
            held.append(1)
            yield from extend(vertex + 1)
            owner.pop()
            held.pop()

    return extend(0)


def growth_array(colors: Sequence[str], limits: Limits = ()) -> np.ndarray:
    """Return all colored set partitions as one integer array, in lexicographic order of their strings.

    Adds one vertex to all rows at a time, so the cost is the cost of writing the array.

    Returns:
        int8 `[count, vertices]`.

    Raises:
        TooLargeError: if there are more than ten million rows.
    """
    refuse_if_long(colors)
    limit = {color: most if most is None else min(most, len(colors)) for color, most in limits}
    total = math.prod(count_partitions(m, limit.get(color)) for color, m in Counter(colors).items())
    step = "use fewer vertices; count_partitions counts without a list"
    refuse_if_more("there are too many set partitions for an array", total, MOST_ROWS, "rows", step)
    names = sorted(set(colors))
    # Within a color, number only the blocks of that color: the choices for the next vertex are then a plain range. The
    # order of rows is the same, because rows have the same blocks to choose from where they first differ.
    local = np.zeros((1, 0), np.int8)
    used = {name: np.zeros(1, np.int64) for name in names}
    for color in colors:
        count = used[color]
        most = limit.get(color)
        choices = count + 1 if most is None else np.minimum(count + 1, most)
        row = np.repeat(np.arange(len(local)), choices)
        offset = np.concatenate([[0], np.cumsum(choices)[:-1]]) if len(local) else np.zeros(0, np.int64)
        choice = np.arange(len(row)) - offset[row]
        local = np.concatenate([local[row], choice[:, None].astype(np.int8)], axis=1)
        used = {name: values[row] for name, values in used.items()}
        used[color] = np.maximum(used[color], choice + 1)
    if len(names) < 2:
        return local
    codes = local + np.array([names.index(color) * len(colors) for color in colors], np.int64)
    return canonical_array(codes, len(names) * len(colors))


def canonical_array(codes: np.ndarray, values: int) -> np.ndarray:
    """Renumber each row of block numbers in `range(values)` by first appearance; int8 of the same shape."""
    number = np.full((len(codes), values), -1, np.int8)
    used = np.zeros(len(codes), np.int8)
    result = np.empty(codes.shape, np.int8)
    rows = np.arange(len(codes))
    for vertex in range(codes.shape[1]):
        code = codes[:, vertex]
        known = number[rows, code]
        new = known < 0
        result[:, vertex] = np.where(new, used, known)
        number[rows[new], code[new]] = used[new]
        used += new
    return result


def join(*strings: tuple[int, ...]) -> list[int]:
    """Return the finest partition coarser than all given partitions: the number of the block of each vertex."""
    parent = list(range(len(strings[0])))

    def root(vertex: int) -> int:
        while parent[vertex] != vertex:
            parent[vertex] = parent[parent[vertex]]
            vertex = parent[vertex]
        return vertex

    for string in strings:
        first: dict[int, int] = {}
        for vertex, block in enumerate(string):
            parent[root(vertex)] = root(first.setdefault(block, vertex))
    return [root(vertex) for vertex in range(len(parent))]
