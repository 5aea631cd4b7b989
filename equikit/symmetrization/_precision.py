"""How precise the numbers of an input are, and from when on they count as equal."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from equikit.diagrams import Term
from equikit.symmetrization._action import Action
from equikit.symmetrization._element import Array, coarsest, rounding
from equikit.symmetrization._masks import present

FAR = " rounding errors of positions"
"""Under which name they join inputs that have been centered; with the space in front no term can have it."""


def of_positions(action: Action, x: Mapping[str, Array], masks: Mapping[str, Array], batch: int) -> dict[str, Array]:
    """The rounding errors of positions as they were given, `[*batch]`: far from the origin they are large."""

    def one(x: Mapping[str, Array], masks: Mapping[str, Array]) -> Array:
        found = jnp.zeros((), jnp.float32)
        for term in action.inputs:
            if action.translation(term) is not None:
                array = jnp.where(present(term, masks, x[term.name].ndim) != 0, x[term.name], 0)
                largest = jnp.max(jnp.abs(jax.lax.stop_gradient(array)), initial=0).astype(jnp.float32)
                found = jnp.maximum(found, rounding(array.dtype) * largest)
        return found

    run: Any = one
    for _ in range(batch):
        run = jax.vmap(run)
    return {FAR: run({term.name: x[term.name] for term in action.inputs}, dict(masks))} if action.translated else {}


def error_of(action: Action, terms: Sequence[Term], x: Mapping[str, Array], size: Array) -> Array | float:
    """The rounding error of the numbers of some terms of one sample, relative to their size.

    That of their dtype, and where positions have been centered that which they had before.
    """
    least = rounding(coarsest(x[term.name] for term in terms))
    if FAR not in x or all(action.translation(term) is None for term in terms):
        return least
    return jnp.maximum(least, x[FAR] / jnp.where(size > 0, size, jnp.inf))


def tolerance_for(tolerance: float | None, error: Array | float) -> Array | float:
    """Differences, relative to the largest number, below which two count as one: the root of the rounding error."""
    if tolerance is not None:
        return tolerance
    return math.sqrt(error) if isinstance(error, float) else jnp.sqrt(error)
