"""Sorting with ties: which entries no key tells apart, and the permutations that exchange them.

There are two ways. `ranks` and `lexicographic` rank all numbers of a key, and sort by several. `split` compares entries
only where keys before have left them tied: entries are held in *blocks*, integers `[n]` that start at zero and leave no
number out. Entries of a lower block come first, and those of one block are tied.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from equikit.symmetrization._element import Array


def together(count: int) -> Array:
    """All entries tied, `[n]`."""
    return jnp.zeros(count, jnp.int32)


def split(blocks: Array, column: Array, tolerance: Array | float) -> tuple[Array, Array]:
    """Split every block where its sorted entries differ by more than the tolerance.

    Args:
        blocks: integers `[n]`.
        column: numbers `[n]` by which entries of one block are compared.
        tolerance: smaller differences are rounding; entries are tied where steps up to this join them.

    Returns:
        The blocks, and the margin: how far the differences that were compared are from the tolerance, at the least.
        Both depend on pairs of block and number alone: a permutation of the entries permutes the blocks.
    """
    count = blocks.shape[0]
    before, ordered, order = jax.lax.sort((blocks, column, jnp.arange(count)), num_keys=2)
    steps = ordered[1:] - ordered[:-1]  # of integers without a sign too, since they ascend
    same = before[1:] == before[:-1]
    new = jnp.cumsum(~same | (steps > tolerance), dtype=jnp.int32)
    numbers = jnp.concatenate([jnp.zeros(min(count, 1), jnp.int32), new])
    margin = jnp.min(jnp.where(same, jnp.abs(steps - tolerance), jnp.inf), initial=jnp.inf)
    return jnp.zeros_like(numbers).at[order].set(numbers, unique_indices=True), margin


def split_exactly(blocks: Array, column: Array) -> Array:
    """Split every block by integers `[n]`: by comparing all pairs, which for few entries is quicker than a sort."""
    lower = column[None, :] < column[:, None]
    before = (blocks[None, :] < blocks[:, None]) | ((blocks[None, :] == blocks[:, None]) & lower)
    tied = ~before & ~before.T
    first = jnp.arange(blocks.shape[0]) == jnp.argmax(tied, axis=1)
    return jnp.sum(before & first, axis=1, dtype=jnp.int32)


def split_by(blocks: Array, columns: Array, tolerances: Array) -> tuple[Array, Array]:
    """Split blocks by one column after another, `[keys, n]`, until no entry is tied; the margin is the least of all."""
    width, count = columns.shape

    def undecided(state: tuple[Array, Array, Array]) -> Array:
        i, blocks, _ = state
        return (i < width) & (jnp.max(blocks, initial=-1) < count - 1)

    def step(state: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        i, blocks, margin = state
        blocks, found = split(blocks, columns[i], tolerances[i])
        return i + 1, blocks, jnp.minimum(margin, found.astype(margin.dtype))

    endless = jnp.full((), jnp.inf, columns.dtype)
    if width == 0 or count == 0:
        return blocks, endless
    _, blocks, margin = jax.lax.while_loop(undecided, step, (jnp.zeros((), jnp.int32), blocks, endless))
    return blocks, margin


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


def sorting(blocks: Array) -> tuple[Array, Array]:
    """The order of the entries, ties as they come, `[n]`, and the blocks in this order."""
    order = jnp.argsort(blocks, stable=True)
    return order, blocks[order]


def choices(blocks: Array) -> Array:
    """How many entries of its block stand at a place or behind it, `[n]`, of blocks in order; their product counts."""
    count = blocks.shape[0]
    behind = (blocks[None, :] == blocks[:, None]) & (jnp.arange(count)[None, :] >= jnp.arange(count)[:, None])
    return jnp.sum(behind, axis=1, dtype=jnp.int32)


def product_up_to(factors: Array, most: int) -> Array:
    """The product of integers of one or more, exactly; one more than `most` where it is larger."""

    def times(product: Array, factor: Array) -> tuple[Array, None]:
        return jnp.where(product > most // factor, most + 1, product * factor), None

    return jax.lax.scan(times, jnp.ones((), factors.dtype), factors)[0]


def size_up_to(blocks: Array, most: int) -> Array:
    """How many permutations leave every block in its places, exactly; one more than `most` where there are more."""
    return product_up_to(choices(blocks), most)


def log_size(blocks: Array) -> Array:
    """The logarithm of the number of permutations that leave every block in its places."""
    return jnp.sum(jnp.log(choices(blocks).astype(jnp.float32)))


def listed(blocks: Array, count: int) -> Array:
    """The first `count` of the permutations that leave every block in its places, `[count, n]`; then they repeat.

    Digits of a number in the mixed radix of the choices say which entry of the rest of its block each place gets.
    """
    radix = choices(blocks)
    if blocks.shape[0] == 0:  # of which JAX can index nothing
        return jnp.zeros((count, 0), jnp.int32)

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
    return jnp.lexsort((jax.random.bits(key, blocks.shape), blocks))
