"""Conversion of parameter graphs to NetworkX."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from equikit.weightspace.graphs._values import of_one

if TYPE_CHECKING:
    import networkx

    from equikit.weightspace.graphs._graph import ParameterGraph


def to_networkx(graph: ParameterGraph, params: Any = None) -> networkx.MultiDiGraph:
    """Convert a parameter graph to NetworkX; see `ParameterGraph.to_networkx`."""
    import networkx

    found = networkx.MultiDiGraph()
    nodes: list[dict[str, Any]] = [
        {"layer": graph.node_layers[layer], "kind": "neuron" if kind == 0 else "parameter", "position": int(position)}
        for layer, kind, position in zip(graph.node_layer, graph.node_kind, graph.node_position, strict=True)
    ]
    edges: list[dict[str, Any]] = [
        {"kind": graph.edge_kinds[kind], "position": int(position)}
        for kind, position in zip(graph.edge_kind, graph.edge_position, strict=True)
    ]
    if params is not None:
        for some, values in zip((nodes, edges), of_one(graph.features(params)), strict=True):
            for what, value in zip(some, np.asarray(values), strict=True):
                what["value"] = value
    found.add_nodes_from(enumerate(nodes))
    senders, receivers = graph.edge_index.tolist()
    found.add_edges_from(zip(senders, receivers, edges, strict=True))
    return found
