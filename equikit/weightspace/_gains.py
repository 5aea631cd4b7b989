"""What is gained where an index of one network takes the place of one of another: matrices, and best assignments."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from scipy.optimize import linear_sum_assignment

from equikit.weightspace._terms import Element

Arrays = dict[str, jax.Array]
Labels = dict[str, tuple[str, ...]]
"""For every tensor the labels of its axes."""
Places = tuple[np.ndarray | None, ...]
"""For every axis of a tensor where the indices of the second network are, or None where they are as they were."""


@partial(jax.jit, static_argnums=0)
def _added(place: int, total: jax.Array | None, one: jax.Array, two: jax.Array, places: Places) -> jax.Array:
    """A matrix `[n, n]` and the inner products of the slices of two tensors along an axis."""
    dtype = jnp.promote_types(jnp.result_type(one, two), jnp.float32)
    one = _taken(one, places)
    rows = [jnp.moveaxis(array.astype(dtype), place, 0).reshape(array.shape[place], -1) for array in (one, two)]
    found: jax.Array = _products(*rows)
    return found if total is None else total + found


@partial(jax.jit, static_argnums=0)
def _inner(names: tuple[str, ...], one: Arrays, two: Arrays, element: dict[str, Places]) -> jax.Array:
    """The inner product of each tensor, `[tensors]`."""
    found = []
    for name in names:
        dtype = jnp.promote_types(jnp.result_type(one[name], two[name]), jnp.float32)
        first = _taken(one[name], element[name]).astype(dtype)
        found.append(jnp.sum(first * two[name].astype(dtype)))
    return jnp.stack(found) if found else jnp.zeros(0)


@jax.jit
def _products(one: jax.Array, two: jax.Array) -> jax.Array:
    return jnp.matmul(one, two.T, precision=jax.lax.Precision.HIGHEST)


def products(one: np.ndarray, two: np.ndarray) -> np.ndarray:
    """The inner products of all rows of two matrices."""
    return np.asarray(_products(one, two))


def _taken(array: jax.Array, places: Places) -> jax.Array:
    """The first network in the order of the second, whose entry i is at place p[i]: nothing of the second moves."""
    for axis, where in enumerate(places):
        if where is not None:
            array = jnp.take(array, where, axis=axis)
    return array


def inners(one: Arrays, two: Arrays) -> dict[str, float]:
    """The inner product of each tensor, by name."""
    names = tuple(one)
    found = np.asarray(_inner(names, one, two, {name: (None,) * one[name].ndim for name in names}), np.float64)
    return dict(zip(names, found.tolist(), strict=True))


def inner(one: Arrays, two: Arrays) -> float:
    """The inner product of all tensors."""
    return sum(inners(one, two).values())


class Gains:
    """The gains of permuting one label while all others stay, for two networks.

    Attributes:
        sizes: the size of each label that is permuted.
        neighbours: for each, those whose gains it changes: the labels that it shares a tensor with.
        twice: labels that are those of two axes of one tensor. For them the gain is the sum of both, each with the
            other axis as it is: the linear approximation of a quadratic form.
        parts: for each label, the tensors and axes in which there is another label that is permuted.
        fixed: for each label, those in which there is none. Their gains are the same throughout.
        labels, one, two: tensors that have a label that is permuted.
    """

    def __init__(self, labels: Labels, permuted: Sequence[str], one: Arrays, two: Arrays) -> None:
        chosen = set(permuted)
        self.labels = {name: axes for name, axes in labels.items() if set(axes) & chosen}
        self.one, self.two = ({name: arrays[name] for name in self.labels} for arrays in (one, two))
        self.sizes = {
            label: self.one[name].shape[axes.index(label)]
            for label in permuted
            for name, axes in self.labels.items()
            if label in axes
        }
        self.neighbours: dict[str, set[str]] = {label: set() for label in self.sizes}
        self.parts: dict[str, list[tuple[str, int]]] = {label: [] for label in self.sizes}
        self.fixed: dict[str, list[tuple[str, int]]] = {label: [] for label in self.sizes}
        self.twice = {label for label in self.sizes for axes in self.labels.values() if axes.count(label) > 1}
        for name, axes in self.labels.items():
            for place, label in enumerate(axes):
                if label in chosen:
                    others = chosen & {*axes[:place], *axes[place + 1 :]}
                    self.neighbours[label] |= others
                    (self.parts if others else self.fixed)[label].append((name, place))
        self._constant: dict[str, jax.Array | None] = {}

    def matrix(self, label: str, element: Element, parts: Sequence[tuple[str, int]] | None = None) -> np.ndarray:
        """What is gained where index j of the second network takes place i, `[n, n]`."""
        if label not in self._constant:
            total = None
            for name, place in self.fixed[label]:
                axes: Places = (None,) * self.one[name].ndim
                total = _added(place, total, self.one[name], self.two[name], axes)
            self._constant[label] = total
        total = self._constant[label]
        for name, place in self.parts[label] if parts is None else parts:
            axes = tuple(element.get(other) if axis != place else None for axis, other in enumerate(self.labels[name]))
            total = _added(place, total, self.one[name], self.two[name], axes)
        return np.zeros((self.sizes[label],) * 2, np.float32) if total is None else np.asarray(total)

    def best(self, label: str, element: Element) -> tuple[np.ndarray, float]:
        """The permutation with the largest gain, and how much more it gains than the present one."""
        matrix = self.matrix(label, element)
        found = assigned(matrix)
        columns = np.arange(len(found))
        gained = np.sum(matrix[found, columns] - matrix[element[label], columns], dtype=np.float64)
        return found, float(gained)

    def value(self, element: Element) -> float:
        """The inner product of the first network and the second one moved."""
        places = {name: tuple(element.get(label) for label in axes) for name, axes in self.labels.items()}
        return float(np.sum(np.asarray(_inner(tuple(self.labels), self.one, self.two, places), np.float64)))


def assigned(gain: np.ndarray) -> np.ndarray:
    """The permutation with the largest gain: index j of the second network goes to place p[j]."""
    # What is added to a whole row or column changes no assignment, but SciPy's algorithm takes ten times as long where
    # columns differ in their means.
    centred = gain.astype(np.float64)
    if centred.size:
        centred -= centred.mean(axis=0)
        centred -= centred.mean(axis=1, keepdims=True)
    rows, columns = linear_sum_assignment(centred, maximize=True)
    place = np.empty(len(rows), np.intp)
    place[columns] = rows
    return place
