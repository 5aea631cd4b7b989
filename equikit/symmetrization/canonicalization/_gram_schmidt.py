"""Orthonormal matrices from vectors, and what is left open where the vectors are dependent."""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp

from equikit.symmetrization._element import Array

MARGIN = 4
"""How far below what counts a pivot has to be, to be zero for sure."""


@dataclass(frozen=True)
class Basis:
    """What Gram-Schmidt makes of vectors.

    Attributes:
        matrix: `[d, d]`, with the basis in columns, in the order of the signs of the metric.
        pivots: `[count]`, how far each vector is from the span of those before it, over its scale; with an indefinite
            metric the square of that.
        settled: booleans `[d]`, the columns that the vectors determine.
        growth: by how much errors of the vectors, relative to their scales, grow to errors of the settled columns.
        clear: whether the pivots of columns that are open are so far below what counts that rounding decided nothing.
        valid: whether the matrix is in the group; where it is not, it is the identity.
    """

    matrix: Array
    pivots: Array
    settled: Array
    growth: Array
    clear: Array
    valid: Array


def gram_schmidt(
    vectors: Array,
    scales: Array,
    filling: Array,
    *,
    metric: Array | None,
    special: bool,
    tolerance: float,
    sign_tolerance: float,
    error: float = 0.0,
) -> Basis:
    r"""Vectors made orthonormal one after another, \(u_k \propto v_k - \sum_{j<k} u_j \langle u_j, v_k \rangle\).

    A vector whose pivot is below the tolerance determines nothing. Its column is filled up with what is beside all
    others of the best of some candidates. So is the last column where all others are there, since it is one of two: the
    sign is that of the last vector's part along it, or that of the determinant. However small that part is, the column
    is as precise as the others.

    A column is a combination of the vectors, \(u_k = \sum_j c_{kj} v_j\), and what is left of a vector beside others
    is another. Errors of the vectors grow by the norm of the coefficients, which may be much more than one over the
    smallest pivot: where vectors are nearly dependent one after another, about one over the product of the pivots. What
    is not larger than such errors determines nothing, however large the pivot is.

    Args:
        vectors: `[d, count]`, with the vectors in columns; d of them, or d - 1 with `special`.
        scales: `[count]`, lengths by which the vectors are divided first, and that pivots are relative to.
        filling: `[d, candidates]`.
        metric: the signs of an indefinite form, `[d]`.
        special: whether the determinant is one.
        tolerance: the smallest pivot that counts.
        sign_tolerance: the smallest part along the last column that decides its sign.
        error: that of the vectors, relative to their scales; its multiples by the norms of coefficients count as zero.

    Cost: O(d⁴) operations, d of which are square roots.
    """
    d, count = vectors.shape
    form = jnp.ones(d, vectors.dtype) if metric is None else jnp.asarray(metric, vectors.dtype)
    columns: list[Array] = []
    found: list[Array] = []
    pivots: list[Array] = []
    coefficients: list[Array] = []
    clear, noise = jnp.ones((), bool), jnp.zeros((), vectors.dtype)
    for k in range(count):
        vector = vectors[:, k, None] / jnp.where(scales[k] > 0, scales[k], 1)
        rest = _beside(vector, columns, form)[:, 0]
        column, size = _unit(rest, form)
        pivots.append(size if metric is None else size * size)
        of_rest = _coefficients(vector[:, 0], columns, coefficients, form, count)
        noise = error * jnp.sqrt(jnp.sum(of_rest * of_rest))
        found.append((pivots[k] > tolerance) & (size > noise))
        clear = clear & (found[k] | (pivots[k] <= tolerance / MARGIN) | (size <= noise / MARGIN))
        columns.append(jnp.where(found[k], column, 0))
        coefficients.append(jnp.where(found[k], of_rest / jnp.where(found[k], size, 1), 0))
    known = jnp.stack(coefficients[: d - 1]) if coefficients[: d - 1] else jnp.zeros((1, 1), vectors.dtype)
    growth = jnp.sqrt(jnp.sum(known * known))
    columns += [jnp.zeros(d, vectors.dtype)] * (d - count)
    valid = jnp.ones((), bool)
    for k in range(d):
        rest = _beside(filling, [*columns[:k], *columns[k + 1 :]], form)
        best = rest[:, jnp.argmax(jnp.abs(form @ (rest * rest)))]
        column, size = _unit(best, form)
        fits = jnp.ones((), bool) if metric is None else size * size > tolerance
        column = jnp.where(fits, column, 0)
        others = jnp.all(jnp.stack(found[: d - 1])) if d > 1 else jnp.ones((), bool)
        if k == d - 1 and count == d:
            along = jnp.sum(form * column * vectors[:, k]) / jnp.where(scales[k] > 0, scales[k], 1)
            least = jnp.maximum(sign_tolerance, noise)
            decided = jnp.abs(along) > least
            clear = clear & (~others | decided | (jnp.abs(along) <= least / MARGIN))
            column = column * jnp.where(decided & (along * jnp.sum(form * column * column) < 0), -1, 1)
            pivots[k] = jnp.where(others, jnp.abs(along), pivots[k])
            found[k] = jnp.where(others, decided, found[k])
            use = others | ~found[k]
        elif k == d - 1:
            found.append(others)
            use = jnp.ones((), bool)
        else:
            use = ~found[k]
            column = jax.lax.stop_gradient(column)
        valid = valid & (fits | ~use)
        columns[k] = jnp.where(use, column, columns[k])
    settled = jnp.stack(found) if d else jnp.ones(0, bool)
    matrix = jnp.stack(columns, -1) if d else jnp.zeros((0, 0), vectors.dtype)
    last = jnp.arange(d) == d - 1
    if metric is not None:
        signs = jnp.sign(form @ (matrix * matrix))
        order = jnp.argsort(-signs)
        matrix, settled, last = matrix[:, order], settled[order], last[order]
        valid = valid & jnp.all(signs[order] == form)
    if special and d:
        determinant = jnp.linalg.det(jax.lax.stop_gradient(matrix))
        matrix = matrix * jnp.where(last & (determinant < 0), -1, 1)
    matrix = jnp.where(valid, matrix, jnp.eye(d, dtype=matrix.dtype))
    return Basis(matrix, jnp.stack(pivots) if pivots else jnp.ones(0, vectors.dtype), settled, growth, clear, valid)


def _beside(vectors: Array, columns: list[Array], form: Array) -> Array:
    """What is left of vectors `[d, count]` beside orthonormal columns; columns of zeros take nothing away."""
    if not columns:
        return vectors
    basis = jnp.stack(columns, -1)
    dual = basis * form[:, None] * (form @ (basis * basis))
    # Twice: the first subtraction leaves rounding errors of the size of the vector.
    for _ in range(2):
        along = jnp.matmul(dual.T, vectors, precision=jax.lax.Precision.HIGHEST)
        vectors = vectors - jnp.matmul(basis, along, precision=jax.lax.Precision.HIGHEST)
    return vectors


def _coefficients(vector: Array, columns: list[Array], known: list[Array], form: Array, count: int) -> Array:
    """The coefficients `[count]` of what is left of the next vector beside columns, whose coefficients are known."""
    found = jnp.zeros(count, vector.dtype).at[len(columns)].set(1)
    for column, its_own in zip(columns, known, strict=True):
        found = found - jnp.sum(form * column * vector) * jnp.sum(form * column * column) * its_own
    return jax.lax.stop_gradient(found)


def _unit(vector: Array, form: Array) -> tuple[Array, Array]:
    """A vector over its length, and the length; where that is zero, the vector itself, and a derivative of zero."""
    square = jnp.sum(form * vector * vector)
    some = square != 0
    length = jnp.where(some, jnp.sqrt(jnp.where(some, jnp.abs(square), 1)), 0)
    return vector / jnp.where(some, length, 1), length
