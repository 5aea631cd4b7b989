"""Dimensions in closed form: Stirling sums and double factorials."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator

from equikit.diagrams._rules import Groups, axes_of, group_of
from equikit.diagrams._signature import base
from equikit.diagrams._walks import count_walks
from equikit.groups import SO, Bistochastic, Group, Sp


@functools.cache
def stirling_row(m: int) -> tuple[int, ...]:
    """The Stirling numbers of the second kind of m points, for 0 to m blocks."""
    row = [1]
    for _ in range(m):
        row = [0, *(i * a + b for i, (a, b) in enumerate(zip([*row[1:], 0], row, strict=True), 1))]
    return tuple(row)


def stirling(m: int, t: int) -> int:
    """The Stirling number of the second kind: set partitions of m points into exactly t blocks.

    Example:
        >>> [stirling(4, t) for t in range(5)]
        [0, 1, 7, 6, 1]
    """
    return stirling_row(m)[t] if 0 <= t <= m else 0


def count_text(count: int) -> str:
    """A count with commas; the order of magnitude where it has more than 100 digits.

    Example:
        >>> count_text(4213597), count_text(10**5000)
        ('4,213,597', 'about 10^5000')
    """
    return f"{count:,}" if count < 10**100 else f"about 10^{round(math.log10(count))}"


def count_partitions(m: int, most: int | None = None) -> int:
    """Set partitions of m points into at most `most` blocks: the Bell number where there is no limit.

    Example:
        >>> count_partitions(4), count_partitions(4, 2)
        (15, 8)
    """
    return sum(stirling_row(m)[: None if most is None else most + 1])


@functools.cache
def even_stirling(m: int, t: int) -> int:
    """Set partitions of m points into exactly t blocks, all of an even number of points.

    Example:
        >>> [even_stirling(6, t) for t in range(4)]
        [0, 1, 15, 15]
    """
    if m == 0 or t == 0:
        return int(m == t)
    return sum(math.comb(m - 1, size - 1) * even_stirling(m - size, t - 1) for size in range(2, m + 1, 2))


def count_pairings(m: int) -> int:
    """Perfect matchings of m points: the product of the odd numbers below m.

    Example:
        >>> [count_pairings(m) for m in range(7)]
        [1, 0, 1, 0, 3, 0, 15]
    """
    return 0 if m % 2 else math.prod(range(1, m, 2))


def independent(group: Group, m: int) -> bool:
    """Whether the diagrams of a family of pairs or small blocks on m vertices are linearly independent.

    From 2n ≥ m on for the orthogonal group, from n ≥ m on for the symplectic one; a bistochastic matrix is an
    orthogonal one of size n - 1 and a fixed vector.

    Source:
        Brauer, On algebras which are connected with the semisimple continuous groups, 1937; Weyl, The classical groups.
    """
    if group.n is None or group.blocks in ("any", "even", "whole"):
        return True
    if isinstance(group, Bistochastic):
        return m // 2 <= group.n - 1 or m == 0
    if group.legs and m >= group.n and (m - group.n) % 2 == 0 and m > group.n:
        return False  # an antisymmetric tensor of n + 1 legs is zero
    return m % 2 == 1 or (group.n if isinstance(group, Sp) else 2 * group.n) >= m


def count_invariants(group: Group, m: int, dual: int = 0) -> int:
    """The number of diagrams of a family on m vertices that form a basis; all of them where the group is free.

    Args:
        group: the group.
        m: the number of axes of an invariant tensor.
        dual: how many of them carry the dual, where the group has one.

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
        return sum(even_stirling(m, t) for t in range((m if group.n is None else min(m, group.n)) + 1))
    if group.has_dual and 2 * dual != m:
        return 0
    if not independent(group, m) or isinstance(group, SO):
        return count_walks(group, m, dual)
    if group.has_dual:
        return math.factorial(dual)
    if group.blocks == "pair":
        return count_pairings(m)
    return sum(math.comb(m, j) * count_pairings(j) for j in range(m + 1))


def _axes(
    top: tuple[str, ...], bottom: tuple[str, ...], groups: Groups
) -> Iterator[tuple[str, Group, tuple[bool, ...]]]:
    """Every label, without stars, with its group and its axes."""
    for label in sorted({base(label) for label in (*top, *bottom)}):
        yield label, group_of(groups, label), axes_of(label, top, bottom)


def why_none(top: tuple[str, ...], bottom: tuple[str, ...], groups: Groups) -> str | None:
    """Why there is no diagram between rows with these labels, for a message; `None` where there is one."""
    for label, group, axes in _axes(top, bottom, groups):
        m = len(axes)
        if count_invariants(group, m, sum(axes)):
            continue
        if group.n == 0:
            return f"{label!r} has no entries"
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


def count_coloured(top: tuple[str, ...], bottom: tuple[str, ...], groups: Groups) -> int:
    """Diagrams between rows with these labels: the product over labels, since blocks do not mix them."""
    return math.prod(count_invariants(group, len(axes), sum(axes)) for _, group, axes in _axes(top, bottom, groups))
