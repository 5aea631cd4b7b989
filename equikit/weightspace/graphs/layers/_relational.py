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
from equikit.weightspace.graphs.layers._dense import Joined, Options, State
from equikit.weightspace.graphs.layers._messages import looked_up, mean_of_means, weighted
from equikit.weightspace.graphs.layers._metanetwork import Metanetwork


class RelationalLayer(nnx.Module):
    """Attention of nodes to neighbors and themselves, then an update of edges from end nodes and reversed edges."""

    def __init__(self, graph: ParameterGraph, width: int, heads: int, options: Options) -> None:
        self.graph, self.heads = graph, heads
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

    def __call__(self, state: State) -> State:
        """Apply the layer; features of edges are `[*batch, arcs, c]`, see `arcs`."""
        senders, receivers = arcs(self.graph)
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
        x = x + self.attended(weighted(logits, v, receivers, self.graph.num_nodes))
        total = self.feed.part("node", self.feed_norm(x))
        wide = None
        if whole is not None:
            assert self.whole_norm is not None
            wide = self.whole_norm(whole)
            total = total + self.feed.part("whole", wide)[..., None, :]
        x = x + self.feed(total)
        ends = self.end_norm(x)
        total = (
            self.edge.part("edge", edges)
            + looked_up(self.edge.part("reversed", edges), opposite(self.graph))
            + looked_up(self.edge.part("sender", ends), senders)
            + looked_up(self.edge.part("receiver", ends), receivers)
        )
        e = e + self.edge(total)
        e = e + self.edge_feed(self.edge_feed.part("edge", self.inner_norm(e)))
        if whole is not None and wide is not None and self.whole is not None:
            part = self.whole.part
            seen = mean_of_means(ends, self.graph.node_layer)
            beside = mean_of_means(edges, arc_kinds(self.graph))
            whole = whole + self.whole(part("whole", wide) + part("nodes", seen) + part("edges", beside))
        return State(x, e, whole)

    def _in_heads(self, x: jax.Array) -> jax.Array:
        return x.reshape(*x.shape[:-1], self.heads, x.shape[-1] // self.heads)


def arcs(graph: ParameterGraph) -> tuple[np.ndarray, np.ndarray]:
    """Return senders and receivers of all arcs: all edges, all reversed edges, and a self-loop at each node."""
    (senders, receivers), itself = graph.edge_index, np.arange(graph.num_nodes, dtype=np.int32)
    return np.concatenate([senders, receivers, itself]), np.concatenate([receivers, senders, itself])


def arc_kinds(graph: ParameterGraph) -> np.ndarray:
    """Return the kind of every arc: one for each edge kind and direction, and one for the self-loops of each layer."""
    kinds = len(graph.edge_kinds)
    return np.concatenate([graph.edge_kind, graph.edge_kind + kinds, graph.node_layer + 2 * kinds])


def opposite(graph: ParameterGraph) -> np.ndarray:
    """Return for each arc the number of the reversed arc."""
    count = graph.num_edges
    return np.concatenate([np.arange(count) + count, np.arange(count), 2 * count + np.arange(graph.num_nodes)])


class RelationalTransformer(Metanetwork):
    r"""A transformer on the parameters of other networks with attention between nodes that share a weight.

    Every edge has a reversed edge with separate features, and every node has a self-loop. For an edge from \(u\) to
    \(v\) with features \(e_{uv}\),

    \(q_{uv} = W_q x_v + W_q' e_{uv}\), \(k_{uv} = W_k x_u + W_k' e_{uv}\), \(v_{uv} = W_v x_u + W_v' e_{uv}\),
    \(x_v \mathrel{+}= W \sum_u \mathrm{softmax}_u(q_{uv} \cdot k_{uv} / \sqrt{d})\, v_{uv}\),
    \(e_{uv} \mathrel{+}= \phi(e_{uv}, e_{vu}, x_u, x_v)\),

    with a layer norm before and a perceptron after each update. Nodes that do not share a weight do not attend to each
    other: information between them passes through other nodes, or through the features of the whole graph, which are an
    input of the node perceptron.

    Args:
        graph: the parameter graph, from `graph`.
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

    def __init__(
        self,
        graph: ParameterGraph,
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
        return RelationalLayer(self.graph, width, self.heads, options)

    def begin(self, state: State) -> State:
        """Convert edges to arcs, each with the embedding of its direction."""
        assert self.directions is not None
        codes = self.directions[...].astype(state.edges.dtype)
        batch = state.nodes.shape[:-2]
        itself = jnp.broadcast_to(codes[2], (*batch, self.graph.num_nodes, codes.shape[-1]))
        return state._replace(edges=jnp.concatenate([state.edges + codes[0], state.edges + codes[1], itself], axis=-2))

    def end(self, state: State) -> State:
        """Convert arcs back to the original edges."""
        return state._replace(edges=state.edges[..., : self.graph.num_edges, :])
