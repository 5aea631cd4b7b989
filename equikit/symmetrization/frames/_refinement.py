"""Colors of the nodes of a graph that no relabeling changes: color refinement, and nodes that can be exchanged."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from equikit.symmetrization._element import Array
from equikit.symmetrization.frames import _ties


def mixed(one: Array, two: Array) -> Array:
    """A number of 32 bits that looks like a random function of two, whose order matters."""
    found = one.astype(jnp.uint32) * np.uint32(0x9E3779B1) ^ (two.astype(jnp.uint32) + np.uint32(0x7F4A7C15))
    for shift, factor in ((16, 0x7FEB352D), (15, 0x846CA68B)):
        found = (found ^ (found >> shift)) * np.uint32(factor)
    return found ^ (found >> 16)


def edge_colors(matrices: Array, tolerance: float) -> Array:
    """One number of 32 bits for what is known of every ordered pair of nodes, in both directions, `[n, n]`.

    Entries joined by steps up to the tolerance are one weight. Where steps are close to it, as they are among many
    random numbers, rounding would decide which weights are one, and the matrix is left out.

    Args:
        matrices: `[channels, n, n]`.
        tolerance: steps of less than half of this, and of more than one and a half, are a difference that is clear.
    """
    count = matrices.shape[-1]

    def ranked(entries: Array) -> Array:
        start = _ties.unsplit(_ties.together(count * count), entries.dtype)
        found = _ties.split(start, _ties.Keys(entries, jnp.asarray(tolerance, entries.dtype)))
        return jnp.where(found.margin >= tolerance / 2, found.of_entries(), 0)

    ranks = jax.vmap(ranked)(matrices.reshape(len(matrices), count * count)).reshape(len(matrices), count, count)
    colors = jnp.eye(count, dtype=jnp.uint32)  # loops are another kind of pair
    for_both = jnp.stack([ranks, jnp.swapaxes(ranks, 1, 2)], axis=1).reshape(2 * len(matrices), count, count)

    def with_one(colors: Array, rank: Array) -> tuple[Array, None]:
        return mixed(colors, rank), None

    return jax.lax.scan(with_one, colors, for_both)[0]


def refined(blocks: Array, colors: Array) -> Array:
    """Split blocks until the nodes of each see the same colors of edges to the same blocks, as often: at most n times.

    What a node sees is a sum of numbers of 32 bits, which does not depend on the order of the nodes. Two sums that
    agree by chance leave nodes tied that could be told apart, and do no other harm.
    """

    def step(state: tuple[Array, Array]) -> tuple[Array, Array]:
        blocks, _ = state
        seen = jnp.sum(mixed(colors, blocks[None, :]), axis=1, dtype=jnp.uint32)
        finer = _ties.split_exactly(blocks, seen)
        return finer, jnp.max(finer) > jnp.max(blocks)

    def unfinished(state: tuple[Array, Array]) -> Array:
        return state[1]

    return jax.lax.while_loop(unfinished, step, (blocks, jnp.ones((), bool)))[0]


def twins(features: Array, matrices: Array) -> Array:
    """For every node the first one that it can be exchanged with, all others in place, without any change: `[n]`.

    Args:
        features: `[numbers, n]`.
        matrices: `[channels, n, n]`.
    """
    count = features.shape[-1]
    alike = jnp.all(features[:, :, None] == features[:, None, :], axis=0)
    others = ~(jnp.eye(count, dtype=bool)[:, None, :] | jnp.eye(count, dtype=bool)[None, :, :])

    def also(alike: Array, matrix: Array) -> tuple[Array, None]:
        loops = jnp.diagonal(matrix)
        for one in (matrix, matrix.T):
            alike &= jnp.all((one[:, None, :] == one[None, :, :]) | ~others, axis=-1)
        return alike & (loops[:, None] == loops[None, :]) & (matrix == matrix.T), None

    return jnp.argmax(jax.lax.scan(also, alike, matrices)[0], axis=1).astype(jnp.int32)
