"""By which power of a scale every array of a program is multiplied, index by index of its axes.

Where each index i of a label has a scale s_i, an array with this label on an axis may be multiplied there by a power of
it. The powers of the parameters are unknown; those of results are linear forms in them, and operations ask that some of
these vanish: a sum has terms of one power, a contraction powers that cancel, tanh none at all. With signs in place of
scales powers count modulo two, and tanh keeps them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jax.extend.core import Literal

from equikit.weightspace._axes import Axis
from equikit.weightspace._power_rules import RULES, unknown
from equikit.weightspace._powers import Powers, Rule, Scaled, nothing, plain
from equikit.weightspace._program import Call, carried


def run(powers: Powers, call: Call, operands: Sequence[Scaled], rules: Mapping[str, Rule] = RULES) -> list[Scaled]:
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
            found = run(powers, call.inner[number], given, rules)
        elif number in call.bodies:
            found = _controlled(powers, equation, call.bodies[number], given, axes, rules)
        else:
            rule = rules.get(equation.primitive.name, unknown)
            found = rule(powers, equation, given, axes)
        known.update(zip(equation.outvars, found, strict=True))
    return [of(variable) for variable in call.jaxpr.outvars]


def _controlled(
    powers: Powers,
    equation: Any,
    bodies: list[Call],
    given: list[Scaled],
    axes: list[list[Axis]],
    rules: Mapping[str, Rule],
) -> list[Scaled]:
    """What a loop carries has one power in all steps; what branches return has one."""
    name = equation.primitive.name
    if name == "cond":
        nothing(powers, given[:1], [])
        results = [run(powers, body, given[1:], rules) for body in bodies]
        return [powers.common(arrays, one) for one, *arrays in zip(axes, *results, strict=True)]
    first, last = carried(equation)
    state = [powers.fresh(array) for array in given[first:last]]
    if name == "while":
        start = equation.params["cond_nconsts"]
        run(powers, bodies[0], [*given[:start], *state], rules)
        found = run(powers, bodies[1], [*given[start:first], *state], rules)
    else:
        steps = [Scaled(array.axes[1:], array.forms[1:], array.zero) for array in given[last:]]
        found = run(powers, bodies[0], [*given[:first], *state, *steps], rules)
    for before, now, after in zip(given[first:last], state, found, strict=False):
        powers.common([now, before, after], now.axes)
    rows = zip(axes[len(state) :], found[len(state) :], strict=True)
    return [*state, *(Scaled(tuple(one), (plain(one[:1]).forms[0], *row.forms)) for one, row in rows)]


def _is_zero(value: Any) -> bool:
    try:
        return bool(np.all(np.asarray(value) == 0))
    except (TypeError, ValueError):  # keys, and arrays of a program that is being traced
        return False
