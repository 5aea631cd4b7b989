"""Patterns: how the axes of an equation's results follow from the axes of its operands."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction

from equikit.weightspace.specifications._terms import Product, Simple, Sum, Symbol

Shape = tuple[Simple, ...]
"""An expression for each axis of an array; its labels are local to one equation."""


@dataclass(frozen=True)
class Index:
    """The source of an index that is looked up.

    Attributes:
        operand: the number of the operand that holds it.
        column: where it is in the last axis of this operand, if there are several.
        places: the labels on whose indices it depends.
    """

    operand: int
    column: int
    places: Shape


@dataclass(frozen=True)
class Pattern:
    """The axes of an equation, in the language of the terms of parameters.

    A label that operands share is one index that runs along both; one that results lack is summed over, or cut off
    where it stands in a sum; one that operands lack is new, and the result is the same everywhere along it. A product
    matrix times matrix is `i j, j k -> i k`, a slice `(a + b + c) -> b`, a reshape `(i j) -> i j`.

    Attributes:
        operands, results: the expressions of their axes.
        rigid: labels whose order matters, with the reason.
        looked_up: labels of operands along which one index is taken, for each index of the result.
    """

    operands: tuple[Shape, ...]
    results: tuple[Shape, ...]
    rigid: Mapping[str, str] = field(default_factory=dict)
    looked_up: Mapping[str, Index] = field(default_factory=dict)

    def symbols(self) -> dict[str, Symbol]:
        """Return all symbols, by label."""
        shapes = (*self.operands, *self.results)
        return {one.label: one for shape in shapes for axis in shape for one in symbols_of(axis)}


def symbols_of(axis: Simple) -> tuple[Symbol, ...]:
    """Return the symbols of an expression, in order."""
    if isinstance(axis, Symbol):
        return (axis,)
    inner = axis.factors if isinstance(axis, Product) else axis.parts
    return tuple(symbol for one in inner for symbol in symbols_of(one))


def named(prefix: str, sizes: Iterable[int]) -> list[Symbol]:
    """Return a symbol for each axis of an array."""
    return [Symbol(f"{prefix}{place}", int(size)) for place, size in enumerate(sizes)]


def multiplied(factors: Sequence[Symbol]) -> Simple:
    """Return the axis whose indices are tuples, or the only factor."""
    return factors[0] if len(factors) == 1 else Product(tuple(factors))


def joints(pattern: Pattern) -> Iterator[tuple[int, Sum, dict[int, Symbol]]]:
    """Yield axes of results along which operands are concatenated, with the piece of each operand.

    The first entry is a number that stands for all operands together.
    """
    for whole in (axis for shape in pattern.results for axis in shape if isinstance(axis, Sum)):
        pieces = {
            number: axis
            for number, shape in enumerate(pattern.operands)
            for axis in shape
            if axis in whole.parts and isinstance(axis, Symbol)
        }
        if len(pieces) == len(whole.parts):
            yield JOINED, whole, pieces


JOINED = -1
"""Stands for all operands, concatenated, in place of the number of an operand."""


@dataclass(frozen=True)
class Add:
    """A sum of operands, or one of them at each index.

    Attributes:
        terms: the numbers of the operands, or None for all; the others choose, and nothing may multiply them.
        ordered: whether it is the largest or the smallest term, and only positive numbers can be drawn out.
    """

    terms: tuple[int, ...] | None = None
    ordered: bool = False


@dataclass(frozen=True)
class Each:
    """Every result depends on the operand with its number; `ordered` as for `Add`."""

    ordered: bool = False


@dataclass(frozen=True)
class Multiply:
    """A product, summed over labels that the results lack; the degree of each operand, or None for one that chooses."""

    degrees: tuple[int | None, ...]


@dataclass(frozen=True)
class Homogeneous:
    r"""A function of one number with \(f(sx) = s^d f(x)\) for positive s, and \(f(-x) = \pm f(x)\).

    Attributes:
        degree: d, or None.
        odd: whether the sign is passed on, or is lost; None if neither is so.
    """

    degree: Fraction | None = None
    odd: bool | None = None


@dataclass(frozen=True)
class Compare:
    """A comparison of operands, or of the entries of one operand; `equality` if their signs do not matter."""

    equality: bool = False


@dataclass(frozen=True)
class Other:
    """Any other function: no operand may be multiplied by anything."""


Arithmetic = Add | Each | Multiply | Homogeneous | Compare | Other
"""What an equation does with numbers."""
