"""The parameter graph of a model: static arrays, and the values of parameters on it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, get_args

import jax
import numpy as np

from equikit import _checks
from equikit._errors import ShapeError
from equikit.groups import Fixed
from equikit.weightspace.graphs._indices import ends, moved, positions, repeated
from equikit.weightspace.graphs._layout import GraphKind, Layout, layout
from equikit.weightspace.graphs._networkx import to_networkx
from equikit.weightspace.graphs._values import Features, laid_out, picked
from equikit.weightspace.specifications._leaves import with_channels
from equikit.weightspace.specifications._specification import Specification, checked_specification
from equikit.weightspace.specifications._tensors import join, split
from equikit.weightspace.tracing.programs._reading import INPUT, OUTPUT

if TYPE_CHECKING:
    import networkx

LOOKED_UP = "gather"
"""The start of the reason for which a label with looked-up indices, such as words, is rigid."""


@dataclass(frozen=True)
class ParameterGraph:
    r"""The parameter graph of a model, built from the symmetry of its program. Made by `graph`.

    Nodes are first of all neurons: the indices of every label that is permuted, and of the labels of inputs, outputs
    and looked-up rows, on which nothing acts; a label that is nested in another, as what is in a head of attention, has
    one for each index of both, with an edge to that of the outer label, and both axes count as one.
    A parameter, or each piece of one whose axes are sums, is laid out by the number of its axes that are neurons:

    | neurons' axes | `"neurons"` | `"parameters"` |
    | --- | --- | --- |
    | none | a node for each entry | the same |
    | one | channels of the neurons | an edge for each entry, from a node that stands for the parameter |
    | two | an edge for each pair of neurons | an edge for each entry |
    | three or more | a node for each tuple of neurons, and an edge to each of them | the same for each entry |

    Axes that are no neurons, such as the windows of convolutions, are channels in the left column, filled up with zeros
    to the largest. Edges are directed from the first to the second axis of the parameter. Two parameters between the
    same neurons are parallel edges of two kinds; where an axis is tied to another (`h h`), both ends are of one layer.

    A permutation of the parameters relabels the nodes and edges, and does nothing else (`places`).

    Args:
        spec: the symmetry of the parameters, from `trace`.
        kind: what there is one of, see above.
        neurons: labels on which nothing acts whose indices are nodes; by default those named above.

    Attributes:
        node_layers, edge_kinds: names of layers and of kinds of edges; ids are places in them.
        node_layer: which layer a node is of, `[nodes]`.
        node_kind: 0 for neurons, 1 for nodes that stand for parameters, `[nodes]`.
        node_position: a number for every index that nothing permutes, -1 for all others, `[nodes]`.
        edge_index: senders and receivers, `[2, edges]`.
        edge_kind: which parameter, `[edges]`.
        edge_position: as for nodes, `[edges]`.

    Raises:
        OptionError: if there is no such kind or label.

    Cost: the graph is made once, when its arrays are first asked for.

    Example:
        >>> import jax.numpy as jnp
        >>> from equikit.weightspace import graph
        >>> def apply(params, x):
        ...     return jnp.tanh(x @ params["first"] + params["bias"]) @ params["second"]
        >>> params = {"first": jnp.ones((3, 8)), "bias": jnp.ones(8), "second": jnp.ones((8, 2))}
        >>> neurons = graph(apply, params, jnp.ones((5, 3)))
        >>> neurons.num_nodes, neurons.num_edges  # 3 + 8 + 2 neurons, 3 * 8 + 8 * 2 weights
        (13, 40)
        >>> [array.shape for array in neurons.features(params)]
        [(13, 1), (40, 1)]

    Source:
        Kofinas et al., Graph neural networks for learning equivariant representations of neural networks,
        arXiv:2403.12143 (neurons); Lim et al., Graph metanetworks for processing diverse neural
        architectures, arXiv:2312.04501 (parameters). There graphs are built by hand for known layers.
    """

    spec: Specification
    kind: GraphKind = "neurons"
    neurons: Sequence[str] | None = None

    def __post_init__(self) -> None:
        checked_specification(self.spec)
        _checks.choice("kind", self.kind, get_args(GraphKind))
        rigid = [label for label, what in self.spec.bindings if isinstance(what, Fixed)]
        if self.neurons is None:
            seen = {label for label, why in self.spec.reasons if why in (INPUT, OUTPUT) or why.startswith(LOOKED_UP)}
            object.__setattr__(self, "neurons", tuple(label for label in rigid if label in seen))
            return
        given = _checks.names("neurons", self.neurons, example="in")
        for label in given:
            _checks.choice("neurons", label, rigid, step="leave neurons out")
        object.__setattr__(self, "neurons", tuple(label for label in rigid if label in given))

    @cached_property
    def layout(self) -> Layout:
        """The blocks of nodes and of edges, and the places of the values."""
        return layout(self.spec, self.kind, [*self.spec.groups, *(self.neurons or ())])

    @property
    def num_nodes(self) -> int:
        """The number of nodes."""
        return sum(block.size for block in self.layout.nodes)

    @property
    def num_edges(self) -> int:
        """The number of edges."""
        return sum(block.size for block in self.layout.edges)

    @property
    def node_width(self) -> int:
        """The number of values of a node, including zeros."""
        return self.layout.width(on_edges=False)

    @property
    def edge_width(self) -> int:
        """The number of values of an edge, including zeros."""
        return self.layout.width(on_edges=True)

    @property
    def node_layers(self) -> tuple[str, ...]:
        """The name of every layer: a label, or a parameter whose entries are nodes."""
        return tuple(block.name for block in self.layout.nodes)

    @property
    def edge_kinds(self) -> tuple[str, ...]:
        """The name of every kind of edge: a parameter, and if it has several, which of its axes."""
        return tuple(block.name for block in self.layout.edges)

    @cached_property
    def node_layer(self) -> np.ndarray:
        """The layer of every node, `[nodes]`."""
        return repeated(self.layout.nodes, range(len(self.layout.nodes)))

    @cached_property
    def node_kind(self) -> np.ndarray:
        """0 for neurons, 1 for nodes of parameters, `[nodes]`."""
        return repeated(self.layout.nodes, [not block.neurons for block in self.layout.nodes])

    @cached_property
    def node_position(self) -> np.ndarray:
        """A number for every index that is not permuted, -1 for the others, `[nodes]`."""
        return positions(self.layout.nodes)

    @cached_property
    def edge_index(self) -> np.ndarray:
        """Senders and receivers, `[2, edges]`."""
        return ends(self.layout)

    @cached_property
    def edge_kind(self) -> np.ndarray:
        """The kind of every edge, `[edges]`."""
        return repeated(self.layout.edges, range(len(self.layout.edges)))

    @cached_property
    def edge_position(self) -> np.ndarray:
        """A number for every window index that is an axis of the edges, -1 for the others, `[edges]`."""
        return positions(self.layout.edges)

    def features(self, params: Any, *, channels: int = 1) -> Features:
        """Return the values of parameters on the graph.

        Args:
            params: a tree of arrays `[*batch, *shape]`, the parameters of a network or of many, stacked; with more than
                one channel, as where every weight comes with a gradient, `[*batch, *shape, channels]`.
            channels: see there.

        Returns:
            `nodes`, `[*batch, nodes, node_width * channels]`, and `edges`, `[*batch, edges, edge_width * channels]`.

        Raises:
            ShapeError, DTypeError, OptionError: if the parameters are not those of the specification.
        """
        tensors = split(self.spec.leaves, with_channels(self.spec.leaves, params, _checks.count("channels", channels)))
        return Features(laid_out(self.layout, tensors, False), laid_out(self.layout, tensors, True))

    def parameters(self, features: Features, like: Any) -> Any:
        """Return the parameters with these features: the inverse of `features`.

        Args:
            features: `[*batch, nodes, node_width * channels]` and `[*batch, edges, edge_width * channels]`; what stands
                in place of zeros that fill up is not read.
            like: a tree, whose structure the result gets.

        Returns:
            A tree of arrays `[*batch, *shape]`, with the channels as a last axis where there are more than one.

        Raises:
            ShapeError: if the features are not of this graph.
        """
        counts = (self.num_nodes, self.node_width), (self.num_edges, self.edge_width)
        channels = {array.shape[-1] // width for array, (_, width) in zip(features, counts, strict=True) if width}
        for name, array, (count, width) in zip(Features._fields, features, counts, strict=True):
            bad = array.ndim < 2 or array.shape[-2] != count or (width and array.shape[-1] % width)
            if bad or len(channels) > 1 or 0 in channels:
                raise ShapeError(
                    f"the {name} are not features of this graph",
                    got=f"nodes {list(features.nodes.shape)}, edges {list(features.edges.shape)}",
                    expected=f"[*batch, {count}, {width} * channels] for the {name}, as many channels for both",
                    step="pass what graph.features returns, or an array of the same shape",
                )
        found = join(self.spec.leaves, picked(self.layout, features))
        results = [found[leaf.name] for leaf in self.spec.leaves]
        if channels == {1}:
            results = [array[..., 0] for array in results]
        return jax.tree.unflatten(jax.tree.structure(like), results)

    def places(self, element: Mapping[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """Return how an element of the group moves nodes and edges: node i becomes node `nodes[i]`, and so for edges.

        Moving the parameters, `spec.act(element, params)`, moves their features so; all other arrays of the graph, with
        senders and receivers renamed, stay as they are.
        """
        nested = self.spec.nested
        return moved(self.layout.nodes, dict(element), nested), moved(self.layout.edges, dict(element), nested)

    def to_networkx(self, params: Any = None) -> networkx.MultiDiGraph:
        """Return a NetworkX graph: nodes have the attributes layer, kind, position, edges kind and position.

        Args:
            params: parameters of one network; nodes and edges then have their values as the attribute `value`.

        Raises:
            ShapeError: if these are the parameters of many networks.
        """
        return to_networkx(self, params)


def checked_graph(graph: Any) -> None:
    """Raise `OptionError` unless it is a parameter graph."""
    _checks.instance("graph", graph, ParameterGraph, "ParameterGraph(spec)")
