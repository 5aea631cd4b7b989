"""Factors of a contraction on a support: products of them on the tuples of several nodes, and sums over one node.

The letters of other labels and the features are axes, which an einsum contracts. A letter of the support's label is a
node: a factor has a row for each tuple of its nodes. It is repeated along more nodes by gathers, and the sum over a
node is a sum of segments.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import jax

from equikit.diagrams import HalfDiagram
from equikit.plans.compilation._contractions import Letters
from equikit.plans.execution._execute import Tensors, Walk
from equikit.plans.sparse._loops import looped_einsum, looped_order
from equikit.plans.sparse._rows import flat, spread_rows, sum_rows, turn_rows
from equikit.plans.sparse._schedule import Sum
from equikit.plans.sparse._walk import SparseWalk
from equikit.supports import Level


@dataclass(frozen=True, eq=False, kw_only=True)
class ProductWalk(SparseWalk):
    """The steps of a multilinear plan on a support, with sums over nodes that are not divided."""

    def reduced(self, inputs: Sequence[jax.Array]) -> Tensors:
        """Return the tensors of all input half diagrams."""
        return Walk.reduced(self, inputs)

    def is_single(self, level: Level) -> bool:
        """Whether all rows of a level are of one graph, which a sum over the level adds to one row."""
        return self._is_single(level)

    def count(self, half: HalfDiagram) -> jax.Array:
        """Return how many entries of the user's data each row of a reduction adds, `[rows]`."""
        return self._count(half)[:, 0]


@dataclass(frozen=True, eq=False)
class Factor:
    """A factor of a contraction.

    Attributes:
        rows: its letters of the support's label: its rows are the tuples of these nodes.
        letters: the letters of its axes after the rows.
        array: `[rows, *letters]`; without the axis of rows if it is the same for all rows.
        key: what it is, if other contractions may use it too.
    """

    rows: Letters
    letters: Letters
    array: jax.Array
    key: object = None


@dataclass(frozen=True, eq=False)
class Nodes:
    """Repetitions of factors along nodes, each computed once, and sums over nodes.

    Attributes:
        walk: the steps of the call.
    """

    walk: ProductWalk
    _spread: dict[object, jax.Array] = field(default_factory=dict)

    def spread(self, factor: Factor, rows: Letters) -> jax.Array:
        """Return a factor on the tuples of more nodes, in any order."""
        key = factor.key, len(rows), tuple(rows.index(letter) for letter in factor.rows)
        if factor.key is None:
            return self._repeated(factor, rows)
        if key not in self._spread:
            self._spread[key] = self._repeated(factor, rows)
        return self._spread[key]

    def _repeated(self, factor: Factor, rows: Letters) -> jax.Array:
        x, levels = factor.array, self.walk.support.levels
        at = [letter for letter in rows if letter in factor.rows]
        order = tuple(at.index(letter) for letter in factor.rows)
        if order != tuple(range(len(order))):
            x = flat(lambda own: turn_rows(own, levels[len(order)], order), x)
        for letter in rows:
            if letter not in at:
                at = [other for other in rows if other in (*at, letter)]
                x = self._repeated_once(x, len(at), at.index(letter))
        return x

    def _repeated_once(self, x: jax.Array, length: int, place: int) -> jax.Array:
        level = self.walk.support.levels[length]
        single = self.walk.is_single(level)
        return flat(lambda own: spread_rows(own, level, place, single=single), x)

    def summed(self, factor: Factor, letter: int) -> Factor:
        """Return the sum of a factor over one of its nodes."""
        levels, place = self.walk.support.levels, factor.rows.index(letter)
        level, count = levels[len(factor.rows)], levels[len(factor.rows) - 1].count
        single = self.walk.is_single(level)
        array = flat(lambda own: sum_rows(own, level, place, count, single=single), factor.array)
        return Factor(tuple(other for other in factor.rows if other != letter), factor.letters, array)

    def is_constant(self, factor: Factor) -> bool:
        """Whether a factor is the same for all rows: it has no node, and there is one graph."""
        return not factor.rows and self.walk.support.graphs is None


@dataclass(eq=False)
class Contracted:
    """One contraction in progress: its factors with rows, and its constants.

    Attributes:
        nodes: what repeats factors and adds them.
        sizes: the size of each letter; for the letter of the rows one.
        row: the letter of the rows.
        result: the letters of the result after the rows.
        factors, constants: what is left to multiply.
    """

    nodes: Nodes
    sizes: tuple[int, ...]
    row: int
    result: Letters
    factors: list[Factor]
    constants: list[Factor]

    def run(self, sums: Sequence[Sum], rows: Letters) -> jax.Array:
        """Sum over nodes, and return the product of what is left on the tuples of some nodes: `[rows, *result]`."""
        given, self.factors = self.factors, []
        for factor in given:
            self._add(factor)
        for each in sums:
            self._sum_over(each.rows, each.letter)
        return self._product(rows, self.factors, self.constants, self.result).array

    def _add(self, factor: Factor) -> None:
        if self.nodes.is_constant(factor):
            self.constants.append(replace(factor, array=factor.array[0]))
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
        self._add(self.nodes.summed(made, letter))

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
                    parts.append(self._multiplied(members[0].rows, members, mixed, kept))
            factors, constants = [*whole, *parts], [] if home is not None else constants
        return self._multiplied(rows, factors, constants, letters)

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

    def _multiplied(self, rows: Letters, factors: list[Factor], constants: list[Factor], letters: Letters) -> Factor:
        """Return the einsum of factors that are repeated along all nodes, and of constants."""
        operands = [(self.nodes.spread(factor, rows), (self.row, *factor.letters)) for factor in factors]
        operands += [(constant.array, constant.letters) for constant in constants]
        if len(operands) == 1 and operands[0][1] == (self.row, *letters):
            return Factor(rows, letters, operands[0][0])
        result = (self.row, *letters) if factors else letters
        count = max(self.nodes.walk.support.levels[len(rows)].count, 1)
        sizes = tuple(count if letter == self.row else size for letter, size in enumerate(self.sizes))
        plan = looped_order(tuple(own for _, own in operands), result, sizes, self.row)
        array = looped_einsum(operands, result, plan, sizes, self.nodes.walk.precision)
        return Factor(rows, letters, array if factors else array[None])
