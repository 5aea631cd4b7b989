"""Gain matrices for weight matching, and optimal assignments."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from scipy.optimize import linear_sum_assignment

from equikit.weightspace.specifications._terms import Element

Arrays = dict[str, jax.Array]
Labels = dict[str, tuple[str, ...]]
"""The labels of the axes of every tensor."""
Places = tuple[np.ndarray | None, ...]
"""A permutation p for every axis of a tensor, or None: index j of the second network moves to position p[j]. A label
that is nested in another has one permutation for each index of the outer label, `[outer, n]`."""
Within = tuple[int | None, ...]
"""For every axis of a tensor, the axis of the outer label if its label is nested, otherwise None."""


@partial(jax.jit, static_argnums=(0, 1))
def _added(
    place: int, within: Within, total: jax.Array | None, one: jax.Array, two: jax.Array, places: Places
) -> jax.Array:
    """Add to `total`, `[n, n]`, the inner products between the slices of two tensors along an axis."""
    dtype = jnp.promote_types(jnp.result_type(one, two), jnp.float32)
    one = taken(one, places, within)
    rows = [jnp.moveaxis(array.astype(dtype), place, 0).reshape(array.shape[place], -1) for array in (one, two)]
    found: jax.Array = _products(*rows)
    return found if total is None else total + found


@partial(jax.jit, static_argnums=0)
def _inner(
    within: tuple[Within, ...], one: Sequence[jax.Array], two: Sequence[jax.Array], places: Sequence[Places]
) -> jax.Array:
    """Return the inner product of both networks for each tensor, `[tensors]`."""
    found = []
    for first, second, where, nested in zip(one, two, places, within, strict=True):
        dtype = jnp.promote_types(jnp.result_type(first, second), jnp.float32)
        found.append(jnp.sum(taken(first, where, nested).astype(dtype) * second.astype(dtype)))
    return jnp.stack(found)


AT_ONCE = 2**26
"""Tensors are multiplied in one program up to this many bytes of one network, because each program copies them."""


def _inner_products(
    names: Sequence[str], one: Arrays, two: Arrays, places: dict[str, Places], within: dict[str, Within]
) -> dict[str, float]:
    """Return the inner product of both networks for each tensor, by name."""
    shares: list[list[str]] = []
    size = math.inf
    for name in names:
        size += one[name].nbytes
        if size > AT_ONCE:
            shares.append([])
            size = one[name].nbytes
        shares[-1].append(name)
    found: dict[str, float] = {}
    for share in shares:
        given = [[each[name] for name in share] for each in (one, two, places)]
        products = np.asarray(_inner(tuple(within[name] for name in share), *given), np.float64)
        found |= dict(zip(share, products.tolist(), strict=True))
    return found


@jax.jit
def _products(one: jax.Array, two: jax.Array) -> jax.Array:
    return jnp.matmul(one, two.T, precision=jax.lax.Precision.HIGHEST)


def products(one: np.ndarray, two: np.ndarray) -> np.ndarray:
    """Return the inner products between all rows of two matrices."""
    return np.asarray(_products(one, two))


def taken(array: jax.Array, places: Places, within: Within) -> jax.Array:
    """Reorder a tensor of the first network to match the second, which is not permuted: index i takes entry p[i]."""
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
    """Return the inner product of both networks for each tensor, by name."""
    still: dict[str, Places] = {name: (None,) * array.ndim for name, array in one.items()}
    return _inner_products([*one], one, two, still, dict(still))  # type: ignore[arg-type]  # no axis is nested


def inner(one: Arrays, two: Arrays) -> float:
    """Return the inner product of both networks, summed over all tensors."""
    return sum(inners(one, two).values())


class Gains:
    """The gain matrix for permuting one label of the second network while all other permutations are fixed.

    Attributes:
        sizes: the size of each permuted label, without nested labels.
        neighbors: for each label, the labels that share a tensor with it: its permutation changes their gains.
        twice: labels of two axes of one tensor. Their gain is the sum over both axes, each computed with the current
            permutation of the other axis: a linear approximation of a quadratic form.
        parts: for each label, its tensors (and axes) that have another permuted label.
        fixed: for each label, its tensors (and axes) without another permuted label. Their gains are constant.
        inners: for each outer label, the labels nested in it, with one permutation for each of its indices,
            `[outer, n]`. They are matched together with the outer label.
        folded: for each outer label, its tensors (and axes) that have a label nested in it.
        labels, one, two: the tensors that have a permuted label.
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
        """Return the permutations of a tensor along all axes except axis `but`."""
        return tuple(element.get(label) if axis != but else None for axis, label in enumerate(self.labels[name]))

    def matrix(self, label: str, element: Element, parts: Sequence[tuple[str, int]] | None = None) -> np.ndarray:
        """Return the gains `[n, n]`, without folded tensors: entry (i, j) if index j of network two moves to i."""
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
        """Return the inner product of the first network and the permuted second network."""
        places = {name: self.places(name, element) for name in self.labels}
        return sum(_inner_products([*places], self.one, self.two, places, self.within).values())


def assigned(gain: np.ndarray) -> np.ndarray:
    """Return the permutation with the largest gain: index j of the second network moves to position p[j]."""
    # A constant added to a row or a column does not change the optimal assignment, but SciPy's algorithm is ten times
    # slower if the means of the columns differ.
    centered = gain.astype(np.float64)
    if centered.size:
        centered -= centered.mean(axis=0)
        centered -= centered.mean(axis=1, keepdims=True)
    rows, columns = linear_sum_assignment(centered, maximize=True)
    place = np.empty(len(rows), np.intp)
    place[columns] = rows
    return place
