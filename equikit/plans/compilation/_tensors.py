"""Invariant tensors of groups without diagrams, as plans use them. No JAX."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from equikit.diagrams import permutation_sign, refuse_if_large
from equikit.groups import Form, Group

CONSTANT_BYTES = 64
"""Bytes counted for each entry of a constant tensor; the largest then has 2^26 entries."""


def joint_tensors(groups: tuple[tuple[Group, tuple[bool, ...], int], ...]) -> np.ndarray:
    """Return the joint invariant tensors of several groups, `[choices, rows, columns]`.

    Args:
        groups: each group, which of its axes carry the dual, and how many of them are rows.

    Raises:
        TooLargeError: if they have too many entries.
    """
    result = np.ones((1, 1, 1), np.int64)
    for group, stars, above in groups:
        assert group.n is not None
        tensors = group.invariants(stars)
        refuse_if_large(f"the invariant tensors of {group}", result.size * tensors.size, CONSTANT_BYTES)
        if result.dtype.kind == tensors.dtype.kind == "i":  # products may overflow 64 bits, and are cast anyway
            result = result.astype(np.float64) if abs(result).max(initial=1) > 1 else result
        result = np.kron(result, tensors.reshape(len(tensors), group.n**above, group.n ** (len(stars) - above)))
    return result


def is_disjoint(tensors: np.ndarray) -> bool:
    """Whether tensors have disjoint supports and entries ±1, so that their weighted sum is a lookup of the weights."""
    whole = len(tensors) > 0 and tensors.dtype.kind == "i" and abs(tensors).max(initial=0) == 1
    return bool(whole and (tensors != 0).sum(0).max() <= 1)


def levi_civita_tensor(n: int, axes: int, legs: int, lowered: Iterable[int], form: Form | None) -> np.ndarray:
    """Return the Levi-Civita tensor `[n, ..., n]`, with some axes lowered by the metric.

    Args:
        n: the size of an axis.
        axes: the number of axes.
        legs: the number of legs; a missing leg is summed over.
        lowered: the axes to multiply by the metric.
        form: the metric, or `None` for the identity.

    Raises:
        TooLargeError: if it has too many entries.
    """
    refuse_if_large("the Levi-Civita tensor", n**axes, CONSTANT_BYTES)
    grid = np.indices((n,) * axes, sparse=True)
    tensor = np.array(permutation_sign(list(grid), legs))
    if form is not None:
        for axis in lowered:
            tensor = tensor * form.signs()[grid[axis]]
    return np.broadcast_to(tensor, (n,) * axes).astype(np.int8)
