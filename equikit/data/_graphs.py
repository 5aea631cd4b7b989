"""Graphs of NetworkX and jraph as dense features."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from equikit import _checks
from equikit._errors import OptionError

if TYPE_CHECKING:
    import networkx

Attributes = Sequence[str] | Mapping[str, Sequence[Any] | None]
"""Names of attributes, or names with their categories."""


def from_networkx(
    graph: networkx.Graph,
    *,
    nodes: Attributes = (),
    edges: Attributes = (),
    label: str = "p",
    dtype: Any = np.float32,
) -> dict[str, np.ndarray]:
    """Return the features of a graph for layers on nodes and pairs of nodes.

    Args:
        graph: a `Graph` or `DiGraph`, without parallel edges; undirected ones become symmetric. The order of the
            nodes is `list(graph)`.
        nodes: names of node attributes, numbers or vectors. A dictionary gives for each name its categories, which
            become one-hot vectors in this order, or `None` for numbers: `{"element": ["C", "O"], "charge": None}`.
        edges: the same for edge attributes; in a graph without edges numbers count as one each. The first channel of
            an edge is always 1, so that an edge whose attributes are zero is not taken for an absent one.
        label: the label of the nodes in signatures.
        dtype: the dtype of the features.

    Returns:
        `{"p p": [n, n, 1 + edge channels]}`, zero where there is no edge, and `{"p": [n, node channels]}` if nodes have
        attributes.

    Raises:
        OptionError: if the graph may have parallel edges, an attribute is missing, not a number or in no category, or
            vectors differ in length.

    Cost: O(n² channels).

    Example:
        >>> import networkx as nx
        >>> water = nx.Graph([("H1", "O"), ("H2", "O")])
        >>> nx.set_node_attributes(water, {"H1": 1, "H2": 1, "O": 8}, "charge")
        >>> features = from_networkx(water, nodes=["charge"])
        >>> features["p"].ravel().tolist(), features["p p"].shape
        ([1.0, 8.0, 1.0], (3, 3, 1))
        >>> from_networkx(water, nodes={"charge": [1, 8]})["p"].tolist()
        [[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]]
    """
    directed = hasattr(graph, "is_directed") and graph.is_directed()
    if not (hasattr(graph, "is_multigraph") and hasattr(graph, "edges")) or graph.is_multigraph():
        raise OptionError(
            "graph= must be a graph of NetworkX without parallel edges",
            got=_checks.shown(graph),
            expected="a networkx.Graph or networkx.DiGraph",
            step="convert it: nx.DiGraph(graph)" if directed else "convert it: nx.Graph(graph)",
        )
    place, pair = {node: i for i, node in enumerate(graph)}, f"{label} {label}"
    links = [(place[a], place[b]) for a, b in graph.edges]
    channels = _attributes("edge", graph.edges, edges, dtype)
    features = {pair: np.zeros((len(place), len(place), 1 + channels.shape[1]), dtype)}
    for (i, j), values in zip(links, channels, strict=True):
        features[pair][i, j] = [1, *values]
        if not graph.is_directed():
            features[pair][j, i] = [1, *values]
    if nodes:
        features[label] = _attributes("node", graph.nodes, nodes, dtype)
    return features


def _attributes(kind: str, given: Any, wanted: Attributes, dtype: Any) -> np.ndarray:
    """Return the attributes of all nodes or edges, one row for each; without any, one column for each number."""
    columns = []
    if not isinstance(wanted, Mapping):
        wanted = dict.fromkeys((wanted,) if isinstance(wanted, str) else wanted)
    for name, categories in wanted.items():
        rows = []
        for item in given:
            if name not in given[item]:
                raise OptionError(
                    f"{kind} {item!r} has no attribute {name!r}",
                    got=sorted(map(str, given[item])),
                    expected=", ".join(wanted),
                    step="set it with nx.set_node_attributes or nx.set_edge_attributes",
                )
            what, value = f"attribute {name!r} of {kind} {item!r}", given[item][name]
            rows.append(_vector(what, value) if categories is None else _one_hot(what, value, [*categories]))
        lengths = {len(row) for row in rows} or {1 if categories is None else len(categories)}
        if len(lengths) > 1:
            raise OptionError(
                f"vectors {name!r} of {kind}s differ in length",
                got=sorted(lengths),
                expected="one length",
                step="pad the vectors, or leave the attribute out",
            )
        columns.append(np.array(rows, dtype).reshape(len(given), lengths.pop()))
    return np.concatenate([np.zeros((len(given), 0), dtype), *columns], axis=1)


def _one_hot(what: str, value: Any, categories: list[Any]) -> np.ndarray:
    try:
        return np.arange(len(categories)) == categories.index(value)
    except ValueError:
        raise OptionError(
            f"{what} is in no category",
            got=_checks.shown(value),
            expected=f"one of {_checks.shown(categories)}",
            step="add the category",
        ) from None


def _vector(what: str, value: Any) -> np.ndarray:
    array = np.ravel(np.asarray(value))
    if array.dtype.kind not in "buif":
        raise OptionError(
            f"{what} is not a number or a vector of numbers",
            got=_checks.shown(value),
            expected="real numbers",
            step='give the categories of an attribute: nodes={"element": ["C", "O"]}',
        )
    return array


def from_jraph(graphs: Any, *, label: str = "p") -> list[dict[str, np.ndarray]]:
    """Return the features of each graph in a `jraph.GraphsTuple`, as `from_networkx` does.

    Edges are directed from `senders` to `receivers`: entry `[sender, receiver]`. The first channel of an edge is 1;
    parallel edges are added.

    Args:
        graphs: graphs without padding (`jraph.unpad_with_graphs` removes it): an object with the fields `nodes`,
            `edges`, `senders`, `receivers`, `n_node` and `n_edge` of `jraph.GraphsTuple`. `nodes` and `edges` are
            arrays or `None`.
        label: the label of the nodes in signatures.

    Returns:
        For each graph `{"p p": [n, n, 1 + edge channels]}`, and `{"p": [n, node channels]}` if it has node features.

    Raises:
        OptionError: if a field is missing, numbers of nodes or edges do not add up, or an edge joins two graphs.

    Cost: O(n² channels) for each graph.

    Example:
        >>> from types import SimpleNamespace
        >>> two = SimpleNamespace(
        ...     nodes=np.ones((3, 2)), edges=None, senders=[0, 1], receivers=[1, 0], n_node=[2, 1], n_edge=[2, 0]
        ... )
        >>> [graph["p p"][..., 0].tolist() for graph in from_jraph(two)]
        [[[0.0, 1.0], [1.0, 0.0]], [[0.0]]]
    """
    fields = ("nodes", "edges", "senders", "receivers", "n_node", "n_edge")
    missing = [field for field in fields if not hasattr(graphs, field)]
    if missing:
        raise OptionError(
            f"graphs has no field {missing[0]!r}",
            got=type(graphs).__name__,
            expected="a jraph.GraphsTuple",
            step="pass a GraphsTuple, or an object with the same fields",
        )
    counts, each = (np.asarray(part, int).ravel().tolist() for part in (graphs.n_node, graphs.n_edge))
    senders, receivers = (
        np.asarray(part if part is not None else [], int) for part in (graphs.senders, graphs.receivers)
    )
    channels = np.ones((len(senders), 1), np.float32)
    if graphs.edges is not None:
        channels = np.concatenate([channels, _channels(graphs.edges)], axis=1)
    rows = None if graphs.nodes is None else _channels(graphs.nodes)
    sums = (len(counts), sum(each), len(senders), sum(counts))
    if sums != (len(each), len(senders), len(receivers), sum(counts) if rows is None else len(rows)):
        raise OptionError(
            "n_node and n_edge do not add up",
            got=f"{len(counts)} and {len(each)} graphs, {sum(counts)} nodes of "
            f"{'any' if rows is None else len(rows)}, {sum(each)} edges of {len(senders)} and {len(receivers)}",
            expected="the numbers of nodes and edges of each graph",
            step="check n_node and n_edge",
        )
    nodes, links = (np.cumsum([0, *part]) for part in (counts, each))
    found = []
    for number, n in enumerate(counts):
        chosen = slice(links[number], links[number + 1])
        ends = np.stack([senders[chosen], receivers[chosen]]) - nodes[number]
        if ends.size and not (ends.min() >= 0 and ends.max() < n):
            raise OptionError(
                f"an edge of graph {number} ends in another graph",
                got=f"nodes {ends.min() + nodes[number]} to {ends.max() + nodes[number]}",
                expected=f"nodes {nodes[number]} to {nodes[number] + n - 1}",
                step="check n_node and n_edge",
            )
        features = {f"{label} {label}": np.zeros((n, n, channels.shape[1]), channels.dtype)}
        np.add.at(features[f"{label} {label}"], (ends[0], ends[1]), channels[chosen])
        if rows is not None:
            features[label] = rows[nodes[number] : nodes[number + 1]]
        found.append(features)
    return found


def _channels(array: Any) -> np.ndarray:
    """Flatten all axes but the first one."""
    rows = np.asarray(array)
    return rows.reshape(len(rows), math.prod(rows.shape[1:]))
