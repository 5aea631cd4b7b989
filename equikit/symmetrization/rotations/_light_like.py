"""Choose the next vector of Gram-Schmidt by invariants only, each compared with its error."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from equikit.numerics import rounding
from equikit.symmetrization.engine._element import Array
from equikit.symmetrization.engine._sample import CERTAIN

SPANNED, NULL, PARTNER, FREE = range(4)
"""The source of a basis vector: the input; a light-like direction of the input and its partner; none."""

NEAR = 0.71
"""The first vector whose square, or product with another, reaches this fraction of the largest is chosen: it is large
enough that errors do not grow, and does not occur as a ratio in simple figures."""

ALONE = 0.31
"""A vector is chosen alone if its square reaches this fraction of the largest mean product; otherwise squares are too
small to cancel the product of two vectors in the square of their sum."""

NOTHING = 8 * CERTAIN
"""Extents below this many errors of their points count as zero, since observers can disagree about them."""

CLEAR = 3
"""Extents above this multiple of `NOTHING` are nonzero for every observer; for boosted ones, above its square."""

FEW = 16
"""The largest number of vectors for which all products are computed; more are reduced to one row per axis by QR."""


class Left(NamedTuple):
    """The remainder of every vector outside the basis so far.

    Attributes:
        vectors: `[count, d]`, without derivatives.
        variances: error variances of their entries, `[count, d]`.
        squares: their products with themselves, `[count]`.
    """

    vectors: Array
    variances: Array
    squares: Array

    def present(self) -> Array:
        """Count the vectors whose remainder exceeds their errors."""
        return jnp.sum(lengths(self.vectors) > NOTHING * jnp.sqrt(jnp.sum(self.variances, -1)))


class Choice(NamedTuple):
    """The positions of the next vector and of a vector to add to it or -1; its kind; and whether rounding decided."""

    index: Array
    second: Array
    kind: Array
    doubtful: Array


def lengths(vectors: Array) -> Array:
    """Return Euclidean lengths, for numbers without derivatives."""
    return jnp.sqrt(jnp.sum(jnp.abs(vectors) ** 2, -1))


def zero(scores: Array, errors: Array, clear: float) -> tuple[Array, Array]:
    """Return whether all scores are zero up to `errors`, their standard deviations; and whether this is in doubt."""
    most = jnp.max(jnp.where(scores > 0, scores / jnp.where(errors > 0, errors, 1e-30), 0), initial=0)
    return most <= NOTHING, (most > NOTHING) & (most <= clear * NOTHING)


def first(scores: Array, errors: Array, level: Array, error: Array) -> tuple[Array, Array]:
    """Return the position of the first score that reaches a level; and whether errors can change it."""
    place = jnp.argmax(scores >= level)
    near = jnp.abs(scores - level) <= CERTAIN * jnp.hypot(errors, error)
    return place, jnp.any(near & (jnp.arange(len(scores)) <= place))


def nearly_largest(scores: Array, errors: Array) -> tuple[Array, Array]:
    """Return the position of the first score that is nearly the largest; and whether errors can change it."""
    most = jnp.argmax(scores)
    return first(scores, errors, NEAR * scores[most], NEAR * errors[most])


def definite(left: Left, enough: Array, any_rest: Array) -> Choice:
    """Choose the first vector with a long enough remainder; else, if `any_rest`, the first with nearly the longest."""
    scores = lengths(left.vectors)
    along = jnp.sqrt(jnp.sum(jnp.abs(left.vectors) ** 2 * left.variances, -1)) / jnp.where(scores > 0, scores, 1)
    nothing, unclear = zero(scores, jnp.sqrt(jnp.sum(left.variances, -1)), CLEAR)
    most = jnp.argmax(scores)
    some = scores[most] >= enough
    at_edge = jnp.abs(scores[most] - enough) <= CERTAIN * along[most]
    place, near = first(scores, along, enough, jnp.zeros(()))
    longest, near_longest = nearly_largest(scores, along)
    found = ~nothing & (some | any_rest)
    doubtful = jnp.where(found, jnp.where(some, near, near_longest) | at_edge, ~nothing) | unclear
    return Choice(jnp.where(some, place, longest), jnp.full((), -1), jnp.where(found, SPANNED, FREE), doubtful)


def last(left: Left) -> Choice:
    """Choose the vector that determines the sign of the last direction, whose square may be negative.

    Remainders are compared by their squares: boosts increase the lengths of rounding errors, but not their products.
    """
    size = lengths(left.vectors)[:, None]
    along = left.vectors / jnp.where(size > 0, size, 1)  # normalized, since squares of lengths underflow
    scores = jnp.abs(left.squares) / jnp.where(size > 0, size, 1)[:, 0]
    errors = jnp.sqrt(jnp.sum(along**2 * left.variances, -1))
    nothing, unclear = zero(scores, errors, CLEAR**2)
    place, near = nearly_largest(scores, 2 * errors)
    return Choice(place, jnp.full((), -1), jnp.where(nothing, FREE, SPANNED), unclear | (~nothing & near))


def indefinite(
    left: Left, products_of: Callable[[Array], Array], signature: Array, least: Array, light_like: Array
) -> Choice:
    """Choose the first vector with a nonzero square, else the sum of two with a nonzero product, else a light-like one.

    Args:
        left: the remainders of the vectors.
        products_of: a function from a position to the products of this vector with all vectors.
        signature: the diagonal of the metric.
        least: squares and mean products below this count as zero.
        light_like: whether the space outside the basis has light-like vectors; otherwise a vector without products
            counts as zero, even if boosts have increased its length.
    """
    rest, variances = left.vectors, left.variances
    squares, of_squares = jnp.abs(left.squares), _error_of_squares(left)
    rows, of_rows = _rows(left, signature)
    products_vanish, unclear = zero(jnp.append(squares, rows), jnp.append(of_squares, of_rows), CLEAR**2)
    most, longest = jnp.argmax(squares), jnp.argmax(rows)
    excess = squares[most] - ALONE * rows[longest]
    near_case = jnp.abs(excess) <= CERTAIN * jnp.hypot(of_squares[most], ALONE * of_rows[longest])
    single = ~products_vanish & (excess > 0) & (squares[most] > least)
    pair = ~products_vanish & ~single & (rows[longest] > least)
    alone, near_alone = nearly_largest(squares, of_squares)
    one, near_one = nearly_largest(rows, of_rows)
    products = jnp.abs(products_of(one))
    of_products = jnp.sqrt(rest[one] ** 2 @ variances.T + rest**2 @ variances[one])
    two, near_two = nearly_largest(products, of_products)
    scores, errors = lengths(rest), jnp.sqrt(jnp.sum(variances, -1))
    nothing, unclear_rest = zero(scores, errors, CLEAR**2)
    nothing, unclear_rest = nothing | ~light_like, unclear_rest & light_like
    multiples = scores / jnp.where(errors > 0, errors, 1e-30)
    light, near_light = first(
        multiples, jnp.ones(()), CLEAR * jnp.full((), float(NOTHING)), jnp.full((), float(CERTAIN))
    )
    index = jnp.where(single, alone, jnp.where(pair, one, light))
    kind = jnp.where(single | pair, SPANNED, jnp.where(nothing, FREE, NULL))
    of_case = jnp.where(single, near_alone, near_one | near_two) | near_case
    doubtful = unclear | jnp.where(single | pair, of_case, unclear_rest | (~nothing & near_light))
    return Choice(index, jnp.where(pair, two, -1), kind, doubtful)


def _error_of_squares(left: Left) -> Array:
    return 2 * jnp.sqrt(jnp.sum(left.vectors**2 * left.variances, -1)) + jnp.sum(left.variances, -1)


def _rows(left: Left, signature: Array) -> tuple[Array, Array]:
    """Return the root mean square of the products of every vector with all vectors, and its standard deviation."""
    rest, count = left.vectors, len(left.vectors)
    table = (rest if count <= FEW else jnp.linalg.qr(rest, mode="r")) * signature
    rows = lengths(jnp.matmul(rest, table.T, precision=jax.lax.Precision.HIGHEST)) / jnp.sqrt(count)
    mean, noise = jnp.mean(rest**2, axis=0), jnp.mean(left.variances, axis=0)
    computing = rounding(rest.dtype) / CERTAIN * lengths(rest) * jnp.sqrt(jnp.sum(mean))
    return rows, jnp.sqrt(rest**2 @ noise + left.variances @ mean + computing**2)
