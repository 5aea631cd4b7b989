"""Two easy groups: signed permutations, and orthogonal matrices whose rows sum to one."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from equikit._errors import GroupError
from equikit.groups._branching import Branching, of_bistochastic, of_hyperoctahedral
from equikit.groups._elements import closure
from equikit.groups._group import MOST_COUNTED, MOST_POINTS, Blocks, Elements, Group, refuse_if_wide, refuse_misfit
from equikit.groups._random import Random, haar
from equikit.groups.families._linear import MOST_ALGEBRA, MOST_ROWS, MatrixElements


@dataclass(frozen=True, slots=True, repr=False)
class H(Group):
    r"""The hyperoctahedral group \(H_n\): permutations of the standard basis with signs, acting on \(\mathbb{R}^n\).

    An element is an integer array `[n]` with entries \(\pm 1, \dots, \pm n\): entry i moves to position `|g[i]| - 1`
    and is multiplied by the sign of `g[i]`.

    Args:
        n: number of points, zero or more; omit it for the free group.

    Raises:
        GroupError: if `n` is not a whole number, zero or more.

    Example:
        >>> H(2).matrix(np.array([-2, 1])).tolist()
        [[0, 1], [-1, 0]]

    Source:
        Banica and Speicher, Liberation of orthogonal Lie groups, arXiv:0808.2628: the easy groups.
    """

    family: ClassVar[str] = "hyperoctahedral"
    blocks: ClassVar[Blocks] = "even"
    elements_are: ClassVar[Elements] = "signed permutations"
    permutes: ClassVar[bool] = True

    @property
    def is_finite(self) -> bool:
        """True: there are finitely many signed permutations."""
        return True

    @property
    def branching(self) -> Branching:
        """Pairs of partitions with n boxes in total."""
        return of_hyperoctahedral(self._size(None))

    def defining_orders(self, n: int) -> tuple[int, ...]:
        """Two and four: a unit vector whose fourth powers sum to one has a single nonzero entry."""
        return (2, 4)

    def order(self, n: int | None = None) -> int | None:
        """Return the number of elements: 2^n n!."""
        size = self._size(n, MOST_COUNTED)
        return math.factorial(size) << size

    def generators(self, n: int | None = None) -> list[np.ndarray]:
        """List a sign change, a transposition and a cycle."""
        size = self._size(n, MOST_POINTS)
        points = np.arange(1, size + 1)
        found = []
        if size:
            found.append(np.where(points == 1, -1, points))
        if size > 1:
            found.append(np.concatenate([[2, 1], points[2:]]))
        if size > 2:
            found.append(np.roll(points, -1))
        return found

    def _closure(self, n: int, most: int) -> np.ndarray:
        return closure(str(self), np.arange(1, n + 1), self.generators(n), _signed_product, most)

    def draw(self, random: Random, n: int) -> Any:
        """Sample a signed permutation uniformly: an integer array `[n]`."""
        return (random.permutation(n) + 1) * random.signs(n)

    def matrix(self, element: np.ndarray) -> np.ndarray:
        """Return the signed permutation matrix, int64 `[n, n]`."""
        element = _signed(element, self.n)
        size = len(element)
        refuse_if_wide("a signed permutation", size)
        matrix = np.zeros((size, size), np.int64)
        matrix[np.abs(element) - 1, np.arange(size)] = np.sign(element)
        return matrix

    def act(self, element: np.ndarray, array: Any, axis: int) -> Any:
        """Move entry i of the axis to position `|element[i]| - 1`, with its sign; boolean masks are only moved.

        Raises:
            GroupError: if `element` is not a signed permutation.
            ShapeError: if the axis does not have the size of the permutation.
        """
        element = _signed(element, self.n)
        refuse_misfit("signed permutation", len(element), array, axis)
        source = np.argsort(np.abs(element))
        moved = array.take(source, axis=axis)
        if moved.dtype == bool:
            return moved
        shape = [1] * array.ndim
        shape[axis] = len(element)
        signs = np.sign(element)[source].reshape(shape)
        return moved * (signs if moved.dtype.kind == "u" else signs.astype(moved.dtype))


def _signed(element: object, size: int | None) -> np.ndarray:
    """Return `element` as an integer array that lists each of 1..n once, up to sign, or raise `GroupError`."""
    array = np.asarray(element)
    if array.shape == (0,):
        array = array.astype(np.int64)
    wanted = np.arange(1, (array.size if size is None else size) + 1)
    if array.ndim != 1 or array.dtype.kind != "i" or not np.array_equal(np.sort(np.abs(array)), wanted):
        raise GroupError(
            "the element is not a signed permutation",
            got=repr(element),
            expected="an integer array [n] that holds each of 1..n once, up to sign",
            step="draw one with random_element",
        )
    return array


def _signed_product(after: np.ndarray, before: np.ndarray) -> np.ndarray:
    moved: np.ndarray = after[np.abs(before) - 1] * np.sign(before)
    return moved


@dataclass(frozen=True, slots=True, repr=False)
class Bistochastic(MatrixElements):
    r"""The bistochastic group \(B_n\): orthogonal matrices whose rows and columns sum to one, \(\cong O(n-1)\).

    Args:
        n: the dimension; omit it for the free group.

    Raises:
        GroupError: if `n` is not a whole number, zero or more.

    Example:
        >>> Bistochastic(3)
        Bistochastic(3)

    Source:
        Banica and Speicher, Liberation of orthogonal Lie groups, arXiv:0808.2628: the easy groups.
    """

    family: ClassVar[str] = "bistochastic"
    most_finite: ClassVar[int] = 2
    blocks: ClassVar[Blocks] = "small"
    is_real: ClassVar[bool] = True

    @property
    def branching(self) -> Branching:
        """The representations of O(n - 1), which is isomorphic to the group."""
        return of_bistochastic(self._size(None))

    def independent(self, order: int) -> bool:
        """Whether n > order / 2, because the group is O(n - 1) on the complement of the vector of ones."""
        return self.n is None or order // 2 <= self.n - 1 or order == 0

    def defining_orders(self, n: int) -> tuple[int, ...]:
        """One and two: the vector of ones, and the inner product."""
        return (1, 2)

    def generators(self, n: int | None = None) -> list[np.ndarray]:
        """List a transposition: a reflection that, with the Lie algebra, generates the group."""
        size = self._size(n, MOST_ROWS)
        if size < 2:
            return []
        swap = np.eye(size, dtype=np.int64)
        swap[[0, 1]] = swap[[1, 0]]
        return [swap]

    def lie_algebra(self, n: int | None = None) -> list[np.ndarray]:
        """List the antisymmetric matrices that map the vector of ones to zero."""
        size = self._size(n, MOST_ALGEBRA)
        differences = [np.eye(size, dtype=np.int64)[i] - np.eye(size, dtype=np.int64)[-1] for i in range(size - 1)]
        return [
            np.outer(differences[i], differences[j]) - np.outer(differences[j], differences[i])
            for i in range(len(differences))
            for j in range(i)
        ]

    def draw(self, random: Random, n: int) -> Any:
        """Sample an element from the Haar distribution, `[n, n]`: O(n - 1) on the complement of the vector of ones."""
        space, ones = random.space, random.space.ones((n, 1), random.dtype)
        if not n:
            return space.zeros((0, 0), random.dtype)
        basis, _ = space.linalg.qr(space.concatenate([ones, space.eye(n, n - 1, dtype=random.dtype)], axis=1))
        across = basis[:, 1:]
        return ones @ ones.T / n + across @ haar(random, n - 1) @ across.T
