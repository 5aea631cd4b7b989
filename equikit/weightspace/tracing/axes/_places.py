"""Properties of the axes of arrays, which may depend on the index along another axis."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from equikit.weightspace.specifications._terms import Product, Simple, Sum, Symbol
from equikit.weightspace.tracing.primitives._pattern import Shape, symbols_of


@dataclass(frozen=True)
class Lookup:
    """A computed index at which entries of a table are looked up.

    Attributes:
        number: the number of the index's value; equal numbers imply equal indices.
        size: the number of entries of the table.
        places: the positions of the index's axes in the array; in a pattern, their symbols.
    """

    number: int
    size: int
    places: tuple[Any, ...]


Coordinate = int | Simple | Lookup
"""A variable on which entries depend: an index along an axis of the array or expression of a pattern, or a lookup."""
Merge = Callable[[Any, Any], None]
"""Merges two entries into one."""


@dataclass(frozen=True, eq=False)
class Place:
    """One axis of an array.

    Attributes:
        members: the property of the axis, with one entry for each combination of indices of `over`.
        over: the coordinates on which the property depends.
        same: whether the array is constant along the axis, which is then compatible with every other axis.
    """

    members: np.ndarray
    over: tuple[Coordinate, ...] = ()
    same: bool = False

    @property
    def only(self) -> Any:
        """The only entry of a place without dependence on coordinates."""
        assert not self.over, "a place with several members"
        return self.members[()]


def filled(shape: Sequence[int], make: Callable[[tuple[int, ...]], Any]) -> np.ndarray:
    """Return an array of objects, with entry `make(index)` at each index."""
    found = np.empty(tuple(shape), object)
    for index in np.ndindex(*shape):
        found[index] = make(index)
    return found


def single(entry: Any) -> np.ndarray:
    """Return a zero-dimensional array that contains one object."""
    return filled((), lambda _: entry)


def size_of(coordinate: Any) -> int:
    """Return the number of indices of a coordinate; for a lookup, the size of its table."""
    return int(coordinate.size)


def merged(members: np.ndarray, axis: int, merge: Merge) -> np.ndarray:
    """Merge all entries along an axis into the first, and return it."""
    rows = np.moveaxis(members, axis, 0)
    for index in np.ndindex(*rows.shape[1:]):
        for row in range(1, len(rows)):
            merge(rows[(0, *index)], rows[(row, *index)])
    return filled(rows.shape[1:], lambda index: rows[(0, *index)])


def fit(members: np.ndarray, over: Sequence[Any], wanted: Sequence[Any], merge: Merge) -> np.ndarray:
    """Return entries that depend only on `wanted`: merge along other coordinates, and repeat along new coordinates."""
    rest = list(over)
    for coordinate in over:
        if coordinate not in wanted:
            members = merged(members, rest.index(coordinate), merge)
            rest.remove(coordinate)
    full = members.transpose([rest.index(one) for one in wanted if one in rest])
    for place, one in enumerate(wanted):
        if one not in rest:
            full = np.repeat(np.expand_dims(full, place), size_of(one), axis=place)
    return full


def shared(overs: Sequence[Sequence[Any]]) -> tuple[Any, ...]:
    """Return the coordinates that all sequences contain, in the order of the first sequence."""
    return tuple(one for one in (overs[0] if overs else ()) if all(one in other for other in overs[1:]))


def in_pattern(over: Sequence[Coordinate], shape: Shape, lookups: Mapping[str, Lookup]) -> tuple[Any, ...]:
    """Convert the coordinates of an operand to coordinates of a pattern."""

    def one(coordinate: Coordinate) -> Any:
        if isinstance(coordinate, Lookup):
            return replace(coordinate, places=tuple(shape[place] for place in coordinate.places))
        assert isinstance(coordinate, int)
        axis = shape[coordinate]
        return lookups.get(axis.label, axis) if isinstance(axis, Symbol) else axis

    return tuple(map(one, over))


def deliver(members: np.ndarray, over: Sequence[Any], shape: Shape, merge: Merge) -> Place:
    """Convert entries from coordinates of a pattern to a place of a result; merge along coordinates that it lacks."""
    found: list[Coordinate] = []
    for place, coordinate in reversed([*enumerate(over)]):
        if isinstance(coordinate, Lookup):
            if all(one in shape for one in coordinate.places):
                found.append(replace(coordinate, places=tuple(map(shape.index, coordinate.places))))
                continue
        elif coordinate in shape:
            found.append(shape.index(coordinate))
            continue
        elif isinstance(coordinate, Sum):
            parts = [part for part in coordinate.parts if part in shape]
            if len(parts) == 1:
                start = sum(part.size for part in coordinate.parts[: coordinate.parts.index(parts[0])])
                members = np.take(members, range(start, start + parts[0].size), axis=place)
                found.append(shape.index(parts[0]))
                continue
        members = merged(members, place, merge)
    return Place(members, tuple(reversed(found)))


@dataclass(frozen=True)
class Entry:
    """A reference to one entry of a label in a pattern."""

    label: str
    index: tuple[int, ...]


Tree = Entry | tuple[str, list[Any]]
"""An entry, or a "product" or "sum" of several trees."""


def entries(tree: Tree) -> Iterator[Entry]:
    """Yield the entries of a tree, in order."""
    if isinstance(tree, Entry):
        yield tree
    else:
        for one in tree[1]:
            yield from entries(one)


@dataclass(frozen=True)
class Columns:
    """The entries of each label of a pattern, and the coordinates on which they depend.

    Attributes:
        over: the coordinates of each label.
        members: the entries of each label.
    """

    over: dict[str, tuple[Any, ...]]
    members: dict[str, np.ndarray]

    def tree(self, axis: Simple, index: Mapping[Any, int]) -> Tree:
        """Return the tree of an expression at given indices of the coordinates.

        A factor on whose index later factors of a product depend is replaced, with them, by a sum over its indices.
        """
        if isinstance(axis, Symbol):
            return Entry(axis.label, tuple(index[one] for one in self.over[axis.label]))
        if isinstance(axis, Sum):
            return "sum", [self.tree(part, index) for part in axis.parts]
        before: list[Tree] = []
        for number, factor in enumerate(axis.factors):
            rest = axis.factors[number + 1 :]
            if any(factor in self.over[symbol.label] for one in rest for symbol in symbols_of(one)):
                tail = Product(rest) if len(rest) > 1 else rest[0]
                return "product", [
                    *before,
                    ("sum", [self.tree(tail, {**index, factor: place}) for place in range(factor.size)]),
                ]
            before.append(self.tree(factor, index))
        return "product", before

    def inside(self, axis: Simple) -> tuple[Any, ...]:
        """Return the coordinates on which an expression depends, except its own factors."""
        own = axis.factors if isinstance(axis, Product) else ()
        every = dict.fromkeys(one for symbol in symbols_of(axis) for one in self.over[symbol.label])
        return tuple(one for one in every if one not in own)

    def without_later(self, axis: Simple, merge: Merge) -> Columns:
        """Merge entries so that the factors of a product depend on earlier factors only."""
        found = self
        if isinstance(axis, Product):
            for number, factor in enumerate(axis.factors):
                for symbol in symbols_of(factor):
                    over = found.over[symbol.label]
                    wanted = tuple(one for one in over if one not in axis.factors[number:])
                    if wanted != over:
                        members = fit(found.members[symbol.label], over, wanted, merge)
                        found = Columns(found.over | {symbol.label: wanted}, found.members | {symbol.label: members})
        return found


def result_places(
    columns: Columns, shape: Shape, compose: Callable[[Columns, Tree], Any], merge: Merge
) -> Iterator[Place]:
    """Yield the places of a result; `compose` combines a tree of entries into one entry."""
    for axis in shape:
        if isinstance(axis, Symbol):
            yield deliver(columns.members[axis.label], columns.over[axis.label], shape, merge)
            continue
        its = columns.without_later(axis, merge)
        over = its.inside(axis)

        def make(index: tuple[int, ...], axis: Simple = axis, its: Columns = its, over: tuple[Any, ...] = over) -> Any:
            return compose(its, its.tree(axis, dict(zip(over, index, strict=True))))

        yield deliver(filled([size_of(one) for one in over], make), over, shape, merge)


def joined(
    shares: Mapping[int, tuple[tuple[Any, ...], np.ndarray]],
    pieces: Mapping[int, Symbol],
    whole: Sum,
    merge: Merge,
) -> tuple[tuple[Any, ...], np.ndarray]:
    """Concatenate entries of operands; the result depends on the index along the concatenated axis."""
    rest = shared([[one for one in over if one != pieces[number]] for number, (over, _) in shares.items()])
    arrays = [fit(members, over, (*rest, pieces[number]), merge) for number, (over, members) in sorted(shares.items())]
    return (*rest, whole), np.concatenate(arrays, axis=-1)


def indices_of(places: Sequence[Place], sizes: Sequence[int]) -> Iterator[tuple[dict[Coordinate, int], list[Any]]]:
    """Yield the entries of all places of an array for each combination of indices on which they depend."""
    every = list(dict.fromkeys(one for place in places if not place.same for one in place.over))
    counts = [sizes[one] if isinstance(one, int) else size_of(one) for one in every]
    for index in itertools.product(*map(range, counts)):
        at = dict(zip(every, index, strict=True))
        yield (
            at,
            [
                place.members.flat[0] if place.same else place.members[tuple(at[one] for one in place.over)]
                for place in places
            ],
        )
