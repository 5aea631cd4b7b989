"""Dimensions in closed form: Stirling sums and double factorials."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator
from typing import Any

from equikit._checks import count as checked_count, count_text, refuse_if_more
from equikit._errors import TooLargeError
from equikit.diagrams.counting._rules import Groups, axes_of, group_of, headed_labels
from equikit.diagrams.counting._walks import count_walks
from equikit.groups import Group
from equikit.signatures import base

MOST_POINTS = 2000
"""The most points for which set partitions are counted: the rows of Stirling numbers take a second."""

MOST_PAIRED = 100_000
"""The most points for which pairings are counted."""


@functools.cache
def stirling_row(m: int) -> tuple[int, ...]:
    """Return the Stirling numbers of the second kind of m points, for 0 to m blocks."""
    row = [1]
    for _ in range(m):
        row = [0, *(i * a + b for i, (a, b) in enumerate(zip([*row[1:], 0], row, strict=True), 1))]
    return tuple(row)


@functools.cache
def even_stirling_row(half: int) -> tuple[int, ...]:
    """Count the set partitions of 2 `half` points into 0 to `half` blocks of even sizes.

    Example:
        >>> even_stirling_row(3)
        (0, 1, 15, 15)
    """
    row = [1]
    for _ in range(half):
        row = [0, *(i * i * a + (2 * i - 1) * b for i, (a, b) in enumerate(zip([*row[1:], 0], row, strict=True), 1))]
    return tuple(row)


def refuse_if_many_points(m: int, most: int) -> None:
    """Raise `TooLargeError` if counting the diagrams of this many points would take seconds."""
    step = f"use at most {most:,} axes of one label"
    refuse_if_more("there are too many points to count their partitions", m, most, "points", step)


def _row(m: object) -> tuple[int, ...]:
    """Return the Stirling numbers of m points, after checking m."""
    points = checked_count("m", m, example=4)
    refuse_if_many_points(points, MOST_POINTS)
    return stirling_row(points)


def stirling(m: int, t: int) -> int:
    """Return the Stirling number of the second kind: the set partitions of m points into exactly t blocks.

    Raises:
        OptionError: if an argument is not a nonnegative integer.
        TooLargeError: if there are more than 2,000 points.

    Example:
        >>> [stirling(4, t) for t in range(5)]
        [0, 1, 7, 6, 1]
    """
    row, blocks = _row(m), checked_count("t", t, example=2)
    return row[blocks] if blocks < len(row) else 0


def dimension_text(space: Any) -> str:
    """Return the dimension of a space for its `repr`, which never raises."""
    try:
        return f"dimension {count_text(space.dim)}"
    except TooLargeError:
        return "dimension too large to count"


def count_partitions(m: int, most: int | None = None) -> int:
    """Count the set partitions of m points into at most `most` blocks: without a limit, the Bell number.

    Raises:
        OptionError: if an argument is not a nonnegative integer.
        TooLargeError: if there are more than 2,000 points.

    Example:
        >>> count_partitions(4), count_partitions(4, 2)
        (15, 8)
    """
    return sum(_row(m)[: None if most is None else checked_count("most", most, example=2) + 1])


def count_pairings(m: int) -> int:
    """Count the perfect matchings of m points: the product of the odd numbers below m.

    Raises:
        OptionError: if `m` is not a nonnegative integer.
        TooLargeError: if there are more than 100,000 points.

    Example:
        >>> [count_pairings(m) for m in range(7)]
        [1, 0, 1, 0, 3, 0, 15]
    """
    points = checked_count("m", m, example=4)
    refuse_if_many_points(points, MOST_PAIRED)
    return 0 if points % 2 else math.prod(range(1, points, 2))


def count_involutions(m: int) -> int:
    """Count the set partitions of m points into blocks of one or two.

    Example:
        >>> [count_involutions(m) for m in range(6)]
        [1, 1, 2, 4, 10, 26]
    """
    refuse_if_many_points(m, MOST_POINTS)
    before, now = 0, 1
    for i in range(m):
        before, now = now, now + i * before
    return now


def count_matchings(above: int, below: int, most: int | None = None) -> int:
    """Count the ways to join some of the vertices above to as many below, with at most `most` blocks.

    Example:
        >>> count_matchings(2, 2), count_matchings(2, 2, 3)
        (7, 6)
    """
    refuse_if_many_points(above + below, MOST_POINTS)
    fewest = 0 if most is None else max(0, above + below - most)
    joined = range(fewest, min(above, below) + 1)
    return sum(math.comb(above, j) * math.comb(below, j) * math.factorial(j) for j in joined)


def count_invariants(group: Group, m: int, dual: int = 0) -> int:
    """Count the diagrams of a family on m vertices that form a basis; all diagrams if the group is free.

    Args:
        group: the group.
        m: the number of axes of an invariant tensor.
        dual: the number of axes that carry the dual, if the group has one; for single vertices, the axes of the input.

    Example:
        >>> from equikit.groups import O
        >>> count_invariants(O(), 6), count_invariants(O(2), 6)
        (15, 10)
    """
    if group.blocks == "whole":
        return group.count_invariants(m, dual)
    if group.blocks == "any":
        heads = sum(stirling(m, group.legs - loose) for loose in (0, 1)) if group.legs else 0
        return count_partitions(m, group.n) + heads
    if group.blocks == "even":
        refuse_if_many_points(m, MOST_POINTS)
        return 0 if m % 2 else sum(even_stirling_row(m // 2)[: None if group.n is None else group.n + 1])
    if group.blocks == "single":
        return count_matchings(m - dual, dual, group.n)
    if group.has_dual and 2 * dual != m:
        return 0
    if group.needs_head and m < group.legs:
        return 0
    if not group.independent(m) or 0 < group.legs <= m:
        return count_walks(group, m, dual if group.has_dual else 0)
    if group.has_dual:
        refuse_if_many_points(m, MOST_PAIRED)
        return math.factorial(dual)
    if group.blocks == "pair":
        return count_pairings(m)
    return count_involutions(m)


def _axes(
    top: tuple[str, ...], bottom: tuple[str, ...], groups: Groups
) -> Iterator[tuple[str, Group, tuple[bool, ...]]]:
    """Yield every label, without stars, with its group and its axes."""
    for label in sorted({base(label) for label in (*top, *bottom)} | headed_labels(groups)):
        yield label, group_of(groups, label), axes_of(label, top, bottom)


def why_none(top: tuple[str, ...], bottom: tuple[str, ...], groups: Groups) -> str | None:
    """Explain, for a message, why there is no diagram between rows with these labels; `None` if there is one."""
    for label, group, axes in _axes(top, bottom, groups):
        m = len(axes)
        if count_invariants(group, m, sum(axes)):
            continue
        if group.n == 0:
            return f"{label!r} has no entries"
        if group.needs_head:
            return (
                f"a map that changes its sign under reflections of {label!r} joins {group.legs} axes by the "
                f"Levi-Civita tensor and the others in pairs, and there are {m}"
            )
        if group.has_dual and group.blocks == "pair":
            return (
                f"{group} joins vectors to dual vectors, and read as a tensor a map has {m - sum(axes)} and {sum(axes)}"
            )
        if m % 2 and group.blocks in ("pair", "even"):
            more = f", or {group.legs} and an even number" if group.legs else ""
            return f"the axes of {label!r} are {m} in all, and {group} joins an even number{more}"
        kind = "invariant tensor" if group.blocks == "whole" else "diagram"
        return f"{group} has no {kind} on {m} axes {label!r}"
    return None


def count_colored(top: tuple[str, ...], bottom: tuple[str, ...], groups: Groups) -> int:
    """Count the diagrams between rows with these labels: a product over labels, because blocks do not mix them."""
    return math.prod(count_invariants(group, len(axes), sum(axes)) for _, group, axes in _axes(top, bottom, groups))
