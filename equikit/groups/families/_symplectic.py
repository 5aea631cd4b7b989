"""The symplectic group."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from equikit._errors import GroupError
from equikit.groups._branching import Branching, of_symplectic
from equikit.groups._form import Form
from equikit.groups._group import Blocks, checked_size
from equikit.groups._random import NumPyRandom
from equikit.groups.families._linear import MOST_ALGEBRA, MOST_ROWS, MatrixElements, cayley
from equikit.groups.families._orthogonal import BOOST


@dataclass(frozen=True, slots=True, repr=False)
class Sp(MatrixElements):
    r"""The real symplectic group \(Sp(n)\) for even n: matrices with \(g^T \Omega g = \Omega\).

    The form is \(\Omega = \begin{pmatrix} 0 & I \\ -I & 0 \end{pmatrix}\): positions first, then momenta.

    Args:
        n: the dimension, even; omit it for the free group.

    Raises:
        GroupError: if n is not an even whole number, zero or more.

    Example:
        >>> Sp(4), Sp()
        (Sp(4), Sp)
    """

    family: ClassVar[str] = "symplectic"
    blocks: ClassVar[Blocks] = "pair"
    is_real: ClassVar[bool] = True

    @classmethod
    def checked(cls, n: object) -> int:
        """Return an even size, or raise `GroupError`."""
        size = checked_size(cls.__name__, n)
        if size % 2:
            raise GroupError(
                "Sp needs an even number of points",
                got=size,
                expected="an even number: equal numbers of positions and momenta",
                step=f"give an even number, such as {size + 1}",
            )
        return size

    @property
    def form(self) -> Form:
        """The symplectic form."""
        return Form("symplectic")

    @property
    def branching(self) -> Branching:
        """Partitions with at most n / 2 rows."""
        return of_symplectic(self._size(None))

    def independent(self, order: int) -> bool:
        """Whether n ≥ order.

        Source:
            Weyl, The classical groups, chapter VI.
        """
        return self.n is None or order % 2 == 1 or self.n >= order

    def defining_orders(self, n: int) -> tuple[int, ...]:
        """Two: the form."""
        return (2,)

    def generators(self, n: int | None = None) -> list[np.ndarray]:
        """Return an empty list: the group is connected, so its Lie algebra generates it."""
        self._size(n, MOST_ROWS)
        return []

    def lie_algebra(self, n: int | None = None) -> list[np.ndarray]:
        r"""List \(\Omega^{-1}\) times the elementary symmetric matrices."""
        size = self._size(n, MOST_ALGEBRA)
        omega, found = self.form.matrix(size), []
        for i in range(size):
            for j in range(i + 1):
                symmetric = np.zeros((size, size), np.int64)
                symmetric[i, j] = symmetric[j, i] = 1
                found.append(-omega @ symmetric)
        return found

    def random_element(self, generator: np.random.Generator, n: int | None = None) -> np.ndarray:
        """Sample an element of moderate size, float64 `[n, n]`; noncompact groups have no uniform distribution."""
        size, random = self._size(n, MOST_ROWS), NumPyRandom(generator)
        element = np.eye(size)
        for _ in range(2):
            noise = BOOST * random.normal(size, size) / max(1.0, np.sqrt(size / 4))
            element = element @ cayley(-self.form.matrix(size) @ (noise + noise.T) / 2)
        return element
