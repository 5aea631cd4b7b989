"""The compared models: a 2-IGN, the same with one layer through triples of nodes, and a plain network."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import jax
from flax import nnx
from jaxtyping import Bool, Float

from equikit.demo._data import NODES, TARGETS
from equikit.groups import S
from equikit.nn import GraphNetwork, Invariant, Linear


class FlatMLP(nnx.Module):
    """A plain network on the flattened adjacency matrix, which is not invariant under relabeling.

    Args:
        nodes: rows of the adjacency matrix.
        hidden: widths of the hidden layers.
        out_channels: the number of predictions.
        rngs: random keys for the parameters.

    Example:
        >>> import jax.numpy as jnp
        >>> FlatMLP(7, [64], 2, rngs=nnx.Rngs(0))(jnp.ones((5, 7, 7, 1))).shape
        (5, 2)
    """

    def __init__(self, nodes: int, hidden: Sequence[int], out_channels: int, *, rngs: nnx.Rngs) -> None:
        widths = [nodes * nodes, *hidden, out_channels]
        self.layers = nnx.List([nnx.Linear(a, b, rngs=rngs) for a, b in itertools.pairwise(widths)])

    def __call__(
        self, edges: Float[jax.Array, "*batch n n 1"], *, mask: Bool[jax.Array, "*batch n"] | None = None
    ) -> Float[jax.Array, "*batch targets"]:
        """Apply the network; the mask is not needed, because absent nodes have no edges."""
        x = edges.reshape(*edges.shape[:-3], -1)
        for layer in self.layers[:-1]:
            x = jax.nn.relu(layer(x))
        result: jax.Array = self.layers[-1](x)
        return result


class TripleNetwork(nnx.Module):
    """A network from edge features to features of triples of nodes, back to edge features, and to invariants.

    Layers between edge features only are exactly as expressive as color refinement. A nonlinearity on triples sees
    whether three edges form a triangle.

    Args:
        triples: channels of the triples.
        edges: channels of the pairs that follow.
        out_channels: the number of predictions.
        rngs: random keys for the parameters.
        init_size: as for `equikit.nn.Linear`.

    Example:
        >>> import jax.numpy as jnp
        >>> TripleNetwork(4, 8, 2, rngs=nnx.Rngs(0))(jnp.ones((5, 7, 7, 1))).shape
        (5, 2)
    """

    def __init__(self, triples: int, edges: int, out_channels: int, *, rngs: nnx.Rngs, init_size: int = 1) -> None:
        self.up = Linear("p p -> p p p", 1, triples, p=S, rngs=rngs, normalize="sum", init_size=init_size)
        self.down = Linear("p p p -> p p", triples, edges, p=S, rngs=rngs, normalize="sum", init_size=init_size)
        self.pool = Invariant("p p", edges, edges, p=S, rngs=rngs, normalize="sum", init_size=init_size)
        self.head = nnx.Linear(edges, out_channels, rngs=rngs)

    def __call__(
        self, edges: Float[jax.Array, "*batch n n 1"], *, mask: Bool[jax.Array, "*batch n"] | None = None
    ) -> Float[jax.Array, "*batch targets"]:
        """Apply the network to graphs; `mask` says which nodes are present."""
        x = edges
        for layer in (self.up, self.down, self.pool):
            x = jax.nn.relu(layer(x, mask=mask))
        result: jax.Array = self.head(x)
        return result


@dataclass(frozen=True, slots=True)
class Contestant:
    """A model in the comparison, and its training options.

    Attributes:
        name: the name in tables, plots and files.
        make: builds the model.
        rate: the highest learning rate, chosen by the validation error of a few values.
        relabel: whether its training graphs are relabeled at random in every epoch.
    """

    name: str
    make: Callable[[nnx.Rngs], nnx.Module]
    rate: float
    relabel: bool = False


def _graph_network(rngs: nnx.Rngs) -> nnx.Module:
    # Triangles are a count, so sums suit them; see `init_size` for why it is the size of the data.
    return GraphNetwork(1, [32, 32], len(TARGETS), rngs=rngs, normalize="sum", init_size=NODES)


def _triple_network(rngs: nnx.Rngs) -> nnx.Module:
    return TripleNetwork(8, 32, len(TARGETS), rngs=rngs, init_size=NODES)


def _mlp(rngs: nnx.Rngs) -> nnx.Module:
    return FlatMLP(NODES, [128, 128], len(TARGETS), rngs=rngs)


CONTESTANTS = (
    Contestant("graph network", _graph_network, 3e-3),
    Contestant("graph network, triples", _triple_network, 1e-3),
    Contestant("MLP", _mlp, 3e-3),
    Contestant("MLP, augmented", _mlp, 3e-3, relabel=True),
)
"""The models that the demonstration trains, the graph network first."""


def parameter_count(model: nnx.Module) -> int:
    """Count the trained numbers."""
    return sum(leaf.size for leaf in jax.tree.leaves(nnx.state(model, nnx.Param)))
