"""Random arrays by NumPy or JAX, from which groups make uniformly distributed elements."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np


class Random(Protocol):
    """A source of independent random arrays.

    `Group.draw` is written once against this interface, so that the same code draws elements with NumPy and, in
    compiled programs, with JAX; this package does not import JAX.
    """

    @property
    def space(self) -> Any:
        """The module of array functions: `numpy` or `jax.numpy`."""

    @property
    def dtype(self) -> Any:
        """The dtype of matrices; complex for groups that act on complex arrays."""

    def normal(self, *shape: int) -> Any:
        """Independent standard normal numbers."""

    def permutation(self, n: int) -> Any:
        """Return a uniform permutation of 0 to n - 1, integers `[n]`."""

    def integer(self, stop: int) -> Any:
        """A uniform integer from 0 to stop - 1."""

    def signs(self, n: int) -> Any:
        """Independent signs 1 and -1, integers `[n]`."""


@dataclass(frozen=True, slots=True)
class NumPyRandom:
    """Random arrays by a generator of NumPy: int64, float64 or complex128."""

    generator: np.random.Generator
    dtype: Any = np.float64
    space: Any = np

    def normal(self, *shape: int) -> np.ndarray:
        """Independent standard normal numbers."""
        real = self.generator.normal(size=shape)
        return real + 1j * self.generator.normal(size=shape) if np.dtype(self.dtype).kind == "c" else real

    def permutation(self, n: int) -> np.ndarray:
        """A uniform permutation."""
        return self.generator.permutation(n)

    def integer(self, stop: int) -> int:
        """A uniform integer."""
        return int(self.generator.integers(stop))

    def signs(self, n: int) -> np.ndarray:
        """Independent signs."""
        return self.generator.choice([-1, 1], n)


def haar(random: Random, n: int) -> Any:
    """Sample an orthogonal or unitary matrix `[n, n]` from the Haar distribution.

    It is the factor Q of a matrix of normal numbers, divided by the phases of the diagonal of R, which QR chooses.

    Source:
        Mezzadri, How to generate random matrices from the classical compact groups, arXiv:math-ph/0609050.
    """
    space = random.space
    q, r = space.linalg.qr(random.normal(n, n))
    diagonal = space.diagonal(r)
    size = space.abs(diagonal)
    return q * space.where(size > 0, diagonal / space.where(size > 0, size, 1), 1)
