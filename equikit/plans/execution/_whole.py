"""Axes of groups without diagrams in a plan: folded into the features, and mixed by invariant tensors.

The matrix of a product is the weighted sum of the invariant tensors. Tensors of permutation groups are zero and one on
disjoint orbits, so their sum is a lookup of the weights; others are contracted.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from equikit.diagrams import HalfDiagram, HeadKind
from equikit.groups import Group
from equikit.plans.compilation._tensors import is_disjoint, joint_tensors
from equikit.signatures import Signature


@dataclass(frozen=True, eq=False)
class InvariantTensors:
    """Invariant tensors as matrices.

    Attributes:
        shape: the number of tensors, of rows (axes of the output) and of columns (axes of the input).
        dense: the tensors `[choices, rows, columns]`; `None` if they have disjoint supports and entries ±1.
        index, sign: if `dense` is `None`, the tensor to which an entry belongs, and its value, `[rows, columns]`.
    """

    shape: tuple[int, int, int]
    dense: np.ndarray | None
    index: np.ndarray
    sign: np.ndarray

    def spread(self, weights: jax.Array, axis: int) -> jax.Array:
        """Replace an axis of weights, one for each tensor, by rows and columns (no columns if there is one column)."""
        _, rows, columns = self.shape
        if self.dense is not None:
            tensors = jnp.asarray(self.dense, weights.dtype)
            moved = jnp.tensordot(weights, tensors, ((axis,), (0,)), precision=lax.Precision.HIGHEST)
            result = jnp.moveaxis(moved, (-2, -1), (axis, axis + 1))
        else:
            found = jnp.take(weights, self.index.ravel(), axis=axis)
            shape = (*weights.shape[:axis], rows, columns, *weights.shape[axis + 1 :])
            sign = self.sign.reshape(rows, columns, *(1,) * (weights.ndim - 1 - axis))
            result = found.reshape(shape) * jnp.asarray(sign, weights.dtype)
        return result


def invariant_tensors(signature: Signature, kinds: tuple[HeadKind, ...]) -> InvariantTensors:
    """Return the invariant tensors of a product, for every choice of one tensor for each label.

    Raises:
        TooLargeError: if they have too many entries.
    """
    return _tensors(tuple((signature.groups[kind.label], kind) for kind in kinds))


@functools.lru_cache(maxsize=128)
def _tensors(kinds: tuple[tuple[Group, HeadKind], ...]) -> InvariantTensors:
    return settled_tensors(joint_tensors(tuple((group, kind.stars, kind.above) for group, kind in kinds)))


def settled_tensors(tensors: np.ndarray) -> InvariantTensors:
    """Convert tensors `[choices, rows, columns]` to index and sign if they have disjoint supports and entries ±1."""
    count, rows, columns = tensors.shape
    if is_disjoint(tensors):
        return InvariantTensors((count, rows, columns), None, abs(tensors).argmax(0), tensors.sum(0))
    return InvariantTensors((count, rows, columns), tensors, np.zeros((0, 0), np.int64), np.zeros((0, 0), np.int64))


def _whole_axes(half: HalfDiagram, batch: int) -> tuple[int, ...]:
    """Return the positions of the axes of groups without diagrams in the tensor of a half diagram."""
    found: list[int] = []
    place = batch + len(half.wires)
    for head in half.heads:
        if head.stars:
            found += range(place, place + head.axes)
        place += head.axes
    return tuple(found)


def folded(x: jax.Array, half: HalfDiagram, batch: int) -> jax.Array:
    """Fold the axes of groups without diagrams into the features."""
    axes = _whole_axes(half, batch)
    if not axes:
        return x
    rest = [axis for axis in range(x.ndim - 1) if axis not in axes]
    moved = x.transpose(*rest, *axes, x.ndim - 1)
    return moved.reshape(*moved.shape[: len(rest)], math.prod(moved.shape[len(rest) :]))


def unfolded(y: jax.Array, half: HalfDiagram, batch: int, sizes: Mapping[str, int]) -> jax.Array:
    """The inverse of `folded`."""
    axes = _whole_axes(half, batch)
    if not axes:
        return y
    lead = y.ndim - 1
    folded = [sizes[head.label] for head in half.heads if head.stars for _ in range(head.axes)]
    y = y.reshape(*y.shape[:-1], *folded, y.shape[-1] // math.prod(folded))
    rest = [axis for axis in range(y.ndim - 1) if axis not in axes]
    order = [int(i) for i in np.argsort((*rest, *axes))]
    assert len(rest) == lead
    return y.transpose(*order, y.ndim - 1)
