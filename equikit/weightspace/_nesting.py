"""Labels that are permuted by themselves for every index of another: wreath products."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from equikit.weightspace._axes import Axis
from equikit.weightspace._program import Call

Nested = tuple[tuple[str, str], ...]
"""Pairs of labels: the first is permuted by itself for every index of the second."""


def nested(call: Call, roots: Mapping[str, Axis]) -> Nested:
    """The free labels that may be permuted by themselves for every index of another one.

    One index set is nested in another if every array of the program that has an axis of the first has one of the
    second, each of them once; if whenever entries meet along the first, they have one index of the second; and if what
    keeps the first in a product keeps the second. Then nothing tells how the orders of the first for two indices of
    the second are related.

    Args:
        call: the program as it was read.
        roots: the index sets of the labels that are permuted.
    """
    arrays = {kinds for one in _calls(call) for axes in one.axes.values() for kinds in _pieces(axes)}
    products = {one for inner in _calls(call) for one in _products(inner)}
    found: list[tuple[str, str]] = []
    # Where two are never apart, the first is called the outer one.
    for outer, inner in itertools.permutations(roots, 2):
        i, o = roots[inner].root, roots[outer].root
        if {inner, outer} & {one for one, _ in found} or inner in {other for _, other in found}:
            continue
        together = all(Counter(kinds)[i] == 1 == Counter(kinds)[o] for kinds in arrays if i in kinds)
        if together and all(one.allows(i, o) for one in products):
            found.append((inner, outer))
    return tuple(found)


def _calls(call: Call) -> Iterator[Call]:
    yield call
    for inner in [*call.inner.values(), *itertools.chain(*call.bodies.values())]:
        yield from _calls(inner)


def _pieces(axes: Sequence[Axis]) -> Iterator[tuple[Axis, ...]]:
    """The index sets of each piece of an array, where sums fall into their parts."""

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
    """A piece of an array that is multiplied and summed.

    Attributes:
        kept: its index sets that are in the result, and in this operand alone.
        summed: those over which the sum runs.
        along: those that are alike in both operands, and in the result.
    """

    kept: frozenset[Axis]
    summed: frozenset[Axis]
    along: frozenset[Axis] = frozenset()

    def allows(self, inner: Axis, outer: Axis) -> bool:
        """Whether an inner set stays with its outer one."""
        if inner in self.kept:
            return outer not in self.summed
        return inner not in self.summed | self.along or outer in self.summed | self.along


def _products(call: Call) -> Iterator[_Operand]:
    for equation in call.jaxpr.eqns:
        name, params = equation.primitive.name, equation.params
        if name == "dot_general":
            for operand, summed, along in zip(equation.invars, *params["dimension_numbers"], strict=True):
                axes = call.of(operand)
                rest = [place for place in range(len(axes)) if place not in (*summed, *along)]
                yield from _operands(axes, rest, summed, along)
        elif name == "conv_general_dilated":
            numbers = params["dimension_numbers"]
            image, kernel = (call.of(operand) for operand in equation.invars)
            yield from _operands(image, numbers.lhs_spec[:1], numbers.lhs_spec[1:], ())
            # Channels of a group are summed over where the group, which is a factor of the other channels, is alike.
            yield from _operands(kernel, numbers.rhs_spec[:1], numbers.rhs_spec[1:], numbers.rhs_spec[:1])


def _operands(
    axes: Sequence[Axis], kept: Sequence[int], summed: Sequence[int], along: Sequence[int]
) -> Iterator[_Operand]:
    chosen = [list(_pieces([axes[int(place)] for place in places])) for places in (kept, summed, along)]
    for some in itertools.product(*chosen):
        yield _Operand(*map(frozenset, some))
