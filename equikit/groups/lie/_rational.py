"""Round a span of matrices to one with small rational entries, where its noise allows it."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from equikit.groups.lie._algebra import Matrices, distance, openness, orthonormal

DENOMINATORS = (1, 2, 3, 4, 6, 12, 24, 60, 200, 1000)
"""The largest denominators of entries to try, in order."""

MOST_LUCK = 1e-4
"""The largest probability that the entries of a random span round by chance."""


def reduced(basis: Matrices) -> tuple[NDArray[np.float64], float]:
    """Return the reduced row echelon form of a span `[d, n * n]`, and the factor by which it magnifies noise.

    The pivots are the first entries that are not small, so that the form of a span of integers has small entries.
    """
    flat = orthonormal(basis).reshape(len(basis), -1).copy()
    pivots: list[int] = []
    rest = flat.copy()
    for _ in range(len(flat)):
        size = np.linalg.norm(rest, axis=0)
        pivot = int(np.argmax(size > 0.5 * size.max()))
        pivots.append(pivot)
        direction = rest[:, pivot] / size[pivot]
        rest -= np.outer(direction, direction @ rest)
    pivots.sort()
    block = flat[:, pivots]
    return np.linalg.solve(block, flat), float(1 / np.linalg.svd(block, compute_uv=False).min())


def rational(basis: Matrices, tolerance: float) -> list[list[list[Fraction]]] | None:
    """Return a basis with rational entries of the span of a Lie algebra, or `None` if its entries do not round.

    The rounded span has to be within the tolerance, closed under commutators, and too unlikely to arise by chance.
    Larger denominators are tried where commutators show that the noise is far below the tolerance.
    """
    if not len(basis):
        return []
    for noise in dict.fromkeys((tolerance, min(tolerance, 10 * openness(orthonormal(basis)) + 1e-13))):
        found = _rounded(basis, noise)
        if found is not None:
            return found
    return None


def _rounded(basis: Matrices, noise: float) -> list[list[list[Fraction]]] | None:
    n = basis.shape[-1]
    rows, growth = reduced(basis)
    free = min(len(rows) * (n * n - len(rows)), n * (n + 1) // 2 - 1)  # as many as a metric has up to scale
    bound = 3 * growth * noise
    for denominator in DENOMINATORS:
        if min(1.0, bound * denominator**2) ** free > MOST_LUCK and free:
            return None
        rounded = [[Fraction(float(x)).limit_denominator(denominator) for x in row] for row in rows]
        exact = np.array([[float(x) for x in row] for row in rounded])
        if np.max(abs(exact - rows)) > bound:
            continue
        matrices = exact.reshape(-1, n, n)
        if distance(matrices, basis) <= 2 * noise + 1e-12 and openness(orthonormal(matrices)) < 1e-9:
            return [[row[i * n : (i + 1) * n] for i in range(n)] for row in rounded]
    return None
