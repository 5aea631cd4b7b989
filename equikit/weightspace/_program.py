"""Reading a program of JAX: the axes of every array in it, in its inner programs too."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import Literal

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


Watch = Callable[[Any], None]
"""Called with every equation when its results have got their axes."""


def of_constant(value: Any) -> Axes:
    """The axes of an array whose entries are known: free along those where it is the same everywhere."""
    shape = np.shape(value)
    if isinstance(value, jax.core.Tracer) or jnp.issubdtype(value.dtype, jax.dtypes.extended):
        return [rigid(size, "a constant") for size in shape]
    array = np.asarray(value)

    def same(place: int) -> bool:
        return not array.size or bool(np.all(array == np.take(array, [0], axis=place)))

    return [Axis(size) if same(place) else rigid(size, "a constant") for place, size in enumerate(shape)]


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
    """

    jaxpr: Any
    constants: tuple[Any, ...]
    axes: dict[Any, Axes]
    inner: dict[int, Call] = field(default_factory=dict)

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
        control = {"scan": self._scan, "while": self._while, "cond": self._cond}
        if name in control:
            return control[name](equation, given)
        if name not in KNOWN:
            self.unread.add(name)
            return unknown(equation, given)
        return KNOWN[name](equation, given)

    def _scan(self, equation: Any, given: list[Axes]) -> list[Axes]:
        """Carried arrays are permuted alike in every step; steps come in an order."""
        params = equation.params
        inner, _ = opened(params["jaxpr"])
        # Constants come first, then what is carried, then rows, which have an axis more outside. The parameters that
        # count them have other names in other releases.
        carried = sum(
            len(o.aval.shape) == len(i.aval.shape) for o, i in zip(equation.outvars, inner.outvars, strict=True)
        )
        last = sum(len(o.aval.shape) == len(i.aval.shape) for o, i in zip(equation.invars, inner.invars, strict=True))
        first = last - carried
        for axes in given[last:]:
            make_rigid(axes[0], "scan along it")
        found = self.read(params["jaxpr"], [*given[:last], *(axes[1:] for axes in given[last:])]).results
        _all_alike(given[first:last], found[:carried], "scan")
        return [*found[:carried], *([rigid(params["length"], "scan along it"), *axes] for axes in found[carried:])]

    def _while(self, equation: Any, given: list[Axes]) -> list[Axes]:
        """Carried arrays are permuted alike in every step."""
        params = equation.params
        first, second = params["cond_nconsts"], params["body_nconsts"]
        constants, carried = given[first : first + second], given[first + second :]
        self.read(params["cond_jaxpr"], [*given[:first], *carried])
        _all_alike(carried, self.read(params["body_jaxpr"], [*constants, *carried]).results, "while")
        return carried

    def _cond(self, equation: Any, given: list[Axes]) -> list[Axes]:
        """Whatever branch is taken, what it returns is permuted alike."""
        found, *others = (self.read(branch, given[1:]).results for branch in equation.params["branches"])
        for other in others:
            _all_alike(found, other, "cond")
        return found


def _all_alike(some: Sequence[Axes], others: Sequence[Axes], reason: str) -> None:
    for one, two in zip(some, others, strict=True):
        for mine, other in zip(one, two, strict=True):
            unify(mine, other, reason)
