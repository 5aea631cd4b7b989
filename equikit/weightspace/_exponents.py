"""By which power of a scale every array of a program is multiplied, index by index of its axes.

Where each index i of a label has a scale s_i, an array with this label on an axis may be multiplied there by a power of
it. The powers of the parameters are unknown; those of results are linear forms in them, and operations ask that some of
these vanish: a sum has terms of one power, a contraction powers that cancel, tanh none at all. With signs in place of
scales powers count modulo two, and tanh keeps them.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import numpy as np
from jax.extend.core import Literal

from equikit.weightspace._axes import Axis
from equikit.weightspace._program import Call, carried
from equikit.weightspace._rules import ORDERED, REDUCTIONS

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


KEEPING = ["copy", "convert_element_type", "neg", "optimization_barrier", "real", "reduce_precision", "stop_gradient"]
ADDING = ["add", "add_any", "max", "min", "sub"]
POWERS = {"abs": 1, "cbrt": Fraction(1, 3), "rsqrt": Fraction(-1, 2), "sqrt": Fraction(1, 2), "square": 2}
COMPARING = ["eq", "ge", "gt", "le", "lt", "ne"]
ODD = ["asinh", "atan", "erf", "erf_inv", "sign", "sin", "sinh", "tan", "tanh"]
EVEN = ["cos", "cosh"]


@dataclass
class Powers:
    """Follows powers through a program.

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

    def run(self, call: Call, operands: Sequence[Scaled]) -> list[Scaled]:
        """The powers of what a program returns."""
        known: dict[Any, Scaled] = dict(zip(call.jaxpr.invars, operands, strict=True))
        for variable, value in zip(call.jaxpr.constvars, call.constants, strict=True):
            known[variable] = plain(call.axes[variable], _is_zero(value))

        def of(variable: Any) -> Scaled:
            if isinstance(variable, Literal):
                return plain(call.of(variable), _is_zero(variable.val))
            return known[variable]

        for number, equation in enumerate(call.jaxpr.eqns):
            given = [of(variable) for variable in equation.invars]
            axes = [call.axes[variable] for variable in equation.outvars]
            if number in call.inner:
                found = self.run(call.inner[number], given)
            elif number in call.bodies:
                found = self.controlled(equation, call.bodies[number], given, axes)
            else:
                rule = RULES.get(equation.primitive.name, Powers.unknown)
                found = rule(self, equation, given, axes)
            known.update(zip(equation.outvars, found, strict=True))
        return [of(variable) for variable in call.jaxpr.outvars]

    def controlled(
        self, equation: Any, bodies: list[Call], given: list[Scaled], axes: list[list[Axis]]
    ) -> list[Scaled]:
        """What a loop carries has one power in all steps; what branches return has one."""
        name = equation.primitive.name
        if name == "cond":
            self.unknown(equation, given[:1], [])
            results = [self.run(body, given[1:]) for body in bodies]
            return [self.common(arrays, one) for one, *arrays in zip(axes, *results, strict=True)]
        first, last = carried(equation)
        state = [self.fresh(array) for array in given[first:last]]
        if name == "while":
            start = equation.params["cond_nconsts"]
            self.run(bodies[0], [*given[:start], *state])
            found = self.run(bodies[1], [*given[start:first], *state])
        else:
            steps = [Scaled(array.axes[1:], array.forms[1:], array.zero) for array in given[last:]]
            found = self.run(bodies[0], [*given[:first], *state, *steps])
        for before, now, after in zip(given[first:last], state, found, strict=False):
            self.common([now, before, after], now.axes)
        rows = zip(axes[len(state) :], found[len(state) :], strict=True)
        return [*state, *(Scaled(tuple(one), ((), *row.forms)) for one, row in rows)]

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

    def windowing(self, equation: Any, given: list[Scaled], axes: list[list[Axis]]) -> list[Scaled]:
        """Along axes with windows, which are rigid, there are no powers."""
        name, array, (result,) = equation.primitive.name, given[0], axes
        if len(given) != 1 or (self.signs and name != "reduce_window_sum"):
            return self.unknown(equation, given, axes)
        forms = tuple(
            some if mine.size == other.size else tuple({} for _ in atoms(other))
            for mine, other, some in zip(array.axes, result, array.forms, strict=True)
        )
        return [Scaled(tuple(result), forms, array.zero)]

    def unknown(self, equation: Any, given: list[Scaled], axes: list[list[Axis]]) -> list[Scaled]:
        """Nothing may be multiplied."""
        for array in given:
            for form in itertools.chain(*array.forms):
                self.vanish(form)
        return [plain(one) for one in axes]

    def spread(self, array: Scaled, axes: list[Axis]) -> list[list[Form] | None]:
        """The forms of an operand along the axes of an elementwise result; `None` where it is repeated."""
        if len(array.axes) != len(axes):
            return [None] * len(axes)
        return [
            list(forms) if mine.size == other.size else None
            for mine, other, forms in zip(array.axes, axes, array.forms, strict=True)
        ]

    def adding(self, equation: Any, given: list[Scaled], axes: list[list[Axis]]) -> list[Scaled]:
        """All terms have one power, but for zeros."""
        (result,) = axes
        terms = [array for array in given if not array.zero]
        if not terms:
            return [plain(result, zero=equation.primitive.name not in COMPARING)]
        if self.signs and equation.primitive.name in ("max", "min"):
            return self.unknown(equation, given, axes)
        spread = [self.spread(array, result) for array in terms]
        forms: list[tuple[Form, ...]] = []
        for place, axis in enumerate(result):
            first, *others = ([{} for _ in atoms(axis)] if one[place] is None else one[place] for one in spread)
            for other in others:
                for mine, theirs in zip(first or [], other or [], strict=True):
                    self.equal(mine, theirs)
            forms.append(tuple(first or []))
        return [Scaled(tuple(result), tuple(forms))]

    def comparing(self, equation: Any, given: list[Scaled], axes: list[list[Axis]]) -> list[Scaled]:
        """What is larger does not change where both sides are multiplied alike, by what is positive."""
        if self.signs and equation.primitive.name not in ("eq", "ne"):
            return self.unknown(equation, given, axes)
        self.adding(equation, given, axes)
        return [plain(axes[0])]

    def selecting(self, equation: Any, given: list[Scaled], axes: list[list[Axis]]) -> list[Scaled]:
        """All cases have one power, and which is taken does not change."""
        self.unknown(equation, given[:1], [])
        return self.adding(equation, given[1:], axes)

    def multiplying(self, equation: Any, given: list[Scaled], axes: list[list[Axis]]) -> list[Scaled]:
        """Powers add up; those of what is divided by are taken away."""
        (result,) = axes
        one, two = (self.spread(array, result) for array in given)
        sign = -1 if equation.primitive.name == "div" else 1
        forms = []
        for place, axis in enumerate(result):
            first, second = ([{} for _ in atoms(axis)] if some[place] is None else some[place] for some in (one, two))
            forms.append(tuple(combined(a, b, sign) for a, b in zip(first or [], second or [], strict=True)))
        return [Scaled(tuple(result), tuple(forms), given[0].zero or (sign == 1 and given[1].zero))]

    def keeping(self, equation: Any, given: list[Scaled], axes: list[list[Axis]]) -> list[Scaled]:
        """The same powers."""
        return [Scaled(tuple(axes[0]), given[0].forms, given[0].zero)]

    def power(self, equation: Any, given: list[Scaled], axes: list[list[Axis]]) -> list[Scaled]:
        """Powers times a number; of signs only whole ones."""
        name = equation.primitive.name
        factor = Fraction(equation.params["y"]) if name == "integer_pow" else Fraction(POWERS[name])
        if self.signs and name == "abs":
            return [plain(axes[0])]
        if self.signs and factor.denominator != 1:
            return self.unknown(equation, given, axes)
        forms = tuple(tuple(combined({}, form, factor) for form in some) for some in given[0].forms)
        return [Scaled(tuple(axes[0]), forms, given[0].zero and factor > 0)]

    def odd(self, equation: Any, given: list[Scaled], axes: list[list[Axis]]) -> list[Scaled]:
        """Signs pass through; scales do not, but through the sign."""
        if self.signs:
            return [Scaled(tuple(axes[0]), given[0].forms, given[0].zero)]
        return [plain(axes[0])] if equation.primitive.name == "sign" else self.unknown(equation, given, axes)

    def even(self, equation: Any, given: list[Scaled], axes: list[list[Axis]]) -> list[Scaled]:
        """Signs vanish."""
        return [plain(axes[0])] if self.signs else self.unknown(equation, given, axes)

    def reducing(self, equation: Any, given: list[Scaled], axes: list[list[Axis]]) -> list[Scaled]:
        """What is reduced is not multiplied; of products along an axis nothing is known."""
        name, gone = equation.primitive.name, {int(place) for place in equation.params["axes"]}
        if name not in ("reduce_sum", "reduce_max", "reduce_min") or (self.signs and name != "reduce_sum"):
            return self.unknown(equation, given, axes)
        for place in gone:
            for form in given[0].forms[place]:
                self.vanish(form)
        forms = tuple(some for place, some in enumerate(given[0].forms) if place not in gone)
        return [Scaled(tuple(axes[0]), forms, given[0].zero)]

    def contracting(self, equation: Any, given: list[Scaled], axes: list[list[Axis]]) -> list[Scaled]:
        """Powers cancel where axes are summed over, and add up where they go along."""
        (left_sum, right_sum), (left_batch, right_batch) = equation.params["dimension_numbers"]
        left, right = given
        for one, two in zip(left_sum, right_sum, strict=True):
            for mine, other in zip(left.forms[int(one)], right.forms[int(two)], strict=True):
                self.vanish(combined(mine, other))
        gone, also = {*map(int, left_sum), *map(int, left_batch)}, {*map(int, right_sum), *map(int, right_batch)}
        forms = [
            tuple(map(combined, left.forms[int(one)], right.forms[int(two)]))
            for one, two in zip(left_batch, right_batch, strict=True)
        ]
        forms += [some for place, some in enumerate(left.forms) if place not in gone]
        forms += [some for place, some in enumerate(right.forms) if place not in also]
        return [Scaled(tuple(axes[0]), tuple(forms), left.zero or right.zero)]

    def convolving(self, equation: Any, given: list[Scaled], axes: list[list[Axis]]) -> list[Scaled]:
        """As a contraction of channels; in groups nothing is known."""
        params, (left, kernel) = equation.params, given
        if params["batch_group_count"] != 1 or params["feature_group_count"] != 1:
            return self.unknown(equation, given, axes)
        numbers, (result,) = params["dimension_numbers"], axes
        for mine, other in zip(left.forms[numbers.lhs_spec[1]], kernel.forms[numbers.rhs_spec[1]], strict=True):
            self.vanish(combined(mine, other))
        forms = [tuple[Form, ...]({} for _ in atoms(axis)) for axis in result]
        forms[numbers.out_spec[0]] = left.forms[numbers.lhs_spec[0]]
        forms[numbers.out_spec[1]] = kernel.forms[numbers.rhs_spec[0]]
        return [Scaled(tuple(result), tuple(forms), left.zero or kernel.zero)]

    def placing(self, equation: Any, given: list[Scaled], axes: list[list[Axis]]) -> list[Scaled]:
        """Axes in other places: every axis of the result takes the forms of that of the operand that it is."""
        (result,), array = axes, given[0]
        name, params = equation.primitive.name, equation.params
        if name == "transpose":
            places: list[int | None] = [int(place) for place in params["permutation"]]
        elif name == "squeeze":
            gone = {int(place) % len(array.axes) for place in params["dimensions"]}
            places = [place for place in range(len(array.axes)) if place not in gone]
        else:
            into = {int(place): source for source, place in enumerate(params["broadcast_dimensions"])}
            places = [into.get(place) for place in range(len(result))]
        forms = []
        for axis, place in zip(result, places, strict=True):
            whole = place is not None and array.axes[place].size == axis.size
            forms.append(array.forms[place] if whole and place is not None else tuple({} for _ in atoms(axis)))
        return [Scaled(tuple(result), tuple(forms), array.zero)]

    def reshaping(self, equation: Any, given: list[Scaled], axes: list[list[Axis]]) -> list[Scaled]:
        """Atoms stay in their order, and are divided among the axes anew."""
        (result,), array = axes, given[0]
        forms = list(itertools.chain(*array.forms))
        counts = [len(atoms(axis)) for axis in result]
        if sum(counts) != len(forms) or equation.params.get("dimensions") is not None:
            return self.unknown(equation, given, axes)
        rest = iter(forms)
        return [Scaled(tuple(result), tuple(tuple(itertools.islice(rest, count)) for count in counts), array.zero)]

    def joining(self, equation: Any, given: list[Scaled], axes: list[list[Axis]]) -> list[Scaled]:
        """One after another along an axis, with one power along all others."""
        (result,), at = axes, equation.params["dimension"]
        forms: list[tuple[Form, ...]] = []
        for place, axis in enumerate(result):
            if place == at:
                forms.append(tuple(form for array in given for form in array.forms[place]))
                continue
            terms = [array.forms[place] for array in given if not array.zero] or [tuple({} for _ in atoms(axis))]
            for other in terms[1:]:
                for mine, theirs in zip(terms[0], other, strict=True):
                    self.equal(mine, theirs)
            forms.append(terms[0])
        if len(forms[at]) != len(atoms(result[at])):
            return self.unknown(equation, given, axes)
        return [Scaled(tuple(result), tuple(forms), all(array.zero for array in given))]

    def cutting(self, equation: Any, given: list[Scaled], axes: list[list[Axis]]) -> list[Scaled]:
        """Pieces of an axis take the forms of their atoms, which follow each other."""
        array = given[0]
        starts: list[list[int]] = [[0] * len(array.axes) for _ in axes]
        if equation.primitive.name == "split":
            sizes = [int(size) for size in equation.params["sizes"]]
            for one, start in zip(starts, itertools.accumulate([0, *sizes[:-1]]), strict=True):
                one[equation.params["axis"]] = start
        else:
            starts = [[int(start) for start in equation.params["start_indices"]]]
        found = []
        for result, its_starts in zip(axes, starts, strict=True):
            forms: list[tuple[Form, ...]] = []
            for mine, axis, some, start in zip(array.axes, result, array.forms, its_starts, strict=True):
                first = len(_before(mine, start)) if axis.size != mine.size else 0
                count = len(atoms(axis))
                forms.append(some[first : first + count])
                if len(forms[-1]) != count:
                    return self.unknown(equation, given, axes)
            found.append(Scaled(tuple(result), tuple(forms), array.zero))
        return found

    def padding(self, equation: Any, given: list[Scaled], axes: list[list[Axis]]) -> list[Scaled]:
        """Zeros may be put beside anything."""
        (result,), array = axes, given[0]
        forms = []
        for axis, some, (low, _, _) in zip(result, array.forms, equation.params["padding_config"], strict=True):
            count, first = len(atoms(axis)), len(_before(axis, low)) if low > 0 else 0
            rest = count - first - len(some)
            if rest < 0:
                return self.unknown(equation, given, axes)
            forms.append((*({} for _ in range(first)), *some, *({} for _ in range(rest))))
        if not given[1].zero:
            return self.unknown(equation, given, axes)
        return [Scaled(tuple(result), tuple(forms), array.zero)]


def _before(axis: Axis, start: int) -> list[Axis]:
    """The atoms of the parts of an axis that come before an index."""
    found: list[Axis] = []
    axis = axis.root
    if axis.kind == "sum":
        for part in axis.inner:
            if start <= 0:
                break
            found += atoms(part) if part.size <= start else _before(part, start)
            start -= part.size
    elif axis.size <= start:
        found = atoms(axis)
    return found


def _is_zero(value: Any) -> bool:
    try:
        return bool(np.all(np.asarray(value) == 0))
    except (TypeError, ValueError):  # keys, and arrays of a program that is being traced
        return False


Rule = Callable[[Powers, Any, list[Scaled], list[list[Axis]]], list[Scaled]]
RULES: dict[str, Rule] = {
    **dict.fromkeys(ODD, Powers.odd),
    **dict.fromkeys(EVEN, Powers.even),
    **dict.fromkeys(POWERS, Powers.power),
    **dict.fromkeys(KEEPING, Powers.keeping),
    **dict.fromkeys(ADDING, Powers.adding),
    **dict.fromkeys(COMPARING, Powers.comparing),
    **dict.fromkeys(REDUCTIONS, Powers.reducing),
    **dict.fromkeys(ORDERED, Powers.unknown),
    "integer_pow": Powers.power,
    "mul": Powers.multiplying,
    "div": Powers.multiplying,
    "select_n": Powers.selecting,
    "dot_general": Powers.contracting,
    "conv_general_dilated": Powers.convolving,
    "transpose": Powers.placing,
    "squeeze": Powers.placing,
    "broadcast_in_dim": Powers.placing,
    "reshape": Powers.reshaping,
    "concatenate": Powers.joining,
    "split": Powers.cutting,
    "slice": Powers.cutting,
    "pad": Powers.padding,
    **dict.fromkeys(("reduce_window_sum", "reduce_window_max", "reduce_window_min"), Powers.windowing),
}
