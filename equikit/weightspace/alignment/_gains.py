"""Gain matrices for weight matching, and best assignments."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from scipy.optimize import linear_sum_assignment

from equikit.weightspace.specifications._terms import Element

Arrays = dict[str, jax.Array]
Labels = dict[str, tuple[str, ...]]
"""For every tensor the labels of its axes."""
Places = tuple[np.ndarray | None, ...]
"""For every axis of a tensor the positions of the second network's indices, or None for no permutation; for a label
that is nested in another, a row `[outer, n]` for each index of the outer label."""
Within = tuple[int | None, ...]
"""For every axis of a tensor the axis in whose label its label is nested."""


@partial(jax.jit, static_argnums=(0, 1))
def _added(
    place: int, within: Within, total: jax.Array | None, one: jax.Array, two: jax.Array, places: Places
) -> jax.Array:
    """Add the inner products of the slices of two tensors along an axis to a matrix `[n, n]`."""
    dtype = jnp.promote_types(jnp.result_type(one, two), jnp.float32)
    one = taken(one, places, within)
    rows = [jnp.moveaxis(array.astype(dtype), place, 0).reshape(array.shape[place], -1) for array in (one, two)]
    found: jax.Array = _products(*rows)
    return found if total is None else total + found


@partial(jax.jit, static_argnums=(0, 1))
def _inner(
    names: tuple[str, ...], within: tuple[Within, ...], one: Arrays, two: Arrays, element: dict[str, Places]
) -> jax.Array:
    """The inner product of each tensor, `[tensors]`."""
    found = []
    for name, nested in zip(names, within, strict=True):
        dtype = jnp.promote_types(jnp.result_type(one[name], two[name]), jnp.float32)
        first = taken(one[name], element[name], nested).astype(dtype)
        found.append(jnp.sum(first * two[name].astype(dtype)))
    return jnp.stack(found) if found else jnp.zeros(0)


@jax.jit
def _products(one: jax.Array, two: jax.Array) -> jax.Array:
    return jnp.matmul(one, two.T, precision=jax.lax.Precision.HIGHEST)


def products(one: np.ndarray, two: np.ndarray) -> np.ndarray:
    """Return the inner products of all rows of two matrices."""
    return np.asarray(_products(one, two))


def taken(array: jax.Array, places: Places, within: Within) -> jax.Array:
    """The first network in the order of the second, whose entry i is at p[i]: the second network is not moved."""
    for axis, where in enumerate(places):
        if where is not None and within[axis] is None:
            array = jnp.take(array, where, axis=axis)
    for axis, (where, outer) in enumerate(zip(places, within, strict=True)):
        if where is not None and outer is not None:
            rows = where if outer < axis else where.T
            index = jnp.expand_dims(rows, [other for other in range(array.ndim) if other not in (outer, axis)])
            array = jnp.take_along_axis(array, index, axis=axis)
    return array


def inners(one: Arrays, two: Arrays) -> dict[str, float]:
    """Return the inner product of each tensor, by name."""
    names = tuple(one)
    places = {name: (None,) * one[name].ndim for name in names}
    found = np.asarray(_inner(names, tuple(places.values()), one, two, places), np.float64)
    return dict(zip(names, found.tolist(), strict=True))


def inner(one: Arrays, two: Arrays) -> float:
    """Return the inner product of all tensors."""
    return sum(inners(one, two).values())


class Gains:
    """The gains of permuting one label of two networks while all others are fixed.

    Attributes:
        sizes: the size of each label that is permuted.
        neighbors: for each, those whose gains it changes: the labels that it shares a tensor with.
        twice: labels that are those of two axes of one tensor. For them the gain is the sum of both, each with the
            other axis as it is: the linear approximation of a quadratic form.
        parts: for each label, the tensors and axes in which there is another label that is permuted.
        fixed: for each label, those in which there is none. Their gains are the same throughout.
        inners: for a label the others that are nested in it: for each of its indices they have a permutation of their
            own, `[outer, n]`. They are matched with it, and are no labels of their own.
        folded: for such a label, the tensors that have one nested in it.
        labels, one, two: tensors that have a label that is permuted.
    """

    def __init__(
        self,
        labels: Labels,
        permuted: Sequence[str],
        one: Arrays,
        two: Arrays,
        nested: Sequence[tuple[str, str]] = (),
    ) -> None:
        self.labels = {name: axes for name, axes in labels.items() if set(axes) & set(permuted)}
        self.one, self.two = ({name: arrays[name] for name in self.labels} for arrays in (one, two))
        outer_of = {inner: outer for inner, outer in nested if {inner, outer} <= set(permuted)}
        everything = {
            label: self.one[name].shape[axes.index(label)]
            for label in permuted
            for name, axes in self.labels.items()
            if label in axes
        }
        self.inner_sizes = {label: size for label, size in everything.items() if label in outer_of}
        self.sizes = {label: size for label, size in everything.items() if label not in outer_of}
        self.within: dict[str, Within] = {
            name: tuple(axes.index(outer_of[label]) if label in outer_of else None for label in axes)
            for name, axes in self.labels.items()
        }
        self.inners: dict[str, list[str]] = {}
        for inner, outer in outer_of.items():
            self.inners.setdefault(outer, []).append(inner)
        self.twice = {label for label in self.sizes for axes in self.labels.values() if axes.count(label) > 1}
        self.neighbors: dict[str, set[str]] = {label: set() for label in self.sizes}
        self.parts: dict[str, list[tuple[str, int]]] = {label: [] for label in self.sizes}
        self.fixed: dict[str, list[tuple[str, int]]] = {label: [] for label in self.sizes}
        self.folded: dict[str, list[tuple[str, int]]] = {label: [] for label in self.sizes}
        for name, axes in self.labels.items():
            for place, label in enumerate(axes):
                if label not in self.sizes:
                    continue
                others = self.sizes.keys() & {*axes[:place], *axes[place + 1 :]}
                self.neighbors[label] |= others
                is_folded = bool(set(self.inners.get(label, ())) & set(axes))
                alone = not others and not any(outer is not None for outer in self.within[name])
                (self.folded if is_folded else self.fixed if alone else self.parts)[label].append((name, place))
        self._constant: dict[str, jax.Array | None] = {}

    def still(self) -> Element:
        """Return the identity element."""
        found: Element = {label: np.arange(size) for label, size in self.sizes.items()}
        for outer, inners in self.inners.items():
            found |= {inner: np.tile(np.arange(self.inner_sizes[inner]), (self.sizes[outer], 1)) for inner in inners}
        return found

    def random(self, generator: np.random.Generator) -> Element:
        """Sample an element uniformly."""
        return {label: generator.permuted(places, axis=-1) for label, places in self.still().items()}

    def places(self, name: str, element: Element, but: int | None = None) -> Places:
        """Return the positions of the indices of a tensor along all axes but one."""
        return tuple(element.get(label) if axis != but else None for axis, label in enumerate(self.labels[name]))

    def matrix(self, label: str, element: Element, parts: Sequence[tuple[str, int]] | None = None) -> np.ndarray:
        """Return the gain if index j of the second network moves to position i, `[n, n]`, without folded tensors."""
        if label not in self._constant:
            total = None
            for name, place in self.fixed[label]:
                axes: Places = (None,) * self.one[name].ndim
                total = _added(place, self.within[name], total, self.one[name], self.two[name], axes)
            self._constant[label] = total
        total = self._constant[label]
        for name, place in self.parts[label] if parts is None else parts:
            axes = self.places(name, element, place)
            total = _added(place, self.within[name], total, self.one[name], self.two[name], axes)
        return np.zeros((self.sizes[label],) * 2, np.float32) if total is None else np.asarray(total)

    def value(self, element: Element) -> float:
        """Return the inner product of the first network and the permuted second one."""
        places = {name: self.places(name, element) for name in self.labels}
        found = _inner(tuple(places), tuple(self.within[name] for name in places), self.one, self.two, places)
        return float(np.sum(np.asarray(found, np.float64)))


def assigned(gain: np.ndarray) -> np.ndarray:
    """Return the permutation with the largest gain: index j of the second network moves to position p[j]."""
    # What is added to a whole row or column changes no assignment, but SciPy's algorithm takes ten times as long where
    # columns differ in their means.
    centered = gain.astype(np.float64)
    if centered.size:
        centered -= centered.mean(axis=0)
        centered -= centered.mean(axis=1, keepdims=True)
    rows, columns = linear_sum_assignment(centered, maximize=True)
    place = np.empty(len(rows), np.intp)
    place[columns] = rows
    return place
