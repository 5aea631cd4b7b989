"""All elements of a finite group, as arrays that act on an axis."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np

from equikit._errors import TooLargeError
from equikit.groups import Group
from equikit.signatures import base
from equikit.symmetrization.engine._action import Action
from equikit.symmetrization.engine._element import Array, Element, permutation_matrix


def listed(group: Group, n: int, most: int, step: str) -> np.ndarray:
    """List all elements, starting with the identity, as `Group.elements` does.

    Args:
        group: a finite group.
        n: the size of the axis.
        most: the largest number of elements that is allowed.
        step: the next step if there are more.

    Raises:
        TooLargeError: if there are more.
    """
    try:
        return group.elements(n, most=most)
    except TooLargeError as error:
        raise TooLargeError(error.problem, got=error.got, expected=error.expected, step=step) from None


def as_linear(group: Group, elements: Array, dtype: Any) -> Array:
    """Return elements of a group as in an `Element`: permutations as integers, or matrices of a dtype.

    Args:
        group: the group.
        elements: `[*batch, n]` for permutations, signed or not, or matrices `[*batch, n, n]`, NumPy or JAX arrays.
        dtype: of matrices.
    """
    # Without a dtype, JAX keeps NumPy constants of 64 bits after a program with double precision has used them.
    if group.elements_are == "matrices":
        return jnp.asarray(elements, dtype)
    elements = jnp.asarray(elements, jnp.int32)
    if group.elements_are == "permutations":
        return elements
    signs = jnp.expand_dims(jnp.sign(elements), -2).astype(dtype)
    return permutation_matrix(jnp.abs(elements) - 1, dtype) * signs


def elements_on(action: Action, label: str, n: int, dtype: Any, most: int, step: str) -> Element:
    """Return all elements of a label's finite group: integers for permutations, `dtype` or complex for matrices."""
    group = action.groups[label]
    dtype = jnp.promote_types(dtype, jnp.complex64) if group.is_complex else dtype
    return Element({label: as_linear(group, listed(group, n, most, step), dtype)})


def size_of(action: Action, label: str, x: Mapping[str, Array]) -> int:
    """Return the size of an axis, from inputs `[*batch, *axes, channels]` or from its group.

    Raises:
        OptionError: if neither has a size.
    """
    for term in action.inputs:
        for place, name in enumerate(term.labels, len(action.batch(term, x[term.name]))):
            if base(name) == label:
                return int(x[term.name].shape[place])
    size = action.groups[label].n
    step = f"bind {label} to {action.groups[label]}(5)"
    action.refuse_without(size is not None, f"the label {label!r}, whose size is unknown", step)
    assert size is not None, "as was checked"
    return size
