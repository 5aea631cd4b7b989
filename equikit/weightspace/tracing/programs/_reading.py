"""Read the programs of a model twice: first with whole axes, then with some axes index by index."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from equikit.weightspace.specifications._terms import Product, Sum, Symbol
from equikit.weightspace.tracing.axes._axes import Axis, atoms, make_rigid, parts
from equikit.weightspace.tracing.axes._places import Place, filled, single
from equikit.weightspace.tracing.axes._relation import ALONE, Places
from equikit.weightspace.tracing.primitives._pattern import symbols_of
from equikit.weightspace.tracing.primitives._table import contracts
from equikit.weightspace.tracing.programs._live import Live, divided, either, live_inputs
from equikit.weightspace.tracing.programs._loops import carried
from equikit.weightspace.tracing.programs._program import LARGEST, Call, Path, Reader, Watch, rigid

INPUT, OUTPUT = "an input", "an output"
Split = dict[Path, frozenset[str]]
"""The labels of each equation that are read index by index."""


@dataclass(frozen=True)
class Reading:
    """The programs of a model that were read.

    Attributes:
        calls: the program for each set of inputs.
        params: the axes of the parameters.
        split: see `Reader`.
        unread: names of primitives without a rule.
    """

    calls: tuple[Call, ...]
    params: tuple[Places, ...]
    split: Split
    unread: tuple[str, ...]


def of_inputs(program: Any, params: int) -> list[Places]:
    """Return rigid axes for the inputs of a program after its parameters."""
    return [[rigid(size, INPUT) for size in one.aval.shape] for one in program.jaxpr.invars[params:]]


def read(programs: Sequence[Any], shapes: Sequence[tuple[int, ...]], *, unreached: bool) -> Reading:
    """Read programs with common parameters, whose axes satisfy the constraints of all programs.

    If an axis is rigid, the other axes of its array may be permuted differently for each of its indices. The first
    reading finds the rigid axes; the second reading reads some of them index by index.

    Args:
        programs: the jaxprs of the model, for several inputs.
        shapes: the shapes of the parameters.
        unreached: whether index sets that reach no output are permuted.
    """
    plain = [[Place(single(Axis(size))) for size in shape] for shape in shapes]
    first = read_with(programs, plain, {})
    alone = {axis.root for call in first.calls for inner in call.calls() for axis in _taken_alone(inner)}
    live = _live(first)
    partly = set[Axis]() if unreached else {one for its in zip(plain, live, strict=True) for one in _partly(*its)}
    params = [list(_one_by_one(places, alone, partly)) for places in plain]
    alone -= partly
    split = dict(
        itertools.chain.from_iterable(_split(call, alone, (number,)) for number, call in enumerate(first.calls))
    )
    found = first
    if split or any(place.over for places in params for place in places):
        found = read_with(programs, params, split)
    if not unreached:
        reached = {axis for its in zip(found.params, live, strict=True) for axis in _reached(*its)}
        every = {
            atom for places in found.params for place in places for axis in place.members.flat for atom in atoms(axis)
        }
        for atom in every - reached:
            make_rigid(atom, UNREACHED)
    return found


UNREACHED = "it reaches no output"


def read_with(
    programs: Sequence[Any],
    params: Sequence[Places],
    split: Split,
    watch: Watch = lambda equation: None,
) -> Reading:
    """Read programs with given axes of the parameters."""
    reader, calls = Reader(split, watch), []
    for number, program in enumerate(programs):
        call = reader.read(program, [*params, *of_inputs(program, len(params))], (number,))
        for places in call.results:
            for place in places:
                for axis in place.members.flat:
                    make_rigid(axis, OUTPUT)
        calls.append(call)
    return Reading(tuple(calls), tuple(params), split, tuple(sorted(reader.unread)))


def _one_by_one(places: Places, alone: set[Axis], partly: set[Axis]) -> Iterator[Place]:
    """Yield the axes of a parameter for the second reading: they may depend on the indices of rigid axes.

    Axes with indices that reach no output are excluded: with another input these indices may meet the others.
    """
    size = {at: place.only.size for at, place in enumerate(places)}
    chosen: list[int] = []
    for at in sorted((at for at in size if not atoms(places[at].only)), key=lambda at: size[at]):
        small = size[at] > 1 and math.prod(size[one] for one in (*chosen, at)) <= LARGEST
        pieces = {places[at].only.root, *(part.root for part in parts(places[at].only))}
        if small and pieces & alone and not pieces & partly:
            chosen.append(at)
    chosen.sort()
    for at, place in enumerate(places):
        if at in chosen:
            yield Place(single(Axis(size[at], "rigid", reason=place.only.root.reason or ALONE)))
        else:  # an axis may be free for each index and rigid for all together, as in layers from inputs to outputs
            yield Place(filled([size[one] for one in chosen], lambda _, at=at: Axis(size[at])), tuple(chosen))  # type: ignore[misc]


def _taken_alone(call: Call) -> Iterator[Axis]:
    """Yield axes that a program uses index by index: steps of a scan, single slices, lookups, or batch axes."""
    for number, equation in enumerate(call.jaxpr.eqns):
        operands = [call.of(variable) for variable in equation.invars]
        if equation.primitive.name == "scan":
            _, end = carried(equation)
            yield from (axis for places in operands[end:] for axis in places[0].members.flat)
        if number not in call.related:
            continue
        pattern, columns = call.related[number].pattern, call.related[number].columns
        for shape, places in zip(pattern.operands, operands, strict=True):
            for axis, place in zip(shape, places, strict=True):
                if isinstance(axis, Sum) and any(part.size == 1 for part in axis.parts):
                    yield from place.members.flat
        several = [{one.label for axis in shape for one in symbols_of(axis)} for shape in pattern.operands]
        kept = {one.label for shape in pattern.results for axis in shape for one in symbols_of(axis)}
        along = set.intersection(kept, *several) if contracts(equation) else set[str]()
        for label in (*along, *pattern.looked_up):
            yield from columns.members[label].flat


def _split(call: Call, alone: set[Axis], path: Path) -> Iterator[tuple[Path, frozenset[str]]]:
    """Yield for each equation with free labels the factors of its product axes that are read index by index."""
    for number, related in call.related.items():
        members = related.columns.members
        inside = {
            factor.label
            for shape in (*related.pattern.operands, *related.pattern.results)
            for axis in shape
            if isinstance(axis, Product)
            for factor in axis.factors
            if isinstance(factor, Symbol) and 1 < factor.size <= LARGEST
        }
        found = {
            label for label in inside if all(axis.root in alone and not atoms(axis) for axis in members[label].flat)
        }
        if found and any(atoms(axis) for some in members.values() for axis in some.flat):
            yield (*path, number), frozenset(found)
    for number, inner in call.inner.items():
        yield from _split(inner, alone, (*path, number))
    for number, bodies in call.bodies.items():
        equation = call.jaxpr.eqns[number]
        for body, which in zip(bodies, _names(equation.primitive.name), strict=False):
            yield from _split(body, alone, (*path, number, which))


def _names(name: str) -> Iterator[str]:
    """Yield the names of the parameters that contain the programs of a loop, in reading order."""
    if name == "while":
        return iter(("cond_jaxpr", "body_jaxpr"))
    return itertools.repeat("branches" if name == "cond" else "jaxpr")


def _live(first: Reading) -> list[list[np.ndarray]]:
    """Return the live indices of the parameters, which reach an output of at least one program."""
    found: list[Live] = [None] * len(first.params)
    for call in first.calls:
        found = [either(*both) for both in zip(found, live_inputs(call), strict=False)]
    nothing = ([np.zeros(place.only.size, bool) for place in places] for places in first.params)
    return [none if some is None else some for some, none in zip(found, nothing, strict=True)]


def _reached(places: Places, live: Sequence[np.ndarray]) -> Iterator[Axis]:
    """Yield the index sets of a parameter that have live indices."""
    for place, mask in zip(places, live, strict=True):
        for axis in place.members.flat:
            yield from (one.root for one, its in divided(axis, mask) if its.any())


def _partly(places: Places, live: Sequence[np.ndarray]) -> Iterator[Axis]:
    """Yield the index sets of a parameter that have indices that are not live."""
    for place, mask in zip(places, live, strict=True):
        yield from (axis.root for axis, its in divided(place.only, mask) if not its.all())


def shapes_of(leaves: Sequence[Any]) -> list[tuple[int, ...]]:
    """Return the shapes of arrays."""
    return [tuple(jnp.shape(leaf)) for leaf in jax.tree.leaves(leaves)]
