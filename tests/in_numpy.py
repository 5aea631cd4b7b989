"""Evaluate functions of JAX in NumPy, for the many programs that tests run once: nothing is compiled."""

import functools
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

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


class Step(NamedTuple):
    """An operation, and the places of its operands and results among all values."""

    equation: Any
    compute: Callable[..., Any]
    options: dict[str, Any]
    operands: list[int]
    results: list[int]


class Steps:
    """A jaxpr with those that it calls, in the order in which it is evaluated."""

    def __init__(self, jaxpr: Any) -> None:
        self.steps: list[Step] = []
        self.types: list[Any] = []
        self.values: list[Any] = []
        """Constants, and places for everything else."""
        self.inputs = self._new(jaxpr.constvars) + self._new(jaxpr.invars)
        self.outputs = self._add(jaxpr, self.inputs)

    def _new(self, variables: Any, values: Any = ()) -> list[int]:
        first = len(self.values)
        self.types += [v.aval for v in variables]
        self.values += map(_held, values, self.types[first:]) if values else [None] * len(variables)
        return [*range(first, len(self.types))]

    def _add(self, jaxpr: Any, given: list[int]) -> list[int]:
        """Add the operations of a jaxpr, and find the places of its results."""
        known = dict(zip((*jaxpr.constvars, *jaxpr.invars), given, strict=True))

        def places(variables: Any) -> list[int]:
            return [self._new([v], [v.val])[0] if hasattr(v, "val") else known[v] for v in variables]

        for equation in jaxpr.eqns:
            name, options, operands = equation.primitive.name, equation.params, places(equation.invars)
            if name in CALLS:
                called = called_by(equation)
                inner = getattr(called, "jaxpr", called)
                results = self._add(inner, self._new(inner.constvars, getattr(called, "consts", ())) + operands)
            else:
                results = self._new(equation.outvars)
                if any(not isinstance(self.types[place].dtype, np.dtype) for place in operands):  # random keys
                    compute = _not_in_numpy
                elif name in ENTRYWISE:
                    compute, options = ENTRYWISE[name], {}
                else:
                    compute = SHAPING.get(name, _not_in_numpy)
                self.steps.append(Step(equation, compute, options, operands, results))
            known.update(zip(equation.outvars, results, strict=True))
        return places(jaxpr.outvars)


def _not_in_numpy(*_: Any, **__: Any) -> Any:
    return NotImplemented


_steps = functools.lru_cache(2**8)(Steps)


class Evaluator:
    """Evaluates jaxprs. It raises `LeftToJax` after `most` operations, those in loops counted each time.

    An operation that NumPy lacks is run by JAX, or raises `LeftToJax` if the evaluator is strict.
    """

    def __init__(self, most: float = float("inf"), strict: bool = False) -> None:
        self.left, self.strict = most, strict

    def __call__(self, closed: Any, arguments: Any) -> list[Any]:
        steps = _steps(getattr(closed, "jaxpr", closed))
        self.left -= len(steps.steps)
        if self.left < 0:
            raise LeftToJax
        values, types = steps.values.copy(), steps.types
        for place, value in zip(steps.inputs, [*getattr(closed, "consts", ()), *arguments], strict=True):
            values[place] = _held(value, types[place])
        for equation, compute, options, places, results in steps.steps:
            operands = [values[place] for place in places]
            found = compute(*operands, **options)
            if found is NotImplemented:
                found = self._otherwise(equation, operands)
            for place, value in zip(results, found if equation.primitive.multiple_results else (found,), strict=True):
                values[place] = value = _held(value, types[place])
                assert value.shape == types[place].shape
        return [values[place] for place in steps.outputs]

    def _otherwise(self, equation: Any, operands: list[Any]) -> Any:
        """Evaluate the jaxprs of an operation, or leave it to JAX."""
        name = equation.primitive.name
        if name in NESTED:
            return NESTED[name](self, equation, operands)
        if self.strict or name == "shard_map":
            raise LeftToJax
        return equation.primitive.bind(*operands, **equation.params)

    def branch(self, equation: Any, operands: list[Any]) -> Any:
        return self(equation.params["branches"][int(operands[0])], operands[1:])

    def solve(self, equation: Any, operands: list[Any]) -> Any:
        params = equation.params
        before, after = (sum(params["const_lengths"][:i]) for i in (2, 3))
        return self(params["jaxprs"].solve, operands[before:after] + operands[sum(params["const_lengths"]) :])

    def platform(self, equation: Any, operands: list[Any]) -> Any:
        names = [names or [PLATFORM] for names in equation.params["platforms"]]
        return np.int32(next(i for i, some in enumerate(names) if PLATFORM in some))

    def scan(self, equation: Any, operands: list[Any]) -> list[Any]:
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

    def loop(self, equation: Any, operands: list[Any]) -> Any:
        names = "cond_jaxpr", "body_jaxpr", "cond_nconsts", "body_nconsts"
        condition, body, asking, fixing = (equation.params[name] for name in names)
        asked, fixed, carry = operands[:asking], operands[asking : asking + fixing], operands[asking + fixing :]
        while np.any(goes := self(condition, [*asked, *carry])[0]):
            found = self(body, [*fixed, *carry])
            spread = [goes.reshape(goes.shape + (1,) * (np.ndim(value) - goes.ndim)) for value in found]
            pairs = zip(spread, found, carry, strict=True)
            carry = [_module(each[1]).where(*each) if goes.ndim else each[1] for each in pairs]
        return carry


NESTED = {
    "cond": Evaluator.branch,
    "custom_linear_solve": Evaluator.solve,
    "platform_index": Evaluator.platform,
    "scan": Evaluator.scan,
    "while": Evaluator.loop,
}

CALLS = {"jit", "pjit", "remat2", "checkpoint", "closed_call", "custom_jvp_call", "custom_vjp_call"}


def called_by(equation: Any) -> Any:
    """The jaxpr that a call evaluates."""
    return equation.params.get("jaxpr", equation.params.get("call_jaxpr"))


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
            yield from equations_of(called_by(equation))


def _held(value: Any, aval: Any) -> Any:
    """The value as an array of NumPy, random keys apart."""
    if type(value) is np.ndarray and value.dtype == aval.dtype:
        return value
    return value if jax.dtypes.issubdtype(aval.dtype, jax.dtypes.extended) else np.asarray(value, aval.dtype)


def _module(value: Any) -> Any:
    """What stacks and chooses such values: JAX for random keys."""
    return jnp if isinstance(value, jax.Array) else np
