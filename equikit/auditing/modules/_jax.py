"""Record the modules and the equations of a function of JAX, by marks in its jaxpr."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from flax import nnx
from jax.ad_checkpoint import checkpoint_name

from equikit.auditing._callables import host
from equikit.auditing.modules._calls import OUTPUT, Call, Recording, arrays_in, is_array, map_arrays, numbered
from equikit.auditing.modules._hooks import hooked
from equikit.auditing.modules._programs import MARK, evaluate, place_of, traced
from equikit.auditing.modules._roots import joined, kind_of, parts_of, roots

IMPURE = ("TraceContextError", "TracerArrayConversionError", "TracerBoolConversionError", "ConcretizationTypeError")
"""Errors of functions that JAX cannot trace: they change their state, or need the values of arrays."""


class _Seen:
    """Collects marked arrays and equations while a program is traced."""

    def __init__(self, names: Sequence[str], equations: bool) -> None:
        self.names, self.wanted = names, equations
        self.calls: list[tuple[str, dict[int, Any], dict[int, Any]]] = []
        self.latest: dict[str, int] = {}
        self.order: dict[int, int] = {}
        self.equations: list[tuple[Any, list[Any], list[Any], tuple[int, ...]]] = []
        self.open: list[int] = []
        self.time = 0

    def mark(self, name: str, value: Any) -> Any:
        number, kind, leaf = name.removeprefix(MARK).split(":")
        module = self.names[int(number)]
        place = 1 if kind == "in" else 2
        call = self.latest.get(module)
        if call is None or int(leaf) in self.calls[call][place] or (kind == "in" and self.calls[call][2]):
            call = self.latest[module] = len(self.calls)
            self.calls.append((module, {}, {}))
            self.open.append(call)
        self.calls[call][place][int(leaf)] = value
        if kind == "out" and call in self.open:
            self.open = self.open[: self.open.index(call)]
        self.time += 1
        self.order[call] = self.time
        return value

    def equation(self, equation: Any, operands: Sequence[Any], results: Sequence[Any]) -> None:
        if self.wanted:
            self.equations.append((equation, [*operands], [*results], tuple(self.open)))


class JaxRecorder:
    """Records a function of JAX; the program is compiled once for each set of shapes."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function
        self.parts = {
            joined(root, path): part
            for root, module in roots(function).items()
            if kind_of(module) in ("nnx", "equinox")
            for path, part in parts_of(module).items()
            if joined(root, path)
        }
        self.names = [*self.parts]
        self.kinds = {name: type(part).__name__ for name, part in self.parts.items()}
        self.programs: dict[Any, Any] = {}

    def record(self, given: Any, keywords: Mapping[str, Any], equations: bool = False) -> Recording:
        """Evaluate the function and return its calls.

        Args:
            given: the argument of the function: an array or a dictionary of arrays.
            keywords: keyword arguments.
            equations: whether to record equations too; they are recorded anyway if there are no modules.
        """
        shapes = jax.tree.map(lambda a: (a.shape, a.dtype), (given, dict(keywords)))
        key = (str(shapes), equations)
        if key not in self.programs:
            self.programs[key] = self._program(given, keywords, equations)
        program = self.programs[key]
        return self._eager(given, keywords) if program is None else self._read(program, given, keywords)

    def marked(self, given: Any, keywords: Mapping[str, Any]) -> Any:
        """Return the result of the function, with marks around modules; to be traced."""
        function = self.function
        if isinstance(function, nnx.Module):
            function = nnx.clone(function)  # so that a module which changes its state can be traced
        return function(given, **keywords)

    def _around(self, name: str, method: Callable[..., Any], arguments: Any, keywords: Any) -> Any:
        number = self.names.index(name)

        def tag(kind: str, values: Any) -> Any:
            places = iter(range(10**6))
            return map_arrays(lambda a: checkpoint_name(a, f"{MARK}{number}:{kind}:{next(places)}"), values)

        arguments, keywords = tag("in", (arguments, keywords))
        return tag("out", method(*arguments, **keywords))

    def _program(self, given: Any, keywords: Mapping[str, Any], equations: bool) -> Any:
        try:
            with hooked(self.parts, self._around):
                closed, structure = traced(self.marked, (given, dict(keywords)))
        except Exception as error:
            if type(error).__name__ in IMPURE:
                return None
            raise
        seen: list[_Seen] = []

        def run(*operands: Any) -> Any:
            watch = _Seen(self.names, equations or not self.parts)
            results = evaluate(closed.jaxpr, closed.consts, operands, watch, rules=False)
            seen[:] = [watch]
            values = [(one[1], one[2]) for one in watch.calls]
            return results, values, [_numbers(one[1:3]) for one in watch.equations]

        return jax.jit(run), seen, structure

    def _read(self, program: Any, given: Any, keywords: Mapping[str, Any]) -> Recording:
        compiled, seen, structure = program
        results, values, of_equations = compiled(*jax.tree.leaves((given, dict(keywords))))
        watch = seen[0]
        calls = [
            Call(name, self.kinds[name], *(tuple(host(a[i]) for i in sorted(a)) for a in value), reason="no arrays")
            for (name, _, _), value in zip(watch.calls, values, strict=True)
        ]
        # Calls are numbered in the order in which they start, and listed in the order in which they end.
        calls = list(numbered(calls))
        ended = sorted(range(len(calls)), key=lambda i: watch.order[i])
        output = jax.tree.unflatten(structure, results)
        last = Call(OUTPUT, "function", tuple(map(host, arrays_in(given))), tuple(map(host, arrays_in(output))))
        equations = tuple(self._equations(watch, of_equations, calls))
        ordered = [calls[i] for i in ended] if self.parts else numbered(equations)
        return Recording((*ordered, last), equations, self._never({one[0] for one in watch.calls}))

    def _equations(self, watch: _Seen, values: Any, calls: Sequence[Call]) -> Any:
        for (equation, operands, results, inside), (given, found) in zip(watch.equations, values, strict=True):
            names = tuple(calls[i].name for i in inside)
            yield Call(
                place_of(equation),
                equation.primitive.name,
                tuple(map(host, given)),
                tuple(map(host, found)),
                tuple(map(id, operands)),
                tuple(map(id, results)),
                inside=names,
            )

    def _never(self, called: set[str]) -> tuple[str, ...]:
        return tuple(name for name in self.names if name not in called)

    def _eager(self, given: Any, keywords: Mapping[str, Any]) -> Recording:
        """Record a function that cannot be traced; arrays inside of its transformations have no values."""
        calls: list[Call] = []

        def around(name: str, method: Callable[..., Any], arguments: Any, more: Any) -> Any:
            before = [*arrays_in((arguments, more))]
            result = method(*arguments, **more)
            after = [*arrays_in(result)]
            known = not any(isinstance(a, jax.core.Tracer) for a in (*before, *after))
            arrays = (tuple(map(host, before)), tuple(map(host, after))) if known else ((), ())
            calls.append(Call(name, self.kinds[name], *arrays, reason="no arrays" if known else "inside jit or vmap"))
            return result

        states = [(m, nnx.clone(nnx.state(m))) for m in roots(self.function).values() if isinstance(m, nnx.Module)]
        try:
            with hooked(self.parts, around):
                output = self.function(given, **keywords)
        finally:
            for module, state in states:
                nnx.update(module, state)
        last = Call(OUTPUT, "function", tuple(map(host, arrays_in(given))), tuple(map(host, arrays_in(output))))
        return Recording((*numbered(calls), last), (), self._never({call.name for call in calls}))


def _numbers(values: Any) -> Any:
    """Return arrays of numbers; random keys become empty arrays."""
    return tuple([np.zeros(0) if not is_array(a) and hasattr(a, "dtype") else a for a in one] for one in values)
