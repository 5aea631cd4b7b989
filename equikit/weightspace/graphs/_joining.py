"""Graphs of any architectures in one batch: arrays of all graphs, one after another, followed by padding."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from equikit import _checks
from equikit._errors import OptionError
from equikit._neighbors import sufficient
from equikit.weightspace.graphs._graph import ParameterGraph
from equikit.weightspace.graphs._traits import POSITIONS, TRAITS, VALUES, Blocks
from equikit.weightspace.graphs._values import Features, laid_out
from equikit.weightspace.specifications._leaves import named_leaves, refuse_not_real
from equikit.weightspace.specifications._tensors import split

Sizes = int | Sequence[int] | None
"""A number of rows after padding, or several, from which the smallest sufficient one is chosen."""
Pair = tuple[ParameterGraph, Any]
"""A graph, and the parameters of one network."""


class Rows(NamedTuple):
    """Nodes or edges.

    Attributes:
        values: `[rows, width, channels]`.
        block: the row of each node or edge in the features of blocks, int32 `[rows]`.
        position: the row in the features of positions, int32 `[rows]`; 0 if it has no position.
    """

    values: Any
    block: Any
    position: Any


@functools.partial(
    jax.tree_util.register_dataclass,
    data_fields=[
        "counts",
        "nodes",
        "edges",
        "senders",
        "receivers",
        "graph_of",
        "node_blocks",
        "edge_blocks",
        "positions",
    ],
    meta_fields=[],
    drop_fields=["pairs"],
)
@dataclass(frozen=True, eq=False, repr=False)
class JoinedGraphs:
    """Graphs in one array, one after another, followed by padding; made by `join_graphs`.

    It is a pytree whose leaves are the arrays, so it can be an argument of compiled functions, and one program serves
    all batches with these shapes. Padded nodes have the number of graphs in `graph_of`, and padded edges connect them.

    Attributes:
        counts: the numbers of nodes and edges of each graph, int32 `[graphs, 2]`.
        nodes, edges: values, and what each node and edge is.
        senders, receivers: numbers of nodes, int32 `[edges]`; along the data, if the program says so.
        graph_of: the number of the graph of each node, int32 `[nodes]`.
        node_blocks, edge_blocks: features of blocks of nodes and edges.
        positions: features of positions.
        pairs: the graphs with their parameters; `None` inside compiled functions that get the batch as an argument.
    """

    counts: Any
    nodes: Rows
    edges: Rows
    senders: Any
    receivers: Any
    graph_of: Any
    node_blocks: Blocks
    edge_blocks: Blocks
    positions: Any
    pairs: tuple[Pair, ...] | None = None

    @property
    def count(self) -> int:
        """The number of graphs."""
        return int(self.counts.shape[0])

    def parameters(self, features: Features) -> list[Any]:
        """Return the parameters of each graph with these features, `[rows, width * channels]`.

        Raises:
            OptionError: if the batch is an argument of a compiled function, which does not know the graphs.
        """
        if self.pairs is None:
            raise OptionError(
                "the batch does not know its graphs, which decide the shapes of the result",
                got="a batch that is an argument of a function that JAX transforms",
                expected="a batch that was joined inside of this function",
                step="call join_graphs inside of the function, with the parameters as its arguments",
            )
        found, starts = [], (0, 0)
        for (graph, like), counts in zip(self.pairs, np.asarray(self.counts), strict=True):
            own = []
            widths = (self.nodes.values.shape[1], graph.node_width), (self.edges.values.shape[1], graph.edge_width)
            for array, start, count, (padded, width) in zip(features, starts, counts, widths, strict=True):
                rows = array[start : start + count].reshape(count, padded, array.shape[-1] // padded)[:, :width]
                own.append(rows.reshape(count, width * rows.shape[-1]))
            found.append(graph.parameters(Features(*own), like))
            starts = starts[0] + int(counts[0]), starts[1] + int(counts[1])
        return found

    def __repr__(self) -> str:
        """Return the numbers of graphs, nodes and edges, padding included."""
        return f"JoinedGraphs(graphs={self.count}, nodes={len(self.graph_of)}, edges={len(self.senders)})"


def join_graphs(pairs: Sequence[Pair], *, channels: int = 1, nodes: Sizes = None, edges: Sizes = None) -> JoinedGraphs:
    """Join parameter graphs of any architectures, depths and widths, for networks on `AnyArchitecture`.

    Features of nodes and edges are read from the program of each network: the use of each parameter, nonlinearities,
    relative depth, and relative positions. The numbers of layers and parameters are not used.

    Args:
        pairs: graphs from `graph`, each with the parameters of one network; several may have one architecture.
        channels: number of channels of each weight, as for `ParameterGraph.features`.
        nodes, edges: the number of rows after padding, or several, from which the smallest sufficient one is chosen; by
            default few sizes are used, so that few programs are compiled: they differ by at most a quarter, and by a
            sixteenth above 65,536 rows. There is at least one padded node.

    Returns:
        A pytree of arrays.

    Raises:
        OptionError: if there is no pair, a graph was not made by `graph`, or a number of rows is too small.
        ShapeError, DTypeError: if parameters do not match their graph.

    Cost: one copy of the parameters, and five integers for each edge.

    Example:
        >>> from equikit.weightspace import graph
        >>> def apply(params, x):
        ...     for weight in params[:-1]:
        ...         x = jnp.tanh(x @ weight)
        ...     return x @ params[-1]
        >>> pairs = []
        >>> for widths in ([3, 8, 2], [3, 6, 5, 2]):
        ...     params = [jnp.ones(shape) for shape in zip(widths, widths[1:])]
        ...     pairs.append((graph(apply, params, jnp.ones((5, 3))), params))
        >>> join_graphs(pairs)
        JoinedGraphs(graphs=2, nodes=32, edges=112)

    Source:
        Lim et al., arXiv:2312.04501, and Kofinas et al., arXiv:2403.12143, who give such features by hand.
    """
    given = checked_pairs(pairs)
    values = values_of(given, _checks.count("channels", channels, least=1))
    return assembled(given, values, tables_of([graph for graph, _ in given]), nodes, edges)


def checked_pairs(pairs: Any) -> list[Pair]:
    """Return pairs of a graph and parameters, or raise `OptionError`."""
    step = "write join_graphs([(graph, params)])"
    if not isinstance(pairs, list | tuple):
        wanted = "a list of tuples (graph, params)"
        raise OptionError("the graphs must be in a list", got=type(pairs).__name__, expected=wanted, step=step)
    _checks.some("graphs", pairs, got=f"an empty {type(pairs).__name__}", step=step)
    for number, pair in enumerate(pairs):
        if not isinstance(pair, tuple) or len(pair) != 2:
            raise OptionError(
                f"pairs[{number}] is not a graph with parameters",
                got=_checks.shown(pair, 60),
                expected="a tuple (graph, params)",
                step=step,
            )
        if not isinstance(pair[0], ParameterGraph) or pair[0].usage is None:
            raise OptionError(
                f"pairs[{number}] has no graph with a program, from which the features of nodes and edges are read",
                got="a graph of a specification" if isinstance(pair[0], ParameterGraph) else type(pair[0]).__name__,
                expected="a graph of a model",
                step="make it with graph(apply, params, x)",
            )
    return list(pairs)


def values_of(pairs: Sequence[Pair], channels: int) -> list[Features]:
    """Return the values of nodes and edges of each network, `[rows, width, channels]`.

    They are arrays of NumPy unless parameters are traced: no program is compiled for an architecture.
    """
    alike: dict[ParameterGraph, list[int]] = {}
    for number, (graph, _) in enumerate(pairs):
        alike.setdefault(graph, []).append(number)
    found: dict[int, Features] = {}
    for graph, numbers in alike.items():
        trees = [_arrays_of(graph, pairs[number][1], number, channels) for number in numbers]
        traced = any(isinstance(array, jax.core.Tracer) for tree in trees for array in tree.values())
        xp = jnp if traced else np
        whole = {name: xp.stack([tree[name] for tree in trees]) for name in trees[0]}
        tensors = split(graph.spec.leaves, whole)
        sides = [
            array.reshape(len(trees), array.shape[1], array.shape[2] // channels, channels)
            for array in (laid_out(graph.layout, tensors, on_edges) for on_edges in (False, True))
        ]
        found |= {number: Features(sides[0][row], sides[1][row]) for row, number in enumerate(numbers)}
    return [found[number] for number in range(len(pairs))]


def _arrays_of(graph: ParameterGraph, params: Any, number: int, channels: int) -> dict[str, Any]:
    """Return the parameters of one network, `[*shape, channels]` by name, or raise our errors."""
    refuse_not_real("a function of weights", params)
    given, shapes = named_leaves(params), {leaf.name: leaf.shape for leaf in graph.spec.leaves}
    step = "pass the parameters of one network of the architecture that was traced"
    _checks.same_names(f"the parameters of pairs[{number}]", given, shapes, step=step, error=OptionError)
    found = {}
    for name, shape in shapes.items():
        wanted = shape if channels == 1 else (*shape, channels)
        array = _checks.shaped(f"{name!r} of pairs[{number}]", given[name], wanted, step=step)
        array = array if isinstance(array, jax.core.Tracer) else np.asarray(array)
        found[name] = array[..., None] if channels == 1 else array
    return found


@dataclass(frozen=True, eq=False)
class Tables:
    """Features of the blocks and positions of several architectures, with padding.

    Attributes:
        starts: for each architecture, its first block of nodes, block of edges, and position.
        nodes, edges, positions: the features.
    """

    starts: Mapping[ParameterGraph, tuple[int, int, int]]
    nodes: Blocks
    edges: Blocks
    positions: np.ndarray


def tables_of(graphs: Sequence[ParameterGraph]) -> Tables:
    """Return the features of the blocks and positions of all architectures among some graphs."""
    starts: dict[ParameterGraph, tuple[int, int, int]] = {}
    totals = (0, 0, 1)
    for graph in graphs:
        if graph not in starts:
            starts[graph] = totals
            sizes = len(graph.traits.nodes.pools), len(graph.traits.edges.pools), len(graph.traits.positions)
            totals = tuple(map(sum, zip(totals, sizes, strict=True)))  # type: ignore[assignment]
    traits = [graph.traits for graph in starts]
    positions = np.zeros((_power(totals[2]), POSITIONS), np.float32)
    positions[1 : totals[2]] = np.concatenate([one.positions for one in traits])
    return Tables(starts, _stacked([one.nodes for one in traits]), _stacked([one.edges for one in traits]), positions)


def _stacked(blocks: Sequence[Blocks]) -> Blocks:
    """Concatenate features of blocks; the last row belongs to padded nodes or edges."""
    total = _power(1 + sum(len(one.pools) for one in blocks))
    width = _power(max(one.channels.shape[1] for one in blocks))
    shares = max(one.shares.shape[1] for one in blocks)
    found = Blocks(
        np.zeros((total, TRAITS), np.float32),
        np.zeros((total, width, VALUES), np.float32),
        np.zeros(total, np.int32),
        np.zeros((total, shares), np.float32),
    )
    start = 0
    for one in blocks:
        rows = slice(start, start + len(one.pools))
        found.traits[rows], found.pools[rows], found.shares[rows] = one.traits, one.pools, one.shares
        found.channels[rows, : one.channels.shape[1]] = one.channels
        start = rows.stop
    return found


def _power(size: int) -> int:
    """Return the smallest sufficient power of two."""
    return 1 << max(size - 1, 0).bit_length()


MANY = 2**16
"""From this number of rows on, padding costs more than compiling programs for more sizes."""


def few(size: int) -> int:
    """Return the smallest sufficient number among few: 4, 5, 6, 7, times powers of two; 16, ..., 31 for large ones."""
    step = 1 << max(size.bit_length() - (5 if size >= MANY else 3), 0)
    return max(-(-size // step) * step, 4)


def assembled(
    pairs: Sequence[Pair], values: Sequence[Features], tables: Tables, nodes: Sizes, edges: Sizes
) -> JoinedGraphs:
    """Concatenate graphs with given values."""
    graphs = [graph for graph, _ in pairs]
    counts = np.array([(graph.num_nodes, graph.num_edges) for graph in graphs], np.int32)
    needed, ends = int(counts[:, 0].sum()) + 1, int(counts[:, 1].sum())
    rows = few(needed) if nodes is None else sufficient("nodes", nodes, needed)
    lines = few(ends) if edges is None else sufficient("edges", edges, ends)
    firsts = np.cumsum([0, *counts[:, 0]])
    starts = [tables.starts[graph] for graph in graphs]
    oriented = [_oriented(graph) for graph in graphs]
    positions = [1 + int(graph.node_position.max(initial=-1)) for graph in graphs]

    def number(some: Sequence[np.ndarray], total: int, outside: int) -> np.ndarray:
        whole = np.full(total, outside, np.int32)
        joined = np.concatenate(some)
        whole[: len(joined)] = joined
        return whole

    def placed(place: np.ndarray, start: int) -> np.ndarray:
        return np.where(place < 0, 0, place + start)

    def held(some: Sequence[Any], total: int, width: int) -> Any:
        xp = jnp if any(isinstance(array, jax.core.Tracer) for array in some) else np
        joined = xp.concatenate([xp.pad(array, [(0, 0), (0, width - array.shape[1]), (0, 0)]) for array in some])
        return xp.pad(joined, [(0, total - joined.shape[0]), (0, 0), (0, 0)])

    each = [*zip(graphs, starts, strict=True)]
    along = [*zip(graphs, starts, positions, strict=True)]
    senders, receivers = (
        number([both[side] + first for both, first in zip(oriented, firsts, strict=False)], lines, rows - 1)
        for side in (0, 1)
    )
    return JoinedGraphs(
        counts=counts,
        nodes=Rows(
            held([one.nodes for one in values], rows, tables.nodes.channels.shape[1]),
            number([graph.node_layer + start[0] for graph, start in each], rows, len(tables.nodes.pools) - 1),
            number([placed(graph.node_position, start[2]) for graph, start in each], rows, 0),
        ),
        edges=Rows(
            held([one.edges for one in values], lines, tables.edges.channels.shape[1]),
            number([graph.edge_kind + start[1] for graph, start in each], lines, len(tables.edges.pools) - 1),
            number([placed(graph.edge_position, start[2] + more) for graph, start, more in along], lines, 0),
        ),
        senders=senders,
        receivers=receivers,
        graph_of=number([np.full(count, place) for place, (count, _) in enumerate(counts)], rows, len(graphs)),
        node_blocks=tables.nodes,
        edge_blocks=tables.edges,
        positions=tables.positions,
        pairs=tuple(pairs),
    )


def _oriented(graph: ParameterGraph) -> np.ndarray:
    """Return senders and receivers, along the data where the program says how they flow."""
    flip = np.array([*graph.traits.reversed, False])[graph.edge_kind]
    return np.where(flip, graph.edge_index[::-1], graph.edge_index)
