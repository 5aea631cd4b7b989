"""The message layer of `sparse` in PyTorch Geometric, on the CPU."""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.core.measurement import Skip
from benchmarks.speed._sparse_layers import CHANNELS, Graph


def message_layer(graph: Graph, direction: str) -> Callable[[], Any]:
    """Return a call that runs the layer once, or the layer, its loss and the gradient.

    Raises:
        Skip: if PyTorch Geometric is not installed.
    """
    try:
        torch: Any = importlib.import_module("torch")
        with warnings.catch_warnings():  # it warns of functions of PyTorch that it still uses
            warnings.simplefilter("ignore")
            geometric: Any = importlib.import_module("torch_geometric.nn")
    except ImportError as error:
        raise Skip(f"{error.name} is not installed") from error

    class Messages(geometric.MessagePassing):
        """Edges from themselves and both ends, nodes from themselves and sums over their edges."""

        def __init__(self) -> None:
            super().__init__(aggr="sum")
            self.edge = torch.nn.Linear(3 * CHANNELS, CHANNELS, bias=False)
            self.node = torch.nn.Linear(3 * CHANNELS, CHANNELS, bias=False)

        def forward(self, nodes: Any, edges: Any, index: Any, back: Any) -> Any:
            edges = self.edge_updater(index, x=nodes, attributes=edges)
            received = self.propagate(index, made=edges, size=(graph.n, graph.n))
            sent = self.propagate(back, made=edges, size=(graph.n, graph.n))
            return edges, self.node(torch.cat([nodes, sent, received], -1))

        def edge_update(self, x_i: Any, x_j: Any, attributes: Any) -> Any:
            return self.edge(torch.cat([attributes, x_j, x_i], -1))

        def message(self, made: Any) -> Any:
            return made

    layer = Messages()
    index = torch.from_numpy(np.stack(graph.indices))
    back = index.flip(0)
    nodes, edges = (torch.from_numpy(np.array(graph.features[name])) for name in ("nodes", "edges"))

    def forward() -> Any:
        with torch.no_grad():
            return layer(nodes, edges, index, back)

    def training() -> Any:
        inputs = nodes.requires_grad_(), edges.requires_grad_()
        loss = sum((torch.relu(y) ** 2).mean() for y in layer(*inputs, index, back))
        return torch.autograd.grad(loss, (*inputs, *layer.parameters()))

    return forward if direction == "forward" else training
