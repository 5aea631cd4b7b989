"""All elements of a finite group, from its generators."""

from __future__ import annotations

import bisect
import functools

import numpy as np

from equikit._errors import GroupError, TooLargeError
from equikit.groups import Group, H, MatrixGroup, S

SAME = 1e-9
"""Matrices whose entries differ by less than this, relative to the largest, are one element."""

LARGEST = 1e8
"""Entries above this tell a group that is not finite, before they overflow."""


def is_finite(group: Group) -> bool:
    """Whether a group may have finitely many elements: permutations, signed or not, or matrices without Lie algebra."""
    return isinstance(group, S | H) or (isinstance(group, MatrixGroup) and not group.algebra)


@functools.lru_cache(maxsize=64)
def all_elements(group: Group, n: int, most: int) -> np.ndarray:
    """Every element of a finite group once: integers `[count, n]` for permutations, else matrices `[count, n, n]`.

    The closure of the generators under multiplication, breadth first, the identity first. Matrices of floating-point
    numbers are compared to a tolerance.

    Raises:
        TooLargeError: if there are more than `most`; an infinite group has more than any number.

    Cost: one product for each element and generator.
    """
    letters = group.generators(None if group.n is not None else n)
    permutations = isinstance(group, S)
    if not permutations:
        letters = [group.matrix(letter) for letter in letters]
    one = np.arange(n) if permutations else np.eye(n, dtype=np.result_type(np.int64, *letters))
    seen, found, edge = _Seen(permutations, n), [one], [one]
    seen.add(one)
    while edge:
        products = (letter[old] if permutations else letter @ old for old in edge for letter in letters)
        edge = [element for element in products if seen.add(element)]
        found += edge
        if len(found) > most:
            raise TooLargeError(
                f"{group} has too many elements to list",
                got=f"more than {most}" + (f" on an axis of size {n}" if group.n is None else ""),
                expected=f"at most {most}, which is max_size",
                step="draw some of them, samples=64, or allow more, max_size=",
            )
        if edge and not permutations and np.max(np.abs(edge), initial=0) > LARGEST:
            raise GroupError(
                f"{group} is not finite",
                got=f"products of its generators with entries above {LARGEST:.0e}",
                expected="matrices that generate a finite group",
                step="give generators of finite order, or name another method",
            )
    elements = np.stack(found)
    elements.setflags(write=False)  # one array serves all who ask
    return elements


class _Seen:
    """The elements found so far: permutations by their entries, matrices by a projection, and then all entries."""

    def __init__(self, permutations: bool, n: int) -> None:
        self.direction = None if permutations else np.random.default_rng(0).normal(size=(n, n))
        self.exact: set[bytes] = set()
        self.sorted: list[tuple[float, int]] = []
        self.matrices: list[np.ndarray] = []

    def add(self, element: np.ndarray) -> bool:
        """Whether an element is new."""
        if self.direction is None:
            before = len(self.exact)
            self.exact.add(element.tobytes())
            return len(self.exact) > before
        size = max(1.0, float(np.max(np.abs(element), initial=0)))
        value = float(np.sum(self.direction * element.real))
        margin = SAME * size * (1 + float(np.sum(np.abs(self.direction))))
        start = bisect.bisect_left(self.sorted, (value - margin, -1))
        for other, index in self.sorted[start:]:
            if other > value + margin:
                break
            if np.max(np.abs(self.matrices[index] - element), initial=0) < SAME * size:
                return False
        bisect.insort(self.sorted, (value, len(self.matrices)))
        self.matrices.append(element)
        return True
