"""The symmetric group, which permutes the entries of an axis."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from equikit._errors import GroupError
from equikit.groups._elements import closure
from equikit.groups._group import MOST_COUNTED, MOST_POINTS, Group, refuse_if_wide, refuse_misfit


@dataclass(frozen=True, slots=True, repr=False)
class S(Group):
    r"""The symmetric group \(S_n\), acting on \(\mathbb{R}^n\) by permuting the standard basis.

    An element is an integer array `g` of shape `[n]`, and \(g e_i = e_{g[i]}\): entry `i` moves to place `g[i]`.
    The class itself, `S`, stands for the symmetric group of whatever size an array has at run time.

    Args:
        n: number of points, zero or more; none for the free group.

    Raises:
        GroupError: if `n` is not a whole number, zero or more.

    Example:
        >>> S(5), S()
        (S(5), S)
    """

    family: ClassVar[str] = "symmetric"
    permutes: ClassVar[bool] = True

    @property
    def is_finite(self) -> bool:
        """True, as for all groups of permutations."""
        return True

    def order(self, n: int | None = None) -> int | None:
        """The number of elements, n!."""
        return math.factorial(self._size(n, MOST_COUNTED))

    def generators(self, n: int | None = None) -> list[np.ndarray]:
        """List a transposition and an n-cycle, which generate the group (none where it is trivial)."""
        size = self._size(n, MOST_POINTS)
        if size < 2:
            return []
        swap = np.arange(size)
        swap[:2] = 1, 0
        return [swap] if size == 2 else [swap, np.roll(np.arange(size), -1)]

    def _closure(self, n: int, most: int) -> np.ndarray:
        return closure(str(self), np.arange(n), self.generators(n), lambda after, before: after[before], most)

    def random_element(self, generator: np.random.Generator, n: int | None = None) -> np.ndarray:
        """Draw a permutation uniformly: an integer array `[n]`."""
        return generator.permutation(self._size(n, MOST_POINTS))

    def matrix(self, element: np.ndarray) -> np.ndarray:
        """Return the permutation matrix, `[n, n]` integers, with a one at row `element[i]`, column `i`."""
        element = _permutation(element, self.n)
        size = len(element)
        refuse_if_wide("a permutation", size)
        matrix = np.zeros((size, size), dtype=np.int64)
        matrix[element, np.arange(size)] = 1
        return matrix

    def act(self, element: np.ndarray, array: Any, axis: int) -> Any:
        """Move entry `i` of the axis to place `element[i]`.

        Raises:
            GroupError: if `element` is not a permutation.
            ShapeError: if the axis has not as many entries as the permutation.
        """
        element = _permutation(element, self.n)
        refuse_misfit("permutation", len(element), array, axis)
        return array.take(np.argsort(element), axis=axis)


def _permutation(element: object, size: int | None) -> np.ndarray:
    """Return `element` as an integer array that lists each of 0..n-1 once, or raise `GroupError`."""
    array = np.asarray(element)
    if array.shape == (0,):
        array = array.astype(np.int64)
    points = np.arange(len(array) if size is None and array.ndim else size or 0)
    if array.ndim != 1 or array.dtype.kind not in "iu" or not np.array_equal(np.sort(array), points):
        raise GroupError(
            "the element is not a permutation",
            got=repr(element),
            expected=f"an integer array [n] that holds each of 0..{'n' if size is None else size}-1 once",
            step="draw one with random_element",
        )
    return array
