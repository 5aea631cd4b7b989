"""What each primitive asks of the powers of its operands, and those of its results."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import jax.numpy as jnp

from equikit.weightspace._axes import Axis
from equikit.weightspace._power_places import PLACING
from equikit.weightspace._powers import Form, Powers, Rule, Scaled, atoms, combined, nothing, plain
from equikit.weightspace._rules import ORDERED, REDUCTIONS

KEEPING = ["copy", "neg", "optimization_barrier", "real", "reduce_precision", "stop_gradient"]
ADDING = ["add", "add_any", "max", "min", "sub"]
POWERS: dict[str, Fraction | int] = {
    "abs": 1,
    "cbrt": Fraction(1, 3),
    "rsqrt": Fraction(-1, 2),
    "sqrt": Fraction(1, 2),
    "square": 2,
}
COMPARING = ["eq", "ge", "gt", "le", "lt", "ne"]
ODD = ["asinh", "atan", "erf", "erf_inv", "sign", "sin", "sinh", "tan", "tanh"]
EVEN = ["cos", "cosh", "one_minus_square"]


def unknown(powers: Powers, equation: Any, given: list[Scaled], axes: list[list[Axis]]) -> list[Scaled]:
    """Of operations without a rule nothing is known."""
    return nothing(powers, given, axes)


def spread(array: Scaled, axes: list[Axis]) -> list[tuple[Form, ...]]:
    """The forms of an operand along the axes of an elementwise result, which are none where it is repeated."""
    empty = [tuple[Form, ...]({} for _ in atoms(axis)) for axis in axes]
    if len(array.axes) != len(axes):
        return empty
    return [
        forms if mine.size == other.size else none
        for mine, other, forms, none in zip(array.axes, axes, array.forms, empty, strict=True)
    ]


def adding(powers: Powers, equation: Any, given: list[Scaled], axes: list[list[Axis]]) -> list[Scaled]:
    """All terms have one power, but for zeros."""
    (result,) = axes
    terms = [array for array in given if not array.zero]
    if not terms:
        return [plain(result, zero=equation.primitive.name not in COMPARING)]
    if powers.signs and equation.primitive.name in ("max", "min"):
        return nothing(powers, given, axes)
    every = [spread(array, result) for array in terms]
    forms: list[tuple[Form, ...]] = []
    for place in range(len(result)):
        first, *others = (one[place] for one in every)
        for other in others:
            for mine, theirs in zip(first, other, strict=True):
                powers.equal(mine, theirs)
        forms.append(first)
    return [Scaled(tuple(result), tuple(forms))]


def comparing(powers: Powers, equation: Any, given: list[Scaled], axes: list[list[Axis]]) -> list[Scaled]:
    """What is larger does not change where both sides are multiplied alike, by what is positive."""
    if powers.signs and equation.primitive.name not in ("eq", "ne"):
        return nothing(powers, given, axes)
    adding(powers, equation, given, axes)
    return [plain(axes[0])]


def selecting(powers: Powers, equation: Any, given: list[Scaled], axes: list[list[Axis]]) -> list[Scaled]:
    """All cases have one power, and which is taken does not change."""
    nothing(powers, given[:1], [])
    return adding(powers, equation, given[1:], axes)


def multiplying(powers: Powers, equation: Any, given: list[Scaled], axes: list[list[Axis]]) -> list[Scaled]:
    """Powers add up; those of what is divided by are taken away."""
    (result,) = axes
    one, two = (spread(array, result) for array in given)
    sign = -1 if equation.primitive.name == "div" else 1
    forms = tuple(
        tuple(combined(mine, other, sign) for mine, other in zip(*both, strict=True))
        for both in zip(one, two, strict=True)
    )
    return [Scaled(tuple(result), forms, given[0].zero or (sign == 1 and given[1].zero))]


def keeping(powers: Powers, equation: Any, given: list[Scaled], axes: list[list[Axis]]) -> list[Scaled]:
    """The same powers, for every result those of its operand."""
    return [Scaled(tuple(one), array.forms, array.zero) for one, array in zip(axes, given, strict=True)]


def converting(powers: Powers, equation: Any, given: list[Scaled], axes: list[list[Axis]]) -> list[Scaled]:
    """What becomes an integer is cut off, and what becomes a boolean only tells zeros from others."""
    if jnp.issubdtype(equation.params["new_dtype"], jnp.inexact):
        return keeping(powers, equation, given, axes)
    if jnp.issubdtype(equation.params["new_dtype"], jnp.bool_):
        return [plain(axes[0])]
    return nothing(powers, given, axes)


def power(powers: Powers, equation: Any, given: list[Scaled], axes: list[list[Axis]]) -> list[Scaled]:
    """Powers times a number; of signs only whole ones."""
    name = equation.primitive.name
    factor = Fraction(equation.params["y"]) if name == "integer_pow" else Fraction(POWERS[name])
    if powers.signs and name == "abs":
        return [plain(axes[0])]
    if powers.signs and factor.denominator != 1:
        return nothing(powers, given, axes)
    forms = tuple(tuple(combined({}, form, factor) for form in some) for some in given[0].forms)
    return [Scaled(tuple(axes[0]), forms, given[0].zero and factor > 0)]


def odd(powers: Powers, equation: Any, given: list[Scaled], axes: list[list[Axis]]) -> list[Scaled]:
    """Signs pass through; scales do not, but through the sign."""
    if powers.signs:
        return [Scaled(tuple(axes[0]), given[0].forms, given[0].zero)]
    return [plain(axes[0])] if equation.primitive.name == "sign" else nothing(powers, given, axes)


def even(powers: Powers, equation: Any, given: list[Scaled], axes: list[list[Axis]]) -> list[Scaled]:
    """Signs vanish."""
    return [plain(axes[0])] if powers.signs else nothing(powers, given, axes)


def reducing(powers: Powers, equation: Any, given: list[Scaled], axes: list[list[Axis]]) -> list[Scaled]:
    """What is reduced is not multiplied; of products along an axis nothing is known."""
    name, gone = equation.primitive.name, {int(place) for place in equation.params["axes"]}
    if name not in ("reduce_sum", "reduce_max", "reduce_min") or (powers.signs and name != "reduce_sum"):
        return nothing(powers, given, axes)
    for place in gone:
        for form in given[0].forms[place]:
            powers.vanish(form)
    forms = tuple(some for place, some in enumerate(given[0].forms) if place not in gone)
    return [Scaled(tuple(axes[0]), forms, given[0].zero)]


def contracting(powers: Powers, equation: Any, given: list[Scaled], axes: list[list[Axis]]) -> list[Scaled]:
    """Powers cancel where axes are summed over, and add up where they go along."""
    (left_sum, right_sum), (left_batch, right_batch) = equation.params["dimension_numbers"]
    left, right = given
    for one, two in zip(left_sum, right_sum, strict=True):
        for mine, other in zip(left.forms[int(one)], right.forms[int(two)], strict=True):
            powers.vanish(combined(mine, other))
    gone, also = {*map(int, left_sum), *map(int, left_batch)}, {*map(int, right_sum), *map(int, right_batch)}
    forms = [
        tuple(map(combined, left.forms[int(one)], right.forms[int(two)]))
        for one, two in zip(left_batch, right_batch, strict=True)
    ]
    forms += [some for place, some in enumerate(left.forms) if place not in gone]
    forms += [some for place, some in enumerate(right.forms) if place not in also]
    return [Scaled(tuple(axes[0]), tuple(forms), left.zero or right.zero)]


def convolving(powers: Powers, equation: Any, given: list[Scaled], axes: list[list[Axis]]) -> list[Scaled]:
    """As a contraction of channels; in groups nothing is known."""
    params, (left, kernel) = equation.params, given
    if params["batch_group_count"] != 1 or params["feature_group_count"] != 1:
        return nothing(powers, given, axes)
    numbers, (result,) = params["dimension_numbers"], axes
    for mine, other in zip(left.forms[numbers.lhs_spec[1]], kernel.forms[numbers.rhs_spec[1]], strict=True):
        powers.vanish(combined(mine, other))
    forms = [tuple[Form, ...]({} for _ in atoms(axis)) for axis in result]
    forms[numbers.out_spec[0]] = left.forms[numbers.lhs_spec[0]]
    forms[numbers.out_spec[1]] = kernel.forms[numbers.rhs_spec[0]]
    return [Scaled(tuple(result), tuple(forms), left.zero or kernel.zero)]


def windowing(powers: Powers, equation: Any, given: list[Scaled], axes: list[list[Axis]]) -> list[Scaled]:
    """Along axes with windows, which are rigid, there are no powers."""
    name, array, (result,) = equation.primitive.name, given[0], axes
    if len(given) != 1 or (powers.signs and name != "reduce_window_sum"):
        return nothing(powers, given, axes)
    forms = tuple(
        some if mine.size == other.size else tuple({} for _ in atoms(other))
        for mine, other, some in zip(array.axes, result, array.forms, strict=True)
    )
    return [Scaled(tuple(result), forms, array.zero)]


RULES: dict[str, Rule] = {
    **dict.fromkeys(ODD, odd),
    **dict.fromkeys(EVEN, even),
    **dict.fromkeys(POWERS, power),
    **dict.fromkeys(KEEPING, keeping),
    **dict.fromkeys(ADDING, adding),
    **dict.fromkeys(COMPARING, comparing),
    **dict.fromkeys(REDUCTIONS, reducing),
    **dict.fromkeys(ORDERED, unknown),
    "convert_element_type": converting,
    "integer_pow": power,
    "mul": multiplying,
    "div": multiplying,
    "select_n": selecting,
    "dot_general": contracting,
    "conv_general_dilated": convolving,
    **PLACING,
    **dict.fromkeys(("reduce_window_sum", "reduce_window_max", "reduce_window_min"), windowing),
}
