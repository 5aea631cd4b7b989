"""The encoder and head of networks whose weights do not depend on the architecture of what they read."""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from flax import nnx

from equikit.weightspace.graphs._joining import JoinedGraphs, Rows
from equikit.weightspace.graphs._traits import POSITIONS, TRAITS, VALUES, Blocks
from equikit.weightspace.graphs._values import Features
from equikit.weightspace.graphs.layers._dense import Options, State
from equikit.weightspace.graphs.layers._messages import looked_up
from equikit.weightspace.graphs.layers._topology import Topology, of_several


@dataclass(frozen=True)
class AnyArchitecture:
    """In place of a graph: one set of weights for networks of every architecture, depth and width.

    `MessagePassing(AnyArchitecture(), ...)` and `RelationalTransformer(AnyArchitecture(), ...)` take batches from
    `join_graphs`. Where networks on one graph learn a table for each layer and parameter, these have linear maps of
    features that are read from the program: kinds of nodes, uses of parameters, nonlinearities, relative depth and
    relative positions (`ek.weightspace.join_graphs`).

    Example:
        >>> AnyArchitecture()
        AnyArchitecture()
    """


class AnyEncoder(nnx.Module):
    """Sum over values of a vector for each value, a vector of each block, and a vector of each position.

    All vectors are linear in features. The vector of a value has `width` entries for each channel.
    """

    def __init__(self, channels: int, width: int, options: Options) -> None:
        self.channels, self.width, self.dtype = channels, width, options.dtype
        self.node_values = options.linear(VALUES, channels * width)
        self.edge_values = options.linear(VALUES, channels * width)
        self.node_blocks = options.linear(TRAITS, width)
        self.edge_blocks = options.linear(TRAITS, width)
        self.positions = options.linear(POSITIONS, width, use_bias=False)
        self.whole = options.codes(1, width) if options.use_global else None

    def __call__(self, batch: JoinedGraphs) -> tuple[State, Topology]:
        """Return features of nodes, edges and whole graphs, and the topology."""
        assert self.node_values is not None
        assert self.edge_values is not None
        assert self.node_blocks is not None
        assert self.edge_blocks is not None
        assert self.positions is not None
        topology = of_several(batch)
        places = self.positions(batch.positions)
        # Entries of padding may be anything, also not a number.
        present = (side.graph < batch.count for side in (topology.nodes, topology.edges))
        nodes, edges = (
            self._side(rows, blocks, values, traits, places, here)
            for rows, blocks, values, traits, here in zip(
                (batch.nodes, batch.edges),
                (batch.node_blocks, batch.edge_blocks),
                (self.node_values, self.edge_values),
                (self.node_blocks, self.edge_blocks),
                present,
                strict=True,
            )
        )
        whole = None
        if self.whole is not None:
            code = self.whole[...][0].astype(nodes.dtype)
            whole = jnp.broadcast_to(code, (topology.rows, code.shape[0]))
        return State(nodes, edges, whole), topology

    def _side(
        self, rows: Rows, blocks: Blocks, values: nnx.Linear, traits: nnx.Linear, places: jax.Array, here: jax.Array
    ) -> jax.Array:
        """Return features of nodes or edges."""
        given = jnp.where(here[:, None, None], jnp.asarray(rows.values), 0)
        dtype = self.dtype or jnp.result_type(given.dtype, values.kernel[...].dtype)
        vectors = values(blocks.channels).reshape(*blocks.channels.shape[:2], self.channels, self.width).astype(dtype)
        found = looked_up(traits(blocks.traits).astype(dtype), rows.block)
        # Position 0 is none, whose features are zeros.
        found = found + looked_up(places.astype(dtype), rows.position)

        def add(found: jax.Array, of: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, None]:
            value, vector = of  # of one channel: [rows], [blocks, width]
            return found + value[:, None].astype(dtype) * looked_up(vector, rows.block), None

        flat = given.reshape(given.shape[0], -1).T
        by_channel = jnp.moveaxis(vectors.reshape(vectors.shape[0], -1, self.width), 1, 0)
        if len(flat) == 1:
            return add(found, (flat[0], by_channel[0]))[0]
        return jax.lax.scan(add, found, (flat, by_channel))[0]


class AnyParameterHead(nnx.Module):
    """Products of node and edge features with vectors that are linear in the features of each value."""

    def __init__(self, width: int, out: int, options: Options) -> None:
        self.width, self.out = width, out
        self.of_nodes = options.linear(VALUES, out * width)
        self.of_edges = options.linear(VALUES, out * width)

    def __call__(self, state: State, topology: Topology) -> Features:
        """Return the output parameters as features of joined graphs, `[rows, width * out]`."""
        batch = topology.joined
        assert batch is not None
        assert self.of_nodes is not None
        assert self.of_edges is not None

        def read(linear: nnx.Linear, blocks: Blocks, rows: Rows, x: jax.Array) -> jax.Array:
            vectors = linear(blocks.channels).reshape(blocks.channels.shape[0], -1, self.width).astype(x.dtype)

            def one(vector: jax.Array) -> jax.Array:
                return jnp.sum(x * looked_up(vector, rows.block), axis=-1) / self.width**0.5

            return jax.lax.map(one, jnp.moveaxis(vectors, 1, 0)).T

        return Features(
            read(self.of_nodes, batch.node_blocks, batch.nodes, state.nodes),
            read(self.of_edges, batch.edge_blocks, batch.edges, state.edges),
        )
