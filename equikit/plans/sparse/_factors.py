"""Factors of a contraction on a support: products of them on the tuples of several nodes, and sums over one node.

The letters of other labels and the features are axes, which an einsum contracts. A letter of the support's label is a
node: a factor has a row for each tuple of its nodes. It is repeated along more nodes by gathers, and the sum over a
node is a sum of segments.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import jax

from equikit.diagrams import HalfDiagram
from equikit.plans.compilation._contractions import Letters
from equikit.plans.compilation._loop_orders import looped_order
from equikit.plans.compilation._row_contraction import Factor, RowContraction
from equikit.plans.execution._execute import Tensors, Walk
from equikit.plans.sparse._loops import looped_einsum
from equikit.plans.sparse._rows import flat, spread_rows, sum_rows, turn_rows
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
        levels = self.walk.support.levels
        x: jax.Array = factor.array
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
class Contracted(RowContraction):
    """A contraction of arrays.

    Attributes:
        nodes: what repeats factors and adds them.
    """

    nodes: Nodes

    def is_constant(self, factor: Factor) -> bool:
        """See the base class."""
        return self.nodes.is_constant(factor)

    def without_rows(self, factor: Factor) -> Factor:
        """See the base class."""
        return replace(factor, array=factor.array[0])

    def summed(self, factor: Factor, letter: int) -> Factor:
        """See the base class."""
        return self.nodes.summed(factor, letter)

    def multiplied(self, rows: Letters, factors: list[Factor], constants: list[Factor], letters: Letters) -> Factor:
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
