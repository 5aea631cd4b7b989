"""The order of an einsum of rows, in a loop over letters that are summed over where no other way is small. No JAX."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass

from equikit.plans.compilation._contractions import Letters, Order, best_order

LEAST_ENTRIES = 2**16
"""Arrays of at most this size are held, since a loop would cost more time than it saves."""

MOST_LETTERS = 2
"""The most letters of a loop."""


@dataclass(frozen=True, slots=True)
class LoopedOrder:
    """How an einsum is computed.

    Attributes:
        letters: the letters of the loop.
        order: in each step of the loop, the pairs of operands to contract.
    """

    letters: Letters
    order: Order


def looped_order(names: tuple[Letters, ...], result: Letters, sizes: tuple[int, ...], row: int) -> LoopedOrder:
    """Return the shortest loop in which no array is larger than the largest operand with rows, or the result.

    Args:
        names: the letters of the operands.
        result: the letters of the result.
        sizes: the size of each letter.
        row: the letter of the rows.
    """

    def entries(letters: Letters) -> int:
        return math.prod(sizes[letter] for letter in letters)

    most = max(LEAST_ENTRIES, *(entries(own) for own in (*names, result) if row in own), 1)
    options = []
    for loop in _loops(names, result, sizes, row):
        left = tuple(tuple(letter for letter in own if letter not in loop) for own in names)
        order = best_order(left, result, sizes, most)
        peak = max((entries(made) for _, _, made in order[:-1]), default=0)
        if peak <= most:
            return LoopedOrder(loop, order)
        options.append((peak, entries(loop), LoopedOrder(loop, order)))
    return min(options, key=lambda option: option[:2])[-1]


def _loops(names: tuple[Letters, ...], result: Letters, sizes: tuple[int, ...], row: int) -> Iterator[Letters]:
    """Yield letters of loops, the shortest loop first."""
    of_rows = {letter for own in names if row in own for letter in own} - {row, *result}
    summed = sorted(letter for letter in of_rows if sizes[letter] > 1)
    loops = [loop for length in range(MOST_LETTERS + 1) for loop in itertools.combinations(summed, length)]
    yield from sorted(loops, key=lambda loop: (math.prod(sizes[letter] for letter in loop), loop))
