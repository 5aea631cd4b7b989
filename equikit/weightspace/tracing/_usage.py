"""What a program does with its parameters and neurons, and where: features that do not depend on the architecture."""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import jax.numpy as jnp
from jax.extend.core import Literal

from equikit.weightspace.tracing._roles import Roles, roles_of
from equikit.weightspace.tracing.axes._axes import Axis
from equikit.weightspace.tracing.axes._places import Place
from equikit.weightspace.tracing.primitives._pattern import Add, Compare, Each
from equikit.weightspace.tracing.primitives._table import TABLE, contracts
from equikit.weightspace.tracing.programs._loops import carried
from equikit.weightspace.tracing.programs._program import Call

USES = ("product", "convolution", "added", "subtracted", "scaled", "divided", "looked up", "other")
"""What a program does with a parameter, where it meets data."""

ACTIVATIONS: dict[str, str] = {
    "max": "max min clamp",
    "tanh": "tanh",
    "logistic": "logistic",
    "erf": "erf erfc",
    "sine": "sin cos",
    "exponential": "exp exp2 expm1",
    "logarithm": "log log1p log2",
    "power": "integer_pow square pow sqrt rsqrt cbrt",
    "absolute value": "abs sign",
    "product": "mul dot_general conv_general_dilated",
    "quotient": "div",
    "selection": "select_n",
    "pooling": "reduce_max reduce_min reduce_window_max reduce_window_min cummax cummin sort top_k argmax argmin",
    "other": "",
}
"""What a program does with neurons: names of nonlinearities, and the primitives of each; `other` is any other one."""

_NONLINEARITY = {primitive: name for name, some in ACTIVATIONS.items() for primitive in some.split()}
_OF_USE = {
    "dot_general": "product",
    "conv_general_dilated": "convolution",
    "add": "added",
    "add_any": "added",
    "sub": "subtracted",
    "mul": "scaled",
    "div": "divided",
    "gather": "looked up",
    "dynamic_slice": "looked up",
}


_NUMBER = operator.itemgetter(0)


@dataclass(frozen=True)
class Use:
    """What happens to a parameter or a label.

    Attributes:
        kinds: names of `USES`, for a parameter.
        activations: names of `ACTIVATIONS`: for a label, what is applied to arrays with this label; for a parameter,
            the next nonlinearities after it has met data.
        first, last: the first and the last position in the program, from 0 at the inputs to 1 at the outputs. Positions
            count the parameters that data have met.
    """

    kinds: tuple[str, ...] = ()
    activations: tuple[str, ...] = ()
    first: float = 0.0
    last: float = 1.0


@dataclass(frozen=True)
class Usage:
    """What a program does with its parameters and neurons.

    Attributes:
        params: the use of each parameter, and of each step if layers are stacked and read step by step.
        labels: the use of each label.
        roles: the role of each axis of each parameter.
    """

    params: tuple[tuple[Use, ...], ...]
    labels: tuple[tuple[str, Use], ...]
    roles: tuple[Roles, ...]


def usage_of(call: Call, shapes: Sequence[tuple[int, ...]], labels: Mapping[Axis, str]) -> Usage:
    """Return the uses of the parameters, the first inputs of a program, with these shapes, and of the labels."""
    walk, results = _walked(call, len(shapes), {axis.root: label for axis, label in labels.items()})
    total = max([value.depth for value in results if value.data], default=0)

    def use(note: _Note) -> Use:
        kinds, activations = (
            tuple(one for one in USES if one in note.kinds),
            tuple(one for one in ACTIVATIONS if one in note.activations),
        )
        first, last = (min(depth / max(total, 1), 1.0) for depth in (min(note.depths), max(note.depths)))
        return Use(kinds, activations, first, last)

    found = []
    for number in range(len(shapes)):
        every = [note for (its, _), note in walk.params.items() if its == number]
        steps = sorted(step for its, step in walk.params if its == number and step is not None)
        if every and len(steps) == len(every):
            found.append(tuple(use(walk.params[number, step]) for step in steps))
        else:
            found.append(
                (use(_Note(*(set().union(*some) for some in zip(*every, strict=True)))),) if every else (Use(),)
            )
    of_labels = tuple((label, use(note)) for label, note in walk.labels.items())
    return Usage(tuple(found), of_labels, tuple(roles_of(call.jaxpr, shapes)))


def first_uses(call: Call, params: int) -> list[int]:
    """Return for each parameter, the first inputs of a program, its place in the order in which data first meet them.

    Parameters that meet no data come last.
    """
    walk, _ = _walked(call, params, {})
    order = dict.fromkeys(number for number, _ in walk.params)
    places = {number: place for place, number in enumerate(order)}
    return [places.get(number, len(places)) for number in range(params)]


@dataclass(frozen=True)
class _Value:
    """What is known of an array.

    Attributes:
        data: whether it depends on the inputs.
        depth: the largest number of parameters that the data have met on a path from the inputs.
        met: the parameters that the data have met since the last nonlinearity, with the step of a loop or None.
        origins: for an array that does not depend on the inputs, the parameters that it is computed from: the number,
            the step of a loop or None, and whether a root or quotient has inverted it.
    """

    data: bool = False
    depth: int = 0
    met: frozenset[tuple[int, int | None]] = frozenset()
    origins: frozenset[tuple[int, int | None, bool]] = frozenset()

    def merged(self, other: _Value) -> _Value:
        """Return what is known of an array that is one of two."""
        depth = max(self.depth, other.depth)
        return _Value(self.data or other.data, depth, self.met | other.met, self.origins | other.origins)


class _Note(NamedTuple):
    kinds: set[str]
    activations: set[str]
    depths: set[float]


@dataclass
class _Walk:
    """Walks through a program that was read, and notes uses.

    Attributes:
        names: the label of each index set.
        params: notes by number of the parameter and step.
        labels: notes by label.
    """

    names: Mapping[Axis, str]
    params: dict[tuple[int, int | None], _Note] = field(default_factory=dict)
    labels: dict[str, _Note] = field(default_factory=dict)

    def run(self, call: Call, given: Sequence[_Value], *, noting: bool) -> list[_Value]:
        """Return what is known of the results of a program, and note uses in it if `noting`."""
        known: dict[Any, _Value] = dict(zip(call.jaxpr.invars, given, strict=True))

        def of(variable: Any) -> _Value:
            return _Value() if isinstance(variable, Literal) else known.get(variable, _Value())

        for number, equation in enumerate(call.jaxpr.eqns):
            operands = [of(variable) for variable in equation.invars]
            if number in call.inner:
                found = self.run(call.inner[number], operands, noting=noting)
            elif number in call.bodies:
                found = self._controlled(equation, call.bodies[number], operands, noting)
            else:
                found = [self._plain(call, equation, operands, noting)] * len(equation.outvars)
            for variable, value in zip(equation.outvars, found, strict=True):
                known[variable] = value
                if noting and value.data:
                    self.passed(call.of(variable), value.depth)
        return [of(variable) for variable in call.jaxpr.outvars]

    def passed(self, places: Sequence[Place], depth: int) -> None:
        """Note that data with these axes are at some depth."""
        for label in self._labels(places):
            self._of(self.labels, label).depths.add(depth)

    def _labels(self, places: Sequence[Place]) -> set[str]:
        found = set[str]()
        rest = [axis for place in places for axis in place.members.flat] if self.names else []
        while rest:
            axis = rest.pop().root
            rest += axis.inner
            if axis in self.names:
                found.add(self.names[axis])
        return found

    def _controlled(self, equation: Any, bodies: Sequence[Call], given: list[_Value], noting: bool) -> list[_Value]:
        name = equation.primitive.name
        if name == "cond":
            first, *others = [self.run(body, given[1:], noting=noting) for body in bodies]
            for other in others:
                first = _merged(first, other)
            return first
        start, end = carried(equation)
        state, rows = given[start:end], given[end:]
        if name == "while":
            skipped = equation.params["cond_nconsts"]
            state = self._settled(bodies[1], given[skipped:start], state, [])
            self.run(bodies[0], [*given[:skipped], *state], noting=noting)
            return _merged(state, self.run(bodies[1], [*given[skipped:start], *state], noting=noting))
        length = equation.params["length"]
        if len(bodies) != length or length == 1:
            state = self._settled(bodies[0], given[:start], state, rows)
            return self.run(bodies[0], [*given[:start], *state, *rows], noting=noting)
        results: list[_Value] = []
        order = range(length)
        for step, body in zip(reversed(order) if equation.params["reverse"] else order, bodies, strict=True):
            found = self.run(body, [*given[:start], *state, *(_at(one, step) for one in rows)], noting=noting)
            state, now = found[: len(state)], found[len(state) :]
            results = _merged(results, now) if results else now
        return [*state, *results]

    def _settled(
        self, body: Call, constants: Sequence[_Value], state: list[_Value], rows: Sequence[_Value]
    ) -> list[_Value]:
        """Return what is known of the carry of a loop at any step; its depth is the depth before the loop."""
        while True:
            found = self.run(body, [*constants, *state, *rows], noting=False)
            after = [replace(one.merged(two), depth=one.depth) for one, two in zip(state, found, strict=False)]
            if after == state:
                return state
            state = after

    def _plain(self, call: Call, equation: Any, given: list[_Value], noting: bool) -> _Value:
        name, depth = equation.primitive.name, max((value.depth for value in given), default=0)
        origins = frozenset(
            (number, step, inverse != _inverts(equation, place))
            for place, value in enumerate(given)
            for number, step, inverse in value.origins
        )
        if not any(value.data for value in given):
            return _Value(origins=origins)
        met = frozenset().union(*(value.met for value in given))
        if origins:
            for place, value in enumerate(given):
                for number, step, inverse in sorted(value.origins, key=_NUMBER) if noting else ():
                    self._of(self.params, (number, step)).kinds.add(_use(name, place, inverse))
                    self._of(self.params, (number, step)).depths.add(depth + 0.5)
            return _Value(True, depth + 1, met | {(number, step) for number, step, _ in origins})
        kind = _activation(equation, given)
        if kind is None:
            return _Value(True, depth, met)
        for variable, value in zip(equation.invars, given, strict=True):
            if noting and value.data and jnp.issubdtype(variable.aval.dtype, jnp.inexact):
                for label in self._labels(call.of(variable)):
                    self._of(self.labels, label).activations.add(kind)
        for which in met if noting else ():
            self._of(self.params, which).activations.add(kind)
        return _Value(True, depth)

    @staticmethod
    def _of(notes: dict[Any, _Note], which: Any) -> _Note:
        return notes.setdefault(which, _Note(set(), set(), set()))


def _walked(call: Call, params: int, names: Mapping[Axis, str]) -> tuple[_Walk, list[_Value]]:
    """Return a walk through a program whose first inputs are parameters, and what is known of its results."""
    walk = _Walk(names)
    given = [
        _Value(origins=frozenset([(number, None, False)])) if number < params else _Value(data=True)
        for number in range(len(call.jaxpr.invars))
    ]
    for variable in call.jaxpr.invars[params:]:
        walk.passed(call.of(variable), 0)
    return walk, walk.run(call, given, noting=True)


def _merged(some: Sequence[_Value], others: Sequence[_Value]) -> list[_Value]:
    return [one.merged(two) for one, two in zip(some, others, strict=True)]


def _at(value: _Value, step: int) -> _Value:
    """Return what is known of one row of stacked rows."""
    return replace(value, origins=frozenset((number, step, inverse) for number, _, inverse in value.origins))


def _inverts(equation: Any, place: int) -> bool:
    """Whether an equation inverts an operand, as a quotient or a root of it does."""
    name = equation.primitive.name
    return name == "rsqrt" or (name == "div" and place == 1) or (name == "integer_pow" and equation.params["y"] < 0)


def _use(name: str, place: int, inverse: bool) -> str:
    """Return the use of an operand that is a parameter, where it meets data."""
    use = _OF_USE.get(name, "other")
    if use == "subtracted" and place == 0:
        return "added"
    if use in ("scaled", "divided"):
        return "scaled" if (use == "divided" and place == 1) == inverse else "divided"
    return "other" if (name == "conv_general_dilated" and place == 0) or (use == "looked up" and place) else use


def _activation(equation: Any, given: Sequence[_Value]) -> str | None:
    """Return the name of a nonlinearity of data, or `None` if the equation is linear in the data."""
    name = equation.primitive.name
    if name in ("mul", "dot_general", "conv_general_dilated"):
        return "product" if sum(value.data for value in given) > 1 else None
    if name == "div":
        return "quotient" if given[1].data else None
    if name == "select_n":
        return "selection" if given[0].data else None
    if name in _NONLINEARITY:
        return _NONLINEARITY[name]
    known = TABLE.get(name)
    linear = known is not None and isinstance(known.numbers(equation), Add | Each | Compare)
    return None if linear or contracts(equation) else "other"
