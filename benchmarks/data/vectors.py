"""Inertia tensors and Lorentz-invariant scattering, in the units of EMLP's paper, and the elements that move them."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np

import equikit as ek
from benchmarks.data.emlp import TASKS


@dataclass(frozen=True)
class Vectors:
    """Rows of invariants and vectors with what is to be predicted from them, float32.

    Attributes:
        scalars: `[N, scalars]`, which no element moves.
        vectors: `[N, vectors, n]`.
        targets: `[N]`, invariants, or `[N, n, n]`, which become g Y gᵀ.
    """

    scalars: np.ndarray
    vectors: np.ndarray
    targets: np.ndarray

    def __len__(self) -> int:
        return len(self.targets)

    def take(self, index: slice) -> Vectors:
        """The rows of a slice."""
        return Vectors(self.scalars[index], self.vectors[index], self.targets[index])

    def moved(self, elements: np.ndarray) -> Vectors:
        """Apply a matrix `[N, n, n]` to every row and its target."""
        vectors = np.einsum("bij,bvj->bvi", elements, self.vectors)
        targets = self.targets
        if targets.ndim == 3:
            targets = np.einsum("bij,bjk,blk->bil", elements, targets, elements)
        return Vectors(self.scalars, vectors.astype(np.float32), targets.astype(np.float32))


def vectors(name: str, count: int, seed: int) -> Vectors:
    """Sample rows of a task of `data.emlp`: "inertia" or "scattering", neither shifted nor scaled."""
    task = TASKS[name]
    x = task.draw(np.random.default_rng(seed), count)
    y = task.target(x)
    scalars, rows = task.split(x)
    targets = y.reshape(count, task.n, task.n) if task.matrix else y[:, 0]
    return Vectors(*(a.astype(np.float32) for a in (scalars, rows, targets)))


def orthogonal(generator: np.random.Generator, count: int, n: int = 3) -> np.ndarray:
    """Elements of O(n) from the Haar distribution, float64 `[count, n, n]`."""
    q, r = np.linalg.qr(generator.normal(size=(count, n, n)))
    signs: np.ndarray = np.sign(np.diagonal(r, axis1=1, axis2=2))
    found: np.ndarray = q * signs[:, None, :]
    return found


def lorentz(generator: np.random.Generator, count: int, factors: int = 2) -> np.ndarray:
    """Sample products of random elements of O(1, 3), float64 `[count, 4, 4]`: more factors, larger boosts."""
    found = np.array([ek.Lorentz.random_element(generator) for _ in range(count * factors)])
    return functools.reduce(np.matmul, found.reshape(factors, count, 4, 4))
