"""Find labels that are permuted separately for every index of another label, which gives wreath products."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from equikit.weightspace.tracing.axes._axes import Axis
from equikit.weightspace.tracing.axes._places import Columns, indices_of
from equikit.weightspace.tracing.primitives._pattern import Pattern, symbols_of
from equikit.weightspace.tracing.primitives._table import contracts
from equikit.weightspace.tracing.programs._program import Call

Nested = tuple[tuple[str, str], ...]
"""Pairs of labels: the first is permuted separately for every index of the second."""


def nested(calls: Iterable[Call], roots: Mapping[str, Axis]) -> Nested:
    """Find the free labels that may be permuted separately for every index of another label.

    An inner index set is nested in an outer one if two conditions hold. Every array with axes of the inner set has
    exactly one such axis, and exactly one axis of the outer set. If an operand of a contraction keeps the inner set, it
    does not sum over the outer set; if it sums over the inner set or shares it with the other operand, it also sums
    over or shares the outer set. Then the permutations of the inner set for different outer indices are independent.

    Args:
        calls: the programs that were read.
        roots: the index sets of the permuted labels.
    """
    every = [inner for call in calls for inner in call.calls()]
    arrays = {kinds for call in every for kinds in _arrays(call)}
    products = {one for call in every for one in _products(call)}
    found: list[tuple[str, str]] = []
    # If two index sets always occur together, the first becomes the outer one.
    for outer, inner in itertools.permutations(roots, 2):
        i, o = roots[inner].root, roots[outer].root
        if {inner, outer} & {one for one, _ in found} or inner in {other for _, other in found}:
            continue
        together = all(Counter(kinds)[i] == 1 == Counter(kinds)[o] for kinds in arrays if i in kinds)
        if together and all(one.allows(i, o) for one in products):
            found.append((inner, outer))
    return tuple(found)


def _arrays(call: Call) -> Iterator[tuple[Axis, ...]]:
    """Yield the index sets of each piece of each array of a program."""
    for variable, places in call.places.items():
        for _, axes in indices_of(places, variable.aval.shape):
            yield from _pieces(axes)


def _pieces(axes: Sequence[Axis]) -> Iterator[tuple[Axis, ...]]:
    """Yield the index sets of each piece of an array, with sums split into their parts."""

    def of(axis: Axis) -> list[tuple[Axis, ...]]:
        axis = axis.root
        if axis.kind == "product":
            return [tuple(itertools.chain(*some)) for some in itertools.product(*map(of, axis.inner))]
        if axis.kind == "sum":
            return [piece for part in axis.inner for piece in of(part)]
        return [(axis,)] if axis.size > 1 else [()]

    for some in itertools.product(*map(of, axes)):
        yield tuple(itertools.chain(*some))


@dataclass(frozen=True)
class _Operand:
    """A piece of an operand of a contraction.

    Attributes:
        kept: its index sets that are in the result, and not in the other operand.
        summed: its index sets that are summed over.
        along: its index sets that are in the other operand and in the result (batch axes).
    """

    kept: frozenset[Axis]
    summed: frozenset[Axis]
    along: frozenset[Axis]

    def allows(self, inner: Axis, outer: Axis) -> bool:
        """Whether this operand allows that `inner` is nested in `outer`."""
        if inner in self.kept:
            return outer not in self.summed
        return inner not in self.summed | self.along or outer in self.summed | self.along


def _products(call: Call) -> Iterator[_Operand]:
    for number, related in call.related.items():
        if not contracts(call.jaxpr.eqns[number]):
            continue
        labels = [{s.label for axis in shape for s in symbols_of(axis)} for shape in related.pattern.operands]
        for which, mine in enumerate(labels):
            others = set().union(*(one for place, one in enumerate(labels) if place != which))
            yield from _operands(related.pattern, related.columns, sorted(mine), others)


def _operands(pattern: Pattern, columns: Columns, mine: Sequence[str], others: set[str]) -> Iterator[_Operand]:
    kept = {symbol.label for shape in pattern.results for axis in shape for symbol in symbols_of(axis)}
    over = list(dict.fromkeys(one for label in mine for one in columns.over[label]))
    for index in np.ndindex(*(one.size for one in over)):
        at = dict(zip(over, index, strict=True))
        pieces = [
            list(_pieces([columns.members[label][tuple(at[one] for one in columns.over[label])]])) for label in mine
        ]
        for some in itertools.product(*pieces):
            sets: dict[str, list[tuple[Axis, ...]]] = {"kept": [], "summed": [], "along": []}
            for label, axes in zip(mine, some, strict=True):
                sets["summed" if label not in kept else "along" if label in others else "kept"].append(axes)
            yield _Operand(*(frozenset(itertools.chain(*sets[name])) for name in ("kept", "summed", "along")))
