"""Parameter graphs, built from the traced symmetry, and graph networks on them."""

from equikit import _keywords
from equikit.weightspace.graphs._graph import ParameterGraph
from equikit.weightspace.graphs._make import graph
from equikit.weightspace.graphs._probes import Probes
from equikit.weightspace.graphs._values import Features
from equikit.weightspace.graphs.layers._message_passing import MessagePassing
from equikit.weightspace.graphs.layers._relational import RelationalTransformer

__all__ = ["Features", "MessagePassing", "ParameterGraph", "Probes", "RelationalTransformer", "graph"]

_keywords.answer_misspelled(__name__)
