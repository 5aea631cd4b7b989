"""A contraction on a support, as letters: what is multiplied on which tuples of nodes, and in which order. No JAX.

A factor has a row for each tuple of its nodes. Two classes follow these rules: one multiplies arrays, one counts costs.
"""

from __future__ import annotations

import abc
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from equikit.plans.compilation._contractions import Letters
from equikit.plans.sparse._schedule import Sum


@dataclass(frozen=True, eq=False)
class Factor:
    """A factor of a contraction.

    Attributes:
        rows: its letters of the support's label: its rows are the tuples of these nodes.
        letters: the letters of its axes after the rows.
        array: `[rows, *letters]`; without the axis of rows if it is the same for all rows. `None` where costs are
            counted.
        key: what it is, if other contractions may use it too.
    """

    rows: Letters
    letters: Letters
    array: Any
    key: object = None


@dataclass(eq=False)
class RowContraction(abc.ABC):
    """One contraction in progress: its factors with rows, and its constants.

    Attributes:
        sizes: the size of each letter; for the letter of the rows one.
        row: the letter of the rows.
        result: the letters of the result after the rows.
        factors, constants: what is left to multiply.
    """

    sizes: tuple[int, ...]
    row: int
    result: Letters
    factors: list[Factor]
    constants: list[Factor]

    @abc.abstractmethod
    def is_constant(self, factor: Factor) -> bool:
        """Whether a factor is the same for all rows: it has no node, and there is one graph."""

    @abc.abstractmethod
    def without_rows(self, factor: Factor) -> Factor:
        """Return a factor that is the same for all rows without its axis of rows."""

    @abc.abstractmethod
    def summed(self, factor: Factor, letter: int) -> Factor:
        """Return the sum of a factor over one of its nodes."""

    @abc.abstractmethod
    def multiplied(self, rows: Letters, factors: list[Factor], constants: list[Factor], letters: Letters) -> Factor:
        """Return the einsum of factors that are repeated along all nodes, and of constants."""

    def run(self, sums: Sequence[Sum], rows: Letters) -> Factor:
        """Sum over nodes, and return the product of what is left on the tuples of some nodes: `[rows, *result]`."""
        given, self.factors = self.factors, []
        for factor in given:
            self._add(factor)
        for each in sums:
            self._sum_over(each.rows, each.letter)
        return self._product(rows, self.factors, self.constants, self.result)

    def _add(self, factor: Factor) -> None:
        if self.is_constant(factor):
            self.constants.append(self.without_rows(factor))
        else:
            self.factors.append(factor)

    def _entries(self, letters: Sequence[int]) -> int:
        return math.prod(self.sizes[letter] for letter in letters)

    def _sum_over(self, rows: Letters, letter: int) -> None:
        """Replace all factors with a node by the sum of their product over it."""
        own = [factor for factor in self.factors if letter in factor.rows]
        self.factors = [factor for factor in self.factors if letter not in factor.rows]
        own_constants: list[Factor] = []  # those that make the result smaller
        for constant in [*self.constants]:
            more = [*own_constants, constant]
            rest = [other for other in self.constants if other is not constant]
            before = self._entries(self._needed(own + own_constants, self.constants))
            if self._entries(self._needed(own + more, rest)) < before:
                own_constants, self.constants = more, rest
        made = self._product(rows, own, own_constants, self._needed(own + own_constants, self.constants))
        self._add(self.summed(made, letter))

    def _needed(self, own: Sequence[Factor], constants: Sequence[Factor]) -> Letters:
        """Return the letters of some factors that others or the result have too."""
        others = {*self.result}.union(*(factor.letters for factor in (*self.factors, *constants)))
        mine = dict.fromkeys(letter for factor in own for letter in factor.letters)
        return tuple(letter for letter in mine if letter in others)

    def _product(self, rows: Letters, factors: list[Factor], constants: list[Factor], letters: Letters) -> Factor:
        """Multiply on the tuples of some nodes: factors of fewer nodes first, on their own tuples."""
        groups: dict[frozenset[int], list[Factor]] = {}
        for factor in factors:
            groups.setdefault(frozenset(factor.rows), []).append(factor)
        if len(groups) > 1:
            whole = groups.pop(frozenset(rows), [])
            home = self._home(groups, whole, constants, letters)
            parts = []
            for nodes, members in groups.items():
                mixed = constants if nodes == home else []
                outside = [*whole, *(one for other, some in groups.items() if other != nodes for one in some)]
                outside += [] if mixed else constants
                wanted = {*letters}.union(*(other.letters for other in outside))
                own = dict.fromkeys(letter for factor in (*members, *mixed) for letter in factor.letters)
                kept = tuple(letter for letter in own if letter in wanted)
                grows = self._entries(kept) > max(self._entries(factor.letters) for factor in members)
                if not mixed and (grows or (len(members) == 1 and kept == members[0].letters)):
                    parts += members
                else:
                    parts.append(self.multiplied(members[0].rows, members, mixed, kept))
            factors, constants = [*whole, *parts], [] if home is not None else constants
        return self.multiplied(rows, factors, constants, letters)

    def _home(
        self,
        groups: Mapping[frozenset[int], list[Factor]],
        whole: list[Factor],
        constants: list[Factor],
        letters: Letters,
    ) -> frozenset[int] | None:
        """Return the nodes whose factors are multiplied by the constants before they are repeated, if any.

        This is where the product has no more entries for each row than another factor or the result.
        """
        every = [*whole, *(factor for members in groups.values() for factor in members)]
        if not constants:
            return None
        options = []
        for nodes, members in groups.items():
            rest = [factor for factor in every if factor not in members]
            wanted = {*letters}.union(*(factor.letters for factor in rest))
            own = {letter for factor in (*members, *constants) for letter in factor.letters}
            most = max(self._entries(own) for own in (letters, *(factor.letters for factor in rest)))
            if self._entries([*(own & wanted)]) <= most:
                options.append((len(nodes), sorted(nodes), nodes))
        return min(options)[-1] if options else None
