"""What a program does with each axis of a parameter: which axes a product sums over, and which it keeps."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from jax.extend.core import Literal as Constant

from equikit.weightspace.tracing.programs._loops import carried
from equikit.weightspace.tracing.programs._program import CALLS, PROGRAMS, opened

Role = Literal["in", "out", "window", "looked up", "transposed"]
"""An axis that a product with data sums over, one that it keeps, one of a convolution's window, one that is indexed, or
any axis of the kernel of a transposed convolution."""
Roles = tuple[Role | None, ...]
"""The role of each axis of a parameter; `None` where the program was not understood."""

Axes = tuple[tuple[int, ...], ...]
"""For each axis of an array, the axes of the parameter that it consists of, the slowest first."""
Traced = tuple[int, Axes]
"""An array that is a rearranged parameter: the number of the parameter, and the origin of each axis."""

PLAIN = frozenset(
    ["convert_element_type", "copy", "copy_p", "neg", "optimization_barrier", "reduce_precision", "stop_gradient"]
)
"""Primitives whose result has the axes of their operand."""

SLICES = ("dynamic_slice", "slice")
"""Primitives whose result is a part of their operand along each axis; what uses the part uses the axes."""

_Known = tuple[Traced | None, bool]
"""The parameter that an array is, if it is one, and whether it depends on the inputs of the model."""


def roles_of(program: Any, shapes: Sequence[tuple[int, ...]]) -> list[Roles]:
    """Return the roles of the axes of each parameter, the first inputs of a closed jaxpr.

    Products of two parameters give no roles. An axis with two roles has none, except that rows which are looked up stay
    so where the table is also multiplied.
    """
    found: list[list[set[Role]]] = [[set() for _ in shape] for shape in shapes]
    jaxpr, _ = opened(program)
    start: list[_Known] = [
        ((number, tuple((axis,) for axis in range(len(shape)))), False) for number, shape in enumerate(shapes)
    ]
    _walk(jaxpr, [*start, *[(None, True)] * (len(jaxpr.invars) - len(start))], found)
    return [tuple(map(_only, axes)) for axes in found]


def _only(roles: set[Role]) -> Role | None:
    if "looked up" in roles:
        return "looked up"
    return next(iter(roles)) if len(roles) == 1 else None


def _walk(jaxpr: Any, given: Sequence[_Known], found: list[list[set[Role]]]) -> list[_Known]:
    known: dict[Any, _Known] = dict(zip(jaxpr.invars, given, strict=True))

    def of(variable: Any) -> _Known:
        return (None, False) if isinstance(variable, Constant) else known.get(variable, (None, False))

    for equation in jaxpr.eqns:
        operands = [of(variable) for variable in equation.invars]
        known.update(zip(equation.outvars, _results(equation, operands, found), strict=True))
    return [of(variable) for variable in jaxpr.outvars]


def _results(equation: Any, operands: list[_Known], found: list[list[set[Role]]]) -> list[_Known]:
    """Return the results that are rearranged parameters, after roles in this equation are noted."""
    name, given = equation.primitive.name, equation.params
    program = next((given[key] for key in PROGRAMS if key in given), None)
    if name in CALLS and program is not None:
        return _walk(opened(program)[0], operands, found)
    data = any(depends for _, depends in operands)
    if name == "scan":
        start, fixed = carried(equation)
        steps: list[_Known] = [(one and _without(one, 0), depends) for one, depends in operands[fixed:]]
        state: list[_Known] = [(None, data)] * (fixed - start)
        _walk(opened(given["jaxpr"])[0], [*operands[:start], *state, *steps], found)
        return [(None, data)] * len(equation.outvars)
    if name == "while":
        start, end = carried(equation)
        body = operands[given["cond_nconsts"] : start]
        _walk(opened(given["body_jaxpr"])[0], [*body, *[(None, data)] * (end - start)], found)
        return [(None, data)] * len(equation.outvars)
    if name == "cond":
        for branch in given["branches"]:
            _walk(opened(branch)[0], operands[1:], found)
        return [(None, data)] * len(equation.outvars)
    for place, (seen, _) in enumerate(operands):
        if seen is not None and (name == "gather" or any(depends for _, depends in operands)):
            _note(seen, _used(name, given, place), found)
    first = operands[0][0] if operands else None
    moved = None if first is None else rearranged(name, given, equation, first)
    if name in SLICES:
        moved = first
    return [(moved, data), *[(None, data)] * (len(equation.outvars) - 1)] if equation.outvars else []


def _note(seen: Traced, roles: Mapping[int, Role], found: list[list[set[Role]]]) -> None:
    number, axes = seen
    for axis, role in roles.items():
        for origin in axes[axis] if axis < len(axes) else ():
            found[number][origin].add(role)


def _used(name: str, given: Mapping[str, Any], place: int) -> dict[int, Role]:
    """Return the role of each axis of an operand of a product, convolution or lookup."""
    if name == "dot_general" and place < 2:
        contracted, batched = (sides[place] for sides in given["dimension_numbers"])
        every = range(64)
        return {axis: "in" if axis in contracted else "out" for axis in every if axis not in batched}
    if name == "conv_general_dilated" and place == 1:
        out, summed, *window = given["dimension_numbers"].rhs_spec
        if any(step > 1 for step in given["lhs_dilation"]):
            return dict.fromkeys((out, summed, *window), "transposed")
        return {out: "out", summed: "in"} | dict.fromkeys(window, "window")
    if name == "gather" and place == 0:
        return dict.fromkeys(given["dimension_numbers"].collapsed_slice_dims, "looked up")
    return {}


def rearranged(name: str, given: Mapping[str, Any], equation: Any, seen: Traced) -> Traced | None:
    """Return the axes of the result of a primitive that only moves the axes of its operand."""
    number, axes = seen
    if name in PLAIN:
        return seen
    if name == "transpose":
        return number, tuple(axes[axis] for axis in given["permutation"])
    if name == "squeeze":
        return number, tuple(one for axis, one in enumerate(axes) if axis not in given["dimensions"])
    if name == "broadcast_in_dim":
        places = dict(zip(given["broadcast_dimensions"], axes, strict=True))
        return number, tuple(places.get(axis, ()) for axis in range(len(given["shape"])))
    if name == "reshape":
        merged = _merged(equation.invars[0].aval.shape, axes, equation.outvars[0].aval.shape)
        return None if merged is None else (number, merged)
    return None


def _merged(old: Sequence[int], axes: Axes, new: Sequence[int]) -> Axes | None:
    """Return the axes after a reshape that only joins neighbors, or `None`."""
    found, place = [], 0
    for size in new:
        group: tuple[int, ...] = ()
        have = 1
        while place < len(old) and (have < size or (have == size and old[place] == 1)):
            group, have, place = group + axes[place], have * old[place], place + 1
        if have != size:
            return None
        found.append(group)
    return tuple(found) if math.prod(old[place:]) == 1 else None


def _without(seen: Traced, axis: int) -> Traced:
    return seen[0], seen[1][:axis] + seen[1][axis + 1 :]
