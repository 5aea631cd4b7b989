"""Integer partitions: lists, hook lengths, contents, and rim hooks."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from equikit._checks import integer, shown
from equikit._errors import GroupError
from equikit.groups._branching import Shape


def checked_partition(what: str, value: object) -> Shape:
    """Return a partition as a tuple of Python integers, or raise `GroupError`."""
    found = (
        tuple(integer(row) for row in value)
        if isinstance(value, Sequence) and not isinstance(value, str | bytes)
        else None
    )
    rows = [] if found is None else [row for row in found if row is not None and row > 0]
    if found is None or len(rows) < len(found) or rows != sorted(rows, reverse=True):
        raise GroupError(
            f"{what} is not a partition",
            got=shown(value),
            expected="a tuple of positive integers in descending order, such as (3, 1, 1)",
            step="sort the rows, and leave out zeros",
        )
    return tuple(rows)


def partitions(n: int, largest: int | None = None) -> Iterator[Shape]:
    """Yield the partitions of n in descending lexicographic order, from (n,) to (1, ..., 1)."""
    if n == 0:
        yield ()
    for row in range(min(n, n if largest is None else largest), 0, -1):
        yield from ((row, *rest) for rest in partitions(n - row, row))


def conjugate(shape: Shape) -> Shape:
    """Return the columns of a Young diagram."""
    return tuple(sum(row > column for row in shape) for column in range(shape[0] if shape else 0))


def hook_lengths(shape: Shape) -> list[int]:
    """List the hook length of each box: itself, the boxes to its right and the boxes below it."""
    columns = conjugate(shape)
    return [row - j + columns[j] - i - 1 for i, row in enumerate(shape) for j in range(row)]


def dimension(shape: Shape) -> int:
    """Return the dimension of an irrep by the hook length formula."""
    return math.factorial(sum(shape)) // math.prod(hook_lengths(shape))


def without_rim_hooks(shape: Shape, length: int) -> Iterator[tuple[Shape, int]]:
    """Yield each partition that remains without a rim hook of a length, and the sign of the hook's height.

    In beta numbers (row length plus number of rows below), removing a rim hook subtracts its length from one number;
    its height is the number of others that lie in between.
    """
    last = len(shape) - 1
    beta = [row + last - i for i, row in enumerate(shape)]
    for number in beta:
        moved = number - length
        if moved >= 0 and moved not in beta:
            height = sum(moved < other < number for other in beta)
            rows = sorted((set(beta) - {number}) | {moved}, reverse=True)
            rest = tuple(row - last + i for i, row in enumerate(rows))
            yield tuple(row for row in rest if row), (-1) ** height


def tableaux(shape: Shape) -> list[tuple[int, ...]]:
    """List the standard Young tableaux of a shape, each as the rows of its entries 0, 1, ..., n - 1 in turn.

    They are in last-letter order: tableaux whose last entry is in an upper row come later.
    """
    if not shape:
        return [()]
    found = []
    for row in reversed(range(len(shape))):
        if row + 1 == len(shape) or shape[row] > shape[row + 1]:  # the last entry is in a corner
            rest = tuple(length for length in (*shape[:row], shape[row] - 1, *shape[row + 1 :]) if length)
            found += [(*rows, row) for rows in tableaux(rest)]
    return found
