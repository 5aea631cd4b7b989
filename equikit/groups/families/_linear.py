"""Shared code of matrix groups: orthogonal, symplectic and other continuous families."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from equikit._errors import GroupError
from equikit.groups._elements import closure
from equikit.groups._group import Group, namespace, refuse_misfit

MOST_ROWS = 1000
"""The largest number of rows of an element, whose factorization takes seconds."""

MOST_ALGEBRA = 128
"""The largest number of rows for a basis of a Lie algebra, which has about n^4 entries."""


@dataclass(frozen=True, slots=True, repr=False)
class MatrixElements(Group):
    """A group whose elements are the matrices of their action.

    Attributes:
        most_finite: the largest size at which the group is finite, because its Lie algebra is zero.
    """

    most_points: ClassVar[int] = MOST_ROWS
    most_finite: ClassVar[int] = 0

    @abstractmethod
    def lie_algebra(self, n: int | None = None) -> list[np.ndarray]:
        """List integer matrices that span the Lie algebra; with `generators`, they determine the equivariant maps."""

    @property
    def is_finite(self) -> bool:
        """Whether n is so small that there are no rotations and no boosts."""
        return self.n is not None and self.n <= self.most_finite

    def order(self, n: int | None = None) -> int | None:
        """Return the number of elements if the Lie algebra is zero, such as two for O(1)."""
        size = self._size(n)
        return len(self._closure(size, 2)) if size <= self.most_finite else None

    def _closure(self, n: int, most: int) -> np.ndarray:
        letters = self.generators(n)
        identity = np.eye(self._size(n, MOST_ROWS), dtype=np.result_type(np.int64, *letters))
        return closure(str(self), identity, letters, np.matmul, most)

    def matrix(self, element: np.ndarray) -> np.ndarray:
        """Return the element itself, or raise `GroupError` if it is not a square matrix of the size of the group."""
        return _square(element, self.n)

    def act(self, element: np.ndarray, array: Any, axis: int) -> Any:
        """Multiply one axis of a NumPy or JAX array by the matrix.

        Raises:
            GroupError: if `element` is not a square matrix.
            ShapeError: if the axis does not have the size of the matrix.
        """
        element = _square(element, self.n)
        refuse_misfit("matrix", len(element), array, axis)
        if np.iscomplexobj(element) and array.dtype.kind not in "cV":
            raise GroupError(
                "a complex matrix cannot act on a real array",
                got=f"dtype {array.dtype}",
                expected="a complex array",
                step="pass array.astype(complex)",
            )
        space = namespace(array)
        exact = array.dtype.kind in "biu"  # a cast would truncate the element
        cast = element if exact else element.astype(array.dtype)
        return space.moveaxis(space.tensordot(cast, array, axes=((1,), (axis,))), 0, axis)


def _square(element: object, size: int | None) -> np.ndarray:
    array = np.asarray(element)
    if array.ndim != 2 or array.shape[0] != array.shape[1] or size not in (None, len(array)):
        raise GroupError(
            "the element is not a square matrix of the size of the group",
            got=f"shape {array.shape}",
            expected="[n, n]" if size is None else f"[{size}, {size}]",
            step="draw one with random_element",
        )
    return array


def inverse_transposed(matrix: np.ndarray) -> np.ndarray:
    """Return the inverse transpose, which acts on dual vectors, or raise `GroupError`."""
    try:
        result: np.ndarray = np.linalg.inv(matrix).T
    except np.linalg.LinAlgError:
        raise GroupError(
            "the element is not invertible",
            got=repr(matrix),
            expected="an invertible matrix",
            step="draw one with random_element",
        ) from None
    return result


def cayley(algebra: np.ndarray) -> np.ndarray:
    """Map an element of the Lie algebra of a form to the group: \\((1 - A)^{-1} (1 + A)\\)."""
    one = np.eye(len(algebra))
    return np.linalg.solve(one - algebra, one + algebra)
