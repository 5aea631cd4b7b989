"""Softmax over keys and the weighted sum of values, at once or in blocks that never form all scores."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

MOST_SCORES = 1 << 21
"""The most scores, of all samples and heads together, that are formed at once: 8 MiB in float32.

On a CPU more scores are faster in blocks: from 2^22 to 2^24 scores, value and gradient together two to eight times.
"""

TILE = 1 << 18
"""The most scores in a block: 1 MiB in float32, so that a block stays in the cache of a core."""

LEAST_BLOCK = 64
"""The smallest block that is chosen: in smaller ones, the loop takes longer than the products."""


class Keys(NamedTuple):
    """What queries look at.

    Attributes:
        rows: keys `[batch, heads, m, numbers]`.
        values: `[batch, heads, m, numbers of a value]`.
        present: `[batch, m]`, or `None` if all keys are present.
    """

    rows: jax.Array
    values: jax.Array
    present: jax.Array | None


class Pairs(NamedTuple):
    """What is known about each pair of a query and a key.

    Attributes:
        features: invariants `[batch, n, m, channels]`, or `None`.
        kernel: their contributions to the scores, `[channels, heads]`, or `None`.
        seen: `[batch, n, m]`: which keys a query sees, or `None` for all.
    """

    features: jax.Array | None
    kernel: jax.Array | None
    seen: jax.Array | None


class Weighted(NamedTuple):
    """What the blocks of keys seen so far add up to.

    Attributes:
        most: the largest score of a query, `[batch, heads, n]`; minus infinity before any key.
        total: the sum of exp(score - most).
        values: the sum of exp(score - most) times the values, `[batch, heads, n, numbers]`.
    """

    most: jax.Array
    total: jax.Array
    values: jax.Array


Drop = Callable[[jax.Array, Any], jax.Array]
"""Dropout of weights: a function of the weights and the number of the block."""


def chosen_block(block_size: int | None, lines: Any, n: Any, m: Any) -> int | None:
    """Return the number of queries and of keys in a block, or `None` for a single block.

    Args:
        block_size: the option of the layer.
        lines: the number of samples times the number of heads.
        n, m: the numbers of queries and keys; sizes may be symbolic in `jax.export`, then there is a single block.
    """
    if not all(isinstance(size, int) for size in (lines, n, m)) or not lines * n * m:
        return None
    if block_size is None:
        if lines * n * m <= MOST_SCORES:
            return None
        side = math.isqrt(max(TILE // lines, 1))
        block_size = max(LEAST_BLOCK, 1 << (side.bit_length() - 1))
    return block_size if block_size < max(n, m) else None


def attended(
    queries: jax.Array, keys: Keys, pairs: Pairs, block: int | None, drop: Drop | None, precision: lax.PrecisionLike
) -> tuple[jax.Array, jax.Array]:
    r"""Return \(\sum_j a_{ij} v_j\), where \(a_{ij}\) is the softmax of \(q_i \cdot k_j\) over the keys that i sees.

    Scores, weights and sums are computed in float32 or wider. NaN or an infinity in a key gives
    NaN to the queries that see it.

    Args:
        queries: `[batch, heads, n, numbers]`, already scaled.
        keys, pairs: keys, values, and what is known about pairs.
        block: the number of queries and of keys in a block; `None` for a single block.
        drop: dropout of the weights.
        precision: as in `jax.lax.dot_general`.

    Returns:
        `[batch, heads, n, numbers]` in the wide dtype, zero for a query that sees no key; and `[batch, n]`, whether it
        sees one.
    """
    step = functools.partial(_added, drop=drop, precision=precision)
    if block is None:
        return _divided(step(_nothing(queries, keys), queries, keys, pairs, 0))
    n, m = queries.shape[2], keys.rows.shape[2]
    wide, deep = -(-n // block), -(-m // block)
    height, width = -(-n // wide), -(-m // deep)  # blocks of nearly equal sizes need the least padding
    if keys.present is None and deep * width > m:
        keys = keys._replace(present=jnp.ones((keys.rows.shape[0], m), bool))
    columns = Keys(*(_blocks(x, axis, deep, width) for x, axis in zip(keys, (2, 2, 1), strict=True)))

    @jax.checkpoint
    def of_queries(rows: tuple[jax.Array, jax.Array | None, jax.Array | None, jax.Array]) -> Any:
        own, features, seen, number = rows

        @jax.checkpoint
        def of_keys(found: Weighted, column: Any) -> tuple[Weighted, None]:
            here, features, seen, place = column
            return step(found, own, here, Pairs(features, pairs.kernel, seen), number * deep + place), None

        parts = columns, *(_blocks(x, 2, deep, width) for x in (features, seen)), jnp.arange(deep)
        return _divided(lax.scan(of_keys, _nothing(own, keys), parts)[0])

    rows = _blocks(queries, 2, wide, height), *(_blocks(x, 1, wide, height) for x in (pairs.features, pairs.seen))
    found, seen = lax.map(of_queries, (*rows, jnp.arange(wide)))
    return _joined(found, 2, n), _joined(seen, 1, n)


def _nothing(queries: jax.Array, keys: Keys) -> Weighted:
    """Return the sums before any key."""
    wide, shape = jnp.promote_types(queries.dtype, jnp.float32), queries.shape[:3]
    real = np.zeros((), wide).real.dtype
    values = jnp.zeros((*shape, keys.values.shape[-1]), jnp.promote_types(keys.values.dtype, jnp.float32))
    return Weighted(jnp.full(shape, -jnp.inf, real), jnp.zeros(shape, real), values)


def _added(
    found: Weighted,
    queries: jax.Array,
    keys: Keys,
    pairs: Pairs,
    number: Any,
    *,
    drop: Drop | None,
    precision: lax.PrecisionLike,
) -> Weighted:
    """Return the sums with a block of keys added: the sums so far are scaled to the new largest score."""
    product = functools.partial(jnp.einsum, precision=precision)
    broken = None
    if pairs.seen is not None:  # zero times NaN is NaN, so that a key would reach queries that do not see it
        broken = ~jnp.all(jnp.isfinite(keys.rows), -1) | ~jnp.all(jnp.isfinite(keys.values), -1)
        rows, values = (jnp.where(broken[..., None], jnp.zeros((), x.dtype), x) for x in keys[:2])
        keys = keys._replace(rows=rows, values=values)
    wide = jnp.promote_types(queries.dtype, jnp.float32)
    scores = product("bhqf,bhkf->bhqk", queries, keys.rows, preferred_element_type=wide).real
    if pairs.features is not None:
        scores += product("bqkc,ch->bhqk", pairs.features, pairs.kernel, preferred_element_type=wide).real
    if broken is not None:
        scores = jnp.where(broken[:, :, None], jnp.nan, scores)
    for seen in (
        None if pairs.seen is None else pairs.seen[:, None],
        None if keys.present is None else keys.present[:, None, None],
    ):
        scores = scores if seen is None else jnp.where(seen, scores, -jnp.inf)
    # Subtracting a number from all scores does not change the weights, so its derivative is not needed.
    most = lax.stop_gradient(jnp.maximum(found.most, jnp.max(scores, -1, initial=-jnp.inf)))
    shift = jnp.where(most == -jnp.inf, 0, most)
    weights, before = jnp.exp(scores - shift[..., None]), jnp.exp(found.most - shift)
    kept = weights if drop is None else drop(weights, number)
    values = product(
        "bhqk,bhkf->bhqf", kept.astype(keys.values.dtype), keys.values, preferred_element_type=found.values.dtype
    )
    return Weighted(most, found.total * before + jnp.sum(weights, -1), found.values * before[..., None] + values)


def _divided(found: Weighted) -> tuple[jax.Array, jax.Array]:
    """Return the means, and which queries see a key."""
    seen = found.total != 0  # the key with the largest score adds one, or NaN
    return found.values / jnp.where(seen, found.total, 1)[..., None], seen[:, 0]


def _blocks(x: Any, axis: int, count: int, size: int) -> Any:
    """Split an axis into blocks, along a new first axis; the last one is padded with zeros. `None` stays."""
    if x is None:
        return None
    padding = [(0, count * size - x.shape[axis] if i == axis else 0) for i in range(x.ndim)]
    x = jnp.pad(x, padding) if count * size > x.shape[axis] else x
    return jnp.moveaxis(x.reshape(*x.shape[:axis], count, size, *x.shape[axis + 1 :]), axis, 0)


def _joined(x: jax.Array, axis: int, size: int) -> jax.Array:
    """Undo `_blocks`."""
    x = jnp.moveaxis(x, 0, axis)
    x = x.reshape(*x.shape[:axis], -1, *x.shape[axis + 2 :])
    return lax.slice_in_dim(x, 0, size, axis=axis)
