"""The encoder of a metanetwork, from parameters to features of nodes and edges, and its output heads."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from equikit.weightspace.graphs._graph import ParameterGraph
from equikit.weightspace.graphs._probes import Probes
from equikit.weightspace.graphs._values import Features
from equikit.weightspace.graphs.layers._dense import Joined, Options, State
from equikit.weightspace.graphs.layers._topology import Topology


class Encoder(nnx.Module):
    """Sum of linearly mapped values and activations, and embeddings of layers, kinds and positions."""

    def __init__(
        self, graph: ParameterGraph, channels: int, width: int, probes: Probes | None, options: Options
    ) -> None:
        self.graph, self.channels, self.width, self.dtype = graph, channels, width, options.dtype
        self.node_values = options.linear(graph.node_width * channels, width)
        self.edge_values = options.linear(graph.edge_width * channels, width)
        self.layers = options.codes(len(graph.node_layers), width)
        self.kinds = options.codes(len(graph.edge_kinds), width)
        self.node_positions = options.codes(_positions(graph.node_position), width)
        self.edge_positions = options.codes(_positions(graph.edge_position), width)
        self.probes = probes
        self.activations = None if probes is None else options.linear(probes.count, width)
        self.whole = options.codes(1, width) if options.use_global else None

    def __call__(self, params: Any) -> State:
        """Return features of nodes, edges and the whole graph."""
        graph = self.graph
        values = graph.features(params, channels=self.channels)
        batch = values.nodes.shape[:-2]
        of_nodes = (self.layers, graph.node_layer), (self.node_positions, graph.node_position)
        of_edges = (self.kinds, graph.edge_kind), (self.edge_positions, graph.edge_position)
        nodes = self._added(values.nodes, self.node_values, *of_nodes)
        edges = self._added(values.edges, self.edge_values, *of_edges)
        if self.probes is not None and self.activations is not None:
            first = params if self.channels == 1 else jax.tree.map(lambda leaf: leaf[..., 0], params)
            seen = self.activations(self.probes(first))
            nodes = nodes + seen.astype(nodes.dtype)
        whole = None
        if self.whole is not None:
            code = self.whole[...][0].astype(nodes.dtype)
            whole = jnp.broadcast_to(code, (*batch, code.shape[0]))
        return State(nodes, edges, whole)

    def _added(
        self, values: jax.Array, linear: nnx.Linear | None, *codes: tuple[nnx.Param[jax.Array] | None, np.ndarray]
    ) -> jax.Array:
        """Map values, if there are any, to the width, and add the embeddings of each row."""
        if linear is None:
            mapped = jnp.zeros((*values.shape[:-1], self.width), self.dtype or values.dtype)
        else:
            mapped = linear(values)
        for code, number in codes:
            if code is not None:
                rows = jnp.concatenate([code[...], jnp.zeros((1, self.width), code[...].dtype)])
                mapped = mapped + rows[np.where(number < 0, len(rows) - 1, number)].astype(mapped.dtype)
        return mapped


def _positions(position: np.ndarray) -> int:
    return int(position.max(initial=-1)) + 1


class InvariantHead(nnx.Module):
    """A perceptron on the means of pools of nodes, the means of pools of edges, and the features of the graph."""

    def __init__(self, node_pools: int, edge_pools: int, width: int, out: int, options: Options) -> None:
        widths = {"nodes": node_pools * width, "edges": edge_pools * width, "whole": width}
        used = {name: size for name, size in widths.items() if size and (name != "whole" or options.use_global)}
        self.hidden = Joined(used, width, options)
        self.last = options.linear(width, out)

    def __call__(self, *, state: State, topology: Topology) -> jax.Array:
        """Return invariants `[*batch, out]`, or `[graphs, out]` of several graphs."""
        part = self.hidden.part
        total = part("nodes", topology.pooled(state.nodes, topology.nodes))
        if topology.edges.pools:
            total = total + part("edges", topology.pooled(state.edges, topology.edges))
        if state.whole is not None:
            total = total + part("whole", state.whole)
        assert self.last is not None
        result: jax.Array = self.last(self.hidden(total))
        return result if topology.joined is None else result[: topology.joined.count]


class NodeHead(nnx.Module):
    """A linear map of the features of one layer's nodes."""

    def __init__(self, graph: ParameterGraph, layer: str, width: int, out: int, options: Options) -> None:
        rows = np.flatnonzero(graph.node_layer == graph.node_layers.index(layer))
        self.first, self.count = int(rows.min(initial=graph.num_nodes)), len(rows)
        self.last = options.linear(width, out)

    def __call__(self, *, state: State, topology: Topology) -> jax.Array:
        """Return features of the nodes, `[*batch, n, out]`."""
        assert self.last is not None
        result: jax.Array = self.last(state.nodes[..., self.first : self.first + self.count, :])
        return result


class ParameterHead(nnx.Module):
    """A linear map from node and edge features to output channels of every parameter."""

    def __init__(self, graph: ParameterGraph, width: int, out: int, options: Options) -> None:
        self.of_nodes = options.linear(width, graph.node_width * out)
        self.of_edges = options.linear(width, graph.edge_width * out)

    def __call__(self, *, state: State, topology: Topology) -> Features:
        """Return the output parameters as features of the graph."""

        def read(linear: nnx.Linear | None, x: jax.Array) -> jax.Array:
            return x[..., :0] if linear is None else linear(x)

        return Features(read(self.of_nodes, state.nodes), read(self.of_edges, state.edges))
