"""Invariant bilinear forms of a Lie algebra of matrices, and bases in which they are standard."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from equikit import _checks
from equikit._errors import GroupError
from equikit.groups.lie._algebra import Matrices, null_space, orthonormal, read_basis


def _symmetric_basis(n: int, sign: int) -> NDArray[np.float64]:
    """Return an orthonormal basis of symmetric (or antisymmetric) matrices, `[count, n, n]`."""
    found = []
    for i in range(n):
        for j in range(i + 1):
            if i != j or sign > 0:
                form = np.zeros((n, n))
                form[i, j] += 1
                form[j, i] += sign
                found.append(form / np.linalg.norm(form))
    return np.array(found).reshape(-1, n, n)


def forms_of(basis: Matrices, sign: int, bound: float) -> NDArray[np.float64]:
    """Solve LᵀJ + JL = 0 for symmetric (sign 1) or antisymmetric (sign -1) J: an orthonormal basis of solutions."""
    n = basis.shape[-1]
    candidates = _symmetric_basis(n, sign)
    if not len(candidates) or not len(basis):
        return candidates
    images = np.einsum("aji,cjk->acik", basis, candidates) + np.einsum("cij,ajk->acik", candidates, basis)
    weights = null_space(images.transpose(0, 2, 3, 1).reshape(-1, len(candidates)), bound)
    return np.tensordot(weights, candidates, 1)


def invariant_forms(
    basis: Any, kind: Literal["symmetric", "antisymmetric"] = "symmetric", tolerance: float = 1e-6
) -> NDArray[np.float64]:
    r"""Return the bilinear forms that a Lie algebra preserves: \(L^T J + J L = 0\) for all of its elements.

    The metric of a discovered group is the first symmetric form; LieGNN uses it in place of the Minkowski metric.

    Args:
        basis: real matrices `[d, n, n]`.
        kind: symmetric forms (metrics) or antisymmetric forms.
        tolerance: the noise of the span of the matrices, as the sine of an angle.

    Returns:
        float64 `[count, n, n]`, orthonormal, and the first entry that is not small is positive.

    Raises:
        GroupError: if the matrices are not real, square and finite.
        OptionError: if an option has no meaning.

    Cost: the singular values of a matrix with d n^2 rows and n (n + 1) / 2 columns.

    Example:
        >>> from equikit import SO
        >>> metric, = invariant_forms(SO(1, 3).lie_algebra())
        >>> (metric / metric[0, 0]).round(6).diagonal().tolist()
        [1.0, -1.0, -1.0, -1.0]

    Source:
        Yang et al., Generative adversarial symmetry discovery, arXiv:2302.00236, on LieGNN.
    """
    _checks.choice("kind", kind, ("symmetric", "antisymmetric"))
    _checks.number("tolerance", tolerance, above=0, below=0.5, example=1e-6)
    matrices, complex_size = read_basis(basis)
    if complex_size is not None:
        raise GroupError(
            "bilinear forms of complex matrices are not supported",
            got="complex matrices",
            expected="real matrices",
            step="pass real matrices; recognize names complex ones",
        )
    reduced = orthonormal(matrices)
    found = forms_of(reduced, 1 if kind == "symmetric" else -1, threshold(len(reduced), tolerance))
    leading = [form.ravel()[np.argmax(abs(form).ravel() > 0.1 * abs(form).max())] for form in found]
    return found * np.sign(np.array(leading))[:, None, None] if len(found) else found


def threshold(count: int, tolerance: float) -> float:
    """Return the bound on singular values of constraints by orthonormal matrices whose span has this noise."""
    return float(4 * tolerance * max(count, 1) ** 0.5)


def standard_metric(form: NDArray[np.float64]) -> tuple[NDArray[np.float64], int, int]:
    """Return a basis in which a symmetric form is diag(1, ..., -1, ...) up to its sign, and both counts.

    The sign is the one with fewer positive directions, so that the Lorentz group has time first.
    """
    values, vectors = np.linalg.eigh(form)
    if not np.any(values > 0) or (2 * np.sum(values > 0) > len(values) and np.any(values < 0)):
        values = -values
    order = np.lexsort((abs(values), values < 0))
    values, vectors = values[order], vectors[:, order]
    positive = int(np.sum(values > 0))
    scaled = vectors / np.sqrt(abs(values))
    return scaled * np.exp(np.mean(np.log(abs(values))) / 2), positive, len(values) - positive


def standard_symplectic(form: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return a basis in which an antisymmetric form is a multiple of [[0, I], [-I, 0]], by symplectic Gram-Schmidt."""
    from scipy.linalg import schur  # installed with JAX, not with NumPy

    blocks, vectors = schur(form)  # of an antisymmetric matrix: 2x2 blocks on the diagonal
    first, second = vectors[:, 0::2], vectors[:, 1::2]
    values = blocks.diagonal(1)[::2]
    second = second * np.sign(values)
    scale = np.sqrt(abs(values))
    return np.concatenate([first / scale, second / scale], axis=1)


def standard_hermitian(form: NDArray[np.complex128]) -> tuple[NDArray[np.complex128], int, int]:
    """Return a complex basis in which a Hermitian form is diagonal with signs up to its own, and both counts."""
    values, vectors = np.linalg.eigh(form)
    if 2 * np.sum(values > 0) < len(values) or not np.any(values > 0):
        values = -values
    order = np.argsort(values < 0, kind="stable")
    values, vectors = values[order], vectors[:, order]
    positive = int(np.sum(values > 0))
    return vectors / np.sqrt(abs(values)), positive, len(values) - positive
