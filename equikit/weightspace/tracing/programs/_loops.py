"""Read loops and conditions, for any property of arrays."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Protocol

import numpy as np

from equikit.weightspace.tracing.axes._places import Lookup, Place, filled, fit, merged, shared

Places = list[Place]


class Values(Protocol):
    """The operations on properties of arrays that loops need."""

    def merge(self, one: Any, two: Any) -> None:
        """Merge two entries of places."""

    def repeated(self, place: Place, other: Place) -> None:
        """Merge a place along which one array is constant with the place of another array."""

    def state(self, given: list[Places]) -> list[Places]:
        """Return the carry of a loop at any step, given the initial carry."""

    def steps(self, places: list[Place], size: int) -> Place:
        """Return the axis of a loop's steps, which is rigid, given the first axes of its scanned rows."""


def carried(equation: Any) -> tuple[int, int]:
    """Return the range of the carry in a loop's operands, after constants and before scanned rows.

    Scanned rows lose an axis inside the loop. The parameters that count them have different names in JAX releases.
    """
    if equation.primitive.name == "while":
        return equation.params["cond_nconsts"] + equation.params["body_nconsts"], len(equation.invars)
    closed = equation.params["jaxpr"]
    inner = getattr(closed, "jaxpr", closed)

    def alike(outer: Any, inner: Any) -> int:
        return sum(len(o.aval.shape) == len(i.aval.shape) for o, i in zip(outer, inner, strict=True))

    last = alike(equation.invars, inner.invars)
    return last - alike(equation.outvars, inner.outvars), last


def looped(
    equation: Any, given: list[Places], body: Callable[[str, list[Places]], list[Places]], values: Values
) -> list[Places]:
    """Return the results of a loop or a condition; `body` reads an inner program, given its parameter's name."""
    name = equation.primitive.name
    if name == "cond":
        first, *others = [body("branches", given[1:]) for _ in equation.params["branches"]]
        for other in others:
            first = all_alike(first, other, values)
        return first
    start, end = carried(equation)
    if name == "while":
        state = values.state(given[start:end])
        skipped = equation.params["cond_nconsts"]
        body("cond_jaxpr", [*given[:skipped], *state])
        return all_alike(state, body("body_jaxpr", [*given[skipped:start], *state]), values)
    length, rows = equation.params["length"], given[end:]
    steps = values.steps([places[0] for places in rows], length)
    if any(0 in place.over for places in rows for place in places[1:]) and length:
        return _unrolled(equation, given, body, values, steps)
    state = values.state(given[start:end])
    inside = body("jaxpr", [*given[:start], *state, *([_moved(p, -1, values) for p in one[1:]] for one in rows)])
    state = all_alike(state, inside[: len(state)], values)
    return [
        *state,
        *([steps, *(_moved(place, 1, values) for place in one)] for one in inside[len(state) :]),
    ]


def _unrolled(
    equation: Any,
    given: list[Places],
    body: Callable[[str, list[Places]], list[Places]],
    values: Values,
    along: Place,
) -> list[Places]:
    """Read a scan step by step, so that its carry may be permuted differently after each step."""
    start, end = carried(equation)
    length, state, rows = equation.params["length"], given[start:end], given[end:]
    steps: list[list[Places]] = []
    order = range(length)
    for step in reversed(order) if equation.params["reverse"] else order:
        its = [[_moved(_at(place, step), -1, values) for place in one[1:]] for one in rows]
        state, found = _divided(body("jaxpr", [*given[:start], *state, *its]), len(state))
        steps.append(found)
    if equation.params["reverse"]:
        steps.reverse()
    stacked = [
        [along, *(_stacked(list(some), values) for some in zip(*one, strict=True))] for one in zip(*steps, strict=True)
    ]
    return [*state, *stacked]


def _divided(some: list[Places], count: int) -> tuple[list[Places], list[Places]]:
    return some[:count], some[count:]


def _at(place: Place, step: int) -> Place:
    """Return a place at one index along the first axis."""
    if 0 not in place.over:
        return place
    axis = place.over.index(0)
    rest = tuple(one for one in place.over if one != 0)
    return replace(place, members=_taken(place.members, step, axis), over=rest)


def _taken(members: np.ndarray, index: int, axis: int) -> np.ndarray:
    """Return entries at one index, as an array of objects even if there is only one entry."""
    rows = np.moveaxis(members, axis, 0)
    return filled(rows.shape[1:], lambda at: rows[(index, *at)])


def _moved(place: Place, by: int, values: Values) -> Place:
    """Return a place after the array loses (`by=-1`) or gains (`by=1`) a first axis."""
    over, members = list(place.over), place.members
    if by < 0 and 0 in over:
        members = merged(members, over.index(0), values.merge)
        over.remove(0)

    def shifted(one: Any) -> Any:
        if isinstance(one, Lookup):
            return replace(one, places=tuple(at + by for at in one.places))
        return one + by

    for one in list(over):
        # An index that is looked up inside a loop differs between steps.
        if isinstance(one, Lookup) and (by > 0 or 0 in one.places):
            members = merged(members, over.index(one), values.merge)
            over.remove(one)
    return replace(place, members=members, over=tuple(map(shifted, over)))


def _stacked(places: Sequence[Place], values: Values) -> Place:
    """Return the place of stacked results, which may depend on the step."""
    known = [place for place in places if not place.same]
    if not known:
        return places[0]
    for place in places:
        if place.same:
            values.repeated(place, known[0])
    moved = [_moved(known[0] if place.same else place, 1, values) for place in places]
    over = shared([place.over for place in moved])
    members = [fit(place.members, place.over, over, values.merge) for place in moved]
    return Place(np.stack(members), (0, *over))


def all_alike(some: list[Places], others: list[Places], values: Values) -> list[Places]:
    """Merge the places of alternative arrays, such as results of branches."""
    return [
        [alike(one, two, values) for one, two in zip(mine, theirs, strict=True)]
        for mine, theirs in zip(some, others, strict=True)
    ]


def alike(one: Place, two: Place, values: Values) -> Place:
    """Merge a place of one array with the place of an alternative array."""
    if one.same or two.same:
        repeated, other = (one, two) if one.same else (two, one)
        values.repeated(repeated, other)
        return other
    over = shared([one.over, two.over])
    mine, theirs = (fit(place.members, place.over, over, values.merge) for place in (one, two))
    for index in np.ndindex(*mine.shape):
        values.merge(mine[index], theirs[index])
    return Place(mine, over)
