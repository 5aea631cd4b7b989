"""Evaluate a jaxpr and show every equation, and every marked array, on the way."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

import jax
import jax.numpy as jnp
from jax.experimental.xla_metadata import set_xla_metadata
from jax.extend.core import Literal

CALLS = {
    *("call", "closed_call", "core_call", "jit", "pjit", "composite", "xla_metadata_call"),
    *("checkpoint", "remat", "remat2"),
}
RULES = {"custom_jvp_call", "custom_vjp_call", "custom_vjp_call_jaxpr"}
MARK = "equikit:"
OWN = Path(__file__).parents[3]
"""The folder of this package."""


class Watch(Protocol):
    """Receives the equations of a program in order."""

    def equation(self, equation: Any, operands: Sequence[Any], results: Sequence[Any], within: Sequence[Any]) -> None:
        """See the values before and after an equation, and the equations that call its program, outermost first."""

    def mark(self, name: str, value: Any) -> Any:
        """See a marked array, and return the value to go on with."""


def _inner(equation: Any) -> Any:
    for name in ("jaxpr", "call_jaxpr", "fun_jaxpr"):
        if name in equation.params:
            return equation.params[name]
    return None


def _is_mark(equation: Any) -> bool:
    return equation.primitive.name == "name" and str(equation.params.get("name")).startswith(MARK)


def has_marks(jaxpr: Any) -> bool:
    """Whether an equation of a program, or of its inner programs, is a mark."""
    body = getattr(jaxpr, "jaxpr", jaxpr)
    return any(_is_mark(one) or ((inner := _inner(one)) is not None and has_marks(inner)) for one in body.eqns)


def evaluate(
    jaxpr: Any,
    constants: Sequence[Any],
    operands: Sequence[Any],
    watch: Watch,
    rules: bool,
    within: Sequence[Any] = (),
) -> list[Any]:
    """Evaluate a program.

    Args:
        jaxpr, constants: the program.
        operands: its inputs.
        watch: sees equations and marks, also in called programs and in the steps of scans that have marks.
        rules: whether functions with their own derivatives are kept whole, so that the program can be differentiated.
        within: the equations that call this program, outermost first.
    """
    known: dict[Any, Any] = dict(zip([*jaxpr.constvars, *jaxpr.invars], [*constants, *operands], strict=True))

    def read(variable: Any) -> Any:
        return variable.val if isinstance(variable, Literal) else known[variable]

    for equation in jaxpr.eqns:
        given = [read(variable) for variable in equation.invars]
        if _is_mark(equation):
            found = [watch.mark(equation.params["name"], given[0])]
        else:
            found = _results(equation, given, watch, rules, within)
        known.update(zip(equation.outvars, found, strict=True))
    return [read(variable) for variable in jaxpr.outvars]


def _results(equation: Any, given: list[Any], watch: Watch, rules: bool, within: Sequence[Any]) -> list[Any]:
    name, inner = equation.primitive.name, _inner(equation)
    if inner is not None and (name in CALLS or (name in RULES and not rules)):
        body, own = getattr(inner, "jaxpr", inner), getattr(inner, "consts", ())
        return evaluate(body, own, given, watch, rules, (*within, equation))
    if name == "scan" and has_marks(inner):
        return _scanned(equation, given, watch, rules, within)
    bound = equation.primitive.get_bind_params(equation.params)
    functions, params = bound if isinstance(bound, tuple) else ((), bound)
    found = equation.primitive.bind(*functions, *given, **params)
    results = list(found) if equation.primitive.multiple_results else [found]
    watch.equation(equation, given, results, within)
    return results


def _scanned(equation: Any, given: list[Any], watch: Watch, rules: bool, within: Sequence[Any]) -> list[Any]:
    """Evaluate a scan step by step."""
    inner, params = equation.params["jaxpr"], equation.params
    body, own = getattr(inner, "jaxpr", inner), getattr(inner, "consts", ())

    def kept(outer: Sequence[Any], within: Sequence[Any]) -> int:
        """Count arrays that keep their axes; scanned rows, which come last, lose one."""
        return sum(len(o.aval.shape) == len(i.aval.shape) for o, i in zip(outer, within, strict=True))

    # The parameters that count constants and the carry have other names in other releases of JAX.
    end, carried = kept(equation.invars, body.invars), kept(equation.outvars, body.outvars)
    fixed, state, rows = given[: end - carried], given[end - carried : end], given[end:]
    outputs: list[list[Any]] = []
    steps = range(params["length"])
    for step in reversed(steps) if params["reverse"] else steps:
        found = evaluate(body, own, [*fixed, *state, *(row[step] for row in rows)], watch, rules, (*within, equation))
        state = found[:carried]
        outputs.append(found[carried:])
    if params["reverse"]:
        outputs.reverse()
    return [*state, *(jnp.stack(column) for column in zip(*outputs, strict=True))]


def place_of(equation: Any, within: Sequence[Any] = ()) -> str:
    """Return the primitive of an equation and the line of the user's program, such as `"sort (model.py:12)"`.

    An equation in a function of JAX, such as `jax.nn.relu`, has the line of the call: `"max of relu (model.py:12)"`.

    Args:
        equation: the equation.
        within: the equations that call its program, outermost first.
    """
    around = (equation, *reversed(within))
    frames = [(place, frame) for place, one in enumerate(around) for frame in _frames(one)]
    outside = [pair for pair in frames if not Path(pair[1].file_name).is_relative_to(OWN)]
    if not frames:
        return str(equation.primitive.name)
    place, frame = (outside or frames)[0]
    called = [str(one.params["name"]).strip("_") for one in around[1 : place + 1] if "name" in one.params]
    words = f"{equation.primitive.name} of {called[-1]}" if called else equation.primitive.name
    return f"{words} ({Path(frame.file_name).name}:{frame.start_line})"


def _frames(equation: Any) -> list[Any]:
    """Return the frames of an equation outside of JAX, innermost first."""
    from jax._src import source_info_util  # JAX has no public way to the source line of an equation

    return [*source_info_util.user_frames(equation.source_info.traceback)]


Function = Callable[..., Any]


_TRACES = itertools.count()


def traced(function: Function, arguments: Any) -> tuple[Any, Any]:
    """Return the closed jaxpr of a function, and the structure of its results.

    JAX keeps the programs of `jit` and `checkpoint` that it has traced before, without marks. Metadata that no other
    trace has make it trace them again.
    """
    with set_xla_metadata(equikit_trace=str(next(_TRACES))):
        closed, shapes = jax.make_jaxpr(function, return_shape=True)(*arguments)
    return closed, jax.tree.structure(shapes)
