"""Uniformly distributed group elements, drawn by JAX."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from equikit._errors import GroupError
from equikit.groups import SO, A, Bistochastic, D, Group, H, O, S, U, Z
from equikit.symmetrization.engine._element import Array


def has_draws(group: Group) -> bool:
    """Whether `draw_element` knows the group."""
    return isinstance(group, S | H | Bistochastic | U) or (isinstance(group, O) and group.form is None)


def refuse_noncompact(group: Group) -> None:
    """Raise `GroupError` for a group that has no uniform distribution, or none that is known."""
    if has_draws(group):
        return
    compact = group.keeps_norm
    raise GroupError(
        f"{group} has no average over all its elements",
        got=f"{group}, " + ("of which no uniform draws are known" if compact else "which is not compact"),
        expected="a finite group, or O, SO, U or Bistochastic: only a compact group has a uniform (Haar) probability",
        step="use a frame, as ek.frames.QR for a group with a metric"
        if group.form is not None
        else "bind the label to a compact group, or use another method",
    )


def draw_element(group: Group, key: jax.Array, n: int, dtype: Any) -> Array:
    r"""An element drawn from the uniform (Haar) distribution: a permutation, integers `[n]`, or a matrix `[n, n]`.

    Orthogonal and unitary matrices are the factor Q of a matrix of independent normal numbers, with the phases of the
    diagonal of R taken out, which QR chooses otherwise; rotations have their last column reflected where the
    determinant is minus one, which takes one half of O(n) to the other.

    Args:
        group: one that `has_draws` knows.
        key: a JAX random key.
        n: the size of the axis.
        dtype: of matrices; complex for U.

    Cost: O(n³) for matrices.

    Source:
        Mezzadri, How to generate random matrices from the classical compact groups, arXiv:math-ph/0609050.
    """
    if isinstance(group, S):
        return _permutation(group, key, n)
    if isinstance(group, H):
        turned, flipped = jax.random.split(key)
        signs = jax.random.rademacher(flipped, (n,), dtype)
        return jax.nn.one_hot(jax.random.permutation(turned, n), n, dtype=dtype) * signs
    if isinstance(group, Bistochastic):
        return _keeping_ones(key, n, dtype)
    matrix = _haar(key, n, dtype)
    if isinstance(group, SO) and n:
        matrix = matrix.at[:, -1].multiply(jnp.sign(jnp.linalg.det(matrix)))
    return matrix


def _haar(key: jax.Array, n: int, dtype: Any) -> Array:
    q, r = jnp.linalg.qr(jax.random.normal(key, (n, n), dtype))
    diagonal = jnp.diagonal(r)
    size = jnp.abs(diagonal)
    return q * jnp.where(size > 0, diagonal / jnp.where(size > 0, size, 1), 1)


def _keeping_ones(key: jax.Array, n: int, dtype: Any) -> Array:
    """An orthogonal matrix of the space across the vector of ones."""
    if n == 0:
        return jnp.zeros((0, 0), dtype)
    basis = jnp.linalg.qr(jnp.concatenate([jnp.ones((n, 1), dtype), jnp.eye(n, n - 1, dtype=dtype)], axis=1))[0]
    inner = jnp.eye(n, dtype=dtype).at[1:, 1:].set(_haar(key, n - 1, dtype))
    return jnp.matmul(jnp.matmul(basis, inner, precision="highest"), basis.T, precision="highest")


def _permutation(group: S, key: jax.Array, n: int) -> Array:
    first, second = jax.random.split(key)
    if isinstance(group, Z):
        turned = jnp.roll(jnp.arange(n), jax.random.randint(first, (), 0, max(n, 1)))
        mirrored = isinstance(group, D) & jax.random.bernoulli(second)
        return jnp.where(mirrored, turned[::-1], turned)
    order = jax.random.permutation(first, n)
    if isinstance(group, A) and n > 1:
        odd = jnp.sum(jnp.triu(order[:, None] > order[None, :])) % 2
        exchanged = order.at[:2].set(order[:2][::-1])
        order = jnp.where(odd, exchanged, order)
    return order
