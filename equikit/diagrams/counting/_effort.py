"""Estimates of work, and the limits that keep symbolic work to a few seconds.

The limits were measured on one core: operations below them take about five seconds.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable

from equikit._checks import refuse_if_more
from equikit.diagrams.counting._count import count_involutions, count_pairings, stirling_row
from equikit.diagrams.counting._growth import refuse_if_long
from equikit.diagrams.counting._rules import Groups, group_of
from equikit.groups import Group
from equikit.signatures import base

MOST_LISTED = 200_000
"""The most diagrams that are listed."""

MOST_HALVES = 200_000
"""The most half diagrams for which diagrams are grouped by core."""

MOST_PAIRS = 5_000_000
"""The most pairs of half diagrams that are listed."""

MOST_JOINED = 1_500_000
"""The most pairs of half diagrams, times wirings, that are tried one by one."""

LOOKED_UP = 20
"""The relative cost of a pair if diagrams are dependent, so that each is looked up in the basis."""

Wires = tuple[int, ...]
"""The numbers of wires of a label, and of the label with a star."""


def refuse_if_unlistable(count: int) -> None:
    """Raise `TooLargeError` if there are too many diagrams for a list."""
    refuse_if_more(
        "there are too many diagrams to be listed",
        count,
        MOST_LISTED,
        "diagrams",
        "iterate over space.diagrams and stop early, or use fewer axes; space.dim is counted without a list",
    )


def refuse_if_unreachable(place: int) -> None:
    """Raise `TooLargeError` if too many diagrams would be made to reach one."""
    refuse_if_more(
        "the diagram is too far down the list to be reached",
        place,
        MOST_LISTED,
        "diagrams before it",
        "take one from the front, or make it with Diagram.from_blocks",
    )


def half_counts(group: Group, vectors: int, duals: int) -> dict[Wires, int]:
    """Bound the number of half diagrams of a label in a row from above, by the numbers of wires."""
    m = vectors + duals
    if group.blocks == "whole":
        return {(0, 0): 1}
    if group.has_dual:
        return {
            (vectors - c, duals - c): math.comb(vectors, c) * math.comb(duals, c) * math.factorial(c)
            for c in range(min(vectors, duals) + 1)
        }
    if group.blocks in ("any", "even"):
        row = stirling_row(m)[: None if group.n is None else group.n + 1]
        kinds = 3 if group.legs else 1  # no head, and a head whose legs are all blocks, or all but one
        return {(w, 0): kinds * sum(count * math.comb(t, w) for t, count in enumerate(row)) for w in range(len(row))}
    if group.blocks == "single":
        return {(w, 0): math.comb(m, w) for w in range(m + 1)}
    closed = count_pairings if group.blocks == "pair" else count_involutions
    return {
        (w, 0): math.comb(m, w) * sum(math.comb(m - w, legs) * closed(m - w - legs) for legs in _legs(group, m - w))
        for w in range(m + 1)
    }


def _legs(group: Group, most: int) -> range:
    """Return how many legs of a Levi-Civita tensor can lie in a row."""
    return range(min(group.legs, most) + 1)


def _rows(
    top: Iterable[str], bottom: Iterable[str], groups: Groups
) -> Iterable[tuple[Group, tuple[int, int, int, int]]]:
    """Yield each label's group and numbers of axes: top row without and with a star, then bottom row.

    Raises:
        TooLargeError: if a row has too many vertices to be listed; estimates for thousands of vertices take minutes.
    """
    top, bottom = tuple(top), tuple(bottom)
    refuse_if_long(top)
    refuse_if_long(bottom)
    above, below = Counter(top), Counter(bottom)
    for label in sorted({base(label) for label in (*above, *below)}):
        yield (
            group_of(groups, label),
            (above[label], above[f"{label}*"], below[label], below[f"{label}*"]),
        )


def count_halves(top: tuple[str, ...], bottom: tuple[str, ...], groups: Groups) -> int:
    """Count the half diagrams of both rows whose wires fit into the other row."""
    upper = lower = 1
    for group, (a, b, c, d) in _rows(top, bottom, groups):
        tops, bottoms = half_counts(group, a, b), half_counts(group, c, d)
        upper *= sum(count for wires, count in tops.items() if wires[0] <= c and wires[1] <= d)
        lower *= sum(count for wires, count in bottoms.items() if wires[0] <= a and wires[1] <= b)
    return upper + lower


def count_joined(top: tuple[str, ...], bottom: tuple[str, ...], groups: Groups, *, wired: bool = True) -> int:
    """Count pairs of half diagrams with equal wires, times wirings: an upper bound on the number of diagrams."""
    result = 1
    for group, (a, b, c, d) in _rows(top, bottom, groups):
        tops, bottoms = half_counts(group, a, b), half_counts(group, c, d)
        result *= sum(
            count * bottoms[wires] * (math.prod(map(math.factorial, wires)) if wired else 1)
            for wires, count in tops.items()
            if wires in bottoms
        )
    return result


def count_reductions(row: tuple[str, ...], groups: Groups) -> int:
    """Count the tensors between a term and its half diagrams, whose blocks propagate, do not, or are split."""
    result = 1
    for group, (vectors, duals, _, _) in _rows(row, (), groups):
        m = vectors + duals
        if group.blocks == "whole":
            continue
        if group.blocks == "single":
            result *= 2**m
        elif group.blocks in ("any", "even"):
            result *= sum(count * 2**t for t, count in enumerate(stirling_row(m)))
        elif group.has_dual:
            result *= sum(
                count * 2 ** (vectors - wires[0]) for wires, count in half_counts(group, vectors, duals).items()
            )
        else:
            single = 2 if group.blocks == "small" else 1
            pairs = (
                math.comb(m, 2 * c) * count_pairings(2 * c) * 2**c * single ** (m - 2 * c) for c in range(m // 2 + 1)
            )
            result *= sum(pairs) * (2 if group.legs else 1)
    return result
