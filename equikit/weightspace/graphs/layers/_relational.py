"""A relational transformer on parameter graphs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from equikit import _checks
from equikit._errors import OptionError
from equikit.weightspace.graphs._graph import ParameterGraph
from equikit.weightspace.graphs.layers._any import AnyArchitecture
from equikit.weightspace.graphs.layers._dense import Joined, Options, State
from equikit.weightspace.graphs.layers._messages import looked_up, weighted
from equikit.weightspace.graphs.layers._metanetwork import Metanetwork
from equikit.weightspace.graphs.layers._topology import Topology


class RelationalLayer(nnx.Module):
    """Attention of nodes to neighbors and themselves, then an update of edges from end nodes and reversed edges."""

    def __init__(self, width: int, heads: int, options: Options) -> None:
        self.heads = heads
        self.node_norm, self.edge_norm = options.norm(width), options.norm(width)
        self.of_nodes = options.linear(width, 3 * width)
        self.of_edges = options.linear(width, 3 * width, use_bias=False)
        self.attended = options.linear(width, width)
        self.feed_norm, self.end_norm, self.inner_norm = options.norm(width), options.norm(width), options.norm(width)
        whole = {"whole": width} if options.use_global else {}
        self.feed = Joined({"node": width} | whole, width, options)
        self.edge = Joined({"edge": width, "reversed": width, "sender": width, "receiver": width}, width, options)
        self.edge_feed = Joined({"edge": width}, width, options)
        self.whole_norm = options.norm(width) if whole else None
        self.whole = Joined({"whole": width, "nodes": width, "edges": width}, width, options) if whole else None

    def __call__(self, *, state: State, topology: Topology) -> State:
        """Apply the layer; features of edges are `[*batch, arcs, c]`, see `Topology.arcs`."""
        senders, receivers = topology.senders, topology.receivers
        x, e, whole = state
        nodes, edges = self.node_norm(x), self.edge_norm(e)
        assert self.of_nodes is not None
        assert self.of_edges is not None
        assert self.attended is not None
        q, k, v = jnp.split(self.of_nodes(nodes), 3, axis=-1)
        q_edge, k_edge, v_edge = jnp.split(self.of_edges(edges), 3, axis=-1)
        q = self._in_heads(looked_up(q, receivers) + q_edge)
        k = self._in_heads(looked_up(k, senders) + k_edge)
        v = self._in_heads(looked_up(v, senders) + v_edge)
        logits = jnp.sum(q * k, axis=-1) / jnp.sqrt(jnp.asarray(q.shape[-1], q.dtype))
        x = x + self.attended(weighted(logits, v, receivers, topology.count))
        total = self.feed.part("node", self.feed_norm(x))
        wide = None
        if whole is not None:
            assert self.whole_norm is not None
            wide = self.whole_norm(whole)
            total = total + topology.spread(self.feed.part("whole", wide), topology.nodes)
        x = x + self.feed(total)
        ends = self.end_norm(x)
        total = (
            self.edge.part("edge", edges)
            + looked_up(self.edge.part("reversed", edges), opposite(topology))
            + looked_up(self.edge.part("sender", ends), senders)
            + looked_up(self.edge.part("receiver", ends), receivers)
        )
        e = e + self.edge(total)
        e = e + self.edge_feed(self.edge_feed.part("edge", self.inner_norm(e)))
        if whole is not None and wide is not None and self.whole is not None:
            part = self.whole.part
            seen = topology.mean(ends, topology.nodes)
            beside = topology.mean(edges, topology.edges)
            whole = whole + self.whole(part("whole", wide) + part("nodes", seen) + part("edges", beside))
        return State(x, e, whole)

    def _in_heads(self, x: jax.Array) -> jax.Array:
        return x.reshape(*x.shape[:-1], self.heads, x.shape[-1] // self.heads)


def opposite(arcs: Topology) -> np.ndarray:
    """Return for each arc the number of the reversed arc."""
    count = (len(arcs.senders) - arcs.count) // 2
    return np.concatenate([np.arange(count) + count, np.arange(count), 2 * count + np.arange(arcs.count)])


class RelationalTransformer(Metanetwork):
    r"""A transformer on the parameters of other networks with attention between nodes that share a weight.

    Every edge has a reversed edge with separate features, and every node has a self-loop. For an edge from \(u\) to
    \(v\) with features \(e_{uv}\),

    \(q_{uv} = W_q x_v + W_q' e_{uv}\), \(k_{uv} = W_k x_u + W_k' e_{uv}\), \(v_{uv} = W_v x_u + W_v' e_{uv}\),
    \(x_v \mathrel{+}= W \sum_u \mathrm{softmax}_u(q_{uv} \cdot k_{uv} / \sqrt{d})\, v_{uv}\),
    \(e_{uv} \mathrel{+}= \phi(e_{uv}, e_{vu}, x_u, x_v)\),

    with a layer norm before and a perceptron after each update. Nodes that do not share a weight do not attend to each
    other: information between them passes through other nodes, or through the features of the whole graph, which are an
    input of the node perceptron. Weights may be as large as for `MessagePassing`.

    Args:
        graph: the parameter graph, from `graph`, or `AnyArchitecture()`.
        channels: numbers of channels for each weight: input, hidden layers, output.
        out: `""` for invariants, or the name of a node layer for features of each of its nodes; by default the output
            is a tree like the parameters.
        heads: number of attention heads, a divisor of all hidden widths.
        **options: options of `MessagePassing`.

    Raises:
        OptionError: if there are fewer than three numbers of channels, or `out` or `heads` is invalid.

    Cost: \(O((2\, \text{edges} + \text{nodes}) \cdot c^2)\) for each layer; memory grows with the number of arcs.

    Example:
        >>> from equikit.weightspace import RelationalTransformer, graph
        >>> def apply(params, x):
        ...     return jnp.tanh(x @ params["first"]) @ params["second"]
        >>> params = {"first": jnp.ones((3, 8)), "second": jnp.ones((8, 2))}
        >>> neurons = graph(apply, params, jnp.ones((5, 3)))
        >>> network = RelationalTransformer(neurons, [1, 16, 16, 1], rngs=nnx.Rngs(0))
        >>> jax.tree.map(jnp.shape, network(params))
        {'first': (3, 8), 'second': (8, 2)}

    Source:
        Diao and Loynd, Relational attention: generalizing transformers for graph-structured tasks, arXiv:2210.05062;
        Kofinas et al., arXiv:2403.12143, in which all pairs of nodes attend to each other.
    """

    on_arcs = True

    def __init__(
        self,
        graph: ParameterGraph | AnyArchitecture,
        channels: Sequence[int],
        out: str | None = None,
        *,
        heads: int = 4,
        rngs: nnx.Rngs,
        **options: Any,
    ) -> None:
        self.heads = _checks.count("heads", heads, least=1, example=4)
        for width in _checks.widths("channels", channels, example="[1, 16, 16, 1]")[1:-1]:
            if width % self.heads:
                raise OptionError(
                    "the heads do not divide the channels",
                    got=f"channels={list(channels)}, heads={heads}",
                    expected="hidden channels that are multiples of the number of heads",
                    step="write heads=4 and channels=[1, 16, 16, 1]",
                )
        super().__init__(graph, channels, out, rngs=rngs, **options)

    def prepare(self, width: int, options: Options) -> None:
        """Create the embeddings of the directions of arcs."""
        self.directions = options.codes(3, width)

    def make_layer(self, width: int, options: Options) -> RelationalLayer:
        """Return a layer."""
        return RelationalLayer(width, self.heads, options)

    def begin(self, state: State) -> State:
        """Convert edges to arcs, each with the embedding of its direction."""
        assert self.directions is not None
        codes = self.directions[...].astype(state.edges.dtype)
        itself = jnp.broadcast_to(codes[2], (*state.nodes.shape[:-1], codes.shape[-1]))
        arcs = jnp.concatenate([state.edges + codes[0], state.edges + codes[1], itself], axis=-2)
        return state._replace(edges=arcs)

    def end(self, state: State) -> State:
        """Convert arcs back to the original edges."""
        count = (state.edges.shape[-2] - state.nodes.shape[-2]) // 2
        return state._replace(edges=state.edges[..., :count, :])
