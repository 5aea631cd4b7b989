"""Move parameters along the orbit of their exact continuous symmetries, with coordinates in the Lie algebra."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from equikit import _checks
from equikit.weightspace.specifications._leaves import checked_leaves
from equikit.weightspace.specifications._linear_action import LinearAction
from equikit.weightspace.specifications._scaling import Scaling
from equikit.weightspace.specifications._specification import Specification

Tangent = list[jax.Array]
"""Lie algebra coordinates of each continuous action: `[n]` for scales, `[n, n]` or `[m, n, n]` for linear groups."""


def continuous_actions(spec: Specification) -> tuple[Scaling | LinearAction, ...]:
    """Return the continuous symmetries, without scales that are diagonal matrices in a linear group.

    Raises:
        OptionError: if the specification has no continuous symmetries.
    """
    linear = {action.label for action in spec.linear_actions}
    scales: list[Scaling | LinearAction] = [
        one for one in spec.scalings if one.kind == "positive" and one.label not in linear
    ]
    found = (*scales, *spec.linear_actions)
    step = "print(spec.scalings, spec.linear_actions), or train without teleport"
    _checks.some("positive scales and linear actions", found, got="a specification without them", step=step)
    return found


def origin(spec: Specification, dtype: Any) -> Tangent:
    """Return the coordinates of the identity element, which are zero."""
    shapes = [
        (spec.sizes[action.label],) if isinstance(action, Scaling) else action.shape(spec.sizes)
        for action in continuous_actions(spec)
    ]
    return [jnp.zeros(shape, dtype) for shape in shapes]


def moved(spec: Specification, tangent: Tangent, params: Any) -> Any:
    r"""Apply a group element: \(e^t\) for scales, \((1 - T/2)^{-1} (1 + T/2)\) for a linear group.

    The latter is the Cayley transform of T. Its derivative at zero is the identity, as for the exponential, and its
    inverse is the Cayley transform of -T. Both exist if the Frobenius norm of T is less than 2.
    """
    given = checked_leaves(spec.leaves, params)
    arrays = {name: jnp.asarray(array) for name, array in given.items()}
    for action, t in zip(continuous_actions(spec), tangent, strict=True):
        one = jnp.eye(t.shape[-1], dtype=t.dtype)
        if isinstance(action, LinearAction):
            up = jnp.linalg.solve(one - t / 2, one + t / 2)
            down = jnp.linalg.solve(one + t / 2, one - t / 2).swapaxes(-1, -2)
        for leaf in spec.leaves:
            array = arrays[leaf.name]
            if isinstance(action, Scaling):
                for factor in action.factors(leaf, jnp.exp(t)):
                    array = array * factor.astype(array.dtype)
            else:
                array = action.apply(leaf, array, _times(up), _times(down))
            arrays[leaf.name] = array
    return jax.tree.unflatten(jax.tree.structure(params), list(arrays.values()))


def _times(matrix: jax.Array) -> Any:
    return lambda array: jnp.matmul(matrix, array, precision="highest").astype(array.dtype)
