"""How the tensors of a model are scaled, and in which order the numbers of a canonical form are computed."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

from equikit import _checks
from equikit._errors import OptionError
from equikit.weightspace.specifications._scaling import Scaling, null_space
from equikit.weightspace.specifications._specification import Specification
from equikit.weightspace.specifications._tensors import Tensor, tensors_of
from equikit.weightspace.specifications._terms import Expression, Indexed, Leaf, Product, Simple, Sum, Symbol


@dataclass(frozen=True)
class Slot:
    """An axis of a tensor along which a scaling acts.

    Attributes:
        number: the number of the scaling.
        axes: the axes that its numbers are along: the scaled axis, after the axis of an outer label if it is nested.
        power: the power of the numbers.
    """

    number: int
    axes: tuple[int, ...]
    power: Fraction


@dataclass(frozen=True)
class Piece:
    """A tensor, with the slots of its axes."""

    tensor: Tensor
    slots: tuple[Slot, ...]


Use = tuple[int, Slot]
"""The number of a piece, and a slot of it."""


@dataclass(frozen=True)
class Step:
    """Compute the numbers of a scaling that are not known yet from slots whose other numbers are known.

    Attributes:
        number: the number of the scaling.
        inverse: whether the powers of the slots are negative.
        uses: the slots.
    """

    number: int
    inverse: bool
    uses: tuple[Use, ...]


@dataclass(frozen=True)
class Schedule:
    """How all numbers of a specification's scalings are computed.

    Attributes:
        scalings: the scalings, each after the scalings that it depends on wherever there is such an order.
        pieces: the tensors of the parameters.
        steps: in their order.
    """

    scalings: tuple[Scaling, ...]
    pieces: tuple[Piece, ...]
    steps: tuple[Step, ...]


def chosen_of(scalings: Any) -> tuple[Scaling, ...] | None:
    """Return the scalings that a user chose, or None for all; raise `OptionError` unless they are scalings."""
    if scalings is None:
        return None
    found = tuple(scalings) if isinstance(scalings, list | tuple) else (scalings,)
    _checks.some("scalings", found, got="none", step="write scalings=spec.scalings[:1]")
    for one in found:
        _checks.instance("scalings", one, Scaling, "spec.scalings[:1]")
    return found


@functools.lru_cache(maxsize=64)
def schedule(spec: Specification, chosen: tuple[Scaling, ...] | None = None) -> Schedule:
    """Return how to compute the numbers of the scalings; `chosen` are some of them, by default all.

    Raises:
        OptionError: if there are none, if one is not of the specification, or if an orbit has no canonical element that
            is found label by label.
    """
    scalings = _checked(spec, chosen)
    pieces = _pieces(spec, scalings)
    kept = tuple(scaling for place, scaling in enumerate(scalings) if not _is_redundant(spec, scalings, pieces, place))
    if kept != scalings:
        scalings, pieces = kept, _pieces(spec, kept)
    steps = tuple(_steps(scalings, pieces))
    missing = [scaling for number, scaling in enumerate(scalings) if number not in {step.number for step in steps}]
    if missing:
        raise OptionError(
            "scalings that depend on each other have no canonical form",
            got="; ".join(map(str, missing)),
            expected="scalings, each with a parameter that only scalings before it scale",
            step=f'write spec = spec.fix("{missing[0].label}")',
        )
    return Schedule(scalings, pieces, steps)


def _checked(spec: Specification, chosen: tuple[Scaling, ...] | None) -> tuple[Scaling, ...]:
    if not spec.scalings:
        raise OptionError(
            "there is nothing to scale: trace() found no scale and no sign of a neuron that preserves the function",
            got="spec.scalings is empty",
            expected="a model with neurons between homogeneous or odd functions, such as relu, tanh or sine",
            step="use the network without scalings: it is equivariant to all symmetries that were found",
        )
    for scaling in chosen or ():
        if scaling not in spec.scalings:
            raise OptionError(
                "this scaling does not act on these parameters",
                got=str(scaling),
                expected="; ".join(map(str, spec.scalings)),
                step="take some of spec.scalings",
            )
    return tuple(one for one in spec.scalings if chosen is None or one in chosen)


def _pieces(spec: Specification, scalings: Sequence[Scaling]) -> tuple[Piece, ...]:
    within = dict(spec.nested)
    found = []
    for leaf in spec.leaves:
        named = replace(leaf, axes=tuple(_numbered(place, axis) for place, axis in enumerate(leaf.axes)))
        several = _by_symbol(leaf, scalings)
        for tensor, marked in zip(tensors_of(leaf), tensors_of(named), strict=True):
            slots = [
                Slot(number, _axes(tensor, axis, within), power)
                for axis, label in enumerate(marked.labels)
                for number, power in several.get(label, ())
            ]
            found.append(Piece(tensor, tuple(slots)))
    return tuple(found)


def _by_symbol(leaf: Leaf, scalings: Sequence[Scaling]) -> dict[str, list[tuple[int, Fraction]]]:
    """Return the numbers and powers of the scalings of each symbol, by the names of `_numbered`."""
    found: dict[str, list[tuple[int, Fraction]]] = {}
    for number, scaling in enumerate(scalings):
        for name, place, powers in scaling.powers:
            for symbol, power in enumerate(powers):
                if name == leaf.name and power:
                    found.setdefault(f"{place} {symbol}", []).append((number, power))
    return found


def _numbered(place: int, axis: Expression) -> Expression:
    """Replace the labels of an axis by the number of the axis and of the symbol."""
    counter = itertools.count()

    def of(axis: Simple) -> Simple:
        if isinstance(axis, Product):
            return Product(tuple(of(factor) for factor in axis.factors))
        if isinstance(axis, Sum):
            return Sum(tuple(of(part) for part in axis.parts))
        return Symbol(f"{place} {next(counter)}", axis.size)

    if isinstance(axis, Indexed):
        return replace(axis, members=tuple(of(member) for member in axis.members))
    return of(axis)


def _axes(tensor: Tensor, axis: int, within: Mapping[str, str]) -> tuple[int, ...]:
    outer = within.get(tensor.labels[axis])
    return (axis,) if outer is None else (*_axes(tensor, tensor.labels.index(outer), within), axis)


def _is_redundant(spec: Specification, scalings: Sequence[Scaling], pieces: Sequence[Piece], place: int) -> bool:
    """Whether a scaling is a product of scalings of labels within its label, which have numbers for each pair."""
    inner = {one for one, outer in spec.nested if outer == scalings[place].label}
    kind = scalings[place].kind
    numbers = [number for number, one in enumerate(scalings) if one.label in inner and one.kind == kind]
    rows = []
    for piece in pieces:
        row = dict.fromkeys((*numbers, place), Fraction(0))
        for slot in piece.slots:
            if slot.number in row:
                row[slot.number] += slot.power
        rows.append(row)
    relations = null_space(rows, [*numbers, place], modulo_two=kind == "sign")
    return any(relation[-1] for relation in relations)


def _steps(scalings: Sequence[Scaling], pieces: Sequence[Piece]) -> Iterator[Step]:
    """Yield the steps: twice along the depth by what enters neurons, and back by what leaves them.

    Numbers that are found stay. The second and the third pass are for residual connections, whose neurons are entered
    by what depends on them, and for neurons that nothing enters.
    """
    for kind in ("positive", "sign"):
        mine = [number for number, scaling in enumerate(scalings) if scaling.kind == kind]
        known = set[int]()
        passes = [(mine, 1), (mine, 1), (mine[::-1], -1)] if kind == "positive" else [(mine, 0), (mine[::-1], 0)]
        made = dict[tuple[int, int], tuple[Use, ...]]()
        for order, sign in passes:
            for number in order:
                uses = tuple(_uses(pieces, number, sign, known, kind, scalings))
                if uses and uses != made.get((number, sign)):
                    made[number, sign] = uses
                    known.add(number)
                    yield Step(number, sign < 0, uses)


def _uses(
    pieces: Sequence[Piece], number: int, sign: int, known: set[int], kind: str, scalings: Sequence[Scaling]
) -> Iterator[Use]:
    """Yield the slots of a scaling with powers of this sign, or any, in tensors whose other numbers are known."""
    for place, piece in enumerate(pieces):
        for at, slot in enumerate(piece.slots):
            others = [
                other for one, other in enumerate(piece.slots) if one != at and scalings[other.number].kind == kind
            ]
            if slot.number == number and slot.power * sign >= 0 and all(one.number in known for one in others):
                yield place, slot
