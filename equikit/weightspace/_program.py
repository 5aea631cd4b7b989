"""Reading a program of JAX: the axes of every array in it, in its inner programs too."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import ClosedJaxpr, Literal

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


@dataclass
class Reader:
    """Reads programs.

    Attributes:
        watch: see `Watch`.
        unread: names of primitives without a rule.
    """

    watch: Watch = lambda equation: None
    unread: set[str] = field(default_factory=set)

    def read(self, closed: Any, operands: Sequence[Axes]) -> list[Axes]:
        """The axes of what a program returns, closed over its constants or not, whose inputs have these axes."""
        jaxpr, constants = (closed.jaxpr, closed.consts) if isinstance(closed, ClosedJaxpr) else (closed, ())
        known: dict[Any, Axes] = {
            variable: of_constant(value) for variable, value in zip(jaxpr.constvars, constants, strict=True)
        }
        known.update(zip(jaxpr.invars, operands, strict=True))

        def of(variable: Any) -> Axes:
            return of_constant(np.asarray(variable.val)) if isinstance(variable, Literal) else known[variable]

        for equation in jaxpr.eqns:
            found = self._equation(equation, [of(variable) for variable in equation.invars])
            for variable, axes in zip(equation.outvars, found, strict=True):
                assert [axis.size for axis in axes] == list(variable.aval.shape), f"the rule of {equation.primitive}"
                known[variable] = axes
            self.watch(equation)
        return [of(variable) for variable in jaxpr.outvars]

    def _equation(self, equation: Any, given: list[Axes]) -> list[Axes]:
        name = equation.primitive.name
        if name in INLINED and INLINED[name] in equation.params:
            return self.read(equation.params[INLINED[name]], given)
        control = {"scan": self._scan, "while": self._while, "cond": self._cond}
        if name in control:
            return control[name](equation.params, given)
        if name not in KNOWN:
            self.unread.add(name)
            return unknown(equation, given)
        return KNOWN[name](equation, given)

    def _scan(self, params: Any, given: list[Axes]) -> list[Axes]:
        """Carried arrays are permuted alike in every step; steps come in an order."""
        first, last = params["num_consts"], params["num_consts"] + params["num_carry"]
        for axes in given[last:]:
            make_rigid(axes[0], "scan along it")
        found = self.read(params["jaxpr"], [*given[:last], *(axes[1:] for axes in given[last:])])
        carried, rows = found[: last - first], found[last - first :]
        _all_alike(given[first:last], carried, "scan")
        return [*carried, *([rigid(params["length"], "scan along it"), *axes] for axes in rows)]

    def _while(self, params: Any, given: list[Axes]) -> list[Axes]:
        """Carried arrays are permuted alike in every step."""
        first, second = params["cond_nconsts"], params["body_nconsts"]
        constants, carried = given[first : first + second], given[first + second :]
        self.read(params["cond_jaxpr"], [*given[:first], *carried])
        _all_alike(carried, self.read(params["body_jaxpr"], [*constants, *carried]), "while")
        return carried

    def _cond(self, params: Any, given: list[Axes]) -> list[Axes]:
        """Whatever branch is taken, what it returns is permuted alike."""
        found, *others = (self.read(branch, given[1:]) for branch in params["branches"])
        for other in others:
            _all_alike(found, other, "cond")
        return found


def _all_alike(some: Sequence[Axes], others: Sequence[Axes], reason: str) -> None:
    for one, two in zip(some, others, strict=True):
        for mine, other in zip(one, two, strict=True):
            unify(mine, other, reason)
