"""Groups of permutations: shared code of the symmetric, alternating, cyclic, dihedral and other groups."""

from __future__ import annotations

import functools
from abc import abstractmethod
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from equikit._checks import shown
from equikit._errors import GroupError, TooLargeError
from equikit.groups._elements import closure
from equikit.groups._group import Blocks, Elements, Group, refuse_if_wide, refuse_misfit
from equikit.groups.invariants._null_space import orbit_tensors


@dataclass(frozen=True, slots=True, repr=False)
class PermutationGroup(Group):
    r"""A group of permutations of the n entries of an axis, defined by its generators.

    An element is an integer array `g` of shape `[n]`, and \(g e_i = e_{g[i]}\): entry `i` moves to position `g[i]`. A
    family needs only `generators` and a size `n`, which it may compute from other fields. Equivariant maps are sums
    over orbits of index tuples. Families with too many elements to list should define `order` and `draw`.

    Args:
        n: number of points, zero or more.

    Raises:
        GroupError: if `n` is missing or not a whole number, zero or more.

    Example:
        >>> from dataclasses import dataclass
        >>> @dataclass(frozen=True, slots=True, repr=False)
        ... class Swap(PermutationGroup):
        ...     def generators(self, n=None):
        ...         return [np.arange(self.n)[::-1]]
        >>> Swap(4), Swap(4).elements().tolist(), Swap(4).count_invariants(2)
        (Swap(4), [[0, 1, 2, 3], [3, 2, 1, 0]], 8)
    """

    blocks: ClassVar[Blocks] = "whole"
    elements_are: ClassVar[Elements] = "permutations"
    permutes: ClassVar[bool] = True

    def __post_init__(self) -> None:
        Group.__post_init__(self)
        if self.n is None:
            name = type(self).__name__
            raise GroupError(
                f"{name} needs a size: its maps depend on it",
                got=name,
                expected=f"{name}(n)",
                step=f"write {name}(5); S without a size serves every n",
            )

    @property
    def is_finite(self) -> bool:
        """True, as for all groups of permutations."""
        return True

    @abstractmethod
    def generators(self, n: int | None = None) -> list[np.ndarray]:
        """List permutations that generate the group, integer arrays `[n]`."""

    def _closure(self, n: int, most: int) -> np.ndarray:
        return closure(str(self), np.arange(n), _generators(self, n), lambda after, before: after[before], most)

    def matrix(self, element: np.ndarray) -> np.ndarray:
        """Return the permutation matrix, int64 `[n, n]`, with a one in row `element[i]`, column `i`."""
        element = checked_permutation(element, self.n)
        size = len(element)
        refuse_if_wide("a permutation", size)
        matrix = np.zeros((size, size), dtype=np.int64)
        matrix[element, np.arange(size)] = 1
        return matrix

    def act(self, element: np.ndarray, array: Any, axis: int) -> Any:
        """Move entry `i` of the axis to position `element[i]`.

        Raises:
            GroupError: if `element` is not a permutation.
            ShapeError: if the axis does not have the size of the permutation.
        """
        element = checked_permutation(element, self.n)
        refuse_misfit("permutation", len(element), array, axis)
        return array.take(np.argsort(element), axis=axis)

    def invariants(self, stars: tuple[bool, ...]) -> np.ndarray:
        """Return a basis of the invariant tensors, int64 `[count, n, ..., n]`, with one axis for each of `stars`.

        Raises:
            TooLargeError: if a tensor has too many entries.
        """
        return _invariants(self, len(stars))

    def count_invariants(self, order: int, dual: int = 0) -> int:
        """Return the dimension of the invariant tensors, by Burnside's lemma: the mean number of fixed index tuples.

        If the group has too many elements to list, it is the number of orbits.
        """
        counts = self._fixed_points()
        if counts is None:
            return len(self.invariants((False,) * order))
        total: int = sum(count * points**order for points, count in counts.items())
        return total // sum(counts.values())

    def _fixed_points(self) -> Counter[int] | None:
        """Count elements by their numbers of fixed points; `None` if there are too many elements to list."""
        return _fixed_points(self)


def checked_permutation(
    element: object, size: int | None, *, what: str = "the element", step: str = "draw one with random_element"
) -> np.ndarray:
    """Return `element` as an integer array that lists each of 0..n-1 once, or raise `GroupError`."""
    try:
        array = np.asarray(element)
    except ValueError:  # lists of different lengths, such as cycles
        array = np.asarray(None)
    if array.shape == (0,):
        array = array.astype(np.int64)
    points = np.arange(len(array) if size is None and array.ndim else size or 0)
    if array.ndim != 1 or array.dtype.kind not in "iu" or not np.array_equal(np.sort(array), points):
        raise GroupError(
            f"{what} is not a permutation",
            got=shown(element),
            expected=f"an integer array [n] that holds each of 0..{'n' if size is None else size}-1 once",
            step=step,
        )
    return array


def _generators(group: PermutationGroup, n: int) -> list[np.ndarray]:
    """Return the generators as int64 arrays, or raise `GroupError` if one is not a permutation of n points.

    Nothing moves on zero points, so families need not care for them.
    """
    given: Any = group.generators(n)
    what, step = f"a generator of {group}", f"return a list of arrays such as np.roll(np.arange({n}), 1)"
    each = given if isinstance(given, Iterable) else [given]
    return [checked_permutation(element, n, what=what, step=step).astype(np.int64) for element in each if n]


@functools.lru_cache(maxsize=128)
def _fixed_points(group: PermutationGroup) -> Counter[int] | None:
    try:
        elements = group.elements()
    except TooLargeError:
        return None
    return Counter(np.count_nonzero(elements == elements[0], axis=1).tolist())


@functools.lru_cache(maxsize=128)
def _invariants(group: PermutationGroup, order: int) -> np.ndarray:
    assert group.n is not None
    moves = [(element, np.ones(group.n, np.int64)) for element in _generators(group, group.n)]
    tensors = orbit_tensors(str(group), group.n, moves, order)
    tensors.setflags(write=False)  # the cached array is shared
    return tensors
