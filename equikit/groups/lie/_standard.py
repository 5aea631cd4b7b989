"""Standard matrices of the classical Lie algebras, with integer entries."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from equikit.groups.families._orthogonal import O
from equikit.groups.families._symplectic import Sp
from equikit.groups.lie._algebra import Matrices, realified


def orthogonal(p: int, q: int) -> Matrices:
    """Rotations and boosts for the metric with p ones and q minus ones."""
    return _stacked(O(p, q).lie_algebra(), p + q)


def symplectic(n: int) -> Matrices:
    """The symplectic Lie algebra for the form [[0, I], [-I, 0]]."""
    return _stacked(Sp(n).lie_algebra(), n)


def linear(n: int, *, special: bool) -> Matrices:
    """All matrices, or those with trace zero."""
    found = []
    for i, j in itertools.product(range(n), repeat=2):
        matrix = np.zeros((n, n))
        matrix[i, j] = 1
        if special and i == j:
            if i == n - 1:
                continue
            matrix[i + 1, i + 1] = -1
        found.append(matrix)
    return _stacked(found, n)


def complex_linear(m: int, *, special: bool) -> Matrices:
    """Complex matrices `[m, m]` as real ones `[2m, 2m]`."""
    real = linear(m, special=special)
    return realified(np.concatenate([real.astype(complex), 1j * real]))


def unitary(p: int, q: int, *, special: bool) -> Matrices:
    """Matrices that preserve the Hermitian form with p ones and q minus ones, as real matrices `[2m, 2m]`."""
    m, metric = p + q, np.repeat([1.0, -1.0], [p, q])
    found: list[NDArray[np.complex128]] = []
    for i in range(m):
        for j in range(i):
            for entry in (1, 1j):
                matrix = np.zeros((m, m), complex)
                matrix[i, j], matrix[j, i] = entry, -np.conj(entry) * metric[i] * metric[j]
                found.append(matrix)
        if special and i == m - 1:
            continue
        diagonal = np.zeros((m, m), complex)
        diagonal[i, i] = 1j
        if special:
            diagonal[i + 1, i + 1] = -1j
        found.append(diagonal)
    return realified(np.array(found).reshape(-1, m, m))


def complex_orthogonal(m: int) -> Matrices:
    """Antisymmetric complex matrices as real ones."""
    real = orthogonal(m, 0)
    return realified(np.concatenate([real.astype(complex), 1j * real]))


def complex_symplectic(m: int) -> Matrices:
    """The complex symplectic Lie algebra as real matrices."""
    real = symplectic(m)
    return realified(np.concatenate([real.astype(complex), 1j * real]))


def _stacked(matrices: Sequence[NDArray[Any]], n: int) -> Matrices:
    return np.array(matrices, np.float64).reshape(-1, n, n)
