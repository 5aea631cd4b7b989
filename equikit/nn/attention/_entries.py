"""Attention of queries to the keys that a support lists: scores, softmax and sums on its entries only."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from equikit.nn.attention._softmax import Drop, Keys, Pairs
from equikit.plans import is_own, spread_rows, sum_rows, taken
from equikit.supports import Level, Support


def attended_entries(
    queries: jax.Array, keys: Keys, pairs: Pairs, support: Support, drop: Drop | None
) -> tuple[jax.Array, jax.Array]:
    """Return what `attended` returns, where query i sees key j if (i, j) is an entry of the support.

    Args:
        queries: `[batch, heads, n, numbers]`, already scaled.
        keys: keys and values.
        pairs: features of the entries, `[batch, entries, channels]`, and their contributions to the scores.
        support: the support.
        drop: dropout of the weights.

    Cost: time and memory the number of entries times the numbers in a key and a value.
    """
    level, (batch, heads, count, _) = support.levels[2], queries.shape
    wide = jnp.promote_types(queries.dtype, jnp.float32)
    rows, columns = level.drop[1], is_own(support, level)[:, None, None]
    scores = jnp.sum(_ends(queries, level, 1).astype(wide) * _ends(keys.rows, level, 0).astype(wide), -1).real
    if pairs.features is not None:
        features = jnp.moveaxis(pairs.features, 0, 1)
        features = features if level.own is None else taken(features, level.own)
        features = jnp.where(columns, features, jnp.zeros((), features.dtype))
        scores += jnp.einsum("rbc,ch->rbh", features, pairs.kernel, preferred_element_type=wide).real
    scores = jnp.where(columns, scores, -jnp.inf)
    # Subtracting a number from all scores of a query does not change the weights, so its derivative is not needed.
    lowest = jnp.full((count, batch, heads), -jnp.inf, scores.dtype)
    most = lowest.at[rows].max(lax.stop_gradient(scores), mode="drop")
    shift = jnp.where(most == -jnp.inf, 0, most)
    weights = jnp.exp(scores - taken(shift, rows))
    total = _sums(weights[..., None], level, count)
    kept = weights if drop is None else drop(weights, 0)
    values = _ends(keys.values, level, 0)
    found = _sums(kept[..., None] * values.astype(jnp.promote_types(values.dtype, jnp.float32)), level, count)
    seen = total != 0  # the key with the largest score adds one, or NaN
    return found / jnp.where(seen, total, 1), seen[:, 0, :, 0]


def _ends(x: jax.Array, level: Level, place: int) -> jax.Array:
    """Return rows of nodes `[batch, heads, n, numbers]` for each entry: `[entries, batch, heads, numbers]`.

    `place` is the position that is left out: 1 for the first node of an entry, 0 for the second.
    """
    moved = jnp.moveaxis(x, 2, 0)
    flat = spread_rows(moved.reshape(moved.shape[0], math.prod(moved.shape[1:])), level, place)
    return flat.reshape(level.count, *moved.shape[1:])


def _sums(x: jax.Array, level: Level, count: int) -> jax.Array:
    """Return the sums over the entries of each first node, in single precision or wider: the inverse of `_ends`."""
    flat: Any = sum_rows(x.reshape(x.shape[0], math.prod(x.shape[1:])), level, 1, count)
    return jnp.moveaxis(flat.reshape(count, *x.shape[1:]), 0, 2)
