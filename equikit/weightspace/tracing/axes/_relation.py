"""Unify the axes of operands and results as a pattern implies, so that permutations act on them consistently."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from equikit.weightspace.specifications._terms import Product, Simple, Sum, Symbol
from equikit.weightspace.tracing.axes._axes import Axis, direct_sum, make_rigid, product, unify
from equikit.weightspace.tracing.axes._places import (
    Columns,
    Entry,
    Lookup,
    Place,
    Tree,
    filled,
    fit,
    in_pattern,
    joined,
    result_places,
    shared,
    single,
    size_of,
)
from equikit.weightspace.tracing.primitives._pattern import Pattern, joints, symbols_of

Places = list[Place]
"""One place for each axis of an array."""


@dataclass(frozen=True)
class Related:
    """The relation between the axes of an equation.

    Attributes:
        pattern: the pattern of the equation.
        columns: the axes of the pattern's labels.
        lookups: the lookups of the pattern, by label.
    """

    pattern: Pattern
    columns: Columns
    lookups: dict[str, Lookup]


def related(
    pattern: Pattern, given: Sequence[Places], indices: Mapping[str, int], split: frozenset[str], reason: str
) -> tuple[list[Places], Related]:
    """Unify the axes of a pattern's operands, and return the axes of its results and labels.

    Args:
        pattern: the pattern of the equation.
        given: the axes of the operands.
        indices: the number of the looked-up index of each label; equal numbers imply equal indices.
        split: labels that are read index by index.
        reason: the reason to record for axes that become rigid because they do not match.
    """

    def merge(one: Axis, two: Axis) -> None:
        unify(one, two, reason)

    symbols = pattern.symbols()
    lookups = {
        label: Lookup(indices[label], symbols[label].size, index.places) for label, index in pattern.looked_up.items()
    }
    shares, loose = _given(pattern, given, lookups)
    for number, whole, pieces in joints(pattern):
        for label, its in shares.items():
            depends = any(pieces[operand] in one for operand, (one, _) in its.items() if operand in pieces)
            if its.keys() == pieces.keys() and (depends or {one.label for one in pieces.values()} & split):
                shares[label] = {number: joined(its, pieces, whole, merge)}
    columns = _columns(symbols, shares, _coordinates(symbols, shares, loose, split), merge)
    one_by_one = dict.fromkeys(split & symbols.keys(), ALONE)
    for label, why in {**one_by_one, **pattern.rigid}.items():
        for member in columns.members[label].flat:
            make_rigid(member, why)
    for axis, over, members in loose:
        inside = columns.inside(axis)
        fitted = fit(members, over, inside, merge)
        for index in np.ndindex(*fitted.shape):
            mine: Any = fitted[index]
            unify(mine, composed(columns, columns.tree(axis, dict(zip(inside, index, strict=True))), reason), reason)
    varying = set(pattern.rigid) | _varying(pattern, given)
    found = []
    for shape in pattern.results:
        places = result_places(columns, shape, lambda its, tree: composed(its, tree, reason), merge)
        found.append([_alone(axis) if _same(axis, varying) else one for axis, one in zip(shape, places, strict=True)])
    return found, Related(pattern, columns, lookups)


ALONE = "its indices are taken one by one"
Shares = dict[str, dict[int, tuple[tuple[Any, ...], np.ndarray]]]
"""The coordinates and entries of each label in each operand."""
Loose = list[tuple[Simple, tuple[Any, ...], np.ndarray]]
"""Axes of operands that are products or sums, with their coordinates and entries."""


def _given(pattern: Pattern, given: Sequence[Places], lookups: dict[str, Lookup]) -> tuple[Shares, Loose]:
    """Return the entries of operands for single labels, and for axes with several labels."""
    shares: Shares = {label: {} for label in pattern.symbols()}
    loose: Loose = []
    for number, (shape, places) in enumerate(zip(pattern.operands, given, strict=True)):
        for axis, place in zip(shape, places, strict=True):
            over = in_pattern(place.over, shape, lookups)
            if isinstance(axis, Symbol) and not place.same:
                shares[axis.label][number] = over, place.members
            elif not place.same:
                loose.append((axis, over, place.members))
    return shares, loose


def _varying(pattern: Pattern, given: Sequence[Places]) -> set[str]:
    """Return the labels along which some operand is not constant."""
    return {
        symbol.label
        for shape, places in zip(pattern.operands, given, strict=True)
        for axis, place in zip(shape, places, strict=True)
        if not place.same
        for symbol in symbols_of(axis)
    }


def _same(axis: Simple, varying: set[str]) -> bool:
    return not isinstance(axis, Sum) and not varying & {symbol.label for symbol in symbols_of(axis)}


def _alone(axis: Simple) -> Place:
    return Place(single(Axis(axis.size)), same=True)


def _coordinates(
    symbols: dict[str, Symbol], shares: Shares, loose: Loose, split: frozenset[str]
) -> dict[str, tuple[Any, ...]]:
    """Return the coordinates on which each label depends: the coordinates that all its operands share."""
    bounds = {label: [its for its, _ in by_operand.values()] for label, by_operand in shares.items()}
    for axis, its, _ in loose:
        for symbol in symbols_of(axis):
            bounds[symbol.label].append(its)
    over = {label: shared(bounds[label]) for label in symbols}
    changed = True
    while changed:  # all labels of an axis depend on the same coordinates
        changed = False
        for axis, its, _ in loose:
            inner = [symbol.label for symbol in symbols_of(axis)]
            common = shared([its, *(over[label] for label in inner)])
            changed |= any(over[label] != common for label in inner)
            over |= dict.fromkeys(inner, common)
    for axis, _, _ in loose:
        factors = axis.factors if isinstance(axis, Product) else ()
        for number, factor in enumerate(factors):
            if isinstance(factor, Symbol) and factor.label in split:
                for later in (one.label for rest in factors[number + 1 :] for one in symbols_of(rest)):
                    over[later] = over[later] if shares[later] else (*over[later], factor)
    return over


def _columns(
    symbols: dict[str, Symbol],
    shares: Shares,
    over: dict[str, tuple[Any, ...]],
    merge: Callable[[Any, Any], None],
) -> Columns:
    """Return the axes of all labels: unified axes of the operands, or new axes."""
    members: dict[str, np.ndarray] = {}
    for label, symbol in symbols.items():
        fitted = [fit(its, mine, over[label], merge) for mine, its in shares[label].values()]
        if not fitted:
            shape = [size_of(one) for one in over[label]]
            members[label] = filled(shape, lambda _, size=symbol.size: Axis(size))  # type: ignore[misc]
            continue
        members[label] = fitted[0]
        for other in fitted[1:]:
            for index in np.ndindex(*other.shape):
                merge(other[index], fitted[0][index])
    return Columns(over, members)


def composed(columns: Columns, tree: Tree, reason: str) -> Axis:
    """Return the axis that a tree of products and sums describes."""
    if isinstance(tree, Entry):
        found: Axis = columns.members[tree.label][tree.index]
        return found
    kind, inner = tree
    axes = [composed(columns, one, reason) for one in inner]
    return product(axes, reason) if kind == "product" else direct_sum(axes)
