"""The parameter graph of a model: its static arrays, and the features of parameters on it."""

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
from equikit.weightspace.graphs._traits import LOOKED_UP, Traits, traits_of
from equikit.weightspace.graphs._values import Features, laid_out, picked
from equikit.weightspace.specifications._leaves import with_channels
from equikit.weightspace.specifications._specification import Specification, checked_specification
from equikit.weightspace.specifications._tensors import join, split
from equikit.weightspace.tracing._usage import Usage
from equikit.weightspace.tracing.programs._reading import INPUT, OUTPUT

if TYPE_CHECKING:
    import networkx


@dataclass(frozen=True)
class ParameterGraph:
    r"""The parameter graph of a model, built from the symmetry of its program. Made by `graph`.

    Most nodes are neurons: the indices of every permuted label, and of the fixed labels of inputs, outputs and
    looked-up rows. A label that is nested in another, such as the features within attention heads, has a neuron for
    each pair of indices, with an edge to the neuron of the outer label; its two axes count as one axis.
    A parameter (or each piece of a parameter with sum axes) is laid out by the number of its neuron axes:

    | neuron axes | `"neurons"` | `"parameters"` |
    | --- | --- | --- |
    | none | a node for each entry | the same |
    | one | channels of the neurons | an edge for each entry, from a node that represents the parameter |
    | two | an edge for each pair of neurons | an edge for each entry |
    | three or more | a node for each tuple of neurons, and an edge to each of them | the same for each entry |

    With `"neurons"`, all other axes, such as the windows of convolutions, are channels, padded with zeros to the
    largest number. Edges are directed from the first to the second neuron axis. Two parameters between the same neurons
    are parallel edges of two kinds; if two axes of a parameter are tied (`h h`), edges stay within one layer.

    A permutation of the parameters only relabels nodes and edges (`places`).

    Args:
        spec: the symmetry of the parameters, from `trace`.
        kind: `"neurons"` or `"parameters"`, see above.
        neurons: fixed labels whose indices are nodes; by default the labels named above.
        usage: what the program does with parameters and neurons, from `graph`; `join_graphs` needs it.

    Attributes:
        node_layers, edge_kinds: names of node layers and edge kinds; ids index these tuples.
        node_layer: the layer id of each node, `[nodes]`.
        node_kind: 0 for neurons, 1 for nodes that represent parameters, `[nodes]`.
        node_position: an id for every index that is not permuted, -1 for all others, `[nodes]`.
        edge_index: senders and receivers, `[2, edges]`.
        edge_kind: the kind id of each edge, `[edges]`.
        edge_position: like `node_position`, `[edges]`.

    Raises:
        OptionError: if the kind or a label is unknown.

    Cost: the graph is built once, on first access of its arrays.

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
        arXiv:2403.12143 (neurons); Lim et al., Graph metanetworks for processing diverse neural architectures,
        arXiv:2312.04501 (parameters). The papers build graphs by hand for known layers.
    """

    spec: Specification
    kind: GraphKind = "neurons"
    neurons: Sequence[str] | None = None
    usage: Usage | None = None

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
        """The blocks of nodes and edges, and the position of each tensor's values in them."""
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
        """The number of values of each node, including zero padding."""
        return self.layout.width(on_edges=False)

    @property
    def edge_width(self) -> int:
        """The number of values of each edge, including zero padding."""
        return self.layout.width(on_edges=True)

    @property
    def node_layers(self) -> tuple[str, ...]:
        """The name of every node layer: a label, or a parameter that has nodes."""
        return tuple(block.name for block in self.layout.nodes)

    @property
    def edge_kinds(self) -> tuple[str, ...]:
        """The name of every edge kind: a parameter, with the axis if the parameter has several kinds of edges."""
        return tuple(block.name for block in self.layout.edges)

    @cached_property
    def node_layer(self) -> np.ndarray:
        """The layer id of every node, `[nodes]`."""
        return repeated(self.layout.nodes, range(len(self.layout.nodes)))

    @cached_property
    def node_kind(self) -> np.ndarray:
        """0 for neurons, 1 for nodes that represent parameters, `[nodes]`."""
        return repeated(self.layout.nodes, [not block.neurons for block in self.layout.nodes])

    @cached_property
    def node_position(self) -> np.ndarray:
        """An id for every index that is not permuted, -1 for all others, `[nodes]`."""
        return positions(self.layout.nodes)

    @cached_property
    def edge_index(self) -> np.ndarray:
        """Senders and receivers, `[2, edges]`."""
        return ends(self.layout)

    @cached_property
    def edge_kind(self) -> np.ndarray:
        """The kind id of every edge, `[edges]`."""
        return repeated(self.layout.edges, range(len(self.layout.edges)))

    @cached_property
    def edge_position(self) -> np.ndarray:
        """An id for every index along axes of edges that are not permuted, -1 for other edges, `[edges]`."""
        return positions(self.layout.edges)

    @cached_property
    def traits(self) -> Traits:
        """What nodes, edges and their values are, without numbers of layers or parameters; it needs `usage`."""
        assert self.usage is not None
        return traits_of(self.spec, self.layout, self.usage)

    def features(self, params: Any, *, channels: int = 1) -> Features:
        """Return the parameters as features of nodes and edges.

        Args:
            params: a tree of arrays `[*batch, *shape]`, the parameters of one network or of stacked networks; with more
                than one channel, such as weights with gradients, `[*batch, *shape, channels]`.
            channels: number of channels.

        Returns:
            `nodes`, `[*batch, nodes, node_width * channels]`, and `edges`, `[*batch, edges, edge_width * channels]`.

        Raises:
            ShapeError, DTypeError, OptionError: if the parameters do not match the specification.
        """
        tensors = split(self.spec.leaves, with_channels(self.spec.leaves, params, _checks.count("channels", channels)))
        return Features(laid_out(self.layout, tensors, False), laid_out(self.layout, tensors, True))

    def parameters(self, features: Features, like: Any) -> Any:
        """Return the parameters with these features: the inverse of `features`.

        Args:
            features: `[*batch, nodes, node_width * channels]` and `[*batch, edges, edge_width * channels]`; entries in
                the zero padding are ignored.
            like: a tree with the structure of the result.

        Returns:
            A tree of arrays `[*batch, *shape]`, with a last axis of channels if there is more than one.

        Raises:
            OptionError, DTypeError: if `features` are not features, or no arrays of numbers.
            ShapeError: if the features do not match this graph.
        """
        _checks.instance("features", features, Features, "graph.features(params)")
        for name, array in zip(Features._fields, features, strict=True):
            _checks.array(f"the {name}", array, kind="real or complex", step="pass the result of graph.features")
        counts = (self.num_nodes, self.node_width), (self.num_edges, self.edge_width)
        channels = {array.shape[-1] // width for array, (_, width) in zip(features, counts, strict=True) if width}
        for name, array, (count, width) in zip(Features._fields, features, counts, strict=True):
            bad = array.ndim < 2 or array.shape[-2] != count or (width and array.shape[-1] % width)
            if bad or len(channels) > 1 or 0 in channels:
                raise ShapeError(
                    f"the {name} are not features of this graph",
                    got=f"nodes {list(features.nodes.shape)}, edges {list(features.edges.shape)}",
                    expected=f"[*batch, {count}, {width} * channels] for the {name}, as many channels for both",
                    step="pass the result of graph.features, or an array of the same shape",
                )
        found = join(self.spec.leaves, picked(self.layout, features))
        results = [found[leaf.name] for leaf in self.spec.leaves]
        if channels == {1}:
            results = [array[..., 0] for array in results]
        return jax.tree.unflatten(jax.tree.structure(like), results)

    def places(self, element: Mapping[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """Return permutations `(nodes, edges)` for a group element: node i moves to `nodes[i]`, edge j to `edges[j]`.

        The features of `spec.act(element, params)` are permuted in this way. All other arrays of the graph are
        invariant, after senders and receivers are renamed.
        """
        nested = self.spec.nested
        return moved(self.layout.nodes, dict(element), nested), moved(self.layout.edges, dict(element), nested)

    def to_networkx(self, params: Any = None) -> networkx.MultiDiGraph:
        """Return a NetworkX graph; nodes have attributes layer, kind and position, edges have kind and position.

        Args:
            params: parameters of one network; nodes and edges then store their values in the attribute `value`.

        Raises:
            ShapeError: if `params` is a batch of networks.
        """
        return to_networkx(self, params)


def checked_graph(graph: Any, make: str = "ParameterGraph(spec)") -> None:
    """Raise `OptionError` unless `graph` is a `ParameterGraph`; `make` is code that makes what belongs there."""
    _checks.instance("graph", graph, ParameterGraph, make)
