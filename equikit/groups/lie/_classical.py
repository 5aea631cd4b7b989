"""Name a Lie algebra that acts on one representation: orthogonal, symplectic, unitary and linear algebras.

An algebra that lies in a classical one of the same dimension is equal to it. The forms that it
preserves and the matrices that commute with it tell what contains it; their standard bases give the change of basis.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from equikit.groups.lie import _standard
from equikit.groups.lie._algebra import Matrices, null_space, orthonormal, realified
from equikit.groups.lie._forms import forms_of, standard_hermitian, standard_metric, standard_symplectic, threshold
from equikit.groups.lie._modules import commutant
from equikit.groups.lie._one_parameter import one_parameter
from equikit.groups.lie._part import Part, verified


def classical(algebra: Matrices, tolerance: float) -> Part | None:
    """Return the name and the standard basis of an algebra on one representation, or `None` if it has none.

    Args:
        algebra: matrices that span it, `[k, n, n]`.
        tolerance: the noise of the span.
    """
    basis = orthonormal(algebra, max(1e-9, 4 * tolerance))
    d, n = len(basis), algebra.shape[-1]
    if d == 0:
        return Part(f"Trivial({n})", np.eye(n), np.zeros((0, n, n)))
    bound = 10 * max(tolerance, 1e-12)
    if d == 1:
        return one_parameter(basis[0], tolerance)
    for part in _candidates(basis, d, n, tolerance):
        if part is not None:
            return part
    identity = np.eye(n) / n**0.5
    inside = np.linalg.norm(np.tensordot(basis, identity, 2))
    if inside > 1 - bound:
        rest = orthonormal(basis - np.tensordot(basis, identity, 2)[:, None, None] * identity, max(1e-9, 4 * tolerance))
        smaller = classical(rest, tolerance)
        if smaller is not None:
            whole = np.concatenate([np.eye(n)[None], smaller.standard])
            return verified(f"R+ x {smaller.name}", smaller.basis, whole, basis, bound, smaller.signature)
    return None


def _candidates(basis: Matrices, d: int, n: int, tolerance: float) -> Iterator[Part | None]:
    bound = 10 * max(tolerance, 1e-12)
    if d == n * n:
        yield verified(f"GL+({n})", np.eye(n), _standard.linear(n, special=False), basis, bound)
    if d == n * n - 1:
        yield verified(f"SL({n})", np.eye(n), _standard.linear(n, special=True), basis, bound)
    limit = threshold(d, tolerance)
    if d == n * (n - 1) // 2:
        for form in forms_of(basis, 1, limit)[:1]:
            if np.linalg.cond(form) < 1e6:
                change, p, q = standard_metric(form)
                name = f"SO({q or p})" if not p or not q else f"SO+({p}, {q})"
                yield verified(name, change, _standard.orthogonal(p, q), basis, bound, (p, q))
    if d == n * (n + 1) // 2 and n % 2 == 0:
        for form in forms_of(basis, -1, limit)[:1]:
            if np.linalg.cond(form) < 1e6:
                yield verified(f"Sp({n})", standard_symplectic(form), _standard.symplectic(n), basis, bound)
    if n % 2 == 0 and n > 2:
        yield from _complex(basis, d, n // 2, tolerance)


def _complex(basis: Matrices, d: int, m: int, tolerance: float) -> Iterator[Part | None]:
    """Algebras of complex matrices [m, m], acting on real vectors of twice the length."""
    bound, limit = 10 * max(tolerance, 1e-12), threshold(d, tolerance)
    sizes = {m * m, m * m - 1, 2 * m * m, 2 * m * m - 2, m * (m - 1), m * (m + 1)}
    structure = _complex_structure(basis, limit) if d in sizes else None
    if structure is None:
        return
    change = _complex_basis(structure)
    inside = np.linalg.inv(change) @ basis @ change
    matrices = inside[:, :m, :m] + 1j * inside[:, m:, :m]

    def real(columns: NDArray[np.complex128]) -> NDArray[np.float64]:
        return change @ realified(columns)

    if d == 2 * m * m:
        yield verified(f"GL({m}, C)", change, _standard.complex_linear(m, special=False), basis, bound)
    if d == 2 * m * m - 2:
        yield verified(f"SL({m}, C)", change, _standard.complex_linear(m, special=True), basis, bound)
    if d in (m * m, m * m - 1):
        form = _hermitian(matrices, limit)
        if form is not None:
            columns, p, q = standard_hermitian(form)
            special = d == m * m - 1
            name = f"{'SU' if special else 'U'}({f'{p}, {q}' if q else p})"
            yield verified(name, real(columns), _standard.unitary(p, q, special=special), basis, bound)
    if d == m * (m - 1):
        yield from _complex_form(matrices, 1, limit, m, real, basis, bound)
    if d == m * (m + 1) and m % 2 == 0:
        yield from _complex_form(matrices, -1, limit, m, real, basis, bound)


def _complex_structure(basis: Matrices, limit: float) -> NDArray[np.float64] | None:
    """Return a matrix of square -1 that commutes with an algebra."""
    n = basis.shape[-1]
    for element in commutant(basis, limit):
        traceless = element - np.trace(element) / n * np.eye(n)
        square = traceless @ traceless
        scale = -np.trace(square) / n
        if scale > 1e-6 and np.linalg.norm(square / scale + np.eye(n)) < 0.5:
            return _refined(traceless / scale**0.5)
    return None


def _refined(structure: NDArray[np.float64]) -> NDArray[np.float64]:
    """Newton's iteration for the square root of -1."""
    for _ in range(20):
        structure = (structure - np.linalg.inv(structure)) / 2
    return structure


def _complex_basis(structure: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return a basis e_1 ... e_m, I e_1 ... I e_m."""
    n = len(structure)
    columns: list[NDArray[np.float64]] = []
    for axis in np.eye(n):
        have = np.array([each for e in columns for each in (e, structure @ e)]).reshape(-1, n).T
        outside = axis - have @ np.linalg.lstsq(have, axis, rcond=None)[0] if columns else axis
        if np.linalg.norm(outside) > 0.3 / n**0.5 and len(columns) < n // 2:
            columns.append(outside / np.linalg.norm(outside))
    e = np.stack(columns, axis=1)
    return np.concatenate([e, structure @ e], axis=1)


def _hermitian(matrices: NDArray[np.complex128], limit: float) -> NDArray[np.complex128] | None:
    """Return the Hermitian form that complex matrices preserve, if there is one that is not degenerate."""
    m = matrices.shape[-1]
    one = np.eye(m)
    rows = np.concatenate([np.kron(a.conj().T, one) + np.kron(one, a.T) for a in matrices])
    for solution in null_space(rows, limit):
        form = solution.reshape(m, m)
        form = form / np.linalg.norm(form)
        turned = form / np.exp(1j * np.angle(np.trace(form @ form)) / 2)
        for hermitian in (turned + turned.conj().T, 1j * (turned - turned.conj().T)):
            if np.linalg.norm(hermitian) > 0.5 and np.linalg.cond(hermitian) < 1e6:
                found: NDArray[np.complex128] = hermitian
                return found
    return None


def _complex_form(
    matrices: NDArray[np.complex128],
    sign: int,
    limit: float,
    m: int,
    real: Callable[[NDArray[np.complex128]], NDArray[np.float64]],
    basis: Matrices,
    bound: float,
) -> Iterator[Part | None]:
    one = np.eye(m)
    rows = np.concatenate([np.kron(a.T, one) + np.kron(one, a.T) for a in matrices])
    for solution in null_space(rows, limit)[:1]:
        form = solution.reshape(m, m)
        form = (form + sign * form.T) / 2
        if np.linalg.cond(form) > 1e6:
            continue
        if sign > 0:
            columns = _takagi(form)
            yield verified(f"SO({m}, C)", real(columns), _standard.complex_orthogonal(m), basis, bound)
        else:
            columns = _darboux(form)
            yield verified(f"Sp({m}, C)", real(columns), _standard.complex_symplectic(m), basis, bound)


def _takagi(form: NDArray[np.complex128]) -> NDArray[np.complex128]:
    """Return columns in which a complex symmetric form is the identity matrix."""
    from scipy.linalg import sqrtm  # installed with JAX, not with NumPy

    root = sqrtm(form).astype(np.complex128)  # SciPy before 1.16 may return long doubles
    found: NDArray[np.complex128] = np.linalg.inv(root)
    return found


def _darboux(form: NDArray[np.complex128]) -> NDArray[np.complex128]:
    """Return columns in which a complex antisymmetric form is [[0, I], [-I, 0]]."""
    m, first, second = len(form), [], []
    rest = np.eye(m, dtype=complex)
    while rest.shape[1]:
        e = rest[:, 0]
        values = e @ form @ rest
        place = int(np.argmax(abs(values)))
        f = rest[:, place] / values[place]
        first.append(e)
        second.append(f)
        others = np.delete(rest, [0, place], axis=1)
        rest = others + np.outer(e, f @ form @ others) - np.outer(f, e @ form @ others)
    return np.stack(first + second, axis=1)
