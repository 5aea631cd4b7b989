"""Message passing on parameter graphs."""

from __future__ import annotations

import jax.numpy as jnp
from flax import nnx

from equikit.weightspace.graphs.layers._dense import Joined, Options, State
from equikit.weightspace.graphs.layers._messages import looked_up, sums
from equikit.weightspace.graphs.layers._metanetwork import Metanetwork
from equikit.weightspace.graphs.layers._topology import Topology


class MessageLayer(nnx.Module):
    """Update edges from their end nodes, nodes from means of edges, and the whole graph from means of both."""

    def __init__(self, width: int, options: Options) -> None:
        self.node_norm, self.edge_norm = options.norm(width), options.norm(width)
        whole = {"whole": width} if options.use_global else {}
        self.edge = Joined({"edge": width, "sender": width, "receiver": width} | whole, width, options)
        self.node = Joined({"node": width, "incoming": width, "outgoing": width} | whole, width, options)
        self.gates = options.linear(width, 2 * width)  # gates of messages along edges and against them
        self.whole_norm = options.norm(width) if options.use_global else None
        self.whole = Joined({"whole": width, "nodes": width, "edges": width}, width, options) if whole else None

    def __call__(self, *, state: State, topology: Topology) -> State:
        """Apply the layer."""
        senders, receivers, count = topology.senders, topology.receivers, topology.count
        nodes, edges = self.node_norm(state.nodes), self.edge_norm(state.edges)
        total = (
            self.edge.part("edge", edges)
            + looked_up(self.edge.part("sender", nodes), senders)
            + looked_up(self.edge.part("receiver", nodes), receivers)
        )
        whole = None
        if state.whole is not None:
            assert self.whole_norm is not None
            whole = self.whole_norm(state.whole)
            total = total + topology.spread(self.edge.part("whole", whole), topology.edges)
        message = self.edge(total)
        assert self.gates is not None
        along, against = jnp.split(1 + self.gates(nodes), 2, axis=-1)
        incoming = sums(message * looked_up(along, senders), receivers, count, topology.incoming).astype(message.dtype)
        outgoing = sums(message * looked_up(against, receivers), senders, count, topology.outgoing).astype(
            message.dtype
        )
        total = (
            self.node.part("node", nodes) + self.node.part("incoming", incoming) + self.node.part("outgoing", outgoing)
        )
        if whole is not None:
            total = total + topology.spread(self.node.part("whole", whole), topology.nodes)
        change = self.node(total)
        if whole is None or self.whole is None or state.whole is None:
            return State(state.nodes + change, state.edges + message, None)
        total = (
            self.whole.part("whole", whole)
            + self.whole.part("nodes", topology.mean(change, topology.nodes))
            + self.whole.part("edges", topology.mean(message, topology.edges))
        )
        return State(state.nodes + change, state.edges + message, state.whole + self.whole(total))


class MessagePassing(Metanetwork):
    r"""A graph network on the parameters of other networks, equivariant or invariant under their permutations.

    Let \(e_{uv}\) be the features of the edge from node \(u\) to node \(v\), \(x_v\) the features of nodes, \(g\) the
    features of the whole graph, and \(\phi\) perceptrons that are preceded by layer norms. A layer is

    \(e_{uv} \mathrel{+}= m_{uv} = \phi_e(e_{uv}, x_u, x_v, g)\),
    \(x_v \mathrel{+}= \phi_x(x_v, \mathrm{mean}_u\, m_{uv} \odot a_u, \mathrm{mean}_u\, m_{vu} \odot b_u, g)\),
    \(g \mathrel{+}= \phi_g(g, \mathrm{mean}\, \phi_x, \mathrm{mean}\, m)\),

    where \(a_u\) and \(b_u\) are affine in \(x_u\), because networks multiply weights by activations. Means instead of
    sums keep features of the same magnitude for networks of every width. Every mean is taken within each kind of edge
    (or each layer) first and then over kinds, so that a bias is not lost among a thousand weights. Node layers, edge
    kinds and indices that are not permuted have learned embeddings. Individual hidden neurons have none, so that
    relabeling them relabels the result. Layer norms square features, so outputs are finite in float32 for weights of
    magnitudes up to about 1e18: scale larger weights first.

    Args:
        graph: the parameter graph, from `graph`, or `AnyArchitecture()`.
        channels: numbers of channels for each weight: input, hidden layers, output. The input has one channel for
            weights only, and more if each weight comes with a gradient. Hidden widths may differ.
        out: `""` for invariants, or the name of a node layer, such as `"h0"`, for features of each of its nodes; by
            default the output is a tree like the parameters.
        use_global: whether there are features of the whole graph, which connect separate components of the graph.
        activation: the nonlinearity of the perceptrons.
        probes: activations of every neuron as additional features, see `Probes`.
        members: number of heads on the same features. With `out=""` the result is their mean; without `out=` it is a
            tree for each member, stacked along a first axis: average the outputs of the networks with these parameters.
        remat: whether to compute each layer again for its gradient, so that a training needs the memory of one
            layer.
        dtype: dtype of the computation; by default promoted from inputs and parameters.
        param_dtype: dtype of the parameters of this network.
        rngs: random keys for the parameters.

    Raises:
        OptionError: if there are fewer than three numbers of channels, or the output is unknown.

    Cost: each layer multiplies matrices for all edges, \(O(\text{edges} \cdot c^2)\); memory grows with the edges.

    Example:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> from equikit.weightspace import MessagePassing, graph
        >>> def apply(params, x):
        ...     return jnp.tanh(x @ params["first"]) @ params["second"]
        >>> params = {"first": jnp.ones((3, 8)), "second": jnp.ones((8, 2))}
        >>> neurons = graph(apply, params, jnp.ones((5, 3)))
        >>> network = MessagePassing(neurons, [1, 16, 16, 4], out="", rngs=nnx.Rngs(0))
        >>> network(params).shape
        (4,)
        >>> moved = neurons.spec.act(neurons.spec.random_element(key=jax.random.key(0)), params)
        >>> bool(jnp.allclose(network(moved), network(params), atol=1e-5))
        True

    Source:
        Lim et al., Graph metanetworks for processing diverse neural architectures, arXiv:2312.04501;
        Kofinas et al., arXiv:2403.12143. The layers have the form of Battaglia et al., arXiv:1806.01261.
    """

    def make_layer(self, width: int, options: Options) -> MessageLayer:
        """Return a layer."""
        return MessageLayer(width, options)
