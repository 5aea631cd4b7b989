"""The trivial group, for which every linear map is equivariant."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from equikit.groups._group import MOST_POINTS
from equikit.groups._random import Random
from equikit.groups.families._permutations import PermutationGroup


@dataclass(frozen=True, slots=True, repr=False)
class Trivial(PermutationGroup):
    r"""The trivial group on \(\mathbb{R}^n\): its only element is the identity, so all linear maps are equivariant.

    A layer has one weight for every entry of the matrix, \(n^{k+l}\) for each pair of channels. It is the last group of
    a chain that ends without symmetry. `Fixed(n)` allows the same maps, but is a plain axis and not a group.

    Args:
        n: number of entries, zero or more.

    Raises:
        GroupError: if `n` is missing or not a whole number, zero or more.

    Example:
        >>> from equikit import hom
        >>> hom("x x -> x", x=Trivial(3)).dim
        27

    Cost: the invariant tensors have \(n^{2m}\) entries for m axes in total; `TooLargeError` beyond \(2^{26}\) of them.
    """

    family: ClassVar[str] = "trivial"

    def generators(self, n: int | None = None) -> list[np.ndarray]:
        """Return an empty list."""
        self._size(n, MOST_POINTS)
        return []

    def order(self, n: int | None = None) -> int | None:
        """Return one."""
        self._size(n)
        return 1

    def draw(self, random: Random, n: int) -> Any:
        """Return the identity: an integer array `[n]`."""
        return random.space.arange(n)

    def defining_orders(self, n: int) -> tuple[int, ...]:
        """One: only the identity keeps every vector."""
        return (1,)

    def _fixed_points(self) -> Counter[int]:
        return Counter({self._size(None): 1})
