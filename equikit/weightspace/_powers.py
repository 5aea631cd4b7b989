"""Powers of scales: linear forms, arrays that have them, and what has to vanish."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

from equikit.weightspace._axes import Axis

Form = dict[int, Fraction]
"""A linear form: the number of an unknown to its coefficient; what is not there has coefficient zero."""


@dataclass(frozen=True)
class Scaled:
    """An array, and its powers.

    Attributes:
        axes: its axes.
        forms: for each axis the forms of its atoms.
        zero: whether all entries are known to be zero, whatever the scales.
    """

    axes: tuple[Axis, ...]
    forms: tuple[tuple[Form, ...], ...]
    zero: bool = False


def atoms(axis: Axis) -> list[Axis]:
    """What an axis is made of, as far as it has structure, in order; sets of one index are left out."""
    axis = axis.root
    if axis.kind in ("product", "sum"):
        return [atom for one in axis.inner for atom in atoms(one)]
    return [axis] if axis.size > 1 else []


def plain(axes: Sequence[Axis], zero: bool = False) -> Scaled:
    """An array that no scale multiplies."""
    return Scaled(tuple(axes), tuple(tuple({} for _ in atoms(axis)) for axis in axes), zero)


def combined(one: Form, two: Form, factor: Fraction | int = 1) -> Form:
    """`one + factor two`."""
    found = dict(one)
    for number, value in two.items():
        found[number] = found.get(number, Fraction(0)) + factor * value
    return {number: value for number, value in found.items() if value}


@dataclass
class Powers:
    """What is known of the powers.

    Attributes:
        signs: whether scales are signs.
        rows: forms that have to vanish.
        carried: further unknowns, the powers of what loops carry, each with its atom; their numbers are negative.
    """

    signs: bool
    rows: list[Form] = field(default_factory=list)
    carried: dict[int, Axis] = field(default_factory=dict)

    def vanish(self, form: Form) -> None:
        """Ask that a form is zero."""
        if form:
            self.rows.append(form)

    def equal(self, one: Form, two: Form) -> None:
        """Ask that two forms are equal."""
        self.vanish(combined(one, two, -1))

    def fresh(self, array: Scaled) -> Scaled:
        """An array like another one, with unknown powers."""
        forms = []
        for axis in array.axes:
            its: list[Form] = []
            for atom in atoms(axis):
                number = -1 - len(self.carried)
                self.carried[number] = atom
                its.append({number: Fraction(1)} if atom.kind == "free" else {})
            forms.append(tuple(its))
        return Scaled(array.axes, tuple(forms))

    def common(self, arrays: Sequence[Scaled], axes: Sequence[Axis]) -> Scaled:
        """Arrays that have one power, but for zeros."""
        known = [array for array in arrays if not array.zero]
        if not known:
            return plain(axes, zero=True)
        for other in known[1:]:
            for mine, theirs in zip(itertools.chain(*known[0].forms), itertools.chain(*other.forms), strict=True):
                self.equal(mine, theirs)
        return Scaled(tuple(axes), known[0].forms)


def nothing(powers: Powers, given: list[Scaled], axes: list[list[Axis]]) -> list[Scaled]:
    """Nothing may be multiplied."""
    for array in given:
        for form in itertools.chain(*array.forms):
            powers.vanish(form)
    return [plain(one) for one in axes]


Rule = Callable[[Powers, Any, list[Scaled], list[list[Axis]]], list[Scaled]]
"""An equation, its operands and the axes of its results to the results."""
