"""A part of the space with the group that acts on it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from equikit.groups.lie._algebra import Matrices, distance


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """A group that acts on a part of the space.

    Attributes:
        name: of the group.
        basis: the change of basis to its standard matrices, columns `[n, n]`.
        standard: the standard matrices `[d, n, n]`.
        signature: (p, q) of the metric, if the group is SO+(p, q).
    """

    name: str
    basis: NDArray[np.float64]
    standard: Matrices
    signature: tuple[int, int] | None = None

    @property
    def size(self) -> int:
        """The dimension of the part."""
        return len(self.basis)


def verified(
    name: str,
    basis: NDArray[np.float64],
    standard: Matrices,
    algebra: Matrices,
    bound: float,
    signature: tuple[int, int] | None = None,
) -> Part | None:
    """Return a part, or `None` if its standard matrices in this basis do not span the algebra up to a bound."""
    if np.linalg.cond(basis) > 1e8 or distance(basis @ standard @ np.linalg.inv(basis), algebra) > bound:
        return None
    return Part(name, basis, standard, signature)
