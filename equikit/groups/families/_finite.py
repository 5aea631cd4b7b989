"""Groups of permutations without diagrams: the cyclic and the dihedral group."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from equikit._errors import GroupError
from equikit.groups._group import MOST_POINTS, Blocks
from equikit.groups.families._symmetric import S
from equikit.groups.invariants._null_space import orbit_tensors


@dataclass(frozen=True, slots=True, repr=False)
class Z(S):
    r"""The cyclic group \(\mathbb{Z}_n\), acting on \(\mathbb{R}^n\) by rotating the standard basis.

    It has no diagrams: equivariant maps are sums over orbits of index tuples, circulant matrices where there is one
    axis on either side. Always bound.

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
    blocks: ClassVar[Blocks] = "whole"

    def __post_init__(self) -> None:
        S.__post_init__(self)
        if self.n is None:
            name = type(self).__name__
            raise GroupError(
                f"{name} needs a size: its maps depend on it",
                got=name,
                expected=f"{name}(n)",
                step=f"write {name}(5); S without a size serves every n",
            )

    def order(self, n: int | None = None) -> int | None:
        """The number of elements, n, and one if n is zero."""
        return max(self._size(n), 1)

    def generators(self, n: int | None = None) -> list[np.ndarray]:
        """List the rotation by one point (none where the group is trivial)."""
        size = self._size(n, MOST_POINTS)
        return [np.roll(np.arange(size), -1)] if size > 1 else []

    def random_element(self, generator: np.random.Generator, n: int | None = None) -> np.ndarray:
        """Draw an element uniformly: an integer array `[n]`."""
        size = self._size(n, MOST_POINTS)
        return np.roll(np.arange(size), generator.integers(max(size, 1)))

    def plane_matrices(self) -> np.ndarray:
        """The elements as rotations of the plane by multiples of 2π/n, the identity first.

        Returns:
            `[elements, 2, 2]`, n of them for `Z` and 2n for `D`: int32 where all entries are whole, which is so if n is
            1, 2 or 4, else float64.

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
        r"""For elements g and h, the place of \(g^{-1} h\) in `plane_matrices`, `[n, n]`."""
        turn = np.arange(self._size(None))
        return np.asarray((turn - turn[:, None]) % max(len(turn), 1))

    def invariants(self, stars: tuple[bool, ...]) -> np.ndarray:
        """A basis of the invariant tensors, int64 `[count, n, ..., n]` with an axis for each of `stars`.

        Raises:
            TooLargeError: if a tensor has too many entries.
        """
        return _invariants(self, len(stars))

    def count_invariants(self, order: int, dual: int = 0) -> int:
        """The dimension of the invariant tensors, by Burnside's lemma: the mean number of fixed index tuples."""
        total: int = sum(count * points**order for points, count in self._fixed_points())
        return total // sum(count for _, count in self._fixed_points())

    def _fixed_points(self) -> list[tuple[int, int]]:
        """How many points are left where they are, and by how many elements."""
        assert self.n is not None
        return [(self.n, 1), (0, max(self.n - 1, 0))]


@dataclass(frozen=True, slots=True, repr=False)
class D(Z):
    r"""The dihedral group \(D_n\), of order 2n: the symmetries of a polygon, permuting its n corners.

    It has no diagrams: equivariant maps are sums over orbits of index tuples. Always bound.

    Args:
        n: number of corners, zero or more.

    Raises:
        GroupError: if `n` is missing or not a whole number, zero or more.

    Example:
        >>> from equikit import hom
        >>> hom("z -> z", z=D(5)).dim
        3
    """

    family: ClassVar[str] = "dihedral"

    def order(self, n: int | None = None) -> int | None:
        """The number of permutations of the corners, 2n; on one or two corners reflections are rotations."""
        size = self._size(n)
        return 2 * size if size > 2 else max(size, 1)

    def plane_matrices(self) -> np.ndarray:
        """The rotations of the plane, as for `Z`, and then their products with the reflection of the second axis."""
        rotations = Z.plane_matrices(self)
        return np.concatenate([rotations, rotations @ np.diag([1, -1]).astype(rotations.dtype)])

    def plane_quotients(self) -> np.ndarray:
        r"""The place of \(g^{-1} h\) among the elements in `plane_matrices`, `[2n, 2n]`."""
        n = self._size(None)
        # r^a s^b is at place a + n b, and s r = r^-1 s.
        turn, flip = np.tile(np.arange(n), 2), np.repeat([0, 1], n)
        turned = np.where(flip[:, None], turn[:, None] - turn, turn - turn[:, None]) % max(n, 1)
        return np.asarray(turned + n * (flip[:, None] ^ flip))

    def generators(self, n: int | None = None) -> list[np.ndarray]:
        """List the rotation by one corner and the reflection."""
        size = self._size(n, MOST_POINTS)
        return [*Z.generators(self, n), np.arange(size)[::-1]] if size > 1 else []

    def random_element(self, generator: np.random.Generator, n: int | None = None) -> np.ndarray:
        """Draw an element uniformly: an integer array `[n]`."""
        rotation = Z.random_element(self, generator, n)
        return rotation[::-1] if generator.integers(2) else rotation

    def _fixed_points(self) -> list[tuple[int, int]]:
        assert self.n is not None
        half, odd = divmod(self.n, 2)  # the mirrors go through corners, one if n is odd, or through none
        return [*Z._fixed_points(self), *([(1, self.n)] if odd else [(2, half), (0, half)])]


def checked_polygon(group: object) -> Z:
    """Return a group that turns images, or raise `GroupError`."""
    if not isinstance(group, Z) or not group.n:
        raise GroupError(
            "this group does not turn images",
            got=repr(group),
            expected="Z(n) for n rotations, D(n) for n rotations and n reflections, n at least 1",
            step="write group=ek.D(4)",
        )
    return group


@functools.lru_cache(maxsize=128)
def _invariants(group: Z, order: int) -> np.ndarray:
    assert group.n is not None
    moves = [(element, np.ones(group.n, np.int64)) for element in group.generators()]
    tensors = orbit_tensors(str(group), group.n, moves, order)
    tensors.setflags(write=False)  # one array serves all who ask
    return tensors
