"""Groups of permutations without diagrams: the cyclic and the dihedral group."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from equikit._errors import GroupError
from equikit.groups._group import MOST_POINTS
from equikit.groups._random import Random
from equikit.groups.families._permutations import PermutationGroup


@dataclass(frozen=True, slots=True, repr=False)
class Z(PermutationGroup):
    r"""The cyclic group \(\mathbb{Z}_n\), acting on \(\mathbb{R}^n\) by rotating the standard basis.

    It has no diagrams: equivariant maps are sums over orbits of index tuples, which are circulant matrices for one
    input axis and one output axis. Always bound.

    Args:
        n: number of points, zero or more.

    Raises:
        GroupError: if `n` is missing or not a whole number, zero or more.

    Example:
        >>> from equikit import hom
        >>> hom("z -> z", z=Z(5)).dim
        5
    """

    family: ClassVar[str] = "cyclic"

    def defining_orders(self, n: int) -> tuple[int, ...]:
        """Two and three, as for all permutations."""
        return (2, 3)

    def order(self, n: int | None = None) -> int | None:
        """Return the number of elements: n, or one if n is zero."""
        return max(self._size(n), 1)

    def generators(self, n: int | None = None) -> list[np.ndarray]:
        """List the rotation by one point (nothing if the group is trivial)."""
        size = self._size(n, MOST_POINTS)
        return [np.roll(np.arange(size), -1)] if size > 1 else []

    def draw(self, random: Random, n: int) -> Any:
        """Sample an element uniformly: an integer array `[n]`."""
        return random.space.roll(random.space.arange(n), random.integer(max(n, 1)))

    def plane_matrices(self) -> np.ndarray:
        """Return the elements as rotations of the plane by multiples of 2π/n, the identity first.

        Returns:
            `[elements, 2, 2]`, n of them for `Z`, 2n for `D`: int32 if all entries are integers (n = 1, 2, 4),
            otherwise float64.

        Example:
            >>> Z(4).plane_matrices()[1].tolist()
            [[0, -1], [1, 0]]
        """
        n = self._size(None, MOST_POINTS)
        angles = 2 * np.pi * np.arange(n) / max(n, 1)
        entries = np.stack([np.cos(angles), -np.sin(angles), np.sin(angles), np.cos(angles)], -1).reshape(n, 2, 2)
        rounded = np.round(entries)
        entries = np.where(np.abs(entries - rounded) < 1e-12, rounded, entries)
        return entries.astype(np.int32) if n and 4 % n == 0 else entries

    def plane_quotients(self) -> np.ndarray:
        r"""Return the position of \(g^{-1} h\) in `plane_matrices` for elements g and h, `[n, n]`."""
        turn = np.arange(self._size(None))
        return np.asarray((turn - turn[:, None]) % max(len(turn), 1))

    def _fixed_points(self) -> Counter[int]:
        n = self._size(None)
        return Counter({n: 1}) + Counter({0: max(n - 1, 0)})


@dataclass(frozen=True, slots=True, repr=False)
class D(Z):
    r"""The dihedral group \(D_n\): the symmetries of a polygon, which permute its n corners.

    Its order is 2n for three corners or more. With fewer corners reflections and rotations are the same permutations:
    `D(2)` has order two, `D(1)` and `D(0)` have order one.

    It has no diagrams: equivariant maps are sums over orbits of index tuples. Always bound.

    Args:
        n: number of corners, zero or more.

    Raises:
        GroupError: if `n` is missing or not a whole number, zero or more.

    Example:
        >>> from equikit import hom
        >>> hom("z -> z", z=D(5)).dim
        3
        >>> [D(n).order() for n in range(5)]
        [1, 1, 2, 6, 8]
    """

    family: ClassVar[str] = "dihedral"

    def order(self, n: int | None = None) -> int | None:
        """Return the number of permutations of the corners: 2n; for one or two corners reflections are rotations."""
        size = self._size(n)
        return 2 * size if size > 2 else max(size, 1)

    def plane_matrices(self) -> np.ndarray:
        """Return the rotations of the plane, as for `Z`, then their products with the reflection of the second axis."""
        rotations = Z.plane_matrices(self)
        return np.concatenate([rotations, rotations @ np.diag([1, -1]).astype(rotations.dtype)])

    def plane_quotients(self) -> np.ndarray:
        r"""Return the position of \(g^{-1} h\) among the elements in `plane_matrices`, `[2n, 2n]`."""
        n = self._size(None)
        # The position of r^a s^b is a + n b, and s r = r^-1 s.
        turn, flip = np.tile(np.arange(n), 2), np.repeat([0, 1], n)
        turned = np.where(flip[:, None], turn[:, None] - turn, turn - turn[:, None]) % max(n, 1)
        return np.asarray(turned + n * (flip[:, None] ^ flip))

    def generators(self, n: int | None = None) -> list[np.ndarray]:
        """List the rotation by one corner and the reflection."""
        size = self._size(n, MOST_POINTS)
        return [*Z.generators(self, n), np.arange(size)[::-1]] if size > 1 else []

    def draw(self, random: Random, n: int) -> Any:
        """Sample an element uniformly: an integer array `[n]`."""
        rotation = Z.draw(self, random, n)
        return random.space.where(random.integer(2) == 1, rotation[::-1], rotation)

    def _fixed_points(self) -> Counter[int]:
        half, odd = divmod(self._size(None), 2)  # a mirror contains one corner if n is odd, otherwise two or none
        mirrors = {1: 2 * half + 1} if odd else {2: half, 0: half}
        return Z._fixed_points(self) + Counter(mirrors)


def checked_polygon(group: object) -> Z:
    """Return a group that rotates images, or raise `GroupError`."""
    if not isinstance(group, Z) or not group.n:
        raise GroupError(
            "this group does not turn images",
            got=repr(group),
            expected="Z(n) for n rotations, D(n) for n rotations and n reflections, n at least 1",
            step="write group=ek.D(4)",
        )
    return group
