"""The cost of contractions on a support: the products, sums and repetitions of its rows, counted as they are run."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from equikit.plans._ir import Contraction, MultilinearPlan
from equikit.plans.compilation._contractions import Letters, einsum_letters, letter_sizes
from equikit.plans.compilation._loop_orders import looped_order
from equikit.plans.compilation._row_contraction import Factor, RowContraction
from equikit.plans.costs._rows import INDEX, Rows
from equikit.plans.sparse._halves import restricted
from equikit.plans.sparse._schedule import Schedule, by_frame, frame_of, planned_sums


@dataclass(eq=False)
class Tally:
    """FLOPs and bytes of the contractions of a plan, and what they share.

    Attributes:
        rows: the numbers of rows.
        batch: the number of entries of all batch axes together.
        itemsize: bytes of a number.
        flops, bytes: the counts.
    """

    rows: Rows
    batch: int
    itemsize: int
    flops: int = 0
    bytes: int = 0

    def __post_init__(self) -> None:
        self._made = set[object]()

    def is_new(self, key: object) -> bool:
        """Whether something is made for the first time; `None` is always new."""
        if key is None:
            return True
        new = key not in self._made
        self._made.add(key)
        return new

    def move(self, *numbers: int, indices: int = 0) -> None:
        """Count numbers that are read or written, and rows whose index is read."""
        self.bytes += self.itemsize * self.batch * sum(numbers) + INDEX * indices

    def compute(self, flops: int) -> None:
        """Count operations on each entry of the batch."""
        self.flops += self.batch * flops

    def repeat(self, factor: Factor, rows: Letters, width: int) -> None:
        """Count a factor of a number of entries for each row, repeated on the tuples of more nodes."""
        counts = self.rows.counts
        at = [letter for letter in rows if letter in factor.rows]
        if tuple(at) != factor.rows:
            size = counts[len(at)] * width
            self.move(size, size, indices=counts[len(at)])
        for length in range(len(at) + 1, len(rows) + 1):
            self.move(counts[length - 1] * width, counts[length] * width, indices=counts[length])


@dataclass(eq=False)
class Priced(RowContraction):
    """A contraction whose costs are counted.

    Attributes:
        tally: where they are counted.
    """

    tally: Tally

    def is_constant(self, factor: Factor) -> bool:
        """See the base class."""
        return not factor.rows and not self.tally.rows.numbered

    def without_rows(self, factor: Factor) -> Factor:
        """See the base class."""
        return factor

    def _width(self, factor: Factor) -> int:
        return math.prod(self.sizes[letter] for letter in factor.letters)

    def summed(self, factor: Factor, letter: int) -> Factor:
        """See the base class."""
        tally, counts, width = self.tally, self.tally.rows.counts, self._width(factor)
        large, length = counts[len(factor.rows)], len(factor.rows)
        tally.compute(large * width)
        single = length == 1 and not tally.rows.numbered
        tally.move(large * width, counts[length - 1] * width, indices=0 if single else large)
        return Factor(tuple(other for other in factor.rows if other != letter), factor.letters, None)

    def multiplied(self, rows: Letters, factors: list[Factor], constants: list[Factor], letters: Letters) -> Factor:
        """See the base class."""
        for factor in factors:
            key = factor.key and (factor.key, len(rows), tuple(rows.index(letter) for letter in factor.rows))
            if self.tally.is_new(key):
                self.tally.repeat(factor, rows, self._width(factor))
        names = tuple((self.row, *factor.letters) for factor in factors)
        names += tuple(constant.letters for constant in constants)
        if len(names) == 1 and names[0] == (self.row, *letters):
            return Factor(rows, letters, None)
        result = (self.row, *letters) if factors else letters
        sizes = list(self.sizes)
        sizes[self.row] = max(self.tally.rows.counts[len(rows)], 1)
        self._count(names, result, tuple(sizes))
        return Factor(rows, letters, None)

    def _count(self, names: tuple[Letters, ...], result: Letters, sizes: tuple[int, ...]) -> None:
        """Count an einsum: each pair of operands, in each step of the loop."""
        plan = looped_order(names, result, sizes, self.row)
        left = [tuple(letter for letter in own if letter not in plan.letters) for own in names]
        steps = math.prod(sizes[letter] for letter in plan.letters)

        def entries(letters: Letters) -> int:
            return math.prod(sizes[letter] for letter in letters)

        for i, j, made in plan.order:
            pair = left[i], left[j]
            self.tally.compute(2 * steps * entries(tuple({*pair[0], *pair[1]})))
            self.tally.move(*(steps * entries(letters) for letters in (*pair, made)))
            left = [*left[:i], *left[i + 1 : j], *left[j + 1 :], made]
        if not plan.order:
            self.tally.move(entries(names[0]), entries(result))


def count_contraction(plan: MultilinearPlan, contraction: Contraction, sizes: Mapping[str, Any], tally: Tally) -> None:
    """Count a contraction, and the permutations of its nodes for outputs; not the addition of its results."""
    label = tally.rows.label
    sums = planned_sums(plan, contraction, label)
    assert sums is not None
    own_sizes = {**sizes, label: 1}
    for frame, own in by_frame(contraction, sums, label):
        names, result = einsum_letters(plan, own)
        known = tuple(int(size) for size in letter_sizes(plan, own, own_sizes, 1))
        row, count = len(own.labels), len(own.halves)
        factors = [_factor(own, t, names[t], label) for t in range(count)]
        constants = [Factor((), letters, None) for letters in names[count:]]
        kept = tuple(letter for letter in result[1:] if letter not in frame)
        Priced(known, row, kept, factors, constants, tally).run(sums.sums, frame)
        others = math.prod(known[letter] for letter in own.kept if letter not in frame)
        if plan.normalize == "mean":
            _count_means(own, sums, frame, tally)
            tally.compute(tally.rows.counts[len(frame)] * math.prod(known[letter] for letter in kept))
        for use in own.uses[: 1 if own.held else None]:
            tally.repeat(Factor(frame, (), None), frame_of(own, use, label), others * plan.features[1][0])


def _factor(contraction: Contraction, t: int, letters: Letters, label: str) -> Factor:
    """Return an input of a contraction, as `plans.sparse` has it."""
    half, own = contraction.halves[t], contraction.letters[t]
    nodes = tuple(letter for letter, axis in zip(own, half.core, strict=True) if axis == label)
    rest = tuple(letter for letter in letters[1:] if letter not in nodes)
    return Factor(nodes, rest, None, (t, half, contraction.lowered[t]))


def _count_means(contraction: Contraction, sums: Schedule, frame: Letters, tally: Tally) -> None:
    """Count the contraction of the numbers of entries, by which a mean is divided."""
    label = tally.rows.label
    halves = [restricted(half, label) for half in contraction.halves]
    factors = [
        replace(_factor(contraction, t, (0,), label), letters=(), key=("count", half)) for t, half in enumerate(halves)
    ]
    if tally.is_new(("count", tuple(halves), tuple(factor.rows for factor in factors), frame)):
        Priced((1,), 0, (), factors, [], tally).run(sums.sums, frame)
