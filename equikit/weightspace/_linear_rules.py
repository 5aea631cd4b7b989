"""What each primitive asks of a general linear group that acts on an axis: only what is linear along it is allowed.

Forms are those of scales, but stand for less: an array is a vector along an axis, one unknown, whose value is plus one,
or minus one for a dual vector; or it is the same everywhere along it, the empty form. A contraction needs a vector and
a dual vector, and a sum terms of one kind, as with scales of power one and minus one. A product along the axis, which
adds powers of scales, is not allowed.

Where an operation is not allowed its result has the empty form, though it may differ along the axis. That does no harm:
whatever differs along a free axis is made of parameters with its label, and the whole label is refused.
"""

from __future__ import annotations

import itertools
from typing import Any

import jax
import jax.numpy as jnp

from equikit.weightspace import _power_rules as powers_of
from equikit.weightspace._axes import Axis
from equikit.weightspace._power_places import PLACING
from equikit.weightspace._powers import Form, Powers, Rule, Scaled, atoms, nothing

KEEPING = ("copy", "copy_p", "neg", "optimization_barrier", "real", "reduce_precision", "stop_gradient")
ADDING = ("add", "add_any", "sub")


def _one_of_both(powers: Powers, one: Form, two: Form) -> None:
    """Along an axis one factor may be a vector, and the other has to be the same everywhere."""
    if one and two:
        powers.vanish(one)
        powers.vanish(two)


def multiplying(powers: Powers, equation: Any, given: list[Scaled], axes: list[list[Axis]]) -> list[Scaled]:
    """By what is the same everywhere; so is what is divided by."""
    sides = [itertools.chain(*powers_of.spread(array, axes[0])) for array in given]
    for one, two in zip(*sides, strict=True):
        _one_of_both(powers, one, two)
        if equation.primitive.name == "div":
            powers.vanish(two)
    return powers_of.multiplying(powers, equation, given, axes)


def converting(powers: Powers, equation: Any, given: list[Scaled], axes: list[list[Axis]]) -> list[Scaled]:
    """Another precision."""
    if jnp.issubdtype(equation.params["new_dtype"], jnp.inexact):
        return powers_of.keeping(powers, equation, given, axes)
    return nothing(powers, given, axes)


def contracting(powers: Powers, equation: Any, given: list[Scaled], axes: list[list[Axis]]) -> list[Scaled]:
    """A vector and a dual vector where axes are summed over, one of both where they go along."""
    _, batch = equation.params["dimension_numbers"]
    left, right = given
    for one, two in zip(*batch, strict=True):
        for mine, other in zip(left.forms[int(one)], right.forms[int(two)], strict=True):
            _one_of_both(powers, mine, other)
    return powers_of.contracting(powers, equation, given, axes)


def looking_up(powers: Powers, equation: Any, given: list[Scaled], axes: list[list[Axis]]) -> list[Scaled]:
    """Axes that are taken whole stay what they are; those in which places are looked up are rigid."""
    numbers, fill = equation.params["dimension_numbers"], equation.params["fill_value"]
    (operand, indices), (result,) = given, axes
    filled = equation.params["mode"] == jax.lax.GatherScatterMode.FILL_OR_DROP and fill not in (None, 0)
    if filled or numbers.operand_batching_dims:
        return nothing(powers, given, axes)
    nothing(powers, [indices], [])
    forms = [tuple[Form, ...]({} for _ in atoms(axis)) for axis in result]
    kept = (place for place in range(len(operand.axes)) if place not in numbers.collapsed_slice_dims)
    for place, at in zip(kept, numbers.offset_dims, strict=True):
        if operand.axes[place].root is result[at].root:
            forms[at] = operand.forms[place]
    return [Scaled(tuple(result), tuple(forms), operand.zero)]


LINEAR_RULES: dict[str, Rule] = {
    **dict.fromkeys(KEEPING, powers_of.keeping),
    **dict.fromkeys(ADDING, powers_of.adding),
    "convert_element_type": converting,
    "mul": multiplying,
    "div": multiplying,
    "select_n": powers_of.selecting,
    "reduce_sum": powers_of.reducing,
    "reduce_window_sum": powers_of.windowing,
    "dot_general": contracting,
    "conv_general_dilated": powers_of.convolving,
    "gather": looking_up,
    **PLACING,
}
