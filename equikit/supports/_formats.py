"""Entries of graphs of other libraries; none of them is imported."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import numpy as np

from equikit import _checks
from equikit._errors import DTypeError, OptionError, ShapeError
from equikit.supports._reading import integers
from equikit.supports._tables import Table


def label_of(label: Any) -> str:
    """Return a label, or raise `OptionError`."""
    if not (isinstance(label, str) and label.isidentifier()):
        raise OptionError(
            "label= must be one word", got=_checks.shown(label), expected="a label", step='write label="p"'
        )
    return label


def graph_of_networkx(graph: Any) -> Any:
    """Return a graph of NetworkX without parallel edges, or raise `OptionError`."""
    if isinstance(graph, type) or not (hasattr(graph, "is_multigraph") and hasattr(graph, "edges")):
        raise OptionError(
            "graph= must be a graph of NetworkX",
            got=_checks.shown(graph),
            expected="a networkx.Graph or networkx.DiGraph",
            step="pass a graph, such as nx.path_graph(3)",
        )
    if graph.is_multigraph():
        raise OptionError(
            "graph= must be a graph of NetworkX without parallel edges",
            got=_checks.shown(graph),
            expected="a networkx.Graph or networkx.DiGraph",
            step="convert it: nx.DiGraph(graph)" if graph.is_directed() else "convert it: nx.Graph(graph)",
        )
    return graph


def edges_of_networkx(graph: Any) -> Table:
    """Return the edges `[2, E]`, those of an undirected graph in both directions, with nodes as in `list(graph)`."""
    graph = graph_of_networkx(graph)
    place = {node: i for i, node in enumerate(graph)}
    edges = np.array([(place[a], place[b]) for a, b in graph.edges], np.int64).reshape(-1, 2).T
    if graph.is_directed():
        return edges
    return np.concatenate([edges, edges[::-1, edges[0] != edges[1]]], axis=1)


def entries_of_scipy(matrix: Any) -> tuple[Table, int]:
    """Return the stored entries, `[axes, E]`, and the size of the axes."""
    if isinstance(matrix, type) or not hasattr(matrix, "tocoo"):
        raise OptionError(
            "matrix= must be a sparse matrix or array of SciPy",
            got=_checks.shown(matrix),
            expected="a matrix in any format of scipy.sparse",
            step="make one: scipy.sparse.coo_array(matrix); from_mask reads dense booleans",
        )
    _refuse_oblong("matrix", matrix.shape)
    return np.stack(matrix.tocoo().coords), matrix.shape[0]


def _refuse_oblong(name: str, shape: tuple[int, ...]) -> None:
    if len({*shape}) > 1:
        raise ShapeError(
            f"{name} must have axes of one size",
            got=f"shape {[*shape]}",
            expected="[n, n], since both axes have the same nodes",
            step="pad the shorter axis with entries that are absent",
        )


def entries_of_mask(mask: Any, order: int) -> tuple[Table, int, int | None]:
    """Return the entries that are true, `[order, E]`, the number of nodes, and the number of graphs of a batch."""
    _checks.untraced("mask", mask, step="build the support outside jit and pass it as an argument")
    array: Table = _checks.numpy_array("mask", mask, step="pass rows of one length")
    if array.dtype != bool:
        raise DTypeError(
            "mask must be boolean",
            got=f"dtype {array.dtype}",
            expected="dtype bool",
            step="pass np.asarray(mask) != 0" if array.dtype.kind in "iufc" else "pass an array of booleans",
        )
    if array.ndim not in (order, order + 1):
        raise ShapeError(
            f"a mask for {order} axes has {array.ndim} axes",
            got=f"shape {[*array.shape]}",
            expected=f"[{', '.join(['n'] * order)}], or with an axis of graphs in front",
            step=f'write term="{" ".join(["p"] * array.ndim)}"' if array.ndim > 1 else "pass a mask with more axes",
        )
    _refuse_oblong("mask", array.shape[array.ndim - order :])
    found, n = np.stack(np.nonzero(array)), array.shape[-1]
    if array.ndim == order:
        return found, n, None
    return found[1:] + found[0] * n, n * len(array), len(array)


class Links(NamedTuple):
    """The edges of a `jraph.GraphsTuple`, and the numbers of nodes and edges of each graph."""

    senders: Table
    receivers: Table
    n_node: list[int]
    n_edge: list[int]


def links_of_jraph(graphs: Any) -> Links:
    """Return the edges of many graphs, or raise `OptionError` if their numbers do not add up."""
    fields = ("nodes", "edges", "senders", "receivers", "n_node", "n_edge")
    missing = [field for field in fields if not hasattr(graphs, field)]
    if missing:
        raise OptionError(
            f"graphs has no field {missing[0]!r}",
            got=type(graphs).__name__,
            expected="a jraph.GraphsTuple",
            step="pass a GraphsTuple, or an object with the same fields",
        )
    given = {field: getattr(graphs, field) for field in fields[2:]}
    senders, receivers, *numbers = (
        integers(field, [] if array is None else array, "numbers of nodes and edges") for field, array in given.items()
    )
    counts, each = (array.tolist() for array in numbers)
    rows = None if graphs.nodes is None else len(jax.tree.leaves(graphs.nodes)[0])
    sums = (len(counts), sum(each), len(senders), sum(counts))
    wanted = (len(each), len(senders), len(receivers), sum(counts) if rows is None else rows)
    if sums != wanted or min([*counts, *each], default=0) < 0:
        raise OptionError(
            "n_node and n_edge do not add up",
            got=f"{len(counts)} and {len(each)} graphs, {sum(counts)} nodes of "
            f"{'any' if rows is None else rows}, {sum(each)} edges of {len(senders)} and {len(receivers)}",
            expected="the numbers of nodes and edges of each graph, from 0",
            step="check n_node and n_edge",
        )
    return Links(senders, receivers, counts, each)


def refuse_padding(links: Links) -> None:
    """Raise `OptionError` if the last graph with nodes has the edges of padding: loops at its first node."""
    last = max(np.flatnonzero(links.n_node).tolist(), default=None)
    if last is None or links.n_edge[last] < 2:
        return
    edges = slice(sum(links.n_edge[:last]), sum(links.n_edge[: last + 1]))
    first = sum(links.n_node[:last])
    if (links.senders[edges] == first).all() and (links.receivers[edges] == first).all():
        raise OptionError(
            "the last graph that has nodes looks like padding",
            got=f"{links.n_edge[last]:,} loops at node {first}",
            expected="graphs without padding, or padded=True",
            step="write padded=True",
        )


def without_padding(links: Links) -> Links:
    """Return the graphs before the padding graph: the last one that has nodes, with all padding nodes and edges."""
    padding = max(np.flatnonzero(links.n_node).tolist(), default=None)
    if padding is None:
        raise OptionError(
            "there is no padding graph",
            got="graphs without nodes",
            expected="the result of jraph.pad_with_graphs",
            step="write padded=False",
        )
    edges = sum(links.n_edge[:padding])
    return Links(links.senders[:edges], links.receivers[:edges], links.n_node[:padding], links.n_edge[:padding])
