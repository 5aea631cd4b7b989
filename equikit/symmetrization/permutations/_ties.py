"""Sorting with ties: which entries are indistinguishable, and the permutations that exchange them.

`split_by` compares entries by one key after another, each only among entries that are still tied. Entries are grouped
in *blocks*, consecutive integers `[n]` from zero: entries of a lower block come first, and entries of the same block
are tied.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp

from equikit.symmetrization.engine._element import Array

CLEAR = 3
"""The least distance of a difference from its tolerance, in standard deviations, for a certain comparison."""


def together(count: int) -> Array:
    """Return all entries tied, `[n]`."""
    return jnp.zeros(count, jnp.int32)


class Keys(NamedTuple):
    """Numbers by which entries are compared, the first row first.

    Attributes:
        numbers: `[keys, n]`.
        tolerances: `[keys]`; entries are tied if steps up to the tolerance join them.
        tails: low words of the numbers, or `None`.
        errors: standard deviations of their independent errors, `[keys, n]`, or `None` if the numbers are exact.
        common: numbers `[keys, parts, n]` for errors that all entries share: their difference is the standard deviation
            of the shared error in a comparison of two entries.
    """

    numbers: Array
    tolerances: Array
    tails: Array | None = None
    errors: Array | None = None
    common: Array | None = None


class Split(NamedTuple):
    """Entries in order.

    Attributes:
        order: the entries, `[n]`, with ties in their given order.
        blocks: the block of each place, `[n]`, ascending.
        margin: the smallest distance of a compared difference from the tolerance.
        certain: whether errors of the numbers cannot move a difference across the tolerance.
    """

    order: Array
    blocks: Array
    margin: Array
    certain: Array

    def of_entries(self) -> Array:
        """Return the block of each entry, `[n]`."""
        return jnp.zeros_like(self.blocks).at[self.order].set(self.blocks, unique_indices=True)

    def only(self, tied: Array) -> Array:
        """Return the block of each entry if only the adjacent entries in `tied` are tied, `[n - 1]`."""
        starts = jnp.concatenate([jnp.zeros(1, bool), ~tied])[: len(self.order)]
        return self._replace(blocks=jnp.cumsum(starts, dtype=jnp.int32)).of_entries()


def split_by(blocks: Array | None, keys: Keys) -> Split:
    """Split blocks by one key after another until no entry is tied; by default all entries start tied.

    A permutation of the entries permutes the blocks, which depend only on pairs of block and numbers.
    """
    width, count = keys.numbers.shape
    margin, certain = jnp.full((), jnp.inf, keys.numbers.dtype), jnp.ones((), bool)
    if blocks is None and width and count:
        # Sorting by one key is twice as fast as sorting by blocks and a key.
        ordered, order = jax.lax.sort((keys.numbers[0], jnp.arange(count)), num_keys=1)
        first = jax.tree.map(lambda rows: rows[0], keys)
        start = _split(first, jnp.zeros(count, jnp.int32), ordered, order, margin, certain)
        keys, width = jax.tree.map(lambda rows: rows[1:], keys), width - 1
    else:
        blocks = together(count) if blocks is None else blocks
        order = jnp.argsort(blocks, stable=True)
        start = Split(order, blocks[order], margin, certain)
    if not (width and count):
        return start

    def undecided(state: tuple[Array, Split]) -> Array:
        return (state[0] < width) & (state[1].blocks[-1] < count - 1)

    def step(state: tuple[Array, Split]) -> tuple[Array, Split]:
        i, found = state
        key = jax.tree.map(lambda rows: rows[i], keys)
        blocks, ordered, order = jax.lax.sort((found.blocks, key.numbers[found.order], found.order), num_keys=2)
        return i + 1, _split(key, blocks, ordered, order, found.margin, found.certain)

    found: Split = jax.lax.while_loop(undecided, step, (jnp.zeros((), jnp.int32), start))[1]
    return found


def _split(key: Keys, blocks: Array, ordered: Array, order: Array, margin: Array, certain: Array) -> Split:
    """Split every block between sorted entries that differ by more than the tolerance."""
    steps = ordered[1:] - ordered[:-1]
    if key.tails is not None:
        steps = steps + jnp.diff(key.tails[order])
    same = blocks[1:] == blocks[:-1]
    new = jnp.cumsum(~same | (steps > key.tolerances), dtype=jnp.int32)
    beyond = jnp.abs(steps - key.tolerances)
    margin = jnp.minimum(margin, jnp.min(jnp.where(same, beyond, jnp.inf), initial=jnp.inf).astype(margin.dtype))
    if key.errors is not None:
        assert key.common is not None, "errors come with those that entries have in common"
        variances, shared = key.errors[order] ** 2, key.common[:, order]
        variances = variances[1:] + variances[:-1] + jnp.sum((shared[:, 1:] - shared[:, :-1]) ** 2, axis=0)
        certain = certain & jnp.all(~same | (beyond >= CLEAR * jnp.sqrt(variances)))
    return Split(order, jnp.concatenate([jnp.zeros(1, jnp.int32), new]), margin, certain)


def split_exactly(blocks: Array, column: Array) -> Array:
    """Split every block by integers `[n]`. All pairs are compared, which is faster than sorting few entries."""
    lower = column[None, :] < column[:, None]
    before = (blocks[None, :] < blocks[:, None]) | ((blocks[None, :] == blocks[:, None]) & lower)
    tied = ~before & ~before.T
    first = jnp.arange(blocks.shape[0]) == jnp.argmax(tied, axis=1)
    return jnp.sum(before & first, axis=1, dtype=jnp.int32)


def ranks(columns: Array, tolerance: Array | float) -> Array:
    """Return for each column the rank of every entry, equal for entries joined by steps of at most the tolerance.

    Args:
        columns: `[n, keys]`.
        tolerance: differences up to this count as rounding errors.

    Returns:
        Integers `[n, keys]`. They depend only on the set of values: a permutation of the entries permutes them.
    """
    order = jnp.argsort(columns, axis=0)
    ordered = jnp.take_along_axis(columns, order, axis=0)
    steps = jnp.concatenate([jnp.zeros_like(ordered[:1], bool), jnp.diff(ordered, axis=0) > tolerance])
    numbers = jnp.cumsum(steps, axis=0)
    return jnp.take_along_axis(numbers, jnp.argsort(order, axis=0), axis=0)


def sorting(blocks: Array) -> tuple[Array, Array]:
    """Return the order of the entries, with ties in their given order, `[n]`, and the blocks in this order."""
    order = jnp.argsort(blocks, stable=True)
    return order, blocks[order]


def choices(blocks: Array) -> Array:
    """Return the number of entries of its block at or after each position, `[n]`; their product counts the orders."""
    count = blocks.shape[0]
    places = jnp.arange(count, dtype=jnp.int32)
    ends = jnp.append(blocks[1:] != blocks[:-1], True)[:count]
    return jax.lax.cummin(jnp.where(ends, places, count), reverse=True) - places + 1


def product_up_to(factors: Array, most: int) -> Array:
    """Return the product of positive integers, exactly; `most + 1` if it is larger than `most`."""
    logs = jnp.sum(jnp.log(factors.astype(jnp.float32)))
    # If this is small enough, the product does not overflow.
    product = jnp.minimum(jnp.prod(factors, dtype=factors.dtype), most + 1)
    return jnp.where(logs > math.log(most + 1) + 0.5, most + 1, product)


def size_up_to(blocks: Array, most: int) -> Array:
    """Count the permutations that fix every block, exactly; `most + 1` if there are more than `most`."""
    return product_up_to(choices(blocks), most)


def log_size(blocks: Array) -> Array:
    """Return the log of the number of permutations that fix every block."""
    return jnp.sum(jnp.log(choices(blocks).astype(jnp.float32)))


def listed(blocks: Array, count: int) -> Array:
    """List the first `count` permutations that fix every block, `[count, n]`, repeating if there are fewer.

    The digits of its number, in the mixed radix of the choices, select each entry from the rest of its block.
    """
    radix = choices(blocks)
    if count == 1 or blocks.shape[0] == 0:  # the first permutation is the identity
        return jnp.zeros((count, 1), jnp.int32) + jnp.arange(blocks.shape[0], dtype=jnp.int32)

    def one(number: Array) -> Array:
        def place(i: Array, carried: tuple[Array, Array]) -> tuple[Array, Array]:
            order, rest = carried
            other = i + rest % radix[i]
            return order.at[i].set(order[other]).at[other].set(order[i]), rest // radix[i]

        start = jnp.arange(blocks.shape[0]), number
        return jax.lax.fori_loop(0, blocks.shape[0], place, start)[0]

    return jax.vmap(one)(jnp.arange(count))


def drawn(key: jax.Array, blocks: Array) -> Array:
    """Sample a permutation that fixes every block uniformly, `[n]`."""
    return jnp.lexsort((jax.random.bits(key, blocks.shape), blocks))
