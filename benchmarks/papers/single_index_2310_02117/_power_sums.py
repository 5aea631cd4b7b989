"""Points on the circle, their power sums, and the inner products of products of power sums."""

from __future__ import annotations

import functools

import numpy as np
from scipy.stats import unitary_group

from equikit import S
from equikit.groups import irreps


@functools.lru_cache(maxsize=4)
def points(kind: str, n: int, count: int, seed: int) -> np.ndarray:
    """Sample n points on the circle, complex64 `[count, n]`: eigenvalues of a Haar unitary, or independent ones."""
    random = np.random.default_rng(seed)
    if kind == "independent points":
        return np.exp(2j * np.pi * random.random((count, n))).astype(np.complex64)
    matrices = unitary_group.rvs(n, size=count, random_state=random)
    return np.linalg.eigvals(matrices).astype(np.complex64)


def power_sums(x: np.ndarray, most: int) -> np.ndarray:
    r"""Return \(p_k(x) = \sum_i x_i^k\) for k from 1 to `most`, complex128 `[count, most]`."""
    return np.stack([np.sum(x.astype(np.complex128) ** k, axis=1) for k in range(1, most + 1)], axis=1)


def gram(x: np.ndarray, degree: int) -> np.ndarray:
    r"""Return the means of \(p_\lambda \bar p_\mu\) for the partitions of a degree, in the order of `irreps`."""
    sums = power_sums(x, degree)
    products = np.stack([np.prod(sums[:, np.array(irrep.shape) - 1], axis=1) for irrep in irreps(S(degree))])
    means: np.ndarray = products @ products.conj().T / len(x)
    return means


def expected(n: int, degree: int) -> np.ndarray:
    r"""Return the inner products of theory, \(\sum_\rho \chi^\rho(\lambda) \chi^\rho(\mu)\).

    ρ runs over the partitions with at most n rows, which name the irreps of U(n) in tensors of this degree.
    For degree ≤ n these are all, so that the matrix is diagonal with the orders \(z_\lambda\) of centralizers.
    """
    every = irreps(S(degree))
    table = np.array([[row.character(column.shape) for column in every] for row in every if len(row.shape) <= n])
    found: np.ndarray = (table.T @ table).astype(np.float64)
    return found
