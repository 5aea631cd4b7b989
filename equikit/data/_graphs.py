"""Graphs of NetworkX and jraph as dense features."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from equikit import _checks
from equikit._errors import DTypeError, OptionError
from equikit.supports import graph_of_networkx, label_of, links_of_jraph

if TYPE_CHECKING:
    import networkx

Attributes = Sequence[str] | Mapping[str, Sequence[Any] | None]
"""Names of attributes, or names with their categories."""

MOST_CATEGORIES = 20
"""More texts are not proposed as categories: they may be names."""


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
            Categories are all different, and not a set, which has no order.
        edges: the same for edge attributes; in a graph without edges numbers count as one each. The first channel of
            an edge is always 1, so that an edge whose attributes are zero is not taken for an absent one.
        label: the label of the nodes in signatures.
        dtype: the dtype of the features, in which integers are exact and floats are rounded.

    Returns:
        `{"p p": [n, n, 1 + edge channels]}`, zero where there is no edge, and `{"p": [n, node channels]}` if nodes have
        attributes.

    Raises:
        OptionError: if the graph may have parallel edges, an attribute is missing, not a number or in no category,
            vectors differ in length, categories repeat or have no order, or the label is not one word.
        DTypeError: if the dtype is not one of numbers, or cannot hold the values.

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
    graph = graph_of_networkx(graph)
    wanted, dtype, label = _wanted("nodes", nodes), _dtype(dtype), label_of(label)
    place, pair = {node: i for i, node in enumerate(graph)}, f"{label} {label}"
    links = [(place[a], place[b]) for a, b in graph.edges]
    channels = _attributes("edge", graph.edges, _wanted("edges", edges), dtype)
    channels = np.concatenate([np.ones((len(links), 1), dtype), channels], axis=1)
    features = {pair: np.zeros((len(place), len(place), channels.shape[1]), dtype)}
    for (i, j), values in zip(links, channels, strict=True):
        features[pair][i, j] = values
        if not graph.is_directed():
            features[pair][j, i] = values
    if wanted:
        features[label] = _attributes("node", graph.nodes, wanted, dtype)
    return features


def _dtype(dtype: Any) -> np.dtype:
    try:
        found: np.dtype | None = np.dtype(dtype)
    except TypeError:
        found = None
    if found is None or not any(jax.numpy.issubdtype(found, kind) for kind in (np.bool_, np.number)):
        raise DTypeError(
            "dtype= must be a dtype of numbers",
            got=_checks.shown(dtype),
            expected="a dtype of NumPy, such as float32",
            step="write dtype=np.float32",
        )
    return found


def _wanted(argument: str, given: Any) -> dict[str, list[Any] | None]:
    """Return the categories of each attribute, or `None` for numbers."""
    if not isinstance(given, Mapping):
        return dict.fromkeys(_checks.names(argument, given, example="charge"))
    _checks.names(argument, [*given], example="charge")
    return {name: None if each is None else _categories(name, each) for name, each in given.items()}


def _categories(name: str, given: Any) -> list[Any]:
    ordered = isinstance(given, Iterable) and not isinstance(given, str | bytes | set | frozenset | Mapping)
    found = [*(given.tolist() if isinstance(given, np.ndarray) else given)] if ordered else []
    if not ordered or any(isinstance(value, np.ndarray) for value in found):
        raise OptionError(
            f"the categories of {name!r} must be a list in the order of the channels",
            got=_checks.shown(given),
            expected="a list of categories, or None for numbers",
            step='write for example {"element": ["C", "O"]}',
        )
    again = [value for place, value in enumerate(found) if value in found[:place]]
    if again:
        raise OptionError(
            f"a category of {name!r} is there twice",
            got=f"{_checks.shown(again[0])} in {_checks.shown(found)}",
            expected="categories that are all different, where 1 and True are the same",
            step="leave one of them out",
        )
    return found


def _attributes(kind: str, given: Any, wanted: Mapping[str, list[Any] | None], dtype: np.dtype) -> np.ndarray:
    """Return the attributes of all nodes or edges, one row for each; without any, one column for each number."""
    columns: list[np.ndarray] = [np.zeros((len(given), 0), dtype)]
    for name, categories in wanted.items():
        rows, step = [], _step(kind, name, [each.get(name) for each in map(given.__getitem__, given)])
        for item in given:
            if name not in given[item]:
                raise OptionError(
                    f"{kind} {item!r} has no attribute {name!r}",
                    got=sorted(map(str, given[item])),
                    expected=", ".join(wanted),
                    step="set it with nx.set_node_attributes or nx.set_edge_attributes",
                )
            what, value = f"attribute {name!r} of {kind} {item!r}", given[item][name]
            rows.append(_vector(what, value, step) if categories is None else _one_hot(what, value, categories))
        lengths = {len(row) for row in rows} or {1 if categories is None else len(categories)}
        if len(lengths) > 1:
            raise OptionError(
                f"vectors {name!r} of {kind}s differ in length",
                got=sorted(lengths),
                expected="one length",
                step="pad the vectors, or leave the attribute out",
            )
        cast = _cast(rows, dtype)
        if cast is None:
            values = np.concatenate(rows)
            wider = [each for each in ("float32", "float64", "int64", "uint64") if _cast(rows, each) is not None]
            raise DTypeError(
                f"attribute {name!r} of {kind}s does not fit dtype= {dtype}",
                got=f"values from {values.min()} to {values.max()}",
                expected=f"values that {dtype} has",
                step=f"write dtype=np.{wider[0]}" if wider else "round the values",
            )
        columns.append(np.array(cast, dtype).reshape(len(given), lengths.pop()))
    return np.concatenate(columns, axis=1)


def _cast(rows: list[np.ndarray], dtype: Any) -> list[np.ndarray] | None:
    """Return rows in another dtype, each from its own, or `None` if one does not fit."""
    found = [cast for row in rows if (cast := _checks.cast(row, dtype)) is not None]
    return found if len(found) == len(rows) else None


def _one_hot(what: str, value: Any, categories: list[Any]) -> np.ndarray:
    try:
        found: np.ndarray = np.arange(len(categories)) == categories.index(value)
    except ValueError:
        raise OptionError(
            f"{what} is in no category",
            got=_checks.shown(value),
            expected=f"one of {_checks.shown(categories)}",
            step="add the category",
        ) from None
    return found


def _step(kind: str, name: str, values: list[Any]) -> str:
    """Return what to do with an attribute of no numbers: give its categories if it has few and one is a text."""
    plain = [value for value in values if isinstance(value, str | int | float) and not isinstance(value, bool)]
    found = sorted({*plain}, key=str)
    if len(plain) < len(values) or len(found) > MOST_CATEGORIES or not any(isinstance(one, str) for one in found):
        return "set it to a number or a list of numbers, or leave the attribute out"
    return f"give the categories of an attribute: {kind}s={json.dumps({name: found}, ensure_ascii=False)}"


def _vector(what: str, value: Any, step: str) -> np.ndarray:
    try:
        array = np.ravel(np.asarray(value))
    except ValueError:  # lists of different lengths
        array = np.array([None])
    if array.dtype.kind not in "buif":
        raise OptionError(
            f"{what} is not a number or a vector of numbers",
            got=_checks.shown(value),
            expected="real numbers",
            step=step,
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
        OptionError: if a field is missing, numbers of nodes or edges do not add up, an edge joins two graphs, or the
            label is not one word.

    Cost: O(n² channels) for each graph.

    Example:
        >>> from types import SimpleNamespace
        >>> two = SimpleNamespace(
        ...     nodes=np.ones((3, 2)), edges=None, senders=[0, 1], receivers=[1, 0], n_node=[2, 1], n_edge=[2, 0]
        ... )
        >>> [graph["p p"][..., 0].tolist() for graph in from_jraph(two)]
        [[[0.0, 1.0], [1.0, 0.0]], [[0.0]]]
    """
    label = label_of(label)
    senders, receivers, counts, each = links_of_jraph(graphs)
    channels = np.ones((len(senders), 1), np.float32)
    if graphs.edges is not None:
        channels = np.concatenate([channels, _channels(graphs.edges)], axis=1)
    rows = None if graphs.nodes is None else _channels(graphs.nodes)
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
