"""Which entries of an array are there."""

from __future__ import annotations

from collections.abc import Mapping

import jax.numpy as jnp

from equikit.signatures import Term
from equikit.symmetrization.engine._element import Array


def present(term: Term, masks: Mapping[str, Array], ndim: int) -> Array:
    """Which entries of an array of one sample are there, booleans that broadcast to it; weights where masks are."""
    there = jnp.ones((1,) * ndim, bool)
    for place, label in enumerate(term.labels):
        if label in masks:
            mask = jnp.expand_dims(masks[label], [i for i in range(ndim) if i != place])
            there = there & mask if there.dtype == mask.dtype == bool else there * mask
    return there


def weighted(array: Array, there: Array) -> Array:
    """Entries that are there, times their weight where there are weights; the others are zero, whatever they were."""
    kept = jnp.where(there != 0, array, 0)
    return kept if there.dtype == bool else kept * there.astype(jnp.promote_types(there.dtype, array.dtype))
