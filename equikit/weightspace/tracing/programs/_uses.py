"""The order in which a program uses its parameters."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

from equikit.weightspace.tracing.programs._program import Call

Held = frozenset[int] | None
"""The parameters from which an array is computed; None if it depends on the inputs of the model, too."""


def first_uses(call: Call, params: int) -> list[int]:
    """Return for each parameter when it first meets the model's inputs; casts and reshapes of parameters are no uses.

    Args:
        call: the program; its first inputs are the parameters.
        params: their number.
    """
    found: dict[int, int] = {}
    operands: list[Held] = [frozenset({place}) if place < params else None for place in range(len(call.jaxpr.invars))]
    _run(call, operands, found)
    return [found.get(place, len(found)) for place in range(params)]


def _run(call: Call, operands: Sequence[Held], found: dict[int, int]) -> list[Held]:
    known: dict[Any, Held] = dict(zip(call.jaxpr.invars, operands, strict=True))

    def of(variable: Any) -> Held:
        return frozenset() if hasattr(variable, "val") else known.get(variable, frozenset())

    for number, equation in enumerate(call.jaxpr.eqns):
        given = [of(variable) for variable in equation.invars]
        data = any(held is None for held in given)
        if number in call.inner:
            results = _run(call.inner[number], given, found)
        else:
            if data and equation.primitive.name == "scan":
                for body in call.bodies[number][:1]:  # all bodies use the parameters in the same order
                    _run(body, given, found)
            held = frozenset(itertools.chain(*(one for one in given if one is not None)))
            for place in sorted(held) if data else ():
                found.setdefault(place, len(found))
            results = [None if data else held for _ in equation.outvars]
        known.update(zip(equation.outvars, results, strict=True))
    return [of(variable) for variable in call.jaxpr.outvars]
