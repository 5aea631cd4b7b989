"""Means over the matrices that leave an input as it is, where it does not span the whole space."""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp

from equikit.groups import SO, Group
from equikit.symmetrization._element import Array

MOST_AXES = 3
"""Up to so many axes the mean is made of projections and of traces of pairs."""


def has_mean(group: Group, axes: int, free: Array) -> Array:
    r"""Whether `stabilizer_mean` is the mean over all elements that turn only `free` directions across the input.

    Tensors with up to three axes that the whole of O(m), O(p, q) or U(m) leaves are made of pairs; those that rotations
    alone leave are so below m axes, where the Levi-Civita tensor does not come in.
    """
    most = jnp.minimum(free - 1, MOST_AXES) if isinstance(group, SO) else MOST_AXES
    return (free == 0) | (axes <= most)


def stabilizer_mean(
    group: Group, projection: Array, array: Array, places: Sequence[int], starred: Sequence[bool]
) -> Array:
    r"""The mean of a tensor over the elements of a group that keep a subspace, point by point.

    With P the projection onto the subspace, \(Q = 1 - P\), m = tr Q and η the metric, it is
    \(P^{\otimes k} y + \frac{1}{m} \sum_{a < b} (Q \eta Q^T)^{ab} \langle P^{\otimes (k-2)} y \rangle_{ab}\), where the
    brackets contract two axes by \(Q^T \eta Q\). The sum is over all pairs of axes, for U(n) over those of an axis with
    a dual one. It is there for k = 2 and 3, and exact then: that of more than three axes are projected only. Where the
    subspace holds vectors that are orthogonal to all of it, nothing but the projection is left.

    Args:
        group: O(n), O(p, q), U(n), or the rotations among them, where `has_mean` says so.
        projection: P, real, `[n, n]`.
        array: a tensor of one sample.
        places: its axes on which the group acts.
        starred: whether each of them carries the dual.

    Cost: one product with a matrix for each axis, and three for each pair.
    """
    n = projection.shape[-1]
    form = jnp.asarray(jnp.eye(n) if group.form is None else group.form.matrix(n), projection.dtype)
    rest = jnp.eye(n, dtype=projection.dtype) - projection
    wide = array.astype(jnp.promote_types(array.dtype, projection.dtype))
    total = wide
    for place in places:
        total = _along(projection, total, place)
    if 2 <= len(places) <= MOST_AXES:
        free = jnp.trace(rest)
        orthogonal = jnp.all(jnp.abs(rest @ form @ projection.T) < 0.1)
        share = jnp.where(orthogonal & (free > 0.5), 1 / jnp.maximum(free, 1), 0)
        for a in range(len(places)):
            for b in range(a + 1, len(places)):
                if group.is_complex and starred[a] == starred[b]:
                    continue
                part = wide
                for place in (places[c] for c in range(len(places)) if c not in (a, b)):
                    part = _along(projection, part, place)
                ends = (places[a], places[b])
                trace = jnp.tensordot(rest.T @ form @ rest, jnp.moveaxis(part, ends, (0, 1)), 2, precision=_EXACT)
                pair = jnp.tensordot(rest @ form @ rest.T, trace, 0) * share
                total = total + jnp.moveaxis(pair, (0, 1), ends)
    return total.astype(array.dtype)


_EXACT = jax.lax.Precision.HIGHEST


def _along(matrix: Array, array: Array, axis: int) -> Array:
    return jnp.moveaxis(jnp.tensordot(matrix, array, (1, axis), precision=_EXACT), 0, axis)
