"""Eigenvectors of symmetric matrices in double words, as precise as the matrix determines them."""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from equikit.numerics._double_word import Double, double, matmul, minus, plus, transposed
from equikit.numerics._eigh import CLOSE, eigh
from equikit.numerics._rounding import Array, rounding

TWICE = 2
"""The number of iterations; each one squares the remaining error."""


class Axes(NamedTuple):
    """Eigenvalues `[d]` in ascending order, eigenvectors `[d, d]` in columns, their low words (`tail`), and an estimate
    of the off-diagonal remainder of the matrix in this basis (`left`), `[d, d]`."""

    values: Array
    vectors: Array
    tail: Array
    left: Array


@jax.custom_jvp
@jax.jit  # traced once for each shape
def principal_axes(matrix: Array, low: Array, error: Array) -> Axes:
    r"""Compute the eigenvectors of a symmetric matrix whose entries are known to twice the precision of its dtype.

    Eigenvectors are accurate even if their eigenvalues differ by less than a rounding error of the largest one, such as
    those across a thin rod: after a rotation into approximate eigenvectors, small entries keep all their digits.

    Args:
        matrix: the high words of the entries, `[d, d]`.
        low: the low words of the entries, `[d, d]`.
        error: the error of the square roots of the eigenvalues, that is, of the vectors whose products form the matrix.

    Returns:
        The axes. Derivatives agree with `eigh`; they are zero between axes whose eigenvalues are equal up to the
        error of the matrix entries in this basis.

    Cost: about 12 double-word matrix products.

    Source:
        Ogita and Aishima, Iterative refinement for symmetric eigenvalue decomposition (2018), for the corrections.
    """
    whole, d = Double(matrix, low), matrix.shape[-1]
    one = double(jnp.eye(d, dtype=matrix.dtype))

    def again(_: Array, vectors: Double) -> Double:
        turned: Double = matmul(vectors, double(eigh(_in_basis(whole, vectors).high)[1]))
        return turned

    def corrected(_: Array, axes: Axes) -> Axes:
        return _corrected(whole, Double(axes.vectors, axes.tail))

    # Up to d = 3 `eigh` keeps the small entries of a graded matrix; LAPACK does not.
    vectors = jax.lax.fori_loop(0, TWICE if d <= 3 else 1, again, one)
    start = Axes(jnp.zeros(d, matrix.dtype), vectors.high, vectors.low, jnp.zeros((d, d), matrix.dtype))
    found: Axes = jax.lax.fori_loop(0, 1 if d <= 3 else TWICE, corrected, start)
    return found


def _in_basis(matrix: Double, vectors: Double) -> Double:
    found: Double = matmul(transposed(vectors), matmul(matrix, vectors))
    return found


def _corrected(matrix: Double, vectors: Double) -> Axes:
    """Correct eigenvectors to first order, for off-diagonal entries of the matrix and for orthogonality."""
    d = vectors.high.shape[-1]
    one = double(jnp.eye(d, dtype=vectors.high.dtype))
    skew = minus(one, matmul(transposed(vectors), vectors)).high
    rotated = _in_basis(matrix, vectors).high
    values = jnp.diagonal(rotated) / (1 - jnp.diagonal(skew))
    off = rotated + skew * values[None, :]
    gaps = values[None, :] - values[:, None]
    first_order = ~jnp.eye(d, dtype=bool) & (jnp.abs(gaps) > jnp.abs(off))
    turns = jnp.where(first_order, off / jnp.where(first_order, gaps, 1), skew / 2)
    exactly = functools.partial(jnp.matmul, precision=jax.lax.Precision.HIGHEST)
    found = plus(vectors, double(exactly(vectors.high, turns)))
    left = jnp.abs(gaps) * exactly(jnp.abs(turns), jnp.abs(turns))
    left = jnp.where(first_order, left, jnp.abs(off)) * (1 - one.high)
    return Axes(values, found.high, found.low, left)


@principal_axes.defjvp
def _principal_axes_jvp(primals: tuple[Array, ...], tangents: tuple[Array, ...]) -> tuple[Any, Any]:
    found = principal_axes(*primals)
    values, vectors, tail, left = found
    exact = functools.partial(jnp.matmul, precision=jax.lax.Precision.HIGHEST)
    turned = exact(exact(vectors.T, (tangents[0] + tangents[0].T) / 2), vectors)
    change = exact(vectors, turning_rates(values, primals[2]) * turned)
    return found, Axes(jnp.diagonal(turned), change, jnp.zeros_like(tail), jnp.zeros_like(left))


def turning_rates(values: Array, error: Array) -> Array:
    """Return the rotation rate of each pair of axes per unit change of the matrix, `[d, d]`; zero inside an eigenspace.

    Args:
        values: the eigenvalues.
        error: the error of the matrix, as for `principal_axes`.
    """
    gaps, sizes = values[None, :] - values[:, None], jnp.sqrt(jnp.abs(values))
    error = jnp.maximum(error, rounding(values.dtype) * jnp.max(sizes, initial=0))
    apart = jnp.abs(gaps) > CLOSE * error * jnp.maximum(sizes[None, :], sizes[:, None])
    return jnp.where(apart, 1 / jnp.where(apart, gaps, 1), 0)
