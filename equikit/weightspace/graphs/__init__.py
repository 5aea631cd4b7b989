"""Parameter graphs, built from the traced symmetry, and graph networks on them."""

from equikit import _keywords
from equikit.weightspace.graphs._batches import GraphBatches
from equikit.weightspace.graphs._graph import ParameterGraph
from equikit.weightspace.graphs._joining import JoinedGraphs, join_graphs
from equikit.weightspace.graphs._make import graph
from equikit.weightspace.graphs._probes import Probes
from equikit.weightspace.graphs._values import Features
from equikit.weightspace.graphs.layers._any import AnyArchitecture
from equikit.weightspace.graphs.layers._message_passing import MessagePassing
from equikit.weightspace.graphs.layers._relational import RelationalTransformer

__all__ = [
    "AnyArchitecture",
    "Features",
    "GraphBatches",
    "JoinedGraphs",
    "MessagePassing",
    "ParameterGraph",
    "Probes",
    "RelationalTransformer",
    "graph",
    "join_graphs",
]

_keywords.answer_misspelled(__name__)
