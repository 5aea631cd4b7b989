"""Evaluate a program, and record the value of every array with the labels of its axes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend.core import Literal

from equikit.groups import S
from equikit.weightspace.specifications._blame import labeled_axes
from equikit.weightspace.specifications._leaves import is_inexact
from equikit.weightspace.specifications._terms import Leaf
from equikit.weightspace.tracing.axes._axes import Axis, factors
from equikit.weightspace.tracing.axes._places import Lookup, indices_of
from equikit.weightspace.tracing.programs._loops import carried
from equikit.weightspace.tracing.programs._program import Call, program_of
from equikit.weightspace.tracing.programs._reading import read, read_with


@dataclass(frozen=True)
class Seen:
    """A piece of an array that depends on the model's inputs, with one index set for each axis.

    Attributes:
        axes: the index sets.
        array: the values of the piece.
    """

    axes: tuple[Axis, ...]
    array: Any


@dataclass(frozen=True)
class Labeled:
    """A program that was read with labels on the axes of its parameters.

    Attributes:
        axes: the index set of each label.
        call: the program.
        params: the number of parameters, which are the first inputs of the program.
    """

    axes: dict[str, Axis]
    call: Call
    params: int


def labeled(
    leaves: tuple[Leaf, ...], groups: dict[str, S], apply: Callable[..., Any], params: Any, inputs: tuple[Any, ...]
) -> Labeled:
    """Read the program of a model with the labels of its parameters."""
    axes, of_params = labeled_axes(leaves, groups)
    programs = [program_of(apply, params, inputs)]
    split = read(programs, [leaf.shape for leaf in leaves], unreached=True).split
    return Labeled(axes, read_with(programs, of_params, split).calls[0], len(leaves))


def evaluated(program: Labeled, params: Any, inputs: tuple[Any, ...], see: Callable[[Seen], None]) -> list[Any]:
    """Run a program, and call `see` on every piece of every real or complex array that depends on the inputs.

    Returns:
        The outputs of the program.
    """
    values = [*jax.tree.leaves(params), *jax.tree.leaves(inputs)]
    data = [number >= program.params for number in range(len(values))]
    for array, places in zip(values[program.params :], _inputs(program), strict=True):
        _show(array, places, see)
    return [value for value, _ in _run(program.call, list(zip(values, data, strict=True)), see)]


def _inputs(program: Labeled) -> list[Any]:
    return [program.call.places[variable] for variable in program.call.jaxpr.invars[program.params :]]


def _run(call: Call, operands: Sequence[tuple[Any, bool]], see: Callable[[Seen], None]) -> list[tuple[Any, bool]]:
    known: dict[Any, tuple[Any, bool]] = dict(zip(call.jaxpr.invars, operands, strict=True))
    known.update((one, (value, False)) for one, value in zip(call.jaxpr.constvars, call.constants, strict=True))

    def of(variable: Any) -> tuple[Any, bool]:
        return (variable.val, False) if isinstance(variable, Literal) else known[variable]

    for number, equation in enumerate(call.jaxpr.eqns):
        given = [of(variable) for variable in equation.invars]
        steps = call.bodies.get(number, [])
        if number in call.inner:
            found = _run(call.inner[number], given, see)
        elif equation.primitive.name == "scan" and len(steps) == equation.params["length"] > 1:
            found = _scanned(equation, steps, given, see)
        else:
            data = any(one for _, one in given)
            found = [(value, data) for value in _bound(equation, [value for value, _ in given])]
            for variable, (value, _) in zip(equation.outvars, found, strict=True):
                if data:
                    _show(value, call.places[variable], see)
        known.update(zip(equation.outvars, found, strict=True))
    return [of(variable) for variable in call.jaxpr.outvars]


def _scanned(
    equation: Any, steps: Sequence[Call], given: Sequence[tuple[Any, bool]], see: Callable[[Seen], None]
) -> list[tuple[Any, bool]]:
    """Run a scan that was read step by step because its layers have separate labels."""
    start, end = carried(equation)
    order = range(len(steps))
    state, rows = list(given[start:end]), list[list[tuple[Any, bool]]]()
    for step, body in zip(reversed(order) if equation.params["reverse"] else order, steps, strict=True):
        its = [(value[step], data) for value, data in given[end:]]
        found = _run(body, [*given[:start], *state, *its], see)
        state = found[: len(state)]
        rows.append(found[len(state) :])
    if equation.params["reverse"]:
        rows.reverse()
    stacked = [
        (jnp.stack([value for value, _ in one]), any(data for _, data in one)) for one in zip(*rows, strict=True)
    ]
    return [*state, *stacked]


def _bound(equation: Any, operands: list[Any]) -> list[Any]:
    found = equation.primitive.bind(*operands, **equation.primitive.get_bind_params(equation.params))
    return list(found) if equation.primitive.multiple_results else [found]


def _show(array: Any, places: Any, see: Callable[[Seen], None]) -> None:
    """Call `see` on the pieces of an array.

    Product axes, such as flattened axes, are reshaped to their factors. If other axes depend on the index along an
    axis, each index is a piece of its own. Concatenated arrays are skipped, because their parts were seen before.
    """
    if not is_inexact(array):
        return
    if any(isinstance(one, Lookup) for place in places if not place.same for one in place.over):
        return  # the labels of an axis depend on the values of indices
    for index, axes in indices_of(places, array.shape):
        piece = array[tuple(index.get(at, slice(None)) for at in range(array.ndim))]
        rest = [axis.root for at, axis in enumerate(axes) if at not in index]
        inner = [factors(axis) if axis.kind == "product" else [axis] for axis in rest]
        atoms = tuple(atom for some in inner for atom in some)
        if all(atom.kind != "sum" for atom in atoms):
            see(Seen(atoms, jnp.reshape(piece, [atom.size for atom in atoms])))
