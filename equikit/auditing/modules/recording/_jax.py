"""Record the modules and the equations of a function of JAX, by marks in its jaxpr."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.ad_checkpoint import checkpoint_name

from equikit.auditing._callables import host
from equikit.auditing.modules.recording._calls import OUTPUT, Call, Recording, arrays_in, is_array, map_arrays, numbered
from equikit.auditing.modules.recording._hooks import hooked
from equikit.auditing.modules.recording._programs import MARK, evaluate, place_of, traced
from equikit.auditing.modules.recording._roots import joined, kind_of, parts_of, roots, whole_kind

IMPURE = ("TraceContextError", "TracerArrayConversionError", "TracerBoolConversionError", "ConcretizationTypeError")
"""Errors of functions that JAX cannot trace: they change their state, or need the values of arrays."""


Key = tuple[str, int, str, int]
"""The place of an array: "calls" or "equations", the number of the call, "inputs" or "outputs", and its number."""
Pullback = Callable[[Key, np.ndarray], Any]


class _Seen:
    """Collects marked arrays and equations while a program is traced."""

    def __init__(self, names: Sequence[str], equations: bool) -> None:
        self.names, self.wanted = names, equations
        self.called: list[str] = []
        self.sides: list[dict[str, dict[int, Any]]] = []
        self.latest: dict[str, int] = {}
        self.order: dict[int, int] = {}
        self.equations: list[tuple[Any, list[Any], list[Any], tuple[int, ...], Sequence[Any]]] = []
        self.results: list[Any] = []
        self.open: list[int] = []
        self.time = 0

    def mark(self, name: str, value: Any) -> Any:
        number, kind, leaf = name.removeprefix(MARK).split(":")
        module = self.names[int(number)]
        call = self.latest.get(module)
        side = self.sides[call][kind] if call is not None else {}
        if call is None or int(leaf) in side or (kind == "in" and self.sides[call]["out"]):
            call = self.latest[module] = len(self.called)
            self.called.append(module)
            self.sides.append({"in": {}, "out": {}})
            self.open.append(call)
        self.sides[call][kind][int(leaf)] = value
        if kind == "out" and call in self.open:
            self.open = self.open[: self.open.index(call)]
        self.time += 1
        self.order[call] = self.time
        return value

    def equation(self, equation: Any, operands: Sequence[Any], results: Sequence[Any], within: Sequence[Any]) -> None:
        if self.wanted:
            self.equations.append((equation, [*operands], [*results], tuple(self.open), within))


class JaxRecorder:
    """Records a function of JAX; the program is compiled once for each set of shapes.

    Args:
        function: the function.
        rules: whether functions with their own derivatives stay whole, for `pullback`.
    """

    def __init__(self, function: Callable[..., Any], *, rules: bool = False) -> None:
        self.function, self.rules, self.kind = function, rules, whole_kind(function)
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
        program = self._compiled(given, keywords, equations)
        return self._eager(given, keywords) if program is None else self._read(program, given, keywords)

    def pullback(self, given: Any, keywords: Mapping[str, Any], equations: bool = False) -> Pullback | None:
        """Return the derivative of every recorded array, in reverse mode; `None` if the function cannot be traced.

        Returns:
            A function from the place of an array and its cotangent to the cotangents of the inputs.
        """
        program = self._compiled(given, keywords, equations)
        if program is None:
            return None
        compiled, seen, _ = program

        def recorded(given: Any) -> Any:
            results, values, of_equations = compiled(*jax.tree.leaves((given, dict(keywords))))
            ordered = [values[i] for i in sorted(range(len(values)), key=seen[0].order.__getitem__)]
            arrays = {
                (kind, call, side, place): array
                for kind, calls in (("calls", [*ordered, ([], results)]), ("equations", of_equations))
                for call, sides in enumerate(calls)
                for side, found in zip(("inputs", "outputs"), sides, strict=True)
                for place, array in enumerate(found)
                if jnp.issubdtype(jnp.result_type(array), jnp.inexact)
            }
            return {str(key): array for key, array in arrays.items()}

        arrays, pull = jax.vjp(recorded, given)

        def pulled(key: Key, cotangent: np.ndarray) -> Any:
            zeros = {name: jnp.zeros_like(array) for name, array in arrays.items()}
            if str(key) not in zeros:
                return None
            return pull(zeros | {str(key): jnp.asarray(cotangent, zeros[str(key)].dtype)})[0]

        return pulled

    def _compiled(self, given: Any, keywords: Mapping[str, Any], equations: bool) -> Any:
        shapes = jax.tree.map(lambda a: (a.shape, a.dtype), (given, dict(keywords)))
        key = (str(shapes), equations)
        if key not in self.programs:
            self.programs[key] = self._program(given, keywords, equations)
        return self.programs[key]

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
            results = evaluate(closed.jaxpr, closed.consts, operands, watch, self.rules)
            watch.results = results
            seen[:] = [watch]
            values = [[_ordered(one[kind]) for kind in ("in", "out")] for one in watch.sides]
            return results, values, [_numbers(one[1:3]) for one in watch.equations]

        return jax.jit(run), seen, structure

    def _read(self, program: Any, given: Any, keywords: Mapping[str, Any]) -> Recording:
        compiled, seen, structure = program
        results, values, of_equations = compiled(*jax.tree.leaves((given, dict(keywords))))
        watch = seen[0]
        calls = []
        for name, own, sides in zip(watch.called, watch.sides, values, strict=True):
            before, after = (tuple(map(host, side)) for side in sides)
            sources, found = (tuple(map(id, _ordered(own[kind]))) for kind in ("in", "out"))
            calls.append(Call(name, self.kinds[name], before, after, sources, found, "no arrays"))
        # Calls are numbered in the order in which they start, and listed in the order in which they end.
        calls = list(numbered(calls))
        ended = sorted(range(len(calls)), key=lambda i: watch.order[i])
        output = jax.tree.unflatten(structure, results)
        before, after = (tuple(map(host, arrays_in(side))) for side in (given, output))
        last = Call(OUTPUT, self.kind, before, after, results=tuple(map(id, watch.results)))
        equations = tuple(self._equations(watch, of_equations, calls))
        return Recording((*(calls[i] for i in ended), last), equations, self._never({*watch.called}))

    def _equations(self, watch: _Seen, values: Any, calls: Sequence[Call]) -> Any:
        for (equation, operands, results, inside, within), (given, found) in zip(watch.equations, values, strict=True):
            names = tuple(calls[i].name for i in inside)
            yield Call(
                place_of(equation, within),
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
        last = Call(OUTPUT, self.kind, tuple(map(host, arrays_in(given))), tuple(map(host, arrays_in(output))))
        return Recording((*numbered(calls), last), (), self._never({call.name for call in calls}))


def _ordered(side: Mapping[int, Any]) -> list[Any]:
    return [side[i] for i in sorted(side)]


def _numbers(values: Any) -> Any:
    """Return arrays of numbers; random keys become empty arrays."""
    return tuple([np.zeros(0) if not is_array(a) and hasattr(a, "dtype") else a for a in one] for one in values)
