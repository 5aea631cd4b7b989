"""Sorting with ties: which entries no key tells apart, and the permutations that exchange them."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from equikit.symmetrization._element import Array


def ranks(columns: Array, tolerance: Array | float) -> Array:
    """For each column, the rank of every entry, equal where entries are joined by steps of at most the tolerance.

    Args:
        columns: `[n, keys]`.
        tolerance: differences up to this are rounding.

    Returns:
        Integers `[n, keys]`. They depend on the set of values alone: a permutation of the entries permutes them.
    """
    order = jnp.argsort(columns, axis=0)
    ordered = jnp.take_along_axis(columns, order, axis=0)
    steps = jnp.concatenate([jnp.zeros_like(ordered[:1], bool), jnp.diff(ordered, axis=0) > tolerance])
    numbers = jnp.cumsum(steps, axis=0)
    return jnp.take_along_axis(numbers, jnp.argsort(order, axis=0), axis=0)


def lexicographic(keys: Array) -> tuple[Array, Array]:
    """The order of entries by their keys, the first column first, and the block of each place.

    Args:
        keys: integers `[n, keys]`.

    Returns:
        `order [n]`, so that `keys[order]` is sorted, and block numbers `[n]` of the sorted entries, ascending, equal
        where all keys are.
    """
    count, width = keys.shape
    order = jnp.lexsort(tuple(keys[:, i] for i in reversed(range(width)))) if width else jnp.arange(count)
    ordered = keys[order]
    new = jnp.any(jnp.diff(ordered, axis=0) != 0, axis=1)
    return order, jnp.concatenate([jnp.zeros((min(count, 1),), jnp.int32), jnp.cumsum(new).astype(jnp.int32)])


def choices(blocks: Array) -> Array:
    """How many entries of its block stand at a place or behind it, `[n]`; their product counts permutations."""
    count = blocks.shape[0]
    behind = (blocks[None, :] == blocks[:, None]) & (jnp.arange(count)[None, :] >= jnp.arange(count)[:, None])
    return jnp.sum(behind, axis=1)


def log_size(blocks: Array) -> Array:
    """The logarithm of the number of permutations that leave every block in its places."""
    return jnp.sum(jnp.log(choices(blocks).astype(jnp.float32)))


def listed(blocks: Array, count: int) -> Array:
    """The first `count` of the permutations that leave every block in its places, `[count, n]`; then they repeat.

    Digits of a number in the mixed radix of the choices say which entry of the rest of its block each place gets.
    """
    radix = choices(blocks)

    def one(number: Array) -> Array:
        def place(i: Array, carried: tuple[Array, Array]) -> tuple[Array, Array]:
            order, rest = carried
            other = i + rest % radix[i]
            return order.at[i].set(order[other]).at[other].set(order[i]), rest // radix[i]

        start = jnp.arange(blocks.shape[0]), number
        return jax.lax.fori_loop(0, blocks.shape[0], place, start)[0]

    return jax.vmap(one)(jnp.arange(count))


def drawn(key: jax.Array, blocks: Array) -> Array:
    """A permutation that leaves every block in its places, drawn uniformly, `[n]`."""
    return jnp.lexsort((jax.random.uniform(key, blocks.shape), blocks))
