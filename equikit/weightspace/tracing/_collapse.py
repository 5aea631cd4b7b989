"""Simplify axes whose labels and actions turn out to be the same for all indices of another axis."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, TypeVar

import numpy as np

from equikit.weightspace.specifications._linear_action import LinearAction
from equikit.weightspace.specifications._scaling import Scaling
from equikit.weightspace.specifications._terms import Expression, Indexed, Leaf
from equikit.weightspace.tracing.axes._places import filled

Action = TypeVar("Action", Scaling, LinearAction)


def collapsed(
    leaves: Sequence[Leaf], scalings: Sequence[Scaling], actions: Sequence[LinearAction]
) -> tuple[tuple[Leaf, ...], tuple[Scaling, ...], tuple[LinearAction, ...]]:
    """Remove the dependence on axes along which labels, scales and linear actions are constant."""
    kept: dict[tuple[str, int], list[int]] = {}
    found = []
    for leaf in leaves:
        axes = []
        for place, axis in enumerate(leaf.axes):
            if isinstance(axis, Indexed):
                every: list[Scaling | LinearAction] = [*scalings, *actions]
                entries = [_entries(one, leaf.name, place) for one in every]
                kept[leaf.name, place] = _needed(axis, [its for its in entries if its is not None])
                axis = _at(axis, kept[leaf.name, place])
            axes.append(axis)
        found.append(Leaf(leaf.name, tuple(axes)))
    before = {(leaf.name, place): axis for leaf in leaves for place, axis in enumerate(leaf.axes)}

    def reduced(name: str, place: int, values: tuple[Any, ...]) -> tuple[str, int, tuple[Any, ...]]:
        axis = before[name, place]
        if not isinstance(axis, Indexed):
            return name, place, values
        array = filled((len(values),), lambda index: values[index[0]]).reshape(*axis.counts, -1)
        return name, place, tuple(_first(array, kept[name, place]).ravel())

    return (
        tuple(found),
        tuple(replace(one, powers=tuple(reduced(*entry) for entry in one.powers)) for one in scalings),
        tuple(replace(one, variances=tuple(reduced(*entry) for entry in one.variances)) for one in actions),
    )


def _entries(action: Scaling | LinearAction, name: str, place: int) -> tuple[Any, ...] | None:
    listed: Any = action.powers if isinstance(action, Scaling) else action.variances
    return next((values for its_name, at, values in listed if (its_name, at) == (name, place)), None)


def _needed(axis: Indexed, values: list[tuple[Any, ...]]) -> list[int]:
    """Return the positions in `axis.over` of the axes on which labels or action values depend."""
    labels = [axis.members, *values]
    arrays = [
        filled((len(some),), lambda index, some=some: some[index[0]]).reshape(*axis.counts, -1)  # type: ignore[misc]
        for some in labels
    ]
    return [
        one
        for one in range(len(axis.counts))
        if any(not np.all(array == np.take(array, [0], axis=one)) for array in arrays)
    ]


def _first(array: np.ndarray, kept: list[int]) -> np.ndarray:
    """Index an array of objects at 0 along all axes that are not kept, except the last axis."""
    index = tuple(slice(None) if axis in kept or axis == array.ndim - 1 else 0 for axis in range(array.ndim))
    found: np.ndarray = array[index]
    return found


def _at(axis: Indexed, kept: list[int]) -> Expression:
    members = filled((len(axis.members),), lambda index: axis.members[index[0]]).reshape(*axis.counts, 1)
    rest = tuple(_first(members, kept).ravel())
    if not kept:
        return axis.members[0]
    counts = tuple(axis.counts[one] for one in kept)
    assert len(rest) == math.prod(counts), "a member for each combination of indices"
    return Indexed(tuple(axis.over[one] for one in kept), counts, rest)
