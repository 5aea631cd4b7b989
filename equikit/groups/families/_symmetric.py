"""The symmetric group, which permutes the entries of an axis."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from equikit.groups._branching import Branching, of_symmetric
from equikit.groups._group import MOST_COUNTED, MOST_POINTS, Blocks, Group
from equikit.groups._random import Random
from equikit.groups.families._permutations import PermutationGroup


@dataclass(frozen=True, slots=True, repr=False)
class S(PermutationGroup):
    r"""The symmetric group \(S_n\), acting on \(\mathbb{R}^n\) by permuting the standard basis.

    An element is an integer array `g` of shape `[n]`, and \(g e_i = e_{g[i]}\): entry `i` moves to position `g[i]`. The
    class itself, `S`, denotes the symmetric group whose size arrays determine at run time.

    Args:
        n: number of points, zero or more; omit it for the free group.

    Raises:
        GroupError: if `n` is not a whole number, zero or more.

    Example:
        >>> S(5), S()
        (S(5), S)
    """

    family: ClassVar[str] = "symmetric"
    blocks: ClassVar[Blocks] = "any"

    def __post_init__(self) -> None:
        Group.__post_init__(self)  # without a size the group is free

    @property
    def branching(self) -> Branching:
        """Partitions of n; each step moves one box."""
        return of_symmetric(self._size(None))

    def defining_orders(self, n: int) -> tuple[int, ...]:
        """Two and three: a unit vector whose cubes sum to one has a single nonzero entry."""
        return (2, 3)

    def order(self, n: int | None = None) -> int | None:
        """Return the number of elements: n!."""
        return math.factorial(self._size(n, MOST_COUNTED))

    def generators(self, n: int | None = None) -> list[np.ndarray]:
        """List a transposition and an n-cycle, which generate the group; nothing if it is trivial."""
        size = self._size(n, MOST_POINTS)
        if size < 2:
            return []
        swap = np.arange(size)
        swap[:2] = 1, 0
        return [swap] if size == 2 else [swap, np.roll(np.arange(size), -1)]

    def draw(self, random: Random, n: int) -> Any:
        """Sample a permutation uniformly: an integer array `[n]`."""
        return random.permutation(n)


@dataclass(frozen=True, slots=True, repr=False)
class Loopless(S):
    """The symmetric group, on tensors whose entries with two equal indices are absent.

    Its diagrams join no two vertices of one row: all others vanish on these tensors.

    Args:
        n: number of points, zero or more; omit it for the free group.

    Raises:
        GroupError: as for `S`.

    Example:
        >>> from equikit import hom
        >>> hom("p p -> p p", p=S).dim, hom("p p -> p p", p=Loopless()).dim
        (15, 7)
    """

    blocks: ClassVar[Blocks] = "single"

    def __str__(self) -> str:
        return str(S(self.n))

    __repr__ = __str__
