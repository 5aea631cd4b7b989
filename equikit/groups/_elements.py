"""List all elements of a finite group, as products of its generators."""

from __future__ import annotations

import bisect
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from equikit._errors import GroupError, TooLargeError

SAME = 1e-9
"""Relative tolerance: matrices whose entries differ by less than this are the same element."""

LARGEST = 10**8
"""A larger entry shows that a group is infinite, before products overflow."""


def closure(
    owner: str,
    identity: np.ndarray,
    generators: Sequence[np.ndarray],
    product: Callable[[np.ndarray, np.ndarray], np.ndarray],
    most: int,
) -> np.ndarray:
    """List all distinct products of generators, `[elements, ...]`, starting with the identity.

    Breadth-first search makes each element a product of as few generators as possible, which limits rounding errors.
    Integer arrays are compared exactly, others with a tolerance.

    Args:
        owner: the group, for errors.
        identity: the identity, in the dtype of the elements.
        generators: elements that generate the group.
        product: the product of two elements; the second acts first.
        most: the largest number of elements.

    Raises:
        TooLargeError: if there are more than `most` elements.
        GroupError: if entries grow without bound.

    Cost: one product for each element and generator.
    """
    known = _Exact() if identity.dtype.kind in "iu" else _Rounded(identity.shape)
    known.add(identity)
    found = edge = [identity]

    def products() -> Iterator[np.ndarray]:
        return (product(generator, element) for element in edge for generator in generators)

    while edge:
        edge = [element for element in products() if known.add(element)]
        found = found + edge
        if len(found) > most:
            raise too_many(owner, f"more than {most:,} elements", most)
        if edge and np.max(np.abs(edge), initial=0) > LARGEST:
            raise GroupError(
                f"{owner} is not finite",
                got=f"products of its generators with entries above {LARGEST:.0e}",
                expected="matrices that generate a finite group",
                step="give generators of finite order, or use another method",
            )
    return np.stack(found)


def too_many(owner: str, count: str, most: int) -> TooLargeError:
    """Return the error for a group with too many elements to list."""
    return TooLargeError(
        f"{owner} has too many elements to list",
        got=count,
        expected=f"at most {most:,}",
        step="use a smaller group, or a larger most=",
    )


class _Exact:
    """A set of arrays of integers."""

    def __init__(self) -> None:
        self.seen: set[bytes] = set()

    def add(self, element: np.ndarray) -> bool:
        """Add an element, and return whether it is new."""
        before = len(self.seen)
        self.seen.add(element.tobytes())
        return len(self.seen) > before


class _Rounded:
    """A set of matrices up to rounding: compares a projection first, then all entries."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.direction = np.random.default_rng(0).normal(size=shape)
        self.sorted: list[tuple[float, int]] = []
        self.matrices: list[np.ndarray] = []

    def add(self, element: np.ndarray) -> bool:
        """Add an element, and return whether it is new."""
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
