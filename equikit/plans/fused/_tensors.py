"""Tensors of kernels: where they lie in memory, and the indices of their entries."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import jax
import jax.numpy as jnp
from jax import lax

from equikit.signatures import Signature, Term

Wiring = tuple[int, ...]
"""A permutation of axes: axis j of one tensor is indexed by axis `wiring[j]` of another one."""


@dataclass(frozen=True, slots=True)
class PlainAxis:
    """An axis of an array on which no group acts: one digit of the number of a feature."""

    stride: int
    size: int


@dataclass(frozen=True, slots=True)
class Tensor:
    """An array `[batch, *axes, channels]` as a tensor with some axes and then features.

    Attributes:
        labels, sizes: for each axis of the tensor, in the order of the root of its term.
        features: channels, with plain axes folded in.
        places: for each axis of the array after the batch the axis of the tensor, or the plain axis.
    """

    labels: tuple[str, ...]
    sizes: tuple[int, ...]
    features: int
    places: tuple[int | PlainAxis, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the array after the batch."""
        return tuple(place.size if isinstance(place, PlainAxis) else self.sizes[place] for place in self.places)

    @property
    def entries(self) -> int:
        """The number of entries of one sample."""
        return math.prod(self.sizes) * self.features

    def index(self, sample: jax.Array, rows: Sequence[jax.Array], feature: jax.Array) -> tuple[jax.Array, ...]:
        """Return the index of each axis of the array, from the indices of the axes of the tensor, and features."""
        found = [sample]
        for place in self.places:
            if not isinstance(place, PlainAxis):
                found.append(rows[place])
                continue
            digit = feature // place.stride if place.stride > 1 else feature
            # Without a remainder, a feature beyond the last has an index beyond the array, where nothing is stored.
            found.append(digit if place.stride * place.size == self.features else digit % place.size)
        return tuple(found)


def tensor_of(signature: Signature, term: Term, acting: Mapping[str, int], channels: int) -> Tensor:
    """Return the tensor of a term, as it lies in memory: its axes are not moved.

    `acting` has the size of every label on which a group acts.
    """
    sizes = {label: size for label, size in signature.sizes.items() if size is not None} | dict(acting)
    acted = signature.acted(term)
    order = sorted(acted, key=lambda i: (term.labels[i], i))
    places: list[int | PlainAxis] = []
    features = channels * math.prod(sizes[term.labels[i]] for i in signature.plain(term))
    stride = features
    for i, label in enumerate(term.labels):
        if i in acted:
            places.append(order.index(i))
        else:
            stride //= sizes[label]
            places.append(PlainAxis(stride, sizes[label]))
    labels = tuple(term.labels[i] for i in order)
    return Tensor(labels, tuple(sizes[label] for label in labels), features, (*places, PlainAxis(1, channels)))


def plain_tensor(labels: Sequence[str], sizes: Sequence[int], features: int) -> Tensor:
    """Return the tensor of an array whose axes are in order, with the features last."""
    return Tensor(tuple(labels), tuple(sizes), features, (*range(len(sizes)), PlainAxis(1, features)))


@dataclass(frozen=True, slots=True)
class RootStep:
    """A step between a root and a smaller tensor, as in `equikit.plans.Step`: the axes of the root that it joins.

    `"whole"` is the root itself, which the steps outside of kernels need.
    """

    operation: Literal["whole", "sum", "diagonal"]
    axes: tuple[int, ...] = ()

    @property
    def gone(self) -> int | None:
        """The axis that the smaller tensor lacks."""
        return self.axes[-1] if self.axes else None

    def kept(self, axes: int) -> tuple[int, ...]:
        """The axes of the root that the smaller tensor has."""
        return tuple(axis for axis in range(axes) if axis != self.gone)

    def small(self, root: Tensor) -> Tensor:
        """Return the smaller tensor."""
        kept = self.kept(len(root.sizes))
        return plain_tensor([root.labels[a] for a in kept], [root.sizes[a] for a in kept], root.features)


def along(vector: jax.Array, axis: int, ndim: int) -> jax.Array:
    """Reshape a vector so that it lies along an axis."""
    return vector.reshape(*(1,) * axis, vector.shape[0], *(1,) * (ndim - 1 - axis))


def counted(length: int, axis: int, ndim: int) -> jax.Array:
    """Return 0, 1, 2, ... along an axis."""
    shape = [1] * ndim
    shape[axis] = length
    return lax.broadcasted_iota(jnp.int32, shape, axis)


def power_of_two(number: int) -> int:
    """Return the smallest power of two that is at least a number."""
    return 1 << max(number - 1, 0).bit_length()
