r"""Branching rules: the tensor products of irreducible representations with the representation on an axis.

Representations are named by integer partitions. The rules are from Weyl's *Classical Groups* and the theory of the
symmetric and hyperoctahedral groups.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from equikit.groups._group import Group

Shape = tuple[int, ...]
"""An integer partition: the rows of a Young diagram."""


@dataclass(frozen=True, slots=True)
class Branching:
    r"""The decomposition of \(\lambda \otimes V\), where V is the representation on an axis.

    Attributes:
        trivial: the name of the trivial representation.
        successors: function from the name of a representation λ, and whether V is the dual, to the names of the
            constituents of \(\lambda \otimes V\), each repeated by its multiplicity. Not called if V is zero.
        larger: a group with the same branching in which this group is the subgroup of determinant or sign one.
        determinant: the name of the determinant or sign of the larger group, which is trivial on this group.
        pairs: whether representations are pairs of partitions.
    """

    trivial: Any
    successors: Callable[[Any, bool], Iterator[Any]]
    larger: Group | None = None
    determinant: Any = None
    pairs: bool = False


def smaller(shape: Shape) -> Iterator[Shape]:
    """Yield all partitions with one box fewer."""
    for row in range(len(shape)):
        if row + 1 == len(shape) or shape[row] > shape[row + 1]:  # only a corner box can be removed
            rest = (*shape[:row], shape[row] - 1, *shape[row + 1 :])
            yield tuple(length for length in rest if length)


def larger(shape: Shape) -> Iterator[Shape]:
    """Yield all partitions with one more box."""
    for row in range(len(shape) + 1):
        if row == 0 or row == len(shape) or shape[row] < shape[row - 1]:  # at most as long as the row above
            padded = [*shape, 0]
            padded[row] += 1
            yield tuple(length for length in padded if length)


def columns(shape: Shape, count: int) -> int:
    """Count the boxes in the first `count` columns."""
    return sum(min(length, count) for length in shape)


def shifted(weight: Shape, by: int) -> Iterator[Shape]:
    """Add a number to one entry, and yield the lists that stay in descending order."""
    for place, entry in enumerate(weight):
        neighbor = place - by  # only this entry can be out of order
        if not 0 <= neighbor < len(weight) or weight[neighbor] != entry:
            yield (*weight[:place], entry + by, *weight[place + 1 :])


def of_linear(n: int) -> Branching:
    """The branching of GL(n) and U(n): descending lists of n integers, all zero for the trivial representation."""
    return Branching((0,) * n, lambda weight, dual: shifted(weight, -1 if dual else 1))


def of_orthogonal(n: int) -> Branching:
    """The branching of O(n) and O(p, q): partitions with at most n boxes in their first two columns.

    It does not depend on the metric: all O(p, q) of one dimension have the same complexification.
    """

    def successors(shape: Shape, dual: bool) -> Iterator[Shape]:
        yield from smaller(shape)
        yield from (more for more in larger(shape) if columns(more, 2) <= n)

    return Branching((), successors)


def of_symplectic(n: int) -> Branching:
    """The branching of Sp(n): partitions with at most n / 2 rows."""

    def successors(shape: Shape, dual: bool) -> Iterator[Shape]:
        yield from smaller(shape)
        yield from (more for more in larger(shape) if len(more) <= n // 2)

    return Branching((), successors)


def of_bistochastic(n: int) -> Branching:
    """The branching of Bistochastic(n): V is the trivial plus the vector representation of O(n - 1)."""
    inner = of_orthogonal(n - 1)

    def successors(shape: Shape, dual: bool) -> Iterator[Shape]:
        yield shape
        yield from inner.successors(shape, dual)

    return Branching((), successors)


def of_symmetric(n: int) -> Branching:
    """The branching of S(n), by restriction to S(n - 1) and induction: partitions of n."""

    def successors(shape: Shape, dual: bool) -> Iterator[Shape]:
        for rest in smaller(shape):
            yield from larger(rest)

    return Branching((n,) if n else (), successors)


def of_hyperoctahedral(n: int) -> Branching:
    """The branching of H(n): pairs of partitions with n boxes in total."""

    def successors(pair: tuple[Shape, Shape], dual: bool) -> Iterator[tuple[Shape, Shape]]:
        left, right = pair
        for rest in smaller(left):  # multiplication by the sign moves the box to the other partition
            yield from ((rest, more) for more in larger(right))
        for rest in smaller(right):
            yield from ((more, rest) for more in larger(left))

    return Branching(((n,) if n else (), ()), successors, pairs=True)
