"""Evaluate functions of JAX in NumPy, for the many programs that tests run once: nothing is compiled."""

import functools
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from numpy_operations import ENTRYWISE, SHAPING

PLATFORM = "cpu"
"""The platform whose branch is evaluated."""


def in_numpy(function: Any, *arguments: Any, **keywords: Any) -> Any:
    """Trace a function and evaluate its jaxpr, with JAX only for operations that are rare."""
    given = arguments, keywords
    jaxpr, shapes = jax.make_jaxpr(lambda given: function(*given[0], **given[1]), return_shape=True)(given)
    with np.errstate(all="ignore"):
        return jax.tree.unflatten(jax.tree.structure(shapes), Evaluator()(jaxpr, jax.tree.leaves(given)))


def by_numpy(function: Any) -> Any:
    """The same function, evaluated in NumPy; a module keeps its variables."""

    def called(*arguments: Any, **keywords: Any) -> Any:
        return (nnx.clone(function) if isinstance(function, nnx.Module) else function)(*arguments, **keywords)

    return functools.partial(in_numpy, called)


def assert_derivatives(function: Any, *arguments: Any, tolerance: float = 1e-6) -> None:
    """Check that both modes have the derivative of a function of numbers by finite differences in a direction."""
    rng, step, places = np.random.default_rng(0), 1e-6, tuple(range(len(arguments)))
    direction = jax.tree.map(lambda a: rng.normal(size=a.shape), arguments)
    first, second = (
        in_numpy(function, *jax.tree.map(lambda a, d, s=sign: a + s * step * d, arguments, direction))
        for sign in (1, -1)
    )
    _, ahead = in_numpy(lambda *values: jax.jvp(function, values, direction), *arguments)
    back = jax.tree.map(np.vdot, direction, in_numpy(jax.grad(function, places), *arguments))
    for found in (ahead, sum(jax.tree.leaves(back))):
        np.testing.assert_allclose(found, (first - second) / (2 * step), rtol=tolerance, atol=tolerance)


class LeftToJax(Exception):
    """NumPy lacks an operation, or would take longer than a compilation."""


class Evaluator:
    """Evaluates jaxprs. It raises `LeftToJax` after `most` operations, those in loops counted each time.

    An operation that NumPy lacks is run by JAX, or raises `LeftToJax` if the evaluator is strict.
    """

    def __init__(self, most: float = float("inf"), strict: bool = False) -> None:
        self.left, self.strict = most, strict

    def __call__(self, closed: Any, arguments: Any) -> list[Any]:
        jaxpr = getattr(closed, "jaxpr", closed)
        variables, given = [*jaxpr.constvars, *jaxpr.invars], [*getattr(closed, "consts", ()), *arguments]
        known: dict[Any, Any] = {}

        def write(variables: Any, values: Any) -> None:
            for v, value in zip(variables, values, strict=True):
                known[v] = _held(value, v.aval)
                assert known[v].shape == v.aval.shape

        def read(v: Any) -> Any:
            return _held(v.val, v.aval) if hasattr(v, "val") else known[v]

        self.left -= len(jaxpr.eqns)
        if self.left < 0:
            raise LeftToJax
        write(variables, given)
        for equation in jaxpr.eqns:
            found = self._result(equation, [read(v) for v in equation.invars])
            write(equation.outvars, found if isinstance(found, list | tuple) else [found])
        return [read(v) for v in jaxpr.outvars]

    def _result(self, equation: Any, operands: list[Any]) -> Any:
        name, params = equation.primitive.name, equation.params
        if name in CALLS:
            return self(params.get("jaxpr", params.get("call_jaxpr")), operands)
        if name == "cond":
            return self(params["branches"][int(operands[0])], operands[1:])
        if name == "custom_linear_solve":
            before, after = (sum(params["const_lengths"][:i]) for i in (2, 3))
            return self(params["jaxprs"].solve, operands[before:after] + operands[sum(params["const_lengths"]) :])
        if name == "scan":
            return self._scan(equation, operands)
        if name == "while":
            return self._while(*operands, **params)
        if name == "platform_index":
            names = [names or [PLATFORM] for names in params["platforms"]]
            return np.int32(next(i for i, some in enumerate(names) if PLATFORM in some))
        found = NotImplemented
        if all(type(operand) is np.ndarray for operand in operands):  # and not random keys
            if name in ENTRYWISE:
                return ENTRYWISE[name](*operands)
            found = SHAPING[name](*operands, **params) if name in SHAPING else NotImplemented
        if found is not NotImplemented:
            return found
        if self.strict or name == "shard_map":
            raise LeftToJax
        return equation.primitive.bind(*operands, **params)

    def _scan(self, equation: Any, operands: list[Any]) -> list[Any]:
        """What runs along the scanned axis has an axis more outside the body than inside."""
        body, length, last_first = (equation.params[name] for name in ("jaxpr", "length", "reverse"))
        inside = getattr(body, "jaxpr", body)
        rows = sum(v.aval.ndim > w.aval.ndim for v, w in zip(equation.invars, inside.invars, strict=True))
        carried = sum(v.aval.ndim == w.aval.ndim for v, w in zip(equation.outvars, inside.outvars, strict=True))
        first, step = len(operands) - rows, -1 if last_first else 1
        fixed, carry, inputs = operands[: first - carried], operands[first - carried : first], operands[first:]
        found: list[list[Any]] = [[] for _ in equation.outvars[carried:]]
        for i in range(length)[::step]:
            outputs = self(body, [*fixed, *carry, *(x[i] for x in inputs)])
            carry = outputs[:carried]
            for column, value in zip(found, outputs[carried:], strict=True):
                column.append(value)
        if not length:
            return [*carry, *(np.zeros(v.aval.shape, v.aval.dtype) for v in equation.outvars[carried:])]
        return [*carry, *(_module(column[0]).stack(column[::step]) for column in found)]

    def _while(self, *operands: Any, cond_jaxpr: Any, body_jaxpr: Any, cond_nconsts: int, body_nconsts: int) -> Any:
        first = cond_nconsts + body_nconsts
        asked, fixed, carry = operands[:cond_nconsts], operands[cond_nconsts:first], list(operands[first:])
        while np.any(goes := self(cond_jaxpr, [*asked, *carry])[0]):
            found = self(body_jaxpr, [*fixed, *carry])
            spread = [goes.reshape(goes.shape + (1,) * (np.ndim(value) - goes.ndim)) for value in found]
            pairs = zip(spread, found, carry, strict=True)
            carry = [_module(each[1]).where(*each) if goes.ndim else each[1] for each in pairs]
        return carry


CALLS = {"jit", "pjit", "remat2", "checkpoint", "closed_call", "custom_jvp_call", "custom_vjp_call"}


def equations(jaxpr: Any) -> Iterator[Any]:
    """All equations of a jaxpr that compute something, those of nested jaxprs included.

    Of a choice by platform only the last branch counts: a program that is lowered for one platform has one of them. How
    a scatter combines two numbers is part of it.
    """
    jaxpr = getattr(jaxpr, "jaxpr", jaxpr)
    for equation in jaxpr.eqns:
        by_platform = equation.params.get("branches_platforms") is not None
        parts = [parameter for name, parameter in equation.params.items() if name != "update_jaxpr"]
        nested = [
            value
            for parameter in ([equation.params["branches"][-1:]] if by_platform else parts)
            for value in (parameter if isinstance(parameter, list | tuple) else [parameter])
            if hasattr(value, "eqns") or hasattr(value, "jaxpr")
        ]
        for inner in nested:
            yield from equations(inner)
        if not nested:
            yield equation


def equations_of(jaxpr: Any) -> Iterator[Any]:
    """The equations of a program and of the functions that it calls, without bodies of loops and branches."""
    for equation in getattr(jaxpr, "jaxpr", jaxpr).eqns:
        yield equation
        if equation.primitive.name in CALLS:
            yield from equations_of(equation.params.get("jaxpr", equation.params.get("call_jaxpr")))


def _held(value: Any, aval: Any) -> Any:
    """The value as an array of NumPy, random keys apart."""
    if type(value) is np.ndarray and value.dtype == aval.dtype:
        return value
    return value if jax.dtypes.issubdtype(aval.dtype, jax.dtypes.extended) else np.asarray(value, aval.dtype)


def _module(value: Any) -> Any:
    """What stacks and chooses such values: JAX for random keys."""
    return jnp if isinstance(value, jax.Array) else np
