"""All elements of a finite group, as arrays that act on an axis."""

from __future__ import annotations

import functools
import math

import numpy as np

from equikit._errors import GroupError, TooLargeError
from equikit.groups import A, D, Group, H, MatrixGroup, S, Z

MOST = 1024
"""The most elements of a group that are listed."""


def order(group: Group, n: int) -> int | None:
    """The number of elements on an axis of n entries; `None` where only listing them tells."""
    if isinstance(group, D):
        return 2 * n if n > 2 else max(n, 1)  # on one or two corners, reflections are rotations
    if isinstance(group, Z):
        return max(n, 1)
    if isinstance(group, A):
        return max(math.factorial(n) // 2, 1)
    if isinstance(group, S):
        return math.factorial(n)
    return 2**n * math.factorial(n) if isinstance(group, H) else None


@functools.lru_cache(maxsize=64)
def elements(group: Group, n: int) -> np.ndarray:
    """All elements of a finite group on an axis of n entries, the identity first.

    Args:
        group: S, A, Z, D, H, or a MatrixGroup without Lie algebra.
        n: the size of the axis.

    Returns:
        Permutations, integers `[elements, n]`, or matrices in float64 or complex128 `[elements, n, n]`.

    Raises:
        GroupError: if the group is not finite by its kind.
        TooLargeError: if it has more elements than are listed.
    """
    if not isinstance(group, S | H | MatrixGroup) or (isinstance(group, MatrixGroup) and group.algebra):
        raise GroupError(
            f"the elements of {group} cannot be listed",
            got=str(group),
            expected="a finite group: Z, D, S, A, H, or a MatrixGroup of generators alone",
            step="use EnergyDescent for O(n) and SO(n)",
        )
    known = order(group, n)
    if known is not None and known > MOST:
        raise _too_many(group, n, str(known))
    permutations = isinstance(group, S)
    letters = [element if permutations else group.matrix(element) for element in group.generators(n)]
    dtype = np.result_type(np.float64, *letters)
    start = np.arange(n) if permutations else np.eye(n, dtype=dtype)
    found, seen, place = [start], {_name(start)}, 0
    while place < len(found):  # breadth first: each element by as few products as there can be, and as few roundings
        for letter in letters:
            product = letter[found[place]] if permutations else letter @ found[place]
            name = _name(product)
            if name not in seen:
                seen.add(name)
                found.append(product)
        if len(found) > MOST:
            raise _too_many(group, n, f"more than {MOST}")
        place += 1
    listed = np.stack(found)
    listed.setflags(write=False)  # one array serves all who ask
    return listed


def _name(element: np.ndarray) -> bytes:
    """The same for elements that are equal up to rounding."""
    return (np.round(element, 6) + 0.0).tobytes()  # plus zero, since minus zero has bytes of its own


def _too_many(group: Group, n: int, count: str) -> TooLargeError:
    return TooLargeError(
        f"{group} has too many elements to list on an axis of {n} entries",
        got=f"{count} elements",
        expected=f"at most {MOST}",
        step="use a frame of ek.frames, or a smaller group",
    )
