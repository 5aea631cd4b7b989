"""The alternating group: even permutations."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from equikit.groups._branching import Branching
from equikit.groups._group import MOST_COUNTED, MOST_POINTS, Blocks
from equikit.groups._random import Random
from equikit.groups.families._permutations import PermutationGroup
from equikit.groups.families._symmetric import S


@dataclass(frozen=True, slots=True, repr=False)
class A(PermutationGroup):
    r"""The alternating group \(A_n\), acting on \(\mathbb{R}^n\) by even permutations of the standard basis.

    Elements have the format of `S`. Always bound: the equivariant maps depend on n, through the sign of a permutation.

    Args:
        n: number of points, zero or more.

    Raises:
        GroupError: if `n` is missing or not a whole number, zero or more.

    Example:
        >>> A(5)
        A(5)

    Source:
        Pearce-Crump, How Jellyfish Characterize Alternating Group Equivariant Neural Networks, arXiv:2301.10152.
    """

    family: ClassVar[str] = "alternating"
    blocks: ClassVar[Blocks] = "any"
    permutes: ClassVar[bool] = False  # with absent entries a permutation has no sign
    special: ClassVar[bool] = True

    @property
    def legs(self) -> int:
        """The number of points, if there are two or more."""
        assert self.n is not None
        return self.n if self.n > 1 else 0

    @property
    def branching(self) -> Branching:
        """The branching of S(n), whose sign is trivial here."""
        n = self._size(None)
        return replace(S(n).branching, larger=S(n), determinant=(1,) * n)

    def defining_orders(self, n: int) -> tuple[int, ...]:
        """The orders of S(n), and the order of a tensor of signs."""
        return (2, 3, n - 1)

    def order(self, n: int | None = None) -> int | None:
        """Return the number of elements: n!/2, or one if n < 2."""
        return max(math.factorial(self._size(n, MOST_COUNTED)) // 2, 1)

    def generators(self, n: int | None = None) -> list[np.ndarray]:
        """List a 3-cycle, and the even one of two cycles: of all points, or of all points except the first."""
        size = self._size(n, MOST_POINTS)
        if size < 3:
            return []
        three, long = np.arange(size), np.arange(size)
        three[:3] = 1, 2, 0
        fixed = 1 - size % 2
        long[fixed:] = np.roll(long[fixed:], -1)
        return [three] if size == 3 else [three, long]

    def draw(self, random: Random, n: int) -> Any:
        """Sample an even permutation uniformly: an integer array `[n]`."""
        element, space = random.permutation(n), random.space
        if n < 2:
            return element
        exchanged = space.concatenate([element[1::-1], element[2:]])
        return space.where((n - _cycles(element, space)) % 2 == 1, exchanged, element)


def _cycles(permutation: Any, space: Any) -> Any:
    """Count the cycles by their smallest points, which pointer doubling finds."""
    points = space.arange(len(permutation))
    first, jump = points, permutation
    for _ in range((len(permutation) - 1).bit_length()):
        first = space.minimum(first, first[jump])
        jump = jump[jump]
    return space.sum(first == points)
