"""Means over the stabilizer of an input: over matrices if the input does not span the space, or over permutations."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from equikit.groups import Group
from equikit.symmetrization.engine._element import Array, along

MOST_AXES = 3
"""The largest number of axes for which the mean is computed from projections and traces of pairs."""


def has_mean(group: Group, axes: int, free: Array, *, odd: bool = False) -> Array:
    r"""Whether `stabilizer_mean` averages over all elements that rotate only the `free` directions across the input.

    Tensors with up to three axes that are invariant under all of O(m), O(p, q) or U(m) are built from metric tensors.
    Under rotations alone, this holds for fewer than m axes, which have no Levi-Civita tensor. If elements are weighted
    by their determinants (`odd`), the mean is `odd_stabilizer_mean`, and zero for fewer than m axes.
    """
    if odd:
        return (free == 0) | ((group.form is None) & ((free == 1) | (axes < free)))
    most = jnp.minimum(free - 1, MOST_AXES) if group.special else MOST_AXES
    return (free == 0) | (axes <= most)


def stabilizer_mean(
    group: Group, projection: Array, array: Array, places: Sequence[int], starred: Sequence[bool]
) -> Array:
    r"""Return the mean of a tensor over the elements of a group that fix a subspace pointwise.

    With P the projection onto the subspace, \(Q = 1 - P\), m = tr Q and η the metric, it is
    \(P^{\otimes k} y + \frac{1}{m} \sum_{a < b} (Q \eta Q^T)^{ab} \langle P^{\otimes (k-2)} y \rangle_{ab}\), where the
    brackets contract two axes by \(Q^T \eta Q\). The sum runs over all pairs of axes; for U(n), over pairs of an axis
    and a dual axis. It is included for k = 2 and 3, where the formula is exact; tensors with more axes are only
    projected. If the subspace contains vectors orthogonal to all of it, only the projection remains.

    Args:
        group: O(n), O(p, q), U(n), or their subgroups of determinant one, if `has_mean` is true.
        projection: P, real, `[n, n]`.
        array: a tensor of one sample.
        places: its axes on which the group acts.
        starred: whether each of them transforms by the dual.

    Cost: one matrix product for each axis, and three for each pair of axes.
    """
    n = projection.shape[-1]
    form = jnp.asarray(jnp.eye(n) if group.form is None else group.form.matrix(n), projection.dtype)
    rest = jnp.eye(n, dtype=projection.dtype) - projection
    wide = array.astype(jnp.promote_types(array.dtype, projection.dtype))
    total = wide
    for place in places:
        total = along(projection, total, place)
    if 2 <= len(places) <= MOST_AXES:
        free, up, down = jnp.trace(rest), rest @ form @ rest.T, rest.T @ form @ rest
        orthogonal = jnp.all(jnp.abs(rest @ form @ projection.T) < 0.1)
        share = jnp.where(orthogonal & (free > 0.5), 1 / jnp.maximum(free, 1), 0)
        for a in range(len(places)):
            for b in range(a + 1, len(places)):
                if group.is_complex and starred[a] == starred[b]:
                    continue
                part = wide
                for place in (places[c] for c in range(len(places)) if c not in (a, b)):
                    part = along(projection, part, place)
                ends = (places[a], places[b])
                trace = jnp.tensordot(down, jnp.moveaxis(part, ends, (0, 1)), 2, precision=jax.lax.Precision.HIGHEST)
                pair = jnp.tensordot(up, trace, 0) * share
                total = total + jnp.moveaxis(pair, (0, 1), ends)
    return total.astype(array.dtype)


def odd_stabilizer_mean(projection: Array, array: Array, places: Sequence[int]) -> Array:
    r"""Return the mean of \(\det(h)\, h y\) over the elements h of O(n) that fix a subspace pointwise.

    If the orthogonal complement has dimension m, the mean is y for m = 0, \((y - R y) / 2\) for m = 1, with the
    reflection \(R = 2 P - 1\), and zero if m exceeds the number of axes: O(m) has no smaller Levi-Civita tensor.

    Args:
        projection: P, `[n, n]`.
        array: a tensor of one sample.
        places: its axes on which the group acts.

    Cost: one matrix product for each axis.
    """
    n = projection.shape[-1]
    free = jnp.round(n - jnp.trace(projection))
    wide = array.astype(jnp.promote_types(array.dtype, projection.dtype))
    reflected = wide
    for place in places:
        reflected = along(2 * projection - jnp.eye(n, dtype=projection.dtype), reflected, place)
    mean = jnp.where(free < 1, wide, jnp.where(free < 2, (wide - reflected) / 2, 0))
    return mean.astype(array.dtype)


def orbit_mean(array: Array, kept: Array, places: tuple[int, ...]) -> Array:
    """Average a tensor over a group of permutations of some axes, over the orbits of tuples of indices.

    Entries that are alone in their orbit stay exactly unchanged.

    Args:
        array: a tensor of one sample.
        kept: integers `[n]` or `[n, ..., n]`, the stabilizer of an `Element`.
        places: the axes that the group permutes, `[n]` each.

    Cost: linear in the size of the array.
    """
    numbers, front = orbits(kept, len(places)), range(len(places))
    moved = jnp.moveaxis(array, places, front)
    rows = moved.reshape(numbers.size, math.prod(moved.shape[len(places) :]))
    each = numbers.reshape(-1)
    wide = rows.astype(jnp.promote_types(array.dtype, jnp.float32))
    sizes = jax.ops.segment_sum(jnp.ones_like(each), each, numbers.size)[each][:, None]
    sums = jax.ops.segment_sum(wide, each, numbers.size)[each]
    means = jnp.where(sizes < 2, rows, (sums / jnp.maximum(sizes, 1).astype(wide.dtype)).astype(array.dtype))
    return jnp.moveaxis(means.reshape(moved.shape), front, places)


def orbits(kept: Array, axes: int) -> Array:
    """Number the orbits of tuples of indices: integers below n^axes, `[n, ..., n]`, equal within an orbit.

    Args:
        kept: the stabilizer of an `Element`: `[n]`, or an array with at least `axes` axes.
    """
    if kept.ndim == axes:
        return kept
    if kept.ndim == 1:
        return _of_blocks(kept, axes)
    assert axes < kept.ndim, "methods number the orbits for the term with the most axes"
    # The orbit of (i, j, j) represents the orbit of (i, j); its number is k n^2 + l n + l for a tuple (k, l, l).
    return orbits(jnp.diagonal(kept, axis1=-2, axis2=-1) // max(kept.shape[0], 1), axes)


def _of_blocks(blocks: Array, axes: int) -> Array:
    """Number the orbits of tuples if any two entries of a block can be exchanged.

    Each tuple is mapped to the first tuple of its orbit: a new index becomes the first entry of its block that earlier
    indices do not use.
    """
    n = blocks.shape[0]
    sizes = jax.ops.segment_sum(jnp.ones_like(blocks), blocks, n)
    starts = (jnp.cumsum(sizes, dtype=sizes.dtype) - sizes)[blocks]
    number, before = jnp.zeros((), sizes.dtype), list[tuple[Array, Array]]()
    for index in jnp.meshgrid(*[jnp.arange(n)] * axes, indexing="ij", sparse=True):
        first = starts[index]
        for other, its_first in before:
            first = jnp.where(starts[other] == starts[index], jnp.maximum(first, its_first + 1), first)
        for other, its_first in before:
            first = jnp.where(other == index, its_first, first)
        before.append((index, first))
        number = number * n + first
    return number


@functools.partial(jax.custom_jvp, nondiff_argnums=(2,))
def with_mean_derivative(array: Array, kept: Array, places: tuple[int, ...]) -> Array:
    """Return a tensor that a permutation group fixes, with derivatives averaged over the group.

    Second derivatives are averaged along directions that the group fixes, and are zero across them.
    """
    return array


@with_mean_derivative.defjvp
def _with_mean_derivative(places: tuple[int, ...], primals: tuple[Array, Array], tangents: tuple[Array, Any]) -> Any:
    array, kept = primals
    return array, orbit_mean(tangents[0], kept, places)
