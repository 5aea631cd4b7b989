"""Spans of matrices as Lie algebras: brackets, structure constants, the Killing form, and the radical."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from equikit._checks import refuse_if_more, shown
from equikit._errors import GroupError

Matrices = NDArray[np.float64]
"""A real array `[d, n, n]`."""

Kind = Literal["trivial", "abelian", "semisimple", "reductive", "solvable", "mixed"]

MOST_SIZE = 24
"""The largest matrices: linear systems have n^2 unknowns."""


def read_basis(given: Any) -> tuple[NDArray[Any], int | None]:
    """Return matrices `[d, n, n]` in float64, and half their size if they were complex, or raise `GroupError`.

    A complex matrix A + iB becomes the real matrix [[A, -B], [B, A]].
    """
    try:
        array: NDArray[Any] = np.asarray(given)
        array = array.astype(np.complex128 if np.iscomplexobj(array) else np.float64)
    except (TypeError, ValueError):
        array = np.zeros(0)
    if array.ndim != 3 or len({*array.shape[1:]}) != 1 or not array.shape[-1] or not np.all(np.isfinite(array)):
        raise GroupError(
            "the basis of a Lie algebra is not an array of square matrices of finite numbers",
            got=f"shape {array.shape}" if array.ndim != 1 else shown(given),
            expected="an array [d, n, n]",
            step="pass for example np.array([[[0, -1], [1, 0]]])",
        )
    half: int = np.shape(array)[-1]
    size = half * (2 if np.iscomplexobj(array) else 1)
    refuse_if_more(
        "the matrices are too large to be recognized", size, MOST_SIZE, "rows", "split the space into blocks"
    )
    return (realified(array), half) if np.iscomplexobj(array) else (array, None)


def realified(matrices: NDArray[Any]) -> Matrices:
    """Return complex matrices `[..., m, m]` as real ones `[..., 2m, 2m]`."""
    real, imaginary = matrices.real, matrices.imag
    return np.concatenate([np.concatenate([real, -imaginary], -1), np.concatenate([imaginary, real], -1)], -2)


def orthonormal(matrices: Matrices, tolerance: float = 1e-9) -> Matrices:
    """Return an orthonormal basis `[rank, n, n]` of the span, in the Frobenius inner product."""
    if not len(matrices):
        return matrices
    _, singular, rows = np.linalg.svd(matrices.reshape(len(matrices), -1), full_matrices=False)
    rank = int(np.sum(singular > tolerance * max(singular[0], 1e-300)))
    return rows[:rank].reshape(rank, *matrices.shape[1:])


def brackets(matrices: Matrices) -> Matrices:
    """Return all commutators, `[d, d, n, n]`."""
    products: Matrices = np.einsum("aij,bjk->abik", matrices, matrices)
    return products - products.swapaxes(0, 1)


def structure_constants(basis: Matrices) -> NDArray[np.float64]:
    r"""Return the structure constants `[d, d, d]` of a basis: \([L_a, L_b] = \sum_c f_{abc} L_c\), by least squares.

    Example:
        >>> from equikit import SO
        >>> f = structure_constants(np.array(SO(3).lie_algebra(), float))
        >>> int(np.sum(abs(f) > 0.5))
        6
    """
    count, size = len(basis), basis.shape[1] * basis.shape[2]
    flat = basis.reshape(count, size)
    found: NDArray[np.float64] = brackets(basis).reshape(count**2, size) @ np.linalg.pinv(flat)
    return found.reshape(count, count, count)


def openness(basis: Matrices) -> float:
    """Return how far commutators of an orthonormal basis leave its span: the largest norm of a remainder."""
    if not len(basis):
        return 0.0
    flat, commutators = basis.reshape(len(basis), -1), brackets(basis).reshape(len(basis) ** 2, -1)
    return float(np.linalg.norm(commutators - commutators @ flat.T @ flat, axis=1).max())


def generate(matrices: Any, tolerance: float = 1e-9) -> Matrices:
    """Return an orthonormal basis of the Lie algebra that matrices generate.

    Args:
        matrices: an array `[k, n, n]`.
        tolerance: commutators with a smaller part outside the span are inside.

    Returns:
        float64 `[d, n, n]`; complex matrices become real ones of twice the size.

    Raises:
        GroupError: if the matrices are not square or not finite.

    Cost: at most n^2 rounds with d^2 commutators each.

    Example:
        >>> from equikit import SO
        >>> generate(SO(4).lie_algebra()[:3]).shape
        (3, 4, 4)
    """
    basis = orthonormal(read_basis(matrices)[0], tolerance)
    while len(basis):
        flat, commutators = basis.reshape(len(basis), -1), brackets(basis).reshape(len(basis) ** 2, -1)
        outside = commutators - commutators @ flat.T @ flat
        outside = outside[np.linalg.norm(outside, axis=1) > tolerance]
        if not len(outside):
            break
        _, singular, rows = np.linalg.svd(outside, full_matrices=False)
        more = rows[singular > tolerance].reshape(-1, *basis.shape[1:])
        basis = orthonormal(np.concatenate([basis, more]))
    return basis


def killing_form(constants: NDArray[np.float64]) -> NDArray[np.float64]:
    r"""Return the Killing form \(\mathrm{tr}(\mathrm{ad}_a \mathrm{ad}_b)\) of structure constants, `[d, d]`."""
    form: NDArray[np.float64] = np.einsum("acd,bdc->ab", constants, constants)
    return form


def signature(form: NDArray[np.float64], tolerance: float) -> tuple[int, int, int]:
    """Return how many eigenvalues of a symmetric matrix are positive, negative, and zero up to a relative tolerance."""
    values = np.linalg.eigvalsh((form + form.T) / 2) if len(form) else np.zeros(0)
    bound = tolerance * max(float(abs(values).max(initial=0)), 1e-300)
    positive, negative = int(np.sum(values > bound)), int(np.sum(values < -bound))
    return positive, negative, len(values) - positive - negative


def kind_of(constants: NDArray[np.float64], tolerance: float) -> tuple[Kind, int]:
    """Return the kind of a Lie algebra, and the dimension of its radical.

    The radical is the orthogonal complement of the derived algebra in the Killing form (Cartan); the algebra is
    reductive if its radical is its center.
    """
    d = len(constants)
    size = float(abs(constants).max(initial=0))
    if not d or size <= tolerance:
        return ("abelian" if d else "trivial"), d
    derived = orthonormal_rows(constants.reshape(d * d, d), tolerance)
    radical = d - rank(killing_form(constants) @ derived.T, tolerance, size**2)
    center = d - rank(constants.reshape(d, d * d), tolerance, size)
    if radical == 0:
        return "semisimple", 0
    if radical == d:
        return "solvable", d
    return ("reductive" if center == radical else "mixed"), radical


def rank(matrix: NDArray[np.float64], tolerance: float, unit: float) -> int:
    """Return the number of singular values above a tolerance in a unit."""
    return int(np.sum(np.linalg.svd(matrix, compute_uv=False) > tolerance * unit))


def orthonormal_rows(matrix: NDArray[np.float64], tolerance: float) -> NDArray[np.float64]:
    """Return an orthonormal basis of the row space."""
    _, singular, rows = np.linalg.svd(matrix, full_matrices=False)
    return rows[singular > tolerance * max(float(singular.max(initial=0)), 1e-300)]


def distance(one: Matrices, other: Matrices) -> float:
    """Return the sine of the largest principal angle between two spans of equal dimension; one if dimensions differ."""
    a, b = orthonormal(one), orthonormal(other)
    if len(a) != len(b) or not len(a):
        return float(len(a) != len(b))
    a, b = a.reshape(len(a), -1), b.reshape(len(b), -1)
    return float(np.linalg.norm(a - a @ b.T @ b, 2))


def null_space(matrix: NDArray[Any], bound: float) -> NDArray[Any]:
    """Return the right singular vectors with singular values up to a bound, `[count, columns]`."""
    tall = np.linalg.qr(matrix, mode="r") if len(matrix) > matrix.shape[1] else matrix
    _, singular, rows = np.linalg.svd(tall)
    return rows[int(np.sum(singular > bound)) :].conj()
