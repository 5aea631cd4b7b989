"""Which vector comes next in Gram-Schmidt with an indefinite metric, where vectors may be light-like."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from equikit.symmetrization._element import Array

SPANNED, NULL, PARTNER, FREE = range(4)
"""What a basis vector comes from: the input; the two of a light-like direction of the input; nothing."""

NEAR = 0.71
"""The first vector is taken whose square, or product with another, reaches this part of the largest: so much that
errors do not grow, and a ratio that no simple figure has."""

ALONE = 0.31
"""A vector is taken alone if its square reaches this part of the largest mean product; else the squares of two vectors
are too small to cancel their product in the square of the sum."""


class Limits(NamedTuple):
    """What counts as zero: a relative pivot, a rounding error; and the longest vector and the largest mean product."""

    tolerance: Array | float
    error: Array
    longest: Array
    scale: Array


class Choice(NamedTuple):
    """The next vector, its kind, its place in the input, and whether rounding had a say in it."""

    vector: Array
    kind: Array
    index: Array
    doubtful: Array


def product(one: Array, two: Array, signature: Array) -> Array:
    """The product of vectors in the last axis."""
    return jnp.sum(jnp.conj(one) * signature * two, -1)


def lengths(vectors: Array) -> Array:
    """Euclidean lengths, for what needs no derivative."""
    return jnp.sqrt(jnp.sum(jnp.abs(vectors) ** 2, -1))


def first(which: Array) -> tuple[Array, Array]:
    """Whether there is any, and the place of the first one."""
    return jnp.any(which), jnp.argmax(which)


def beside(vectors: Array, basis: Array, signs: Array, signature: Array) -> Array:
    """What is left of vectors `[count, d]` beside an orthonormal basis `[r, d]`; those of sign zero are none."""
    parts = signs * product(basis[None], vectors[:, None], signature)
    return vectors - jnp.sum(parts[..., None] * basis[None], axis=1)


def indefinite(
    rest: Array, table: Array, length: Array, basis: Array, signs: Array, signature: Array, limits: Limits
) -> Choice:
    """The first vector with a square, else the sum of two with a product, else one that is light-like and a partner."""
    fixed = jax.lax.stop_gradient(rest)
    size = lengths(fixed)
    squares = jnp.abs(product(fixed, fixed, signature))
    rows = lengths(jnp.einsum("ra,ia->ir", table, fixed * signature)) / jnp.sqrt(jnp.asarray(len(rest), size.dtype))
    there = size > limits.error
    errors, error = 2 * limits.error * size, 2 * limits.error * jnp.max(size)
    least = limits.tolerance * limits.scale
    largest, most = jnp.max(squares), jnp.max(rows)
    clear = squares > jnp.maximum(jnp.maximum(least, errors), NEAR * largest)
    single, i = first(clear & (largest > ALONE * most))
    pair, j = first(there & (rows > jnp.maximum(jnp.maximum(least, error), NEAR * most)))
    products = jnp.abs(product(fixed[j], fixed, signature))
    _, k = first(products >= NEAR * jnp.max(products))
    null, light = first(there)
    plane = _hyperbolic(rest[light] / length, basis, signs, signature)
    vector = jnp.where(single, rest[i], jnp.where(pair, rest[j] + rest[k], plane))
    kind = jnp.where(single | pair, SPANNED, jnp.where(null, NULL, FREE))
    small = limits.error > np.sqrt(limits.tolerance) / 2 * size[light]
    doubtful = ~single & ~pair & (jnp.any(there & ((squares > errors) | (rows > error))) | (null & small))
    return Choice(vector, kind, light, doubtful)


def _hyperbolic(vector: Array, basis: Array, signs: Array, signature: Array) -> Array:
    """The sum of a light-like vector n and another one m beside the basis, with a product of one."""
    partner = vector * signature
    for _ in range(2):
        partner = beside(partner[None], basis, signs, signature)[0]
    both = product(vector, partner, signature)  # the squared Euclidean length of the vector
    partner = partner / jnp.where(both > 0, both, 1)
    partner = partner - product(partner, partner, signature) / 2 * vector
    return vector - product(vector, vector, signature) / 2 * partner + partner


def farthest(units: Array, signature: Array) -> Array:
    """A vector of which much is left, or the sum or difference of two: any, as long as its square is not zero."""
    products = product(units[:, None], units[None, :], signature).real
    # Of the sum of two the square is twice their product, if both are light-like.
    d = len(units)
    found = jnp.argmax(jnp.abs(jax.lax.stop_gradient(products)) * jnp.where(jnp.eye(d) > 0, 1, 0.9))
    k, l = found // d, found % d
    squares = jax.lax.stop_gradient(products[k, k] + products[l, l])
    side = jnp.where((squares < 0) == (jax.lax.stop_gradient(products[k, l]) < 0), 1, -1)
    return jnp.where(k == l, units[k], units[k] + side * units[l])
