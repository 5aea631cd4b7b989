"""Loops and conditions: how their programs are joined, whatever is read of arrays."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Protocol

import numpy as np

from equikit.weightspace.tracing.axes._places import Lookup, Place, filled, fit, merged, shared

Places = list[Place]


class Values(Protocol):
    """What is read of arrays, as far as loops have to know of it."""

    def merge(self, one: Any, two: Any) -> None:
        """Make two entries of places one."""

    def repeated(self, place: Place, other: Place) -> None:
        """Make a place along which an array is the same everywhere one with another place."""

    def state(self, given: list[Places]) -> list[Places]:
        """What a loop carries at any step, from its start."""

    def steps(self, places: list[Place], size: int) -> Place:
        """The axis of the steps of a loop, which nothing moves, from the first axes of its rows."""


def carried(equation: Any) -> tuple[int, int]:
    """Which operands of a loop are carried: constants come before them, and rows, with an axis more, after.

    The parameters of a scan that count them have other names in other releases of JAX.
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
    """The results of a loop or a condition; `body` reads one of its programs, by the name of its parameter."""
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
    """A scan step by step: what it carries may be permuted in another way after each."""
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
    """A place at one index along the first axis."""
    if 0 not in place.over:
        return place
    axis = place.over.index(0)
    rest = tuple(one for one in place.over if one != 0)
    return replace(place, members=_taken(place.members, step, axis), over=rest)


def _taken(members: np.ndarray, index: int, axis: int) -> np.ndarray:
    """Entries at one index, an array of objects also where one is left."""
    rows = np.moveaxis(members, axis, 0)
    return filled(rows.shape[1:], lambda at: rows[(index, *at)])


def _moved(place: Place, by: int, values: Values) -> Place:
    """A place of an array that has an axis less, or one more, in front."""
    over, members = list(place.over), place.members
    if by < 0 and 0 in over:
        members = merged(members, over.index(0), values.merge)
        over.remove(0)

    def shifted(one: Any) -> Any:
        if isinstance(one, Lookup):
            return replace(one, places=tuple(at + by for at in one.places))
        return one + by

    for one in list(over):
        # An index that is found inside a loop is another one at each step.
        if isinstance(one, Lookup) and (by > 0 or 0 in one.places):
            members = merged(members, over.index(one), values.merge)
            over.remove(one)
    return replace(place, members=members, over=tuple(map(shifted, over)))


def _stacked(places: Sequence[Place], values: Values) -> Place:
    """One place of results that are stacked: it may be another one for each step."""
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
    """Arrays that are one or the other."""
    return [
        [alike(one, two, values) for one, two in zip(mine, theirs, strict=True)]
        for mine, theirs in zip(some, others, strict=True)
    ]


def alike(one: Place, two: Place, values: Values) -> Place:
    """A place that is that of one array, or that of another."""
    if one.same or two.same:
        repeated, other = (one, two) if one.same else (two, one)
        values.repeated(repeated, other)
        return other
    over = shared([one.over, two.over])
    mine, theirs = (fit(place.members, place.over, over, values.merge) for place in (one, two))
    for index in np.ndindex(*mine.shape):
        values.merge(mine[index], theirs[index])
    return Place(mine, over)
