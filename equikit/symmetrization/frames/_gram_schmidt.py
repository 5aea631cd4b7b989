"""Gram-Schmidt with a metric: an orthonormal basis from the first independent vectors of the input."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from equikit.symmetrization._element import Array, rounding
from equikit.symmetrization.frames._light_like import (
    FREE,
    NEAR,
    NULL,
    PARTNER,
    SPANNED,
    Choice,
    Limits,
    beside,
    farthest,
    first,
    indefinite,
    lengths,
    product,
)

MARGIN = 8
"""What is this near to the bound of the error may exceed it in one frame of reference, and in another not."""


class Basis(NamedTuple):
    r"""A basis with \(\langle u_i, u_j \rangle = \pm\delta_{ij}\).

    Attributes:
        vectors: `[d, d]`, in rows, those that come from the input first.
        signs: `[d]`, the squares \(\langle u_i, u_i \rangle\).
        kinds: `[d]`, where each comes from.
        gap: the smallest relative pivot: how much of an independent vector is left beside the ones before it, over
            the longest; for an indefinite metric \(|\langle v, v \rangle|\) of it over its and the longest length.
        doubtful: whether rounding decides what is independent, or what is light-like.
    """

    vectors: Array
    signs: Array
    kinds: Array
    gap: Array
    doubtful: Array


class _State(NamedTuple):
    """The basis so far; what is left beside it of the input, of the unit vectors, and of a table of the input; a bound
    of the rounding error of what is left; the length that light-like vectors are boosted to, and the place of the one
    that was taken last, or -1."""

    basis: Basis
    rest: Array
    units: Array
    table: Array
    error: Array
    length: Array
    partner: Array


def gram_schmidt(
    points: Array, metric: np.ndarray, tolerance: Array | float, unit: Array | float = 1.0, noise: Array | float = 0.0
) -> Basis:
    r"""Orthogonalize vectors with respect to a metric, and complete the basis by any others.

    What is decided (which vector comes next, and what it is joined with) depends on their products
    \(\langle x_i, x_j \rangle\) alone, so that a group element moves the basis as it moves the vectors; of free
    directions only the space that they span moves with it. With a definite metric every step takes the first vector of
    which more is left than the tolerance. With an indefinite one what is left may be light-like: it takes the first
    whose square is nearly the largest, or where all squares are small the sum of the first two whose product is. If all
    products vanish, but a vector does not, it spans a hyperbolic plane with a partner that is chosen by no product, and
    is unique only where no free direction is left; the vector is boosted to the length of the first one that has a
    square, or to the unit.

    Args:
        points: `[count, d]`, real, or complex for the Hermitian product; no entry larger than one.
        metric: its diagonal, `[d]`, of entries 1 and -1.
        tolerance: the relative pivot from which on a vector counts as independent.
        unit: what a length of one has become where points have been scaled.
        noise: the error of the points, where it is larger than rounding errors of their dtype.

    Cost: d steps of O(count d²).
    """
    count, d = points.shape
    points = points if count else jnp.zeros((1, d), points.dtype)
    real = jnp.zeros((), points.dtype).real.dtype
    signature = jnp.asarray(metric, real)
    definite = bool(np.all(metric == metric[:1]))
    fixed = jax.lax.stop_gradient(points)
    # Products with all points are as large as those with these d rows.
    table = fixed[:0] if definite else jnp.linalg.qr(fixed, mode="r")
    longest = jnp.max(lengths(fixed))
    longest = jnp.where(longest > 0, longest, 1)
    scale = jnp.max(lengths(jnp.einsum("ra,ia->ir", table, fixed * signature))) / np.sqrt(max(count, 1))
    noise = jnp.maximum(16 * max(d, 1) * rounding(points.dtype), noise)

    def step(place: Array, state: _State) -> _State:
        basis = state.basis
        limits = Limits(tolerance, state.error, longest, scale)
        # The last direction is settled by the others, up to its sign.
        settled = (place == d - 1) & (not jnp.iscomplexobj(points))
        if definite:
            choice = _definite(state.rest, limits, settled)
        else:
            choice = indefinite(state.rest, state.table, state.length, basis.vectors, basis.signs, signature, limits)
            choice = _either(settled, _definite(state.rest, limits, settled, only=NEAR), choice)
        again = Choice(state.rest[state.partner], PARTNER, state.partner, jnp.zeros((), bool))
        choice = _either(state.partner >= 0, again, choice)
        # Beside free directions nothing is left but rounding errors.
        spanning = jnp.sum(basis.kinds != FREE) == place
        kind = jnp.where(spanning, choice.kind, FREE)
        free = farthest(state.units, signature)
        vector = jnp.where(kind == FREE, free, choice.vector)
        for _ in range(2):  # once leaves rounding errors of the size of what is taken away
            vector = beside(vector[None], basis.vectors, basis.signs, signature)[0]
        square = product(vector, vector, signature).real
        unit = vector / jnp.sqrt(jnp.abs(square))
        sign = jnp.sign(jax.lax.stop_gradient(square))
        size = lengths(jax.lax.stop_gradient(vector))
        pivot = jax.lax.stop_gradient(jnp.abs(square)) / (size * jnp.where(kind == NULL, size, limits.longest))
        counts = ((kind == SPANNED) | (kind == NULL)) & ~settled
        fixed = jax.lax.stop_gradient(state.rest)
        left = jnp.max(lengths(fixed)) / limits.longest
        # An error this large leaves open whether anything is left at all.
        large = state.error > (jnp.sqrt(noise) if definite else tolerance) * longest
        if not definite:  # the bound changes with boosts
            most = jnp.max(lengths(fixed))
            near = (most > state.error / MARGIN) & (most < state.error * MARGIN)
            large = large | near
            choice = choice._replace(doubtful=choice.doubtful | (settled & near))
        doubtful = spanning & (choice.doubtful | ((kind == FREE) & large))
        gap = jnp.where(counts, pivot, jnp.where(doubtful, left, jnp.inf))
        updated = Basis(
            basis.vectors.at[place].set(unit),
            basis.signs.at[place].set(sign),
            basis.kinds.at[place].set(kind),
            jnp.minimum(basis.gap, gap.astype(real)),
            basis.doubtful | doubtful,
        )
        rest, units, table = (
            beside(array, unit[None], sign[None], signature) for array in (state.rest, state.units, state.table)
        )
        # Errors grow as in elimination, with the multiples of the vector that are taken away; those of the multiples
        # themselves, with the square of its length.
        unit_size = jax.lax.stop_gradient(jnp.abs(square)) / size**2
        parts = jnp.abs(product(unit, fixed, signature)) / jnp.sqrt(jnp.abs(square))
        parts = jnp.where(kind == FREE, 0, jax.lax.stop_gradient(parts))
        error = state.error * (1 + jnp.max(parts)) + noise * jnp.max(lengths(fixed)) / unit_size
        given = (place == 0) & (kind == SPANNED)
        length = jnp.where(given, jnp.sqrt(jnp.abs(square)), state.length)
        return _State(updated, rest, units, table, error, length, jnp.where(kind == NULL, choice.index, -1))

    start = Basis(
        jnp.zeros((d, d), points.dtype),
        jnp.zeros(d, real),
        jnp.full(d, FREE),
        jnp.full((), jnp.inf, real),
        jnp.zeros((), bool),
    )
    units = jnp.eye(d, dtype=points.dtype)
    error = jnp.asarray(noise * longest, real)
    state = _State(start, points, units, table, error, jnp.asarray(unit, real), jnp.full((), -1))
    found: Basis = jax.lax.fori_loop(0, d, step, state).basis if d else start
    return found


def _definite(rest: Array, limits: Limits, settled: Array, only: float = 0) -> Choice:
    """The first vector of which enough is left; what is less than that is neglected, but not for a direction that is
    settled."""
    left = lengths(jax.lax.stop_gradient(rest))
    most, enough = jnp.max(left), limits.tolerance * limits.longest
    least = jnp.where(settled & (most <= enough), NEAR * most, jnp.maximum(enough, only * most))
    found, i = first(left > jnp.maximum(least, limits.error))
    return Choice(rest[i], jnp.where(found, SPANNED, FREE), i, ~found & (most > limits.error))


def _either(which: Array, one: Choice, other: Choice) -> Choice:
    return Choice(*(jnp.where(which, a, b) for a, b in zip(one, other, strict=True)))
