"""Labels that are permuted by themselves for every index of another: matched for all pairs of indices, then paired."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from equikit.weightspace.alignment._gains import Gains, assigned, taken
from equikit.weightspace.specifications._terms import Element

REST = "the rest"
"""The label of axes that are settled."""


@dataclass(frozen=True)
class Slices:
    """A tensor of both networks along a label, `[outer, ...]`, and the labels of its other axes."""

    labels: tuple[str, ...]
    one: np.ndarray
    two: np.ndarray


def slices(gains: Gains, name: str, place: int, element: Element, loose: tuple[int, ...] = ()) -> Slices:
    """A tensor that has labels nested in that of an axis, in the order of the second network along all others.

    Along axes that are not settled both are sorted.
    """
    axes, nested = gains.labels[name], set(gains.inners[gains.labels[name][place]])
    own = tuple(axis for axis, label in enumerate(axes) if axis == place or label in nested)
    places = tuple(None if axis in (*own, *loose) else element.get(label) for axis, label in enumerate(axes))
    arrays = []
    for array in (taken(gains.one[name], places, gains.within[name]), gains.two[name]):
        found = np.asarray(array)
        found = found.astype(np.promote_types(found.dtype, np.float32), copy=False)
        rest = [axis for axis in range(found.ndim) if axis not in (*own, *loose)]
        inner = [axis for axis in own if axis != place]
        found = found.transpose(place, *inner, *rest, *loose)
        shape = found.shape[: 1 + len(inner) + len(rest)]
        found = np.sort(found.reshape(*shape, -1), axis=-1) if loose else found
        arrays.append(found.reshape(*found.shape[: 1 + len(inner)], -1))
    return Slices((*(axes[axis] for axis in own if axis != place), REST), *arrays)


def joint(gains: Gains, label: str, matrix: np.ndarray, given: dict[tuple[str, int], Slices]) -> Element:
    """The permutation of a label with those of the labels nested in it.

    What index j of the second network gains at place i is found by matching the nested labels of the two: a search of
    the same kind for every pair.
    """
    from equikit.weightspace.alignment._matching import matched  # it searches among labels of this kind

    inners, size = gains.inners[label], gains.sizes[label]
    labels = {f"{name} {place}": each.labels for (name, place), each in given.items()}
    total = np.array(matrix, np.float64)
    found = {inner: np.zeros((size, size, gains.inner_sizes[inner]), np.intp) for inner in inners}
    for i, j in np.ndindex(size, size):
        one, two = (
            {f"{name} {place}": getattr(each, side)[index] for (name, place), each in given.items()}
            for side, index in (("one", i), ("two", j))
        )
        matching = matched(labels, inners, one, two, np.random.default_rng(0), 0)
        squares = [sum(float(np.sum(array.astype(np.float64) ** 2)) for array in side.values()) for side in (one, two)]
        total[i, j] += matching.similarity * float(np.sqrt(squares[0] * squares[1]))
        for inner in inners:
            found[inner][i, j] = matching.element[inner]
    places = assigned(total)
    columns = np.arange(size)
    return {label: places} | {inner: found[inner][places, columns] for inner in inners}
