"""Compute, for every array of a program, the power of the scales that multiply it along each axis.

If each index i of a label has a scale s_i, an array with this label on an axis may be multiplied along this axis by a
power of s_i. The powers of the parameters are unknowns; the powers of results are linear forms in these unknowns.
Operations require that some forms vanish: all terms of a sum have the same power, the powers in a contraction cancel,
and the operand of tanh has power zero. For signs, powers are integers modulo 2, and tanh preserves them.

The same equations describe general linear groups, with a coarser meaning: along an axis, an array is a vector (value
1), a dual vector (value -1), or constant (the empty form). A contraction needs a vector and a dual vector, all terms of
a sum have the same kind, and a product along the axis, which adds powers of scales, is not allowed. The result of a
disallowed operation has the empty form although it may vary along the axis. This is harmless: an array that varies
along a free axis depends on parameters with its label, and the whole label is rejected.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, Literal

import numpy as np
from jax.extend import core

from equikit.weightspace.specifications._terms import Simple, Sum, Symbol
from equikit.weightspace.tracing.axes._axes import Axis, atoms
from equikit.weightspace.tracing.axes._places import (
    Columns,
    Place,
    Tree,
    entries,
    filled,
    fit,
    in_pattern,
    joined,
    result_places,
    single,
)
from equikit.weightspace.tracing.axes._relation import Places, Related, Shares
from equikit.weightspace.tracing.primitives._pattern import (
    JOINED,
    Add,
    Arithmetic,
    Compare,
    Each,
    Homogeneous,
    Multiply,
    Other,
    Pattern,
    joints,
    symbols_of,
)
from equikit.weightspace.tracing.primitives._table import TABLE
from equikit.weightspace.tracing.programs._loops import all_alike, carried, looped
from equikit.weightspace.tracing.programs._program import Call

Form = dict[int, Fraction]
"""A linear form: the coefficient of each unknown, by its number; missing unknowns have coefficient zero."""
Forms = tuple[Form, ...]
"""One form for each free index set (atom) of an axis."""
Kind = Literal["positive", "sign", "linear"]
"""The kind of symmetry: positive scales, signs, or general linear groups."""


class Array(list[Place]):
    """The forms of an array, one tuple for each member of each place, and whether all entries are known to be zero."""

    zero = False

    @classmethod
    def of(cls, places: Sequence[Place], zero: bool) -> Array:
        """Return an array with these places."""
        found = cls(places)
        found.zero = zero
        return found


def combined(one: Form, two: Form, factor: Fraction | int = 1) -> Form:
    """Return `one + factor two`."""
    found = dict(one)
    for number, value in two.items():
        found[number] = found.get(number, Fraction(0)) + factor * value
    return {number: value for number, value in found.items() if value}


def plain(places: Sequence[Place], zero: bool = False) -> Array:
    """Return an array with these axes and power zero."""
    return Array.of([_with(place, lambda axis: tuple({} for _ in atoms(axis))) for place in places], zero)


def _with(place: Place, make: Any) -> Place:
    if place.same:
        return Place(single(()), same=True)
    return Place(filled(place.members.shape, lambda index: make(place.members[index])), place.over)


@dataclass
class Powers:
    """The linear constraints on the powers.

    Attributes:
        kind: the kind of symmetry.
        rows: forms that must vanish.
        carried: additional unknowns, with negative numbers, for the powers of loop carries; each with its atom.
    """

    kind: Kind
    rows: list[Form] = field(default_factory=list)
    carried: dict[int, Axis] = field(default_factory=dict)

    def vanish(self, form: Form) -> None:
        """Require that a form is zero."""
        if form:
            self.rows.append(form)

    def equal(self, one: Forms, two: Forms) -> None:
        """Require that forms are equal."""
        for mine, theirs in zip(one, two, strict=True):
            self.vanish(combined(mine, theirs, -1))

    def unknown(self, place: Place) -> Place:
        """Return new unknowns as the forms of a loop carry."""

        def fresh(axis: Axis) -> Forms:
            first = -1 - len(self.carried)
            its = atoms(axis)
            self.carried |= {first - number: atom for number, atom in enumerate(its)}
            return tuple({first - number: Fraction(1)} for number in range(len(its)))

        return _with(place, fresh)

    def run(self, call: Call, operands: Sequence[Array]) -> list[Array]:
        """Return the powers of the results of a program."""
        known: dict[Any, Array] = dict(zip(call.jaxpr.invars, operands, strict=True))
        for variable, value in zip(call.jaxpr.constvars, call.constants, strict=True):
            known[variable] = plain(call.places[variable], _is_zero(value))

        def of(variable: Any) -> Array:
            if isinstance(variable, core.Literal):
                return plain(call.of(variable), _is_zero(variable.val))
            return known[variable]

        for number, equation in enumerate(call.jaxpr.eqns):
            given = [of(variable) for variable in equation.invars]
            places = [call.places[variable] for variable in equation.outvars]
            if number in call.inner:
                found = self.run(call.inner[number], given)
            elif number in call.bodies:
                found = self._controlled(equation, call.bodies[number], given)
            else:
                found = self._equation(equation, call.related[number], given, places)
            known.update(zip(equation.outvars, found, strict=True))
        return [of(variable) for variable in call.jaxpr.outvars]

    def _controlled(self, equation: Any, bodies: list[Call], given: list[Array]) -> list[Array]:
        if equation.primitive.name == "cond":
            self._nothing(given[:1])
        rest = iter(bodies)

        def body(which: str, operands: list[Places]) -> list[Places]:
            call = next(rest)
            return [*self.run(call, [one if isinstance(one, Array) else Array(one) for one in operands])]

        loop = None if equation.primitive.name == "cond" else carried(equation)
        found = looped(equation, list[Places](given), body, _Loop(self, bodies[-1], loop or (0, 0)))
        return [one if isinstance(one, Array) else Array(one) for one in found]

    def _nothing(self, given: Sequence[Array]) -> None:
        """Require that these arrays have power zero."""
        for array in given:
            for place in array:
                for forms in place.members.flat:
                    for form in forms:
                        self.vanish(form)

    def _equation(self, equation: Any, its: Related, given: list[Array], places: list[Places]) -> list[Array]:
        name = equation.primitive.name
        how = TABLE[name].numbers(equation) if name in TABLE else Other()
        shares = self._shares(its, given)
        if shares is None or isinstance(how, Other):
            self._nothing(given)
            return [plain(one) for one in places]
        combine = _Combine(self, how, its.pattern, its.columns, shares, [array.zero for array in given])
        return [
            Array.of(self._result(combine, number, shape, one), combine.zero(number))
            for number, (shape, one) in enumerate(zip(its.pattern.results, places, strict=True))
        ]

    def _result(self, combine: _Combine, number: int, shape: tuple[Simple, ...], places: Places) -> list[Place]:
        columns = combine.result(number)

        def compose(columns: Columns, tree: Tree) -> Forms:
            return tuple(form for one in entries(tree) for form in columns.members[one.label][one.index])

        found = [*result_places(columns, shape, compose, self.equal)]
        return [Place(single(()), same=True) if one.same else mine for mine, one in zip(found, places, strict=True)]

    def _shares(self, its: Related, given: list[Array]) -> Shares | None:
        """Return for each label the forms of all operands with this label; None if their atoms do not match."""
        found: Shares = {label: {} for label in its.columns.over}
        for number, (shape, array) in enumerate(zip(its.pattern.operands, given, strict=True)):
            for axis, place in zip(shape, array, strict=True):
                over = in_pattern(place.over, shape, its.lookups)
                if place.same:
                    for symbol in symbols_of(axis):
                        found[symbol.label][number] = its.columns.over[symbol.label], _empty(its.columns, symbol.label)
                elif isinstance(axis, Symbol):
                    found[axis.label][number] = over, place.members
                elif not self._divide(its.columns, axis, over, place.members, number, found):
                    return None
        for number, whole, pieces in joints(its.pattern):
            for label, over in its.columns.over.items():
                if whole in over:
                    found[label] = {number: joined(found[label], pieces, whole, self.equal)}
        fitted: Shares = {}
        for label, by_operand in found.items():
            wanted = its.columns.over[label]
            fitted[label] = {
                number: (wanted, fit(members, over, wanted, self.equal))
                for number, (over, members) in by_operand.items()
            }
            sizes = _empty(its.columns, label)
            for _, members in fitted[label].values():
                if any(len(members[at]) != len(sizes[at]) for at in np.ndindex(*sizes.shape)):
                    return None
        return fitted

    def _divide(
        self, columns: Columns, axis: Simple, over: Any, members: np.ndarray, number: int, found: Shares
    ) -> bool:
        """Distribute the forms of an axis to the labels of its expression; return False if they do not match."""
        common = columns.inside(axis)
        fitted = fit(members, over, common, self.equal)
        for symbol in symbols_of(axis):
            found[symbol.label][number] = columns.over[symbol.label], _empty(columns, symbol.label)
        for index in np.ndindex(*fitted.shape):
            rest = list(fitted[index])
            for one in entries(columns.tree(axis, dict(zip(common, index, strict=True)))):
                count = len(atoms(columns.members[one.label][one.index]))
                if len(rest) < count:
                    return False
                found[one.label][number][1][one.index] = tuple(rest[:count])
                del rest[:count]
            if rest:
                return False
        return True


def _empty(columns: Columns, label: str) -> np.ndarray:
    members = columns.members[label]
    return filled(members.shape, lambda index: tuple({} for _ in atoms(members[index])))


@dataclass(frozen=True)
class _Loop:
    """The operations on forms that loops need."""

    powers: Powers
    body: Call
    which: tuple[int, int]

    def merge(self, one: Forms, two: Forms) -> None:
        self.powers.equal(one, two)

    def repeated(self, place: Place, other: Place) -> None:
        if place.members[()] != ZERO:
            for forms in other.members.flat:
                for form in forms:
                    self.powers.vanish(form)

    def state(self, given: list[Places]) -> list[Places]:
        """Return unknown forms, constrained to equal the forms of the initial carry."""
        invars, (start, end) = self.body.jaxpr.invars, self.which
        # The operands of a while loop also include the constants of its condition.
        first = min(start, len(invars) - (end - start))
        places = [self.body.places[variable] for variable in invars[first : first + len(given)]]
        state: list[Places] = [[self.powers.unknown(place) for place in one] for one in places]
        starts: list[Places] = [
            [Place(single(ZERO), same=True) for _ in one] if getattr(one, "zero", False) else one for one in given
        ]
        all_alike(starts, state, self)
        return state

    def steps(self, places: list[Place], size: int) -> Place:
        return Place(single(()))


ZERO = "zero"
"""The entry of a place in an array of zeros, which is compatible with every power."""


@dataclass(frozen=True)
class _Combine:
    """Combines the forms of an equation's operands into the forms of its results, label by label."""

    powers: Powers
    how: Arithmetic
    pattern: Pattern
    columns: Columns
    shares: Shares
    zeros: Sequence[bool]

    def zero(self, number: int) -> bool:
        """Whether a result is known to be zero everywhere."""
        if isinstance(self.how, Add):
            return all(self.zeros[term] for term in self._terms())
        if isinstance(self.how, Each):
            return self.zeros[number]
        if isinstance(self.how, Multiply):
            return any(zero and degree == 1 for zero, degree in zip(self.zeros, self.how.degrees, strict=True))
        if isinstance(self.how, Homogeneous):
            return self.zeros[0] and bool(self.how.odd or (self.how.degree or 0) > 0)
        return False

    def _terms(self) -> tuple[int, ...]:
        every = tuple(range(len(self.pattern.operands)))
        return every if not isinstance(self.how, Add) or self.how.terms is None else self.how.terms

    def result(self, number: int) -> Columns:
        """Return the forms of all labels of a result; the first one also records the constraints on operands."""
        members = {}
        for label, empty in ((label, _empty(self.columns, label)) for label in self.columns.over):
            for index in np.ndindex(*empty.shape):
                empty[index] = tuple(
                    self._form(label, number, {k: some[index][which] for k, (_, some) in self.shares[label].items()})
                    for which in range(len(empty[index]))
                )
            members[label] = empty
        return Columns(self.columns.over, members)

    def _form(self, label: str, number: int, given: dict[int, Form]) -> Form:
        found = self._combined(label, number, given)
        # Entries that slicing cuts off do not matter; entries that are summed over do.
        if not self._kept(label) and not self._in_sum(label, self.pattern.operands):
            self.powers.vanish(found)
        return {} if isinstance(self.how, Compare) else found

    def _kept(self, label: str) -> bool:
        return any(label in {s.label for axis in shape for s in symbols_of(axis)} for shape in self.pattern.results)

    def _in_sum(self, label: str, shapes: Sequence[tuple[Simple, ...]]) -> bool:
        return any(
            isinstance(axis, Sum) and label in {symbol.label for symbol in symbols_of(axis)}
            for shape in shapes
            for axis in shape
        )

    def _combined(self, label: str, number: int, given: dict[int, Form]) -> Form:
        how, kind = self.how, self.powers.kind
        if isinstance(how, Multiply):
            return self._product(label, how, given)
        if isinstance(how, Homogeneous):
            (form,) = given.values() or ({},)
            if kind == "positive" and how.degree is not None:
                return combined({}, form, how.degree)
            if kind == "sign" and how.odd is not None:
                return form if how.odd else {}
            return self._refused([form])
        if isinstance(how, Compare):
            allowed = kind == "positive" or (kind == "sign" and how.equality)
        else:
            assert isinstance(how, Add | Each)
            allowed = kind == "positive" or not how.ordered
        if not allowed:
            return self._refused(given.values())
        if isinstance(how, Each):
            return given.get(number, {})
        for operand in given.keys() - {*self._terms(), JOINED}:
            self.powers.vanish(given[operand])
        return self._common(label, given)

    def _common(self, label: str, given: dict[int, Form]) -> Form:
        """Require that all nonzero terms have one form, and return it; terms without the label have the form zero."""
        if JOINED in given:
            return given[JOINED]
        beside = self._in_sum(label, self.pattern.results)
        terms = [term for term in self._terms() if not self.zeros[term] and (term in given or not beside)]
        forms = [given.get(term, {}) for term in terms]
        for other in forms[1:]:
            self.powers.vanish(combined(forms[0], other, -1))
        return forms[0] if forms else {}

    def _product(self, label: str, how: Multiply, given: dict[int, Form]) -> Form:
        for number, form in given.items():
            if how.degrees[number] is None:
                self.powers.vanish(form)
        known = {number: form for number, form in given.items() if how.degrees[number] is not None}
        if self.powers.kind == "linear":
            several = self._kept(label) and sum(map(bool, known.values())) > 1
            for number, form in known.items():
                if several or how.degrees[number] != 1:
                    self.powers.vanish(form)
        found: Form = {}
        for number, form in known.items():
            found = combined(found, form, how.degrees[number] or 0)
        return found

    def _refused(self, forms: Any) -> Form:
        for form in forms:
            self.powers.vanish(form)
        return {}


def _is_zero(value: Any) -> bool:
    try:
        return bool(np.all(np.asarray(value) == 0))
    except (TypeError, ValueError):  # keys and traced arrays
        return False
