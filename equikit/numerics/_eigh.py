"""Eigenvectors of many small symmetric matrices, with derivatives that stay finite at equal eigenvalues."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Float

from equikit import _checks
from equikit.numerics._rounding import rounding

CLOSE = 16
"""Derivatives treat eigenvalues as equal if they differ by less than this many rounding errors of the largest."""


def eigh(matrix: Float[jax.Array, "*batch d d"]) -> tuple[Float[jax.Array, "*batch d"], Float[jax.Array, "*batch d d"]]:
    r"""Compute eigenvalues, ascending, and eigenvectors, in columns, of symmetric matrices.

    Up to d = 3, a fixed number of Jacobi rotations is applied, so that a batch takes one pass of elementwise
    operations; larger matrices use LAPACK. The derivatives are \(d\lambda_i = (V^T dA\, V)_{ii}\) and \(dV = V (F \circ
    V^T dA\, V)\) with \(F_{ij} = 1/(\lambda_j - \lambda_i)\), and \(F_{ij} = 0\) if two eigenvalues are equal up to
    rounding, where a change only rotates the basis of an eigenspace. Derivatives are exact for functions that do not
    depend on this basis, and finite for all others.

    Args:
        matrix: real and symmetric, `[*batch, d, d]`, in floating point; only the symmetric part is used.

    Returns:
        Eigenvalues `[*batch, d]` and eigenvectors `[*batch, d, d]`, NaN if an entry is NaN. The sign of an eigenvector,
        and the basis of an eigenspace of two or more dimensions, are arbitrary.

    Raises:
        ShapeError: if the last two axes are not square.
        DTypeError: if the matrices are complex or integer.

    Cost: \(O(d^3)\) for each matrix; about 500 operations for d = 3 in float32.

    Example:
        >>> values, vectors = eigh(jnp.array([[2.0, 1.0], [1.0, 2.0]]))
        >>> bool(jnp.allclose(values, jnp.array([1.0, 3.0])))
        True

    Source:
        The derivative of eigenvectors is classical: Magnus, "On differentiating eigenvalues and eigenvectors" (1985).
    """
    step = "contract the points first: jnp.swapaxes(x, -1, -2) @ x"
    _checks.array("matrix", matrix, ("*batch", "d", "d"), step=step)
    found: tuple[jax.Array, jax.Array] = _eigh(matrix)
    return found


@jax.custom_jvp
@jax.jit  # traced once for each shape
def _eigh(matrix: jax.Array) -> tuple[jax.Array, jax.Array]:
    d = matrix.shape[-1]
    matrix = matrix / 2 + jnp.swapaxes(matrix, -1, -2) / 2
    if d > 3:
        wide = matrix.astype(jnp.promote_types(matrix.dtype, jnp.float32))  # LAPACK has no half precision
        values, vectors = jnp.linalg.eigh(wide)
        return values.astype(matrix.dtype), vectors.astype(matrix.dtype)
    return _jacobi(matrix, d)


def _jacobi(matrix: jax.Array, d: int) -> tuple[jax.Array, jax.Array]:
    """Rotate planes in turn until the matrix is diagonal; convergence is quadratic."""
    if d == 0:
        return matrix.sum(-1), matrix
    # Scale the matrix so that squares of entries do not overflow.
    size = jnp.max(jnp.abs(matrix), axis=(-2, -1), keepdims=True, initial=0)
    scaled = matrix / jnp.where(size > 0, size, 1)
    a = [[scaled[..., i, j] for j in range(d)] for i in range(d)]
    one, zero = jnp.ones_like(a[0][0]), jnp.zeros_like(a[0][0])
    v = [[one if i == j else zero for j in range(d)] for i in range(d)]
    sweeps = {1: 0, 2: 1}.get(d, 5 if matrix.dtype.itemsize <= 4 else 7)

    def sweep(_: int, carried: tuple[list[list[jax.Array]], list[list[jax.Array]]]) -> Any:
        a, v = ([*map(list, rows)] for rows in carried)
        for p in range(d):
            for q in range(p + 1, d):
                _rotate(a, v, p, q)
        return a, v

    a, v = jax.lax.fori_loop(0, sweeps, sweep, (a, v))  # the unrolled loop takes a second to compile
    values = [a[i][i] for i in range(d)]
    columns = [[v[i][j] for i in range(d)] for j in range(d)]
    for i in range(d):  # sort in ascending order by swaps of neighbors
        for j in range(d - 1 - i):
            swap = values[j] > values[j + 1]
            values[j], values[j + 1] = _exchanged(swap, values[j], values[j + 1])
            pairs = [_exchanged(swap, one, other) for one, other in zip(columns[j], columns[j + 1], strict=True)]
            columns[j], columns[j + 1] = [one for one, _ in pairs], [other for _, other in pairs]
    stacked = jnp.stack([jnp.stack(column, -1) for column in columns], -1)
    return jnp.stack(values, -1) * size[..., 0], stacked


def _rotate(a: list[list[jax.Array]], v: list[list[jax.Array]], p: int, q: int) -> None:
    """Rotate the plane of two axes so that their off-diagonal entry becomes zero, in place."""
    d = len(a)
    gap, beside = a[q][q] - a[p][p], 2 * a[p][q]
    below = jnp.abs(gap) + jnp.sqrt(gap * gap + beside * beside)
    tangent = jnp.where(gap < 0, -beside, beside) / jnp.where(below == 0, 1, below)
    cosine = 1 / jnp.sqrt(1 + tangent * tangent)
    sine = tangent * cosine
    a[p][p], a[q][q] = a[p][p] - tangent * a[p][q], a[q][q] + tangent * a[p][q]
    a[p][q] = a[q][p] = jnp.zeros_like(gap)
    for r in range(d):
        if r not in (p, q):
            rp, rq = a[r][p], a[r][q]
            a[r][p] = a[p][r] = cosine * rp - sine * rq
            a[r][q] = a[q][r] = sine * rp + cosine * rq
        v[r][p], v[r][q] = cosine * v[r][p] - sine * v[r][q], sine * v[r][p] + cosine * v[r][q]


def _exchanged(swap: jax.Array, one: jax.Array, other: jax.Array) -> tuple[jax.Array, jax.Array]:
    return jnp.where(swap, other, one), jnp.where(swap, one, other)


@_eigh.defjvp
def _eigh_jvp(primals: tuple[jax.Array], tangents: tuple[jax.Array]) -> tuple[Any, Any]:
    (matrix,), (tangent,) = primals, tangents
    values, vectors = _eigh(matrix)
    turned = jnp.swapaxes(vectors, -1, -2) @ ((tangent + jnp.swapaxes(tangent, -1, -2)) / 2) @ vectors
    gaps = values[..., None, :] - values[..., :, None]
    largest = jnp.max(jnp.abs(values), axis=-1, initial=0)[..., None, None]
    apart = jnp.abs(gaps) > CLOSE * rounding(values.dtype) * largest
    rates = jnp.where(apart, 1 / jnp.where(apart, gaps, 1), 0)
    return (values, vectors), (jnp.diagonal(turned, axis1=-2, axis2=-1), vectors @ (rates * turned))
