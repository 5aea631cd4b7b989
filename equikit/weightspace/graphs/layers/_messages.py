"""Gather node features along edges, and aggregate edge features at nodes by sums, means and weighted means."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np


def looked_up(x: jax.Array, index: Any) -> jax.Array:
    """Gather rows of `x`, `[*batch, rows, c]`, by index: `[*batch, entries, c]`."""
    return x.at[..., index, :].get(mode="promise_in_bounds")


def sums(x: jax.Array, index: Any, rows: int, share: Any = None) -> jax.Array:
    """Sum entries `[*batch, entries, c]` by row, `[*batch, rows, c]`, in float32 or wider.

    If `share`, `[entries]`, is given, entries are multiplied by it first.
    """
    wide = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    if share is not None:
        wide = wide * jnp.asarray(share[:, None], wide.dtype)
    empty = jnp.zeros((*x.shape[:-2], rows, x.shape[-1]), wide.dtype)
    return empty.at[..., index, :].add(wide, mode="promise_in_bounds")


def shares(index: np.ndarray, kind: np.ndarray, rows: int) -> np.ndarray:
    """Return a factor for each entry; sums with these factors are means over kinds of means within each kind."""
    kinds = int(kind.max(initial=-1)) + 1
    pair = index.astype(np.int64) * kinds + kind
    _, inverse, counts = np.unique(pair, return_inverse=True, return_counts=True)
    met = np.bincount(np.unique(pair) // max(kinds, 1), minlength=rows)
    found: np.ndarray = 1.0 / (counts[inverse] * met[index])
    return found


def weighted(logits: jax.Array, values: jax.Array, index: Any, rows: int) -> jax.Array:
    """Average entries by row, weighted by the softmax of their logits.

    Args:
        logits: `[*batch, entries, heads]`.
        values: `[*batch, entries, heads, c]`.
        index: the row of every entry; every row needs at least one entry.
        rows: number of rows.

    Returns:
        `[*batch, rows, heads * c]`.
    """
    wide = logits.astype(jnp.promote_types(logits.dtype, jnp.float32))
    # Subtract the largest logit of every row, so that the exponential does not overflow.
    low = jnp.full((*wide.shape[:-2], rows, wide.shape[-1]), -jnp.inf, wide.dtype)
    top = low.at[..., index, :].max(jax.lax.stop_gradient(wide), mode="promise_in_bounds")
    weights = jnp.exp(wide - looked_up(top, index))
    total = sums(weights, index, rows)
    product = (weights[..., None] * values).reshape(*values.shape[:-2], values.shape[-2] * values.shape[-1])
    found = sums(product, index, rows).reshape(*total.shape, values.shape[-1]) / total[..., None]
    return found.reshape(*found.shape[:-2], values.shape[-2] * values.shape[-1]).astype(values.dtype)
