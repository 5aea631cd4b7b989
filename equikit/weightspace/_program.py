"""Reading a program of JAX: the axes of every array in it, in its inner programs too."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import Literal

from equikit._errors import OptionError
from equikit.weightspace._axes import Axis, make_rigid, unify
from equikit.weightspace._rules import RULES, Axes, rigid, unknown
from equikit.weightspace._windows import WINDOW_RULES

KNOWN = {**RULES, **WINDOW_RULES}

INLINED = {
    "jit": "jaxpr",
    "pjit": "jaxpr",
    "closed_call": "call_jaxpr",
    "core_call": "call_jaxpr",
    "remat": "jaxpr",
    "remat2": "jaxpr",
    "checkpoint": "jaxpr",
    "custom_jvp_call": "call_jaxpr",
    "custom_vjp_call": "call_jaxpr",
    "custom_vjp_call_jaxpr": "fun_jaxpr",
}
"""Primitives that call a program with their operands, and the parameter that holds it."""


CONTROL = ("scan", "while", "cond")
"""Primitives with programs of their own that are run more than once, or not at all."""

Watch = Callable[[Any], None]
"""Called with every equation when its results have got their axes."""


def of_constant(value: Any) -> Axes:
    """The axes of an array whose entries are known: free along those where it is the same everywhere."""
    shape = np.shape(value)
    if isinstance(value, jax.core.Tracer) or jnp.issubdtype(value.dtype, jax.dtypes.extended):
        return [rigid(size, "a constant") for size in shape]
    array = np.asarray(value)

    def same(place: int) -> bool:
        first = np.take(array, [0], axis=place) if array.size else array
        # Zeros with two signs are equal, and no function need give one value for both.
        signs = array.dtype.kind != "f" or bool(np.all(np.signbit(array) == np.signbit(first)))
        return signs and bool(np.all(array == first))

    return [Axis(size) if same(place) else rigid(size, "a constant") for place, size in enumerate(shape)]


STATE = ("TraceContextError", "ModifyScopeVariableError")
KEYS = ("InvalidRngError",)
"""What Flax raises where a model changes its state, and where it draws without a key."""


def program_of(apply: Callable[..., Any], params: Any, inputs: Sequence[Any]) -> Any:
    """The program of a model.

    Raises:
        OptionError: if JAX cannot trace it.
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
    """A program and its constants, which it may be closed over or not."""
    return (closed.jaxpr, closed.consts) if hasattr(closed, "consts") else (closed, ())


@dataclass
class Call:
    """A program as it was read with certain inputs.

    Attributes:
        jaxpr, constants: the program, and what it is closed over.
        axes: of its variables.
        inner: the number of an equation to the program that it calls with its operands.
        bodies: the number of a loop to its body, of a condition to its branches.
    """

    jaxpr: Any
    constants: tuple[Any, ...]
    axes: dict[Any, Axes]
    inner: dict[int, Call] = field(default_factory=dict)
    bodies: dict[int, list[Call]] = field(default_factory=dict)

    def of(self, variable: Any) -> Axes:
        """The axes of a variable or literal."""
        return of_constant(np.asarray(variable.val)) if isinstance(variable, Literal) else self.axes[variable]

    @property
    def results(self) -> list[Axes]:
        """The axes of what it returns."""
        return [self.of(variable) for variable in self.jaxpr.outvars]


@dataclass
class Reader:
    """Reads programs.

    Attributes:
        watch: see `Watch`.
        unread: names of primitives without a rule.
    """

    watch: Watch = lambda equation: None
    unread: set[str] = field(default_factory=set)

    def read(self, closed: Any, operands: Sequence[Axes]) -> Call:
        """Read a program, closed over its constants or not, whose inputs have these axes."""
        jaxpr, constants = opened(closed)
        call = Call(jaxpr, tuple(constants), {})
        for variable, value in zip(jaxpr.constvars, constants, strict=True):
            call.axes[variable] = of_constant(value)
        call.axes.update(zip(jaxpr.invars, operands, strict=True))
        for number, equation in enumerate(jaxpr.eqns):
            given = [call.of(variable) for variable in equation.invars]
            name = equation.primitive.name
            if name in INLINED and INLINED[name] in equation.params:
                call.inner[number] = self.read(equation.params[INLINED[name]], given)
                found = call.inner[number].results
            elif name in CONTROL:
                found, call.bodies[number] = self.controlled(equation, given)
            else:
                found = self.equation(equation, given)
            for variable, axes in zip(equation.outvars, found, strict=True):
                assert [axis.size for axis in axes] == list(variable.aval.shape), f"the rule of {equation.primitive}"
                call.axes[variable] = axes
            self.watch(equation)
        return call

    def equation(self, equation: Any, given: list[Axes]) -> list[Axes]:
        """The axes of the results of an equation that is not a call."""
        name = equation.primitive.name
        if name in CONTROL:
            return self.controlled(equation, given)[0]
        if name not in KNOWN:
            self.unread.add(name)
            return unknown(equation, given)
        return KNOWN[name](equation, given)

    def controlled(self, equation: Any, given: list[Axes]) -> tuple[list[Axes], list[Call]]:
        """The axes of the results of a loop or a condition, and its programs."""
        params, name = equation.params, equation.primitive.name
        if name == "cond":
            branches = [self.read(branch, given[1:]) for branch in params["branches"]]
            for branch in branches[1:]:
                _all_alike(branches[0].results, branch.results, name)
            return branches[0].results, branches
        first, last = carried(equation)
        if name == "while":
            start = params["cond_nconsts"]
            condition = self.read(params["cond_jaxpr"], [*given[:start], *given[first:last]])
            body = self.read(params["body_jaxpr"], given[start:])
            _all_alike(given[first:last], body.results, name)
            return given[first:last], [condition, body]
        for axes in given[last:]:
            make_rigid(axes[0], "scan along it")
        body = self.read(params["jaxpr"], [*given[:last], *(axes[1:] for axes in given[last:])])
        state, rows = body.results[: last - first], body.results[last - first :]
        _all_alike(given[first:last], state, name)
        return [*state, *([rigid(params["length"], "scan along it"), *axes] for axes in rows)], [body]


def carried(equation: Any) -> tuple[int, int]:
    """Which operands of a loop are carried: constants come before them, and rows, with an axis more, after.

    The parameters of a scan that count them have other names in other releases of JAX.
    """
    if equation.primitive.name == "while":
        return equation.params["cond_nconsts"] + equation.params["body_nconsts"], len(equation.invars)
    inner, _ = opened(equation.params["jaxpr"])

    def alike(outer: Any, inner: Any) -> int:
        return sum(len(o.aval.shape) == len(i.aval.shape) for o, i in zip(outer, inner, strict=True))

    last = alike(equation.invars, inner.invars)
    return last - alike(equation.outvars, inner.outvars), last


def _all_alike(some: Sequence[Axes], others: Sequence[Axes], reason: str) -> None:
    for one, two in zip(some, others, strict=True):
        for mine, other in zip(one, two, strict=True):
            unify(mine, other, reason)
