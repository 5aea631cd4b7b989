"""Read a jaxpr: find the axes of every array in it and in its inner programs."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import Literal

from equikit._errors import OptionError
from equikit.weightspace.tracing.axes._axes import Axis, unify
from equikit.weightspace.tracing.axes._places import Place, single
from equikit.weightspace.tracing.axes._relation import Places, Related, related
from equikit.weightspace.tracing.primitives._patterns import opaque
from equikit.weightspace.tracing.primitives._table import REWRITTEN, TABLE, rewritten
from equikit.weightspace.tracing.programs._loops import looped

_WITH_RULES = "checkpoint custom_jvp_call custom_vjp_call custom_vjp_call_jaxpr custom_vmap_call remat remat2"
_PLAIN = "call closed_call composite core_call eval_jaxpr jit pjit xla_metadata_call"
CALLS = frozenset(f"{_WITH_RULES} {_PLAIN}".split())
"""Primitives that call an inner program once with their operands."""
PROGRAMS = ("jaxpr", "call_jaxpr", "fun_jaxpr", "call")
"""The names of the parameters that contain the inner program."""

CONTROL = ("scan", "while", "cond")
"""Primitives whose inner programs run repeatedly or conditionally."""

LARGEST = 128
"""The largest size of an axis, or product of sizes of axes, that is read index by index."""

Path = tuple[int | str, ...]
"""The path to an inner program or an equation: numbers of equations and names of parameters."""
Watch = Callable[[Any], None]
"""A callback for every equation, after the axes of its results are known."""


def rigid(size: int, reason: str) -> Place:
    """Return a rigid axis."""
    return Place(single(Axis(size, "rigid", reason=reason)))


def of_constant(value: Any) -> Places:
    """Return the axes of a constant array: rigid unless the array has equal entries along the axis."""
    shape = np.shape(value)
    if isinstance(value, jax.core.Tracer) or jnp.issubdtype(value.dtype, jax.dtypes.extended):
        return [rigid(size, "a constant") for size in shape]
    array = np.asarray(value)

    def same(place: int) -> bool:
        first = np.take(array, [0], axis=place) if array.size else array
        # Zeros of both signs compare equal, but functions such as 1/x distinguish them.
        return bool(np.all(array == first)) and all(np.all(one == two) for one, two in _signs(array, first))

    return [
        Place(single(Axis(size)), same=True) if same(place) else rigid(size, "a constant")
        for place, size in enumerate(shape)
    ]


def _signs(*arrays: np.ndarray) -> Iterator[tuple[np.ndarray, ...]]:
    if jnp.issubdtype(arrays[0].dtype, jnp.complexfloating):
        yield from _signs(*(array.real for array in arrays))
        yield from _signs(*(array.imag for array in arrays))
    elif jnp.issubdtype(arrays[0].dtype, jnp.floating):
        yield tuple(np.signbit(array.astype(np.float64)) for array in arrays)


STATE = ("TraceContextError", "ModifyScopeVariableError")
KEYS = ("InvalidRngError",)
"""Errors that Flax raises if a model changes its state (STATE), or uses random numbers without a key (KEYS)."""


def program_of(apply: Callable[..., Any], params: Any, inputs: Sequence[Any]) -> Any:
    """Return the closed jaxpr of a model.

    Raises:
        OptionError: if JAX cannot trace the model.
    """
    try:
        return jax.make_jaxpr(apply)(params, *inputs)
    except Exception as error:
        kind = type(error).__name__
        expected, step = "a pure function apply(params, x)", "call apply(params, x), and mend what that says"
        if kind in STATE:
            expected = "a model without state: running averages used, not changed"
            step = "put the model into evaluation mode: model.eval(), use_running_average=True"
        elif kind in KEYS:
            expected = "a model without randomness"
            step = "switch dropout off: model.eval(), deterministic=True"
        got = f"{kind}: {str(error).strip().splitlines()[0] if str(error).strip() else ''}"
        raise OptionError("the model cannot be traced", got=got[:300], expected=expected, step=step) from error


def opened(closed: Any) -> tuple[Any, Sequence[Any]]:
    """Return the jaxpr and the constants of a closed or open jaxpr."""
    return (closed.jaxpr, closed.consts) if hasattr(closed, "consts") else (closed, ())


@dataclass
class Call:
    """A program that was read with given axes of its inputs.

    Attributes:
        jaxpr, constants: the program and its closed-over constants.
        places: the axes of its variables.
        related: the relation between the axes of each equation, by the number of the equation.
        inner: the inner program of each equation that calls one, by the number of the equation.
        bodies: the body of each loop, or one body for each step, and the branches of each condition.
    """

    jaxpr: Any
    constants: tuple[Any, ...]
    places: dict[Any, Places]
    related: dict[int, Related] = field(default_factory=dict)
    inner: dict[int, Call] = field(default_factory=dict)
    bodies: dict[int, list[Call]] = field(default_factory=dict)

    def of(self, variable: Any) -> Places:
        """Return the axes of a variable or literal."""
        return of_constant(np.asarray(variable.val)) if isinstance(variable, Literal) else self.places[variable]

    @property
    def results(self) -> list[Places]:
        """The axes of the program's results."""
        return [self.of(variable) for variable in self.jaxpr.outvars]

    def calls(self) -> Iterator[Call]:
        """Yield this program and all inner programs."""
        yield self
        for inner in [*self.inner.values(), *itertools.chain(*self.bodies.values())]:
            yield from inner.calls()


@dataclass
class Reader:
    """Reads programs.

    Attributes:
        split: labels that are read index by index, by the path of their equation: later factors of a product may depend
            on their indices.
        watch: see `Watch`.
        unread: names of primitives without a rule.
    """

    split: Mapping[Path, frozenset[str]] = field(default_factory=dict)
    watch: Watch = lambda equation: None
    unread: set[str] = field(default_factory=set)
    _numbers: dict[Any, int] = field(default_factory=dict)
    _columns: dict[int, tuple[int, ...]] = field(default_factory=dict)

    def read(self, closed: Any, operands: Sequence[Places], path: Path = (), numbers: Sequence[int] = ()) -> Call:
        """Read a closed or open jaxpr; `operands` are the axes of its inputs."""
        jaxpr, constants = opened(closed)
        call = Call(jaxpr, tuple(constants), {})
        for variable, value in zip(jaxpr.constvars, constants, strict=True):
            call.places[variable] = of_constant(value)
        call.places.update(zip(jaxpr.invars, operands, strict=True))
        values = dict(zip(jaxpr.invars, numbers, strict=True)) if numbers else {}
        for number, equation in enumerate(jaxpr.eqns):
            given = [call.of(variable) for variable in equation.invars]
            of_values = [self._value(variable, values) for variable in equation.invars]
            found = self.equation(equation, given, (*path, number), of_values, call)
            for variable, places in zip(equation.outvars, found, strict=True):
                call.places[variable] = places
            self._number(equation, of_values, values)
            self.watch(equation)
        return call

    def _value(self, variable: Any, values: dict[Any, int]) -> int:
        """Return the number of a value; equal numbers imply equal values."""
        if isinstance(variable, Literal):
            return self._numbers.setdefault(("literal", repr(variable.val)), len(self._numbers))
        return values.setdefault(variable, self._numbers.setdefault(object(), len(self._numbers)))

    def _number(self, equation: Any, operands: list[int], values: dict[Any, int]) -> None:
        """Number the results of an integer equation: equal operations on equal values get equal numbers."""
        whole = all(jnp.issubdtype(one.aval.dtype, jnp.integer) or one.aval.dtype == bool for one in equation.outvars)
        known = TABLE.get(equation.primitive.name)
        if not whole or known is None or known.pattern is opaque:
            return
        key = equation.primitive.name, repr(sorted(equation.params.items())), tuple(operands)
        for which, variable in enumerate(equation.outvars):
            values[variable] = self._numbers.setdefault((*key, which), len(self._numbers))
        if equation.primitive.name == "concatenate" and _of_columns(equation):
            self._columns[values[equation.outvars[0]]] = tuple(operands)

    def _column(self, number: int, column: int) -> int:
        """Return the number of a column; column 0 has the number of its array unless the array is concatenated."""
        if number in self._columns:
            return self._columns[number][column]
        return self._numbers.setdefault(("column", number, column), len(self._numbers)) if column else number

    def equation(
        self, equation: Any, given: list[Places], path: Path, numbers: Sequence[int], call: Call
    ) -> list[Places]:
        """Return the axes of the results of an equation."""
        name, at = equation.primitive.name, path[-1]
        assert isinstance(at, int)
        program = next((equation.params[key] for key in PROGRAMS if key in equation.params), None)
        if name in CALLS and program is not None:
            call.inner[at] = self.read(program, given, path, numbers)
            return call.inner[at].results
        if name in REWRITTEN:
            call.inner[at] = self.read(rewritten(equation), given, path, numbers)
            return call.inner[at].results
        if name in CONTROL:
            return self._controlled(equation, given, path, call)
        pattern = TABLE[name].pattern(equation) if name in TABLE else None
        if pattern is None:
            moving = (axis for places in given for place in places if not place.same for axis in place.members.flat)
            self.unread |= {name for axis in moving if axis.root.kind != "rigid"}
            pattern = opaque(equation)
        split = self.split.get(path, frozenset())
        indices = {label: self._column(numbers[its.operand], its.column) for label, its in pattern.looked_up.items()}
        found, call.related[at] = related(pattern, given, indices, split, f"{equation.primitive}")
        return found

    def _controlled(self, equation: Any, given: list[Places], path: Path, call: Call) -> list[Places]:
        """Read the programs of a loop or a condition, and return the axes of its results."""
        bodies = call.bodies.setdefault(int(path[-1]), [])

        def body(which: str, operands: list[Places]) -> list[Places]:
            parameter = equation.params[which] if which != "branches" else equation.params[which][len(bodies)]
            bodies.append(self.read(parameter, operands, (*path, which)))
            return bodies[-1].results

        return looped(equation, given, body, _Axes(f"{equation.primitive}"))


def _of_columns(equation: Any) -> bool:
    """Whether an equation concatenates columns to a matrix, such as the indices of a gather along several axes."""
    last = len(equation.outvars[0].aval.shape) - 1
    return equation.params["dimension"] == last and all(one.aval.shape[last] == 1 for one in equation.invars)


@dataclass(frozen=True)
class _Axes:
    """The operations on axes that loops need."""

    reason: str

    def merge(self, one: Axis, two: Axis) -> None:
        unify(one, two, self.reason)

    def repeated(self, place: Place, other: Place) -> None:
        """Do nothing: a constant array is compatible with every axis."""

    def state(self, given: list[Places]) -> list[Places]:
        """Return the axes of the initial carry, with new axes where the initial carry is constant."""
        return [[Place(single(Axis(p.members.flat[0].size))) if p.same else p for p in places] for places in given]

    def steps(self, places: list[Place], size: int) -> Place:
        found = rigid(size, f"{self.reason} along it")
        for axis in (axis for place in places if not place.same for axis in place.members.flat):
            unify(axis, found.only, self.reason)
        return found
