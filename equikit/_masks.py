"""Masks: which entries of an array are present."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import jax
import jax.numpy as jnp


def present(labels: Sequence[str], masks: Mapping[str, jax.Array], ndim: int, batch: int = 0) -> jax.Array:
    """Return which entries of an array are present: booleans that broadcast to it, or weights where masks are weights.

    Args:
        labels: the labels of its axes, after the batch.
        masks: for each label `[*batch, n]`.
        ndim: the number of axes of the array, batch included.
        batch: the number of batch axes.
    """
    found: jax.Array | None = None
    for axis, label in enumerate(labels, batch):
        if label in masks:
            mask = jnp.expand_dims(masks[label], [i for i in range(batch, ndim) if i != axis])
            found = mask if found is None else _both(found, mask)
    return jnp.ones((1,) * ndim, bool) if found is None else found


def _both(one: jax.Array, two: jax.Array) -> jax.Array:
    return one & two if one.dtype == two.dtype == bool else one * two


def masked(x: jax.Array, labels: Sequence[str], masks: Mapping[str, jax.Array], batch: int = 0) -> jax.Array:
    """Set absent entries to zero, whatever they hold, NaN included."""
    if not any(label in masks for label in labels):
        return x
    keep = present(labels, masks, x.ndim, batch)
    return jnp.where(keep if keep.dtype == bool else keep != 0, x, jnp.zeros((), x.dtype))
