"""Groups whose vectors are not self-dual: the unitary and the general linear group."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from equikit.groups._branching import Branching, of_linear
from equikit.groups._group import Blocks
from equikit.groups._random import NumPyRandom, Random, haar
from equikit.groups.families._linear import MOST_ALGEBRA, MOST_ROWS, MatrixElements, inverse_transposed
from equikit.groups.families._orthogonal import BOOST


@dataclass(frozen=True, slots=True, repr=False)
class U(MatrixElements):
    r"""The unitary group \(U(n)\), acting on \(\mathbb{C}^n\).

    An axis with a star on its label carries the dual representation, \(\bar g\). Arrays are complex.

    Args:
        n: the dimension; omit it for the free group.

    Raises:
        GroupError: if n is not a whole number, zero or more.

    Example:
        >>> U(3), U(3).dual
        (U(3), U(3)*)

    Source:
        Koike, On the decomposition of tensor products of the representations of the classical groups, 1989.
    """

    family: ClassVar[str] = "unitary"
    blocks: ClassVar[Blocks] = "pair"
    has_dual: ClassVar[bool] = True
    is_complex: ClassVar[bool] = True

    @property
    def branching(self) -> Branching:
        """Descending lists of n integers."""
        return of_linear(self._size(None))

    def independent(self, order: int) -> bool:
        """Whether 2n ≥ order."""
        return self.n is None or order % 2 == 1 or 2 * self.n >= order

    def defining_orders(self, n: int) -> tuple[int, ...]:
        """Two: the Hermitian inner product."""
        return (2,)

    def generators(self, n: int | None = None) -> list[np.ndarray]:
        """Return an empty list: the group is connected, so its Lie algebra generates it."""
        self._size(n, MOST_ROWS)
        return []

    def lie_algebra(self, n: int | None = None) -> list[np.ndarray]:
        """List antihermitian matrices, complex128 `[n, n]`, that span the Lie algebra."""
        size, found = self._size(n, MOST_ALGEBRA), []
        for i in range(size):
            for j in range(i + 1):
                for entry in (1, 1j) if i != j else (1j,):
                    matrix = np.zeros((size, size), np.complex128)
                    matrix[i, j], matrix[j, i] = entry, -np.conj(entry)
                    found.append(matrix)
        return found

    def draw(self, random: Random, n: int) -> Any:
        """Sample an element from the Haar distribution, complex `[n, n]`."""
        return haar(random, n)

    def dual_element(self, element: np.ndarray) -> np.ndarray:
        """Return the complex conjugate, which acts on an axis with a star."""
        result: np.ndarray = np.conj(self.matrix(element))
        return result


@dataclass(frozen=True, slots=True, repr=False)
class GL(MatrixElements):
    r"""The general linear group \(GL(n)\), acting on \(\mathbb{R}^n\), or on \(\mathbb{C}^n\) for complex arrays.

    An axis with a star on its label carries the dual representation, \(g^{-T}\).

    Args:
        n: the dimension; omit it for the free group.

    Raises:
        GroupError: if n is not a whole number, zero or more.

    Example:
        >>> from equikit import hom
        >>> hom("v v* -> ", v=GL(3)).dim, hom("v v -> ", v=GL(3)).dim
        (1, 0)

    Source:
        Weyl, The classical groups, chapter IV.
    """

    family: ClassVar[str] = "general linear"
    blocks: ClassVar[Blocks] = "pair"
    has_dual: ClassVar[bool] = True

    @property
    def branching(self) -> Branching:
        """Descending lists of n integers."""
        return of_linear(self._size(None))

    def independent(self, order: int) -> bool:
        """Whether 2n ≥ order."""
        return self.n is None or order % 2 == 1 or 2 * self.n >= order

    def defining_orders(self, n: int) -> tuple[int, ...]:
        """Return an empty tuple: every invertible matrix is in the group."""
        return ()

    @property
    def keeps_norm(self) -> bool:
        """False: elements are arbitrary invertible matrices."""
        return False

    def generators(self, n: int | None = None) -> list[np.ndarray]:
        """List a reflection; with the Lie algebra it generates the group."""
        size = self._size(n, MOST_ROWS)
        return [np.diag([-1] + [1] * (size - 1))] if size else []

    def lie_algebra(self, n: int | None = None) -> list[np.ndarray]:
        """List the elementary matrices, int64 `[n, n]`."""
        size = self._size(n, MOST_ALGEBRA)
        return [np.eye(1, size * size, i, np.int64).reshape(size, size) for i in range(size * size)]

    def random_element(self, generator: np.random.Generator, n: int | None = None) -> np.ndarray:
        """Sample an element of moderate size, float64 `[n, n]`; noncompact groups have no uniform distribution."""
        size, random = self._size(n, MOST_ROWS), NumPyRandom(generator)
        stretch = np.exp(BOOST * random.normal(size))
        result: np.ndarray = (haar(random, size) * stretch) @ haar(random, size)
        return result

    def dual_element(self, element: np.ndarray) -> np.ndarray:
        """Return the inverse transpose, which acts on an axis with a star."""
        return inverse_transposed(self.matrix(element))
