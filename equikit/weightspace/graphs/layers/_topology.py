"""What layers need to know of a graph: static arrays of one graph, or traced arrays of many graphs in one batch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from equikit.weightspace.graphs._graph import ParameterGraph
from equikit.weightspace.graphs._joining import JoinedGraphs
from equikit.weightspace.graphs._traits import EDGES, NODES, Blocks
from equikit.weightspace.graphs.layers._messages import looked_up, shares, sums

Array = Any
"""An array of NumPy if it is static, otherwise of JAX."""


@dataclass(frozen=True, eq=False)
class Side:
    """The nodes or the edges of a graph, `[rows]`; `share` are factors that make sums means.

    Attributes:
        share: for the mean over the graph.
        arc_share: for the mean over a graph with both directions of each edge and self-loops.
        pool: the number of the pool of each row.
        pool_share: for the mean over the pool.
        pools: the number of pools in a graph.
        graph: the number of the graph of each row; `None` if there is one graph.
    """

    share: Array
    arc_share: Array
    pool: Array
    pool_share: Array
    pools: int
    graph: Any = None


@dataclass(frozen=True, eq=False, repr=False)
class Topology:
    """A graph, or several as one graph with components.

    Attributes:
        senders, receivers: numbers of nodes, `[edges]`.
        incoming, outgoing: factors that make sums over edges means, at receivers and at senders.
        nodes, edges: what belongs to each node and edge.
        count: the number of nodes.
        joined: the graphs if there are several.
    """

    senders: Array
    receivers: Array
    incoming: Array
    outgoing: Array
    nodes: Side
    edges: Side
    count: int
    joined: JoinedGraphs | None = None

    def __repr__(self) -> str:
        """Return the numbers of nodes and edges."""
        return f"Topology(nodes={self.count}, edges={len(self.senders)})"

    @property
    def rows(self) -> int:
        """The number of graphs, and one more for padding if there are several."""
        return 1 if self.joined is None else self.joined.count + 1

    def spread(self, x: jax.Array, to: Side) -> jax.Array:
        """Return features of the whole graph for each node or edge."""
        return x[..., None, :] if to.graph is None else looked_up(x, to.graph)

    def mean(self, x: jax.Array, side: Side) -> jax.Array:
        """Average features of nodes or edges within each block and then over the blocks of the graph."""
        index = np.zeros(x.shape[-2], np.int32) if side.graph is None else side.graph
        found = sums(x, index, self.rows, side.share).astype(x.dtype)
        return found[..., 0, :] if side.graph is None else found

    def pooled(self, x: jax.Array, side: Side) -> jax.Array:
        """Average features of nodes or edges by pool, `[*batch, pools * c]`, or `[graphs + 1, pools * c]`."""
        index = side.pool if side.graph is None else side.graph * side.pools + side.pool
        found = sums(x, index, self.rows * side.pools, side.pool_share).astype(x.dtype)
        batch = x.shape[:-2] if side.graph is None else (self.rows,)
        return found.reshape(*batch, side.pools * x.shape[-1])

    def arcs(self) -> Topology:
        """Return the graph with all edges, all reversed edges, and a self-loop at each node, in this order."""
        join = np.concatenate if self.joined is None else jnp.concatenate
        itself, edges = np.arange(self.count, dtype=np.int32), self.edges
        graph = None
        if edges.graph is not None and self.nodes.graph is not None:
            graph = join([edges.graph, edges.graph, self.nodes.graph])
        both = Side(join([edges.arc_share, edges.arc_share, self.nodes.arc_share]), None, None, None, 0, graph)
        return Topology(
            join([self.senders, self.receivers, itself]),
            join([self.receivers, self.senders, itself]),
            None,
            None,
            self.nodes,
            both,
            self.count,
            self.joined,
        )


def of_one(graph: ParameterGraph) -> Topology:
    """Return the static arrays of one graph."""
    senders, receivers = graph.edge_index
    kinds, layers = (np.bincount(numbers) for numbers in (graph.edge_kind, graph.node_layer))
    directed = 2 * np.count_nonzero(kinds) + np.count_nonzero(layers)

    def side(numbers: np.ndarray, counts: np.ndarray, pools: int) -> Side:
        own = counts[numbers]
        return Side(1.0 / (own * np.count_nonzero(counts)), 1.0 / (own * directed), numbers, 1.0 / own, pools)

    return Topology(
        senders,
        receivers,
        shares(receivers, graph.edge_kind, graph.num_nodes),
        shares(senders, graph.edge_kind, graph.num_nodes),
        side(graph.node_layer, layers, len(graph.node_layers)),
        side(graph.edge_kind, kinds, len(graph.edge_kinds)),
        graph.num_nodes,
    )


def of_several(batch: JoinedGraphs) -> Topology:
    """Return the arrays of joined graphs."""
    senders, receivers, graph_of = map(jnp.asarray, (batch.senders, batch.receivers, batch.graph_of))

    def side(blocks: Blocks, block: Any, pools: int, graph: Any) -> tuple[Side, jax.Array]:
        factors, pool = (jnp.asarray(x)[jnp.asarray(block)] for x in (blocks.shares, blocks.pools))
        return Side(factors[:, 0], factors[:, 2], pool, factors[:, 1], pools, graph), factors

    nodes, _ = side(batch.node_blocks, batch.nodes.block, len(NODES), graph_of)
    edges, factors = side(batch.edge_blocks, batch.edges.block, len(EDGES), graph_of[senders])
    return Topology(senders, receivers, factors[:, 3], factors[:, 4], nodes, edges, graph_of.shape[0], batch)
