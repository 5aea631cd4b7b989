"""Random arrays from NumPy or JAX, from which groups sample elements uniformly."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from equikit._checks import instance


class Random(Protocol):
    """A source of independent random arrays.

    `Group.draw` uses this interface, so that the same code samples elements with NumPy and, in compiled programs, with
    JAX; this package does not import JAX.
    """

    @property
    def space(self) -> Any:
        """The module of array functions: `numpy` or `jax.numpy`."""

    @property
    def dtype(self) -> Any:
        """The dtype of matrices; complex for groups that act on complex arrays."""

    def normal(self, *shape: int) -> Any:
        """Return independent standard normal numbers."""

    def permutation(self, n: int) -> Any:
        """Return a uniform permutation of 0 to n - 1, integers `[n]`."""

    def integer(self, stop: int) -> Any:
        """Return a uniform integer from 0 to stop - 1."""

    def signs(self, n: int) -> Any:
        """Return independent signs 1 and -1, integers `[n]`."""


@dataclass(frozen=True, slots=True)
class NumPyRandom:
    """Random arrays from a NumPy generator: int64, float64 or complex128."""

    generator: np.random.Generator
    dtype: Any = np.float64
    space: Any = np

    def __post_init__(self) -> None:
        instance("generator", self.generator, np.random.Generator, "np.random.default_rng(0)")

    def normal(self, *shape: int) -> np.ndarray:
        """Return independent standard normal numbers."""
        real = self.generator.normal(size=shape)
        return real + 1j * self.generator.normal(size=shape) if np.dtype(self.dtype).kind == "c" else real

    def permutation(self, n: int) -> np.ndarray:
        """Return a uniform permutation."""
        return self.generator.permutation(n)

    def integer(self, stop: int) -> int:
        """Return a uniform integer."""
        return int(self.generator.integers(stop))

    def signs(self, n: int) -> np.ndarray:
        """Return independent signs."""
        return self.generator.choice([-1, 1], n)


def haar(random: Random, n: int) -> Any:
    """Sample an orthogonal or unitary matrix `[n, n]` from the Haar distribution.

    The result is the factor Q of a Gaussian matrix times the phases of the diagonal of R, which QR chooses arbitrarily.

    Source:
        Mezzadri, How to generate random matrices from the classical compact groups, arXiv:math-ph/0609050.
    """
    space = random.space
    q, r = space.linalg.qr(random.normal(n, n))
    diagonal = space.diagonal(r)
    size = space.abs(diagonal)
    return q * space.where(size > 0, diagonal / space.where(size > 0, size, 1), 1)
