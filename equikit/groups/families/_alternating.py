"""The alternating group: even permutations."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from equikit._errors import GroupError
from equikit.groups._group import MOST_COUNTED, MOST_POINTS
from equikit.groups.families._symmetric import S


@dataclass(frozen=True, slots=True, repr=False)
class A(S):
    r"""The alternating group \(A_n\), acting on \(\mathbb{R}^n\) by even permutations of the standard basis.

    Elements are those of `S`. Always bound: which maps commute depends on n, through the sign of a permutation.

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
    permutes: ClassVar[bool] = False  # absent entries would leave no sign of a permutation

    def __post_init__(self) -> None:
        S.__post_init__(self)
        if self.n is None:
            raise GroupError(
                "A needs a size: its maps depend on it",
                got="A",
                expected="A(n)",
                step="write A(5); S without a size serves every n",
            )

    @property
    def legs(self) -> int:
        """One for each point, from two points on."""
        assert self.n is not None
        return self.n if self.n > 1 else 0

    def order(self, n: int | None = None) -> int | None:
        """The number of elements, n!/2, and one if n < 2."""
        return max(math.factorial(self._size(n, MOST_COUNTED)) // 2, 1)

    def generators(self, n: int | None = None) -> list[np.ndarray]:
        """List a cycle of three points, and one of all points or of all but the first, whichever is even."""
        size = self._size(n, MOST_POINTS)
        if size < 3:
            return []
        three, long = np.arange(size), np.arange(size)
        three[:3] = 1, 2, 0
        fixed = 1 - size % 2
        long[fixed:] = np.roll(long[fixed:], -1)
        return [three] if size == 3 else [three, long]

    def random_element(self, generator: np.random.Generator, n: int | None = None) -> np.ndarray:
        """Draw an even permutation uniformly: an integer array `[n]`."""
        element = S.random_element(self, generator, n)
        if _is_odd(element):
            element[[0, 1]] = element[[1, 0]]
        return element


def _is_odd(permutation: np.ndarray) -> bool:
    """Whether a permutation is odd: n minus its number of cycles is; linear in n."""
    image = permutation.tolist()
    cycles = 0
    for start, target in enumerate(image):
        cycles += target >= 0
        while target >= 0:
            image[start], start, target = -1, target, image[target]
    return (len(image) - cycles) % 2 == 1
