"""The action of group elements on the terms of a signature, in double precision on the host."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from equikit.signatures import Signature, Term, base

Elements = Mapping[str, np.ndarray]
"""A group element for each label, without stars."""


def act(signature: Signature, term: Term, elements: Elements, array: Any) -> np.ndarray:
    """Apply one group element for each label to all axes of a term.

    Args:
        signature: the signature, with its groups.
        term: a term of the signature.
        elements: an element for each label of the signature on which a group acts; others are not used.
        array: `[*batch, *axes, channels]`, any array that NumPy can read.

    Returns:
        The moved array in float64, or in complex128 if the array is complex.

    Raises:
        GroupError: if a complex matrix acts on a real array.

    Cost: one product with a matrix, or one gather, for each axis.
    """
    moved = wide(array)
    start = moved.ndim - 1 - len(term.labels)
    for place in signature.acted(term):
        label = term.labels[place]
        moved = signature.groups[label].act(elements[base(label)], moved, start + place)
    for label in signature.odd(term):
        moved = moved * float(np.sign(np.linalg.det(elements[label])))
    return moved


def act_each(signature: Signature, term: Term, elements: Sequence[Elements], array: Any) -> np.ndarray:
    """Apply a separate element to each entry of the first axis, as `act` does."""
    moved = [act(signature, term, own, part) for own, part in zip(elements, wide(array), strict=True)]
    return np.stack(moved) if moved else wide(array)


def stretch(signature: Signature, term: Term, elements: Elements) -> float:
    """Return the largest factor by which elements enlarge the norm of a term; one if the groups keep norms."""
    factors = []
    for place in signature.acted(term):
        label = term.labels[place]
        group = signature.groups[label]
        if not group.keeps_norm:
            factors.append(float(np.linalg.norm(group.matrix(elements[base(label)]), 2)))
    return math.prod(factors)


def wide(array: Any) -> np.ndarray:
    """Return an array in float64, or in complex128 if it is complex."""
    given = np.asarray(array)
    return given.astype(np.complex128 if given.dtype.kind == "c" else np.float64)
