"""Find the live indices of parameters, which reach an output. Inputs of another length may use the other indices."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from equikit.weightspace.specifications._terms import Simple, Sum, Symbol
from equikit.weightspace.tracing.axes._axes import Axis
from equikit.weightspace.tracing.primitives._pattern import Pattern, symbols_of
from equikit.weightspace.tracing.primitives._table import contracts
from equikit.weightspace.tracing.programs._loops import carried
from equikit.weightspace.tracing.programs._program import Call

Live = list[np.ndarray] | None
"""A mask of live indices (which reach an output) for each axis of an array; None if no entry is live."""


def live_inputs(call: Call, results: Sequence[Live] | None = None) -> list[Live]:
    """Return the live indices of a program's inputs, given the live indices of its results (by default all)."""
    if results is None:
        results = [[np.ones(size, bool) for size in variable.aval.shape] for variable in call.jaxpr.outvars]
    known: dict[Any, Live] = {}

    def note(variables: Sequence[Any], lives: Sequence[Live]) -> None:
        for variable, live in zip(variables, lives, strict=True):
            if not hasattr(variable, "val"):
                known[variable] = either(known.get(variable), live)

    note(call.jaxpr.outvars, results)
    for number, equation in reversed([*enumerate(call.jaxpr.eqns)]):
        wanted = [known.get(variable) for variable in equation.outvars]
        if all(live is None for live in wanted):
            continue
        if number in call.inner:
            note(equation.invars, live_inputs(call.inner[number], wanted))
        elif number in call.bodies:
            note(equation.invars, _of_control(equation, call.bodies[number], wanted))
        else:
            note(equation.invars, _of_operands(equation, call.related[number].pattern, wanted))
    return [known.get(variable) for variable in call.jaxpr.invars]


def either(one: Live, two: Live) -> Live:
    """Return the union of two sets of live indices."""
    if one is None or two is None:
        return two if one is None else one
    return [a | b for a, b in zip(one, two, strict=True)]


def _all_of(some: Sequence[Live], others: Sequence[Live]) -> list[Live]:
    return [either(one, two) for one, two in zip(some, others, strict=True)]


def divided(axis: Any, live: np.ndarray) -> Iterator[tuple[Any, np.ndarray]]:
    """Yield the symbols of an expression, or the pieces of an index set, with the live indices of each."""
    kind, inner = _structure(axis)
    sizes = [one.size for one in inner]
    if kind == "sum":
        ends = list(itertools.accumulate(sizes))
        for one, its in zip(inner, np.split(live, ends[:-1]), strict=True):
            yield from divided(one, its)
    elif kind == "product":
        for place, one in enumerate(inner):
            rest = tuple(other for other in range(len(inner)) if other != place)
            yield from divided(one, live.reshape(sizes).any(axis=rest))
    else:
        yield axis, live


def _structure(axis: Simple | Axis) -> tuple[str, Sequence[Any]]:
    """Return the kind of an expression or index set, and its factors or parts."""
    if isinstance(axis, Axis):
        return axis.root.kind, axis.root.inner
    if isinstance(axis, Symbol):
        return "free", ()
    return ("sum", axis.parts) if isinstance(axis, Sum) else ("product", axis.factors)


def _of_operands(equation: Any, pattern: Pattern, wanted: Sequence[Live]) -> list[Live]:
    """Return the live indices of a pattern's operands; parts of a sum that slicing cuts off are not live."""
    live: dict[str, np.ndarray] = {}
    for shape, its in zip(pattern.results, wanted, strict=True):
        for axis, mask in zip(shape, its or (), strict=its is not None):
            for symbol, some in divided(axis, mask):
                live[symbol.label] = live.get(symbol.label, False) | some
    summed = contracts(equation)

    def of_axis(axis: Simple) -> np.ndarray:
        if isinstance(axis, Symbol):
            return live.get(axis.label, np.ones(axis.size, bool))
        if isinstance(axis, Sum):
            cut = [not summed and not any(one.label in live for one in symbols_of(part)) for part in axis.parts]
            every = zip(axis.parts, cut, strict=True)
            return np.concatenate([np.zeros(part.size, bool) if gone else of_axis(part) for part, gone in every])
        return functools.reduce(np.logical_and.outer, map(of_axis, axis.factors)).ravel()

    return [_or_none([of_axis(axis) for axis in shape]) for shape in pattern.operands]


def _or_none(live: list[np.ndarray]) -> Live:
    return None if any(mask.size and not mask.any() for mask in live) else live


def _of_control(equation: Any, bodies: Sequence[Call], wanted: list[Live]) -> list[Live]:
    """Return the live indices of the operands of a loop or a condition."""
    if equation.primitive.name == "cond":
        given = [live_inputs(body, wanted) for body in bodies]
        return [[], *functools.reduce(_all_of, given)]
    return _of_scan(equation, bodies[-1], wanted) if equation.primitive.name == "scan" else _of_while(bodies, wanted)


def _of_while(bodies: Sequence[Call], wanted: list[Live]) -> list[Live]:
    condition, count = live_inputs(bodies[0], [[]]), len(wanted)
    start = len(bodies[1].jaxpr.invars) - count
    constants, state = _of_state(bodies[1], _all_of(wanted, condition[len(condition) - count :]), [], start)
    return [*condition[: len(condition) - count], *constants, *state]


def _of_scan(equation: Any, body: Call, wanted: list[Live]) -> list[Live]:
    start, end = carried(equation)
    carry, rows = wanted[: end - start], [None if one is None else _or_none(one) for one in wanted[end - start :]]
    inside = [None if one is None else one[1:] for one in rows]
    constants, state = _of_state(body, carry, inside, start)
    live = live_inputs(body, [*state, *inside])[end:]
    steps = [np.zeros(equation.params["length"], bool) for _ in live]
    # A row of the results depends on the rows of its own step and, through the carry, on the rows of all earlier steps.
    every: Live = [_steps_before(equation, any(one is not None for one in carry), rows)]
    for number, one in enumerate([every, *rows]):
        some = state if number == 0 else [None] * len(state)
        only = [its if place == number else None for place, its in enumerate(inside, 1)]
        found = live_inputs(body, [*some, *only])[end:]
        steps = [a if one is None or b is None else a | one[0] for a, b in zip(steps, found, strict=True)]
    return [*constants, *state, *(None if one is None else [its, *one] for its, one in zip(steps, live, strict=True))]


def _steps_before(equation: Any, last: bool, rows: list[Live]) -> np.ndarray:
    """Return the steps up to the last step with a live row: all steps if the final carry is live."""
    wanted = np.full(equation.params["length"], last)
    for one in rows:
        wanted = wanted if one is None else wanted | one[0]
    order = slice(None) if equation.params["reverse"] else slice(None, None, -1)
    found: np.ndarray = np.logical_or.accumulate(wanted[order])[order]
    return found


def _of_state(body: Call, state: list[Live], rows: list[Live], start: int) -> tuple[list[Live], list[Live]]:
    """Return the live indices of constants, and of the carry at any step."""
    while True:
        found = live_inputs(body, [*state, *rows])
        before, state = state, _all_of(state, found[start : start + len(state)])
        if all(map(_equal, before, state)):
            return found[:start], state


def _equal(one: Live, two: Live) -> bool:
    if one is None or two is None:
        return one is two
    return all(map(np.array_equal, one, two))
