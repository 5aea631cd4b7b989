r"""The irreducible representations of the symmetric group: dimension, characters, Young's orthogonal form."""

from __future__ import annotations

import functools
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from equikit import _checks
from equikit._errors import GroupError
from equikit.groups._branching import Shape
from equikit.groups._group import MOST_COUNTED
from equikit.groups.families._permutations import checked_permutation
from equikit.groups.families._symmetric import S
from equikit.groups.representations._partitions import (
    checked_partition,
    dimension,
    partitions,
    tableaux,
    without_rim_hooks,
)

MOST_LISTED = 45
"""The largest number of points for which all irreps are listed: S(45) has 89,134, which take a second."""

MOST_TABULATED = 18
"""The largest number of points for which all characters are listed, which takes ten seconds."""

MOST_INSIDE = 1_000_000
"""The largest number of partitions inside of a shape for which characters are computed, which takes seconds."""

MOST_ENTRIES = 2**26
"""The largest number of entries in all matrices of adjacent transpositions, which take 0.5 GB."""


@dataclass(frozen=True, slots=True)
class Irrep:
    r"""An irreducible representation of \(S_n\), named by a partition \(\lambda\) of n.

    All are real. (n,) is the trivial one, (1, ..., 1) the sign, and (n - 1, 1) the permutations of n points without
    their fixed vector.

    Args:
        shape: the partition, positive integers in descending order.

    Attributes:
        shape: the partition.

    Raises:
        GroupError: if `shape` is not a partition.
        TooLargeError: if it has more than 10,000 boxes.

    Example:
        >>> standard = Irrep((3, 1))
        >>> standard.n, standard.dim, standard.character((2, 1, 1))
        (4, 3, 1)
        >>> standard.matrix([1, 0, 2, 3]).round(3).tolist()
        [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, -1.0]]

    Source:
        James and Kerber, The Representation Theory of the Symmetric Group, chapters 2 and 3.
    """

    shape: Shape

    def __post_init__(self) -> None:
        object.__setattr__(self, "shape", checked_partition("shape=", self.shape))
        step = "use a smaller partition"
        _checks.refuse_if_more("dimensions would have too many digits", self.n, MOST_COUNTED, "points", step)

    @property
    def n(self) -> int:
        """The number of points that are permuted."""
        return sum(self.shape)

    @property
    def dim(self) -> int:
        r"""The dimension, by the hook length formula: n! over the product of all hook lengths.

        Example:
            >>> Irrep((4, 2, 1)).dim
            35

        Source:
            Frame, Robinson and Thrall, The hook graphs of the symmetric group, 1954.
        """
        return dimension(self.shape)

    def character(self, cycles: Sequence[int]) -> int:
        r"""Return the trace of the matrices of the elements with a cycle type, by the Murnaghan–Nakayama rule.

        \(\chi^\lambda(\mu) = \sum_h (-1)^{\mathrm{height}(h)} \chi^{\lambda - h}(\mu_2, \mu_3, \dots)\), where h runs
        over the rim hooks of length \(\mu_1\). Fixed points, which come last, are counted by the hook length formula.

        Args:
            cycles: the lengths of all cycles in descending order, as `cycle_type` returns them.

        Returns:
            An exact integer.

        Raises:
            GroupError: if `cycles` is not a partition of n.
            TooLargeError: if there are too many partitions inside of the shape.

        Cost: at most one step for each cycle and each partition inside of the shape.

        Example:
            >>> [Irrep((2, 2)).character(cycles) for cycles in [(1, 1, 1, 1), (2, 1, 1), (2, 2), (3, 1), (4,)]]
            [2, 0, 2, -1, 0]

        Source:
            Nakayama, On some modular properties of irreducible representations of a symmetric group, 1940.
        """
        lengths = checked_partition("the cycle type", cycles)
        if sum(lengths) != self.n:
            raise GroupError(
                "the cycle type does not fit the representation",
                got=f"cycles of {sum(lengths)} points, {lengths}",
                expected=f"a partition of {self.n}, as {self.shape} is",
                step="list fixed points too, as cycles of length one",
            )
        most = math.comb(len(self.shape) + max(self.shape, default=0), len(self.shape))
        step = "use a shape with fewer rows or fewer columns"
        _checks.refuse_if_more("there are too many partitions inside of the shape", most, MOST_INSIDE, "of them", step)
        found = Counter({self.shape: 1})
        for length in lengths:
            if length > 1:
                before, found = found, Counter()
                for shape, coefficient in before.items():
                    for rest, sign in without_rim_hooks(shape, length):
                        found[rest] += sign * coefficient
        return sum(coefficient * dimension(shape) for shape, coefficient in found.items())

    def transpositions(self) -> np.ndarray:
        r"""Return the matrices of the adjacent transpositions (0 1), (1 2), ... in Young's orthogonal form.

        The basis consists of the standard tableaux. With the axial distance r of the entries i and i + 1, the content
        (column minus row) of i + 1 minus the content of i, the transposition maps a tableau T to
        \(\tfrac1r T + \sqrt{1 - 1/r^2}\, T'\), where T' is T with both entries exchanged.

        Returns:
            float64 `[n - 1, dim, dim]`.

        Raises:
            TooLargeError: if there are too many entries.

        Cost: the entries of the matrices. They are computed once.

        Example:
            >>> Irrep((2, 1)).transpositions().round(3).tolist()
            [[[1.0, 0.0], [0.0, -1.0]], [[-0.5, 0.866], [0.866, 0.5]]]

        Source:
            Young, On quantitative substitutional analysis VI, 1932; James and Kerber, section 3.4.
        """
        entries = max(self.n - 1, 0) * self.dim**2
        step = "use a smaller n or a smaller representation; characters need no matrices"
        _checks.refuse_if_more("the matrices would not fit in memory", entries, MOST_ENTRIES, "entries", step)
        return _transpositions(self.shape)

    def matrix(self, element: np.ndarray | Sequence[int]) -> np.ndarray:
        r"""Return the orthogonal matrices of permutations, with \(\rho(g h) = \rho(g)\rho(h)\) for `g[h]`.

        Args:
            element: integer array `[*batch, n]`: point i moves to `element[..., i]`, as for the elements of `S(n)`.

        Returns:
            float64 `[*batch, dim, dim]`, exact up to rounding.

        Raises:
            GroupError: if an element is not a permutation of n points.
            TooLargeError: if the matrices of the transpositions have too many entries.

        Cost: a product of matrices for each pair of neighbors that a bubble sort exchanges, at most n(n - 1)/2.

        Example:
            >>> rotation = Irrep((2, 1)).matrix([1, 2, 0])
            >>> rotation.round(3).tolist()
            [[-0.5, 0.866], [-0.866, -0.5]]
            >>> Irrep((2, 1)).matrix(S(3).elements()).shape
            (6, 2, 2)
        """
        each = np.asarray(element)
        rows = each[None] if each.ndim < 2 else each.reshape(math.prod(each.shape[:-1]), each.shape[-1])
        permutations = [checked_permutation(row, self.n) for row in rows]
        swaps, size = self.transpositions(), self.dim
        found = [_product(row, swaps, size) for row in permutations]
        return np.array(found, np.float64).reshape(*each.shape[:-1], size, size)


def irreps(group: S) -> tuple[Irrep, ...]:
    r"""List the irreducible representations of a symmetric group, one for each partition of n.

    Args:
        group: `S(n)`.

    Returns:
        From the trivial representation (n,) to the sign (1, ..., 1), in descending lexicographic order.

    Raises:
        GroupError: if the group is not `S(n)` with a size.
        TooLargeError: if there are too many.

    Cost: one step for each.

    Example:
        >>> [irrep.shape for irrep in irreps(S(3))]
        [(3,), (2, 1), (1, 1, 1)]
        >>> sum(irrep.dim**2 for irrep in irreps(S(5)))
        120
    """
    n = _size(group)
    step = "use a smaller n, or name single ones by their partitions"
    _checks.refuse_if_more(f"{group} has too many irreps to list", n, MOST_LISTED, "points", step)
    return tuple(map(Irrep, partitions(n)))


def character_table(group: S) -> np.ndarray:
    r"""Return the characters of a symmetric group, exact.

    Args:
        group: `S(n)`.

    Returns:
        An object array of Python integers `[irreps, classes]`: rows as in `irreps(group)`, columns by cycle type in the
        same order of partitions, from one n-cycle to the identity.

    Raises:
        GroupError: if the group is not `S(n)` with a size.
        TooLargeError: if there are too many characters.

    Cost: a step for each entry and each partition inside of its shape; 0.1 s for S(12).

    Example:
        >>> character_table(S(3)).tolist()
        [[1, 1, 1], [-1, 0, 2], [1, -1, 1]]
    """
    step = "use a smaller n, or compute single characters by Irrep.character"
    _checks.refuse_if_more(f"{group} has too many characters to list", _size(group), MOST_TABULATED, "points", step)
    each = irreps(group)
    return np.array([[one.character(other.shape) for other in each] for one in each], dtype=object)


def cycle_type(element: np.ndarray | Sequence[int]) -> Shape:
    """Return the lengths of the cycles of a permutation in descending order, fixed points included.

    Args:
        element: integer array `[n]`: point i moves to `element[i]`.

    Raises:
        GroupError: if it is not a permutation.

    Example:
        >>> cycle_type([1, 2, 0, 3])
        (3, 1)
    """
    goes = checked_permutation(element, None).tolist()
    lengths, seen = [], set[int]()
    for start in range(len(goes)):
        point, length = start, 0
        while point not in seen:
            seen.add(point)
            point, length = goes[point], length + 1
        lengths += [length] if length else []
    return tuple(sorted(lengths, reverse=True))


def _size(group: object) -> int:
    if isinstance(group, S) and group.n is not None:
        return group.n
    raise GroupError(
        "irreps are known for symmetric groups with a size",
        got=_checks.shown(group),
        expected="S(n)",
        step="give a symmetric group with its number of points",
    )


@functools.lru_cache(maxsize=32)
def _transpositions(shape: Shape) -> np.ndarray:
    basis = tableaux(shape)
    place = {rows: index for index, rows in enumerate(basis)}
    n = sum(shape)
    found = np.zeros((max(n - 1, 0), len(basis), len(basis)))
    for rows, index in place.items():
        contents = [rows[:entry].count(row) - row for entry, row in enumerate(rows)]
        for entry in range(n - 1):
            distance = contents[entry + 1] - contents[entry]
            found[entry, index, index] = 1 / distance
            if abs(distance) > 1:  # otherwise both are in one row or one column
                swapped = (*rows[:entry], rows[entry + 1], rows[entry], *rows[entry + 2 :])
                found[entry, place[swapped], index] = math.sqrt(1 - 1 / distance**2)
    found.setflags(write=False)  # the cached array is shared
    return found


def _product(element: np.ndarray, swaps: np.ndarray, dim: int) -> np.ndarray:
    """Multiply the transpositions that sort a permutation: `g[s]` is g with the entries of s exchanged."""
    rest, found = element.tolist(), np.eye(dim)
    for end in range(len(rest) - 1, 0, -1):
        for i in range(end):
            if rest[i] > rest[i + 1]:
                rest[i], rest[i + 1] = rest[i + 1], rest[i]
                found = swaps[i] @ found
    return found
