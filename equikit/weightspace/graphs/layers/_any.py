"""The encoder and head of networks whose weights do not depend on the architecture of what they read."""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from flax import nnx

from equikit.weightspace.graphs._joining import JoinedGraphs, Rows
from equikit.weightspace.graphs._traits import POSITIONS, TRAITS, VALUES, Blocks
from equikit.weightspace.graphs._values import Features
from equikit.weightspace.graphs.layers._dense import Options, State
from equikit.weightspace.graphs.layers._messages import looked_up
from equikit.weightspace.graphs.layers._topology import Topology


@dataclass(frozen=True)
class AnyArchitecture:
    r"""In place of a graph: one set of weights for networks of every architecture, depth and width.

    `MessagePassing(AnyArchitecture(), ...)` and `RelationalTransformer(AnyArchitecture(), ...)` take batches from
    `join_graphs`. Networks on one graph learn an embedding of each layer, parameter and position. On any architecture,
    embeddings are linear maps of features that `graph` reads from the program. A node or edge with values \(w_c\) in
    block \(b\) starts as \(\sum_c w_c V t_{bc} + B s_b + P p\), with features \(t_{bc}\) of each value, \(s_b\) of
    the block and \(p\) of the position. So kernels of any size and any number of biases fit. Features of a block are

    | feature | values |
    | --- | --- |
    | kind of nodes | hidden neurons, inputs, outputs, looked-up rows, other fixed neurons, nodes of parameters |
    | use of a parameter | product, convolution, added, subtracted, scaled, divided, looked up, other |
    | nonlinearities | fourteen names, below |
    | relative depth | first and last position in the program, from 0 to 1, counted in parameters that data have met |
    | sizes | logarithms of the number of nodes, or of the edges at each receiver and sender |

    The nonlinearities are max, tanh, logistic, erf, sine, exponential, logarithm, power, absolute value, product,
    quotient, selection, pooling and other. A neuron has all that follow it, a parameter the next after its use.
    Positions along inputs, outputs and windows of convolutions are relative, with sines and cosines, so that every size
    has the same features. Parameters with equal features and labels, such as queries and keys, are told apart by their
    order. A hidden layer of width one has no neurons, see `graph`.

    Example:
        >>> from equikit.weightspace import AnyArchitecture, MessagePassing, graph, join_graphs
        >>> def apply(params, x):
        ...     for weight in params[:-1]:
        ...         x = jnp.tanh(x @ weight)
        ...     return x @ params[-1]
        >>> pairs = []
        >>> for widths in ([3, 8, 2], [3, 6, 5, 2]):
        ...     params = [jnp.ones(shape) for shape in zip(widths, widths[1:])]
        ...     pairs.append((graph(apply, params, jnp.ones((5, 3))), params))
        >>> network = MessagePassing(AnyArchitecture(), [1, 4, 4, 1], out="", rngs=nnx.Rngs(0))
        >>> network(join_graphs(pairs)).shape
        (2, 1)

    Source:
        Lim et al., Graph metanetworks for processing diverse neural architectures, arXiv:2312.04501;
        Kofinas et al., arXiv:2403.12143. Their features are given by hand for known layers.
    """


class AnyEncoder(nnx.Module):
    """Sum over values of a vector for each value, a vector of each block, and a vector of each position.

    All vectors are linear in features. The vector of a value has `width` entries for each channel.
    """

    def __init__(self, channels: int, width: int, options: Options) -> None:
        self.channels, self.width, self.dtype = channels, width, options.dtype
        self.node_values = options.linear(VALUES, channels * width)
        self.edge_values = options.linear(VALUES, channels * width)
        self.node_blocks = options.linear(TRAITS, width)
        self.edge_blocks = options.linear(TRAITS, width)
        self.positions = options.linear(POSITIONS, width, use_bias=False)
        self.whole = options.codes(1, width) if options.use_global else None

    def __call__(self, batch: JoinedGraphs) -> State:
        """Return features of nodes, edges and whole graphs."""
        assert self.node_values is not None
        assert self.edge_values is not None
        assert self.node_blocks is not None
        assert self.edge_blocks is not None
        assert self.positions is not None
        places = self.positions(batch.positions)
        here = jnp.asarray(batch.graph_of) < batch.count
        of_edges = here[jnp.asarray(batch.senders)]
        nodes = self._side(batch.nodes, batch.node_blocks, self.node_values, self.node_blocks, places, here)
        edges = self._side(batch.edges, batch.edge_blocks, self.edge_values, self.edge_blocks, places, of_edges)
        whole = None
        if self.whole is not None:
            code = self.whole[...][0].astype(nodes.dtype)
            whole = jnp.broadcast_to(code, (batch.count + 1, code.shape[0]))
        return State(nodes, edges, whole)

    def _side(
        self, rows: Rows, blocks: Blocks, values: nnx.Linear, traits: nnx.Linear, places: jax.Array, here: jax.Array
    ) -> jax.Array:
        """Return features of nodes or edges; entries of padding may be anything, also not a number."""
        given = jnp.where(here[:, None, None], jnp.asarray(rows.values), 0)
        dtype = self.dtype or jnp.result_type(given.dtype, values.kernel[...].dtype)
        shape = (*blocks.channels.shape[:2], self.channels, self.width)
        vectors: jax.Array = values(blocks.channels).reshape(shape).astype(dtype)
        found = looked_up(traits(blocks.traits).astype(dtype), rows.block)
        # Position 0 is none, whose features are zeros.
        found = found + looked_up(places.astype(dtype), rows.position)

        def add(found: jax.Array, of: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, None]:
            value, vector = of  # of one channel: [rows], [blocks, width]
            return found + value[:, None].astype(dtype) * looked_up(vector, rows.block), None

        flat = given.reshape(given.shape[0], -1).T
        by_channel = jnp.moveaxis(vectors.reshape(vectors.shape[0], -1, self.width), 1, 0)
        if len(flat) == 1:
            return add(found, (flat[0], by_channel[0]))[0]
        return jax.lax.scan(add, found, (flat, by_channel))[0]


class AnyParameterHead(nnx.Module):
    """Products of node and edge features with vectors that are linear in the features of each value."""

    def __init__(self, width: int, out: int, options: Options) -> None:
        self.width, self.out = width, out
        self.of_nodes = options.linear(VALUES, out * width)
        self.of_edges = options.linear(VALUES, out * width)

    def __call__(self, *, state: State, topology: Topology) -> Features:
        """Return the output parameters as features of joined graphs, `[rows, width * out]`."""
        batch = topology.joined
        assert batch is not None
        assert self.of_nodes is not None
        assert self.of_edges is not None

        def read(linear: nnx.Linear, blocks: Blocks, rows: Rows, x: jax.Array) -> jax.Array:
            count, width, _ = blocks.channels.shape
            vectors = linear(blocks.channels).reshape(count, width * self.out, self.width).astype(x.dtype)

            def one(vector: jax.Array) -> jax.Array:
                found: jax.Array = jnp.sum(x * looked_up(vector, rows.block), axis=-1) / self.width**0.5
                return found

            found: jax.Array = jax.lax.map(one, jnp.moveaxis(vectors, 1, 0)).T
            return found

        return Features(
            read(self.of_nodes, batch.node_blocks, batch.nodes, state.nodes),
            read(self.of_edges, batch.edge_blocks, batch.edges, state.edges),
        )
