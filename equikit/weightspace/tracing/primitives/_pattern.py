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
    """The source of a looked-up index.

    Attributes:
        operand: the number of the operand that contains the index.
        column: the position of the index along the last axis of this operand, if the operand contains several.
        places: the symbols on whose indices the looked-up index depends.
    """

    operand: int
    column: int
    places: Shape


@dataclass(frozen=True)
class Pattern:
    """The relation between the axes of an equation's operands and results, as in einsum.

    A label that operands share is a common index. A label that is missing in the results is summed over, or cut off if
    it is part of a sum. A label that is missing in the operands is new, and the result is constant along it. A matrix
    product is `i j, j k -> i k`, a slice `(a + b + c) -> b`, a reshape `(i j) -> i j`.

    Attributes:
        operands, results: the expression of each axis.
        rigid: labels whose order matters, with the reason.
        looked_up: labels of operands along which a single index is looked up, for each index of the result.
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

    The first entry is JOINED.
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
"""Represents the concatenation of all operands, in place of the number of an operand."""


@dataclass(frozen=True)
class Add:
    """A sum of operands, or a selection of one operand at each index.

    Attributes:
        terms: the numbers of these operands, or None for all; other operands are masks or indices with power zero.
        ordered: whether the result is the maximum or minimum, which commutes only with positive factors.
    """

    terms: tuple[int, ...] | None = None
    ordered: bool = False


@dataclass(frozen=True)
class Each:
    """Every result depends only on the operand with the same number; `ordered` as for `Add`."""

    ordered: bool = False


@dataclass(frozen=True)
class Multiply:
    """A product, summed over labels that results lack; the degree of each operand, or None for indices."""

    degrees: tuple[int | None, ...]


@dataclass(frozen=True)
class Homogeneous:
    r"""A function of one number with \(f(sx) = s^d f(x)\) for positive s, and \(f(-x) = \pm f(x)\).

    Attributes:
        degree: d, or None.
        odd: True for an odd function, False for an even function, otherwise None.
    """

    degree: Fraction | None = None
    odd: bool | None = None


@dataclass(frozen=True)
class Compare:
    """A comparison of operands, or of entries of one operand; `equality` if a common sign does not change it."""

    equality: bool = False


@dataclass(frozen=True)
class Other:
    """Any other function: all operands must have power zero."""


Arithmetic = Add | Each | Multiply | Homogeneous | Compare | Other
"""How the results of an equation scale with its operands."""
