"""Node orders of a graph by individualization and refinement.

If colors leave nodes tied, one node of the first tie is placed before the others, and the colors are refined again. The
possible choices are the branches of a tree, and its leaves are orders of all nodes: relabeling the graph relabels the
leaves, so they are a frame. The frame is as small as the automorphism group if automorphisms relate all choices, as for
nearly every small graph.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp

from equikit.symmetrization.engine._element import Array
from equikit.symmetrization.graphs._refinement import refined
from equikit.symmetrization.permutations import _ties
from equikit.symmetrization.permutations._ordering import Listing


@dataclass(frozen=True)
class Leaves:
    """The leaves of the tree, with the probabilities of reaching them by random choices at every branch.

    Attributes:
        blocks: refined colors `[n]`.
        colors: of the edges, `[n, n]`.
        twins: `[n]`, equal for nodes that can be exchanged; one branch represents them, in any order.
    """

    blocks: Array
    colors: Array
    twins: Array

    def listed(self, most: int) -> Listing:
        """Return all leaves, level by level; if there are too many, the nodes of the last level that fits.

        An additional path follows the first branches to its end. It estimates the number of leaves if they do not fit,
        exactly if all paths are alike.
        """
        count = self.blocks.shape[0]
        if count < 2:
            only = jnp.zeros((most, count), jnp.int32)
            return Listing(only, (jnp.arange(most) < 1) / 1, jnp.ones((), bool), jnp.zeros((), jnp.float32))
        nodes, places, extra = jnp.arange(count), jnp.arange(most), jnp.arange(most + 1) == most

        def step(state: _Level) -> _Level:
            choices, shares, sizes = jax.vmap(self._branches)(state.blocks)
            tied = jnp.any(choices, axis=1)
            # A leaf has one branch, which does not change it.
            branches = choices | (~tied[:, None] & (nodes == 0))
            widths = jnp.where(extra | (state.chances == 0), 0, jnp.sum(branches, axis=1))
            ends = jnp.sum(jnp.tril(jnp.broadcast_to(widths, (most + 1, most + 1))), axis=1)
            enough = state.enough & (ends[-1] <= most)
            parent = jnp.searchsorted(ends[:-1], places, side="right", method="compare_all")
            number = places - (ends - widths)[parent]
            parent = jnp.append(jnp.where(enough, parent, places), most)
            number = jnp.append(jnp.where(enough, number, 0), 0)
            node = jnp.sort(jnp.where(branches, nodes, count - 1), axis=1)[parent, number]
            moves = tied[parent] & (enough | extra)
            chance, share, size = state.chances[parent], shares[parent, node], sizes[parent, node]
            reached = extra | ~enough | jnp.append(places < ends[-1], False)
            return _Level(
                jax.vmap(self._chosen)(state.blocks[parent], node, moves),
                jnp.where(reached, jnp.where(moves, chance * share, chance), 0),
                state.log_size[parent]
                + jnp.where(moves, jnp.log(jnp.where(extra, size, size * share)), 0).astype(jnp.float32),
                enough,
                jnp.any(moves & (extra | (chance > 0))),
            )

        start = jnp.tile(self.blocks, (most + 1, 1))
        chances = ((jnp.arange(most + 1) < 1) | extra) / 1
        level = _Level(start, chances, jnp.zeros(most + 1, jnp.float32), jnp.ones((), bool), jnp.ones((), bool))
        # The last step finds only leaves and changes nothing; a test before the first step takes longer to compile.
        level = jax.lax.while_loop(lambda state: state.moved, step, level)
        order = jnp.argsort(level.blocks, axis=1, stable=True)
        logs = level.log_size + jax.vmap(_ties.log_size)(jnp.take_along_axis(level.blocks, order, axis=1))
        chances = level.chances[:-1]
        total = jax.scipy.special.logsumexp(logs[:-1], b=chances > 0)
        return Listing(order[:-1], chances, level.enough, jnp.where(level.enough, total, logs[-1]))

    def drawn(self, key: jax.Array) -> tuple[Array, Array]:
        """Return a random leaf, and the log of the number of leaves of a tree in which all paths are like this path."""

        def unfinished(state: tuple[Array, Array, Array]) -> Array:
            return jnp.any(self._branches(state[0])[0])

        def step(state: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
            blocks, log_size, level = state
            choices, shares, sizes = self._branches(blocks)
            node = jax.random.categorical(jax.random.fold_in(key, level), jnp.log(jnp.where(choices, shares, 0)))
            blocks = self._chosen(blocks, node, jnp.ones((), bool))
            return blocks, log_size + jnp.log(sizes[node].astype(jnp.float32)), level + 1

        state = self.blocks, jnp.zeros((), jnp.float32), jnp.zeros((), jnp.int32)
        if self.blocks.shape[0] > 1:
            state = jax.lax.while_loop(unfinished, step, state)
        order, blocks = _ties.sorting(state[0])
        return order, state[1] + _ties.log_size(blocks)

    def _branches(self, blocks: Array) -> tuple[Array, Array, Array]:
        """Return the branches at the first tie, one for each set of twins; their probabilities; and sizes of ties."""
        nodes = jnp.arange(blocks.shape[0])
        tied = blocks[:, None] == blocks
        alike = tied & (self.twins[:, None] == self.twins)
        sizes, same = jnp.sum(tied, axis=1), jnp.sum(alike, axis=1)
        undecided = same < sizes
        in_first = undecided & (blocks == jnp.min(jnp.where(undecided, blocks, len(nodes))))
        earlier = jnp.any(alike & (nodes < nodes[:, None]), axis=1)
        return in_first & ~earlier, same / sizes, sizes

    def _chosen(self, blocks: Array, node: Array, moves: Array) -> Array:
        """Place a node before the others of its block and refine; leaves are unchanged."""
        behind = (blocks >= blocks[node]) & (jnp.arange(blocks.shape[0]) != node)
        return refined(blocks + moves * behind, self.colors, moves)


class _Level(NamedTuple):
    """Nodes of a level of the tree, and the end of an additional path in the last position.

    Each node has its blocks, its probability, and the logarithm of the number of leaves that it represents by exchanges
    of twins; for the path, of the number of nodes on its level. `moved` tells whether the last step chose a node.
    """

    blocks: Array
    chances: Array
    log_size: Array
    enough: Array
    moved: Array
