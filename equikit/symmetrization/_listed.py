"""All elements of a finite group, as arrays that act on an axis."""

from __future__ import annotations

import functools

import numpy as np

from equikit._errors import TooLargeError
from equikit.groups import Group, S


@functools.lru_cache(maxsize=64)
def listed(group: Group, n: int, most: int, step: str) -> np.ndarray:
    """List all elements, the identity first: permutations `[elements, n]`, or matrices `[elements, n, n]`.

    Args:
        group: a finite group.
        n: the size of the axis.
        most: the largest number of elements that is allowed.
        step: the next step if there are more.

    Raises:
        TooLargeError: if there are more.
    """
    try:
        elements = group.elements(n, most=most)
    except TooLargeError as error:
        raise TooLargeError(error.problem, got=error.got, expected=error.expected, step=step) from None
    if isinstance(group, S) or elements.ndim == 3:
        return elements
    matrices = np.stack([group.matrix(element) for element in elements])
    matrices.setflags(write=False)  # one array serves all who ask
    return matrices
