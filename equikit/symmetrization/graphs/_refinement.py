"""Invariant colors of the nodes of a graph: color refinement, and exchangeable nodes."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from equikit.symmetrization.engine._element import Array
from equikit.symmetrization.permutations import _ties


def mixed(one: Array, two: Array) -> Array:
    """Hash two numbers to 32 bits; their order matters."""
    found = one.astype(jnp.uint32) * np.uint32(0x9E3779B1) ^ (two.astype(jnp.uint32) + np.uint32(0x7F4A7C15))
    for shift, factor in ((16, 0x7FEB352D), (15, 0x846CA68B)):
        found = (found ^ (found >> shift)) * np.uint32(factor)
    return found ^ (found >> 16)


def edge_colors(matrices: Array, tolerance: float) -> Array:
    """Hash the properties of every ordered pair of nodes, in both directions, to 32 bits, `[n, n]`.

    Entries joined by steps up to the tolerance count as one weight. If steps are close to the tolerance, as among many
    random numbers, rounding would decide which weights are equal, and the matrix is ignored.

    Args:
        matrices: `[channels, n, n]`.
        tolerance: steps below half of this count as equal, and steps above one and a half as clearly different.
    """
    count = matrices.shape[-1]
    ranks = jax.vmap(lambda matrix: _clear_ranks(matrix.reshape(-1), tolerance))(matrices)
    ranks = ranks.reshape(len(matrices), count, count)
    colors = jnp.eye(count, dtype=jnp.uint32)  # loops have their own color
    for_both = jnp.stack([ranks, jnp.swapaxes(ranks, 1, 2)], axis=1).reshape(2 * len(matrices), count, count)

    def with_one(colors: Array, rank: Array) -> tuple[Array, None]:
        return mixed(colors, rank), None

    return jax.lax.scan(with_one, colors, for_both)[0]


def _clear_ranks(entries: Array, tolerance: float) -> Array:
    """Return the rank of each number, equal within the tolerance; zero for all if a step is close to the tolerance."""
    keys = _sortable(jax.lax.bitcast_convert_type(entries, f"int{8 * entries.dtype.itemsize}"))
    ordered = jnp.sort(keys)  # integers, because XLA sorts them several times faster on a CPU
    numbers = jax.lax.bitcast_convert_type(_sortable(ordered), entries.dtype)
    steps = numbers[1:] - numbers[:-1]
    clear = jnp.min(jnp.abs(steps - tolerance), initial=jnp.inf) >= tolerance / 2
    # The first number of each rank except the lowest. A second sort compiles faster than a cumulative sum.
    starts = jnp.sort(jnp.where(steps > tolerance, ordered[1:], np.iinfo(keys.dtype).max))
    return jnp.where(clear, jnp.searchsorted(starts, keys, side="right"), 0)


def _sortable(bits: Array) -> Array:
    """Convert the bits of floats to integers in the same order, and back."""
    return jnp.where(bits < 0, bits ^ np.iinfo(bits.dtype).max, bits)


def refined(blocks: Array, colors: Array, changed: Array | bool = True) -> Array:
    """Split blocks until all nodes of a block have the same edge colors to every block, at most n times.

    The edges of a node are hashed to a sum of 32-bit numbers, which does not depend on the order of the nodes. A
    collision leaves distinguishable nodes tied, which is harmless. Blocks that have not `changed` since they were
    refined are not split.
    """

    def step(state: tuple[Array, Array]) -> tuple[Array, Array]:
        blocks, _ = state
        seen = jnp.sum(mixed(colors, blocks[None, :]), axis=1, dtype=jnp.uint32)
        finer = _ties.split_exactly(blocks, seen)
        return finer, jnp.any(finer != blocks)

    def unfinished(state: tuple[Array, Array]) -> Array:
        return state[1]

    return jax.lax.while_loop(unfinished, step, (blocks, jnp.asarray(changed)))[0]


def twins(features: Array, matrices: Array) -> Array:
    """Return for every node the first node that can be exchanged with it while all others are fixed, `[n]`.

    Candidates have equal sums of 32-bit hashes, and the first candidate of each node is compared entry by entry. A
    collision leaves exchangeable nodes apart, which is harmless.

    Args:
        features: `[numbers, n]`.
        matrices: `[channels, n, n]`.

    Cost: linear in the number of entries.
    """
    nodes = jnp.arange(features.shape[-1])
    own, pairs = _summed(_words(features)), _words(matrices)
    pairs = _summed(mixed(pairs, jnp.swapaxes(pairs, 1, 2)))
    own = mixed(own, jnp.diagonal(pairs))
    # Hash the edges of a node to all others but one: exchanging the two must not change these edges.
    seen = mixed(pairs, nodes)
    seen = jnp.sum(seen, axis=1, keepdims=True, dtype=jnp.uint32) - jnp.diagonal(seen)[:, None] - seen
    alike = (seen == seen.T) & (pairs == pairs.T) & (own[:, None] == own)
    first = jnp.argmax(alike, axis=1).astype(jnp.int32)
    return jnp.where(_can_be_exchanged(features, matrices, first), first, nodes.astype(jnp.int32))


def _words(numbers: Array) -> Array:
    """Return the bits of numbers `[rows, ...]` as 32-bit integers, `[rows or 2 rows, ...]`; zero has no sign."""
    words = jax.lax.bitcast_convert_type(jnp.where(numbers == 0, 0, numbers), jnp.uint32)
    return words if words.ndim == numbers.ndim else jnp.concatenate([words[..., 0], words[..., 1]])


def _summed(words: Array) -> Array:
    """Sum over rows `[rows, ...]`, each hashed with its row number."""
    rows = jnp.arange(len(words)).reshape(-1, *[1] * (words.ndim - 1))
    return jnp.sum(mixed(words, rows), axis=0, dtype=jnp.uint32)


def _can_be_exchanged(features: Array, matrices: Array, other: Array) -> Array:
    """Return whether exchanging each node with its `other` node changes nothing, exactly, `[n]`."""
    nodes = jnp.arange(features.shape[-1])
    first, second = nodes[:, None], other[:, None]
    exchanged = jnp.where(nodes == first, second, jnp.where(nodes == second, first, nodes))
    both = jnp.concatenate([matrices, jnp.swapaxes(matrices, 1, 2)])
    same = jnp.all(both == both[:, second, exchanged], axis=(0, 2))
    return same & jnp.all(features == features[:, other], axis=0)
