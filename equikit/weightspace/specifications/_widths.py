"""Specifications of one architecture with other widths: the size of each permuted label, read from parameters."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from equikit._errors import ShapeError
from equikit.groups import Fixed, S
from equikit.weightspace.specifications._leaves import named_leaves, symbols
from equikit.weightspace.specifications._terms import Expression, Indexed, Leaf, Product, Sum, Symbol

Bindings = tuple[tuple[str, S | Fixed], ...]


def resized_leaves(leaves: Sequence[Leaf], sizes: Mapping[str, int]) -> tuple[Leaf, ...]:
    """Return the leaves with other sizes of some labels."""
    return tuple(replace(leaf, axes=tuple(_resized(axis, sizes) for axis in leaf.axes)) for leaf in leaves)


def resized_bindings(bindings: Bindings, sizes: Mapping[str, int]) -> Bindings:
    """Return the groups with other sizes of some labels."""
    return tuple((label, type(what)(sizes[label]) if label in sizes else what) for label, what in bindings)


def _resized(axis: Any, sizes: Mapping[str, int]) -> Any:
    match axis:
        case Symbol():
            return replace(axis, size=sizes.get(axis.label, axis.size))
        case Product():
            return replace(axis, factors=tuple(_resized(factor, sizes) for factor in axis.factors))
        case Sum():
            return replace(axis, parts=tuple(_resized(part, sizes) for part in axis.parts))
        case Indexed():
            return replace(axis, members=tuple(_resized(member, sizes) for member in axis.members))
    raise AssertionError(axis)


def sizes_in(leaves: Sequence[Leaf], bindings: Bindings, free: Collection[str], params: Any) -> dict[str, int]:
    """Return the sizes of the free labels in the shapes of parameters, as far as the shapes determine them.

    An axis with one label gives its size. A flattened or concatenated axis gives the size of a label if the sizes of
    all its other labels are known. Labels that no shape determines are left out.

    Raises:
        ShapeError: if two axes of one label have different sizes; the error names both arrays.
    """
    arrays = named_leaves(params)
    _refuse_two_sizes(leaves, free, arrays)
    known = {label: _size(what) for label, what in bindings if label not in free}
    axes = [pair for leaf in leaves if leaf.name in arrays for pair in _axes(leaf, arrays[leaf.name])]
    found: dict[str, int] = {}
    while True:
        new = dict[str, int]()
        for axis, size in axes:
            new |= _solved(axis, size, known | found)
        new = {label: size for label, size in new.items() if label not in found}
        if not new:
            return found
        found |= new


def _refuse_two_sizes(leaves: Sequence[Leaf], free: Collection[str], arrays: Mapping[str, Any]) -> None:
    first: dict[str, tuple[int, str]] = {}
    for leaf in leaves:
        for axis, size in _axes(leaf, arrays[leaf.name]) if leaf.name in arrays else ():
            if isinstance(axis, Symbol) and axis.label in free:
                known, where = first.setdefault(axis.label, (size, leaf.name))
                if known != size:
                    raise ShapeError(
                        f"the label {axis.label!r} has two sizes",
                        got=f"{known} in {where!r}, {size} in {leaf.name!r} of shape {[*arrays[leaf.name].shape]}",
                        expected=f"one size, in every axis of {axis.label!r}",
                        step="pass the parameters of one network, or of networks with one width",
                    )


def _size(what: S | Fixed) -> int:
    return what.size if isinstance(what, Fixed) else what.n or 0


def _axes(leaf: Leaf, array: Any) -> Iterator[tuple[Expression, int]]:
    """Yield the axes of a leaf with their sizes in an array, which may have batch axes in front."""
    start = array.ndim - len(leaf.axes)
    if start >= 0:
        yield from zip(leaf.axes, array.shape[start:], strict=True)


def _solved(axis: Expression, size: int, known: Mapping[str, int]) -> dict[str, int]:
    """Return the size of the only unknown label of an axis of this size; empty if there is none, or no such size."""
    if isinstance(axis, Indexed):
        found: dict[str, int] = {}
        for member in axis.members:
            found |= _solved(member, size, known)
        return found
    unknown = [symbol.label for symbol in symbols(axis) if symbol.label not in known]
    if len(unknown) != 1:
        return {}
    if isinstance(axis, Symbol):
        return {axis.label: size}
    whole = isinstance(axis, Product)
    every = axis.factors if isinstance(axis, Product) else axis.parts
    held = [one for one in every if unknown[0] in one.labels]
    rest = [_resized(one, known).size for one in every if unknown[0] not in one.labels]
    if not whole:
        return _solved(held[0], size - sum(rest), known) if size >= sum(rest) else {}
    others = math.prod(rest)
    return _solved(held[0], size // others, known) if others and size % others == 0 else {}
