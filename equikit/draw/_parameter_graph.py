"""The graph of a network's parameters as a picture: layers from left to right, an arc for each edge."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from equikit import _checks
from equikit.draw._curves import Curve
from equikit.draw._diagram import RADIUS
from equikit.draw._palette import HUES, NEGATIVE, POSITIVE, QUIET
from equikit.draw._picture import (
    FONT,
    LETTER,
    MARGIN,
    Boxes,
    Curves,
    Dot,
    Pen,
    Picture,
    Shape,
    Words,
    checked_scale,
    columns,
)
from equikit.draw.writers import svg, tikz

if TYPE_CHECKING:
    from equikit.weightspace import ParameterGraph

ACROSS, DOWN, DENSE, BETWEEN = 150.0, 22.0, 8.0, 34.0
"""Distances between columns, between neurons of a layer, between parameters, and between layers of one column."""
MOST_EDGES = 4000
PERMUTED = HUES[2:5]
"""Colors of neurons; blue and vermilion are the signs of weights."""


def parameter_graph_picture(graph: ParameterGraph, params: Any) -> Picture:
    """Return the model of the picture of a graph; see `parameter_graph_svg`."""
    step = "draw a narrower network of the same architecture"
    _checks.refuse_if_more("the graph is too large for a picture", graph.num_edges, MOST_EDGES, "edges", step)
    strength = _strength(graph, params)
    points, names, (width, height) = _arranged(graph)
    shapes: list[Shape] = []
    met: dict[tuple[int, int], int] = {}
    layer = graph.node_layer
    permuted = [name for name in graph.node_layers if name in graph.spec.groups]
    fills = {name: PERMUTED[i % len(PERMUTED)][i // len(PERMUTED) % 3] for i, name in enumerate(permuted)}
    for edge, (a, b) in enumerate(graph.edge_index.T.tolist()):
        kind = int(graph.edge_kind[edge])
        ends = (min(a, b), max(a, b))
        bow = met.get(ends, 0)  # parallel edges are distinguished by how far they bend
        met[ends] = bow + 1
        if strength is None:
            color, size = HUES[kind % len(HUES)][kind // len(HUES) % 3], 1.0
        else:
            color, size = POSITIVE if strength[edge] >= 0 else NEGATIVE, 0.2 + 2.2 * float(abs(strength[edge]))
        shapes.append(Curves("edge", (_curve(points[a], points[b], bow),), Pen(color, size, opacity=0.7)))
    for node, point in enumerate(points):
        if graph.node_kind[node] == 0:
            shapes.append(Dot("node", point, RADIUS, fill=fills.get(graph.node_layers[layer[node]], QUIET)))
        else:
            corner = complex(RADIUS, RADIUS) * 0.6
            shapes.append(Boxes("node", ((point - corner, 2 * corner),), fill=QUIET))
    shapes += [Words("layer", text, point, QUIET, anchor) for text, point, anchor in names]
    return Picture(width, height, f"{graph.num_nodes} nodes, {graph.num_edges} edges", tuple(shapes))


def parameter_graph_svg(graph: ParameterGraph, params: Any = None, *, scale: float = 1.0) -> str:
    """Draw the graph of a network's parameters as a standalone SVG picture.

    Every layer is a column of nodes with its name above. Layers are ordered by their distance in edges from the inputs,
    and layers at the same distance are stacked; outputs come last. Nodes of parameters are squares between the layers
    that they join. Neurons that may be permuted have a color for each layer; all others, such as inputs and outputs,
    are gray. Without parameters each kind of edge has a color. With parameters, an edge is blue if its value is
    positive and vermilion if it is negative, and its width is relative to the largest value of its kind; if an edge has
    several values, as for a kernel, the one of largest magnitude counts.

    Args:
        graph: the graph, from `equikit.weightspace.graph`.
        params: parameters of one network.
        scale: the size of the picture; at 1 neighboring nodes are 22 pixels apart.

    Returns:
        The text of an `<svg>` element, whose title has the number of nodes and edges.

    Raises:
        TooLargeError: if there are more than 4000 edges.
        ShapeError: if these are the parameters of many networks.
        OptionError: if `scale` is not from 0 to 100.

    Cost: a path for each edge.

    Example:
        >>> import jax.numpy as jnp
        >>> from equikit.weightspace import graph
        >>> params = {"first": jnp.ones((3, 8)), "second": jnp.ones((8, 2))}
        >>> made = graph(lambda p, x: jnp.tanh(x @ p["first"]) @ p["second"], params, jnp.ones((5, 3)))
        >>> parameter_graph_svg(made, params).count('class="edge"')
        40
    """
    scale = checked_scale(scale)
    return svg(parameter_graph_picture(graph, params), scale)


def parameter_graph_tikz(graph: ParameterGraph, params: Any = None, *, scale: float = 1.0) -> str:
    r"""Draw the graph of a network's parameters in TikZ; the picture is the same as from `parameter_graph_svg`.

    Args:
        graph: the graph, from `equikit.weightspace.graph`.
        params: parameters of one network.
        scale: the size of the picture with its text; at 1 neighboring nodes are 16.5 bp apart.

    Returns:
        The text of a `tikzpicture` environment; a document needs `\usepackage{tikz}` in its preamble.

    Raises:
        TooLargeError: if there are more than 4000 edges.
        ShapeError: if these are the parameters of many networks.
        OptionError: if `scale` is not from 0 to 100.
        TooLargeError: if `scale` makes a side longer than 16,000 bp, which TeX cannot draw.

    Cost: a path for each edge.

    Example:
        >>> import jax.numpy as jnp
        >>> from equikit.weightspace import graph
        >>> params = {"first": jnp.ones((3, 8)), "second": jnp.ones((8, 2))}
        >>> made = graph(lambda p, x: jnp.tanh(x @ p["first"]) @ p["second"], params, jnp.ones((5, 3)))
        >>> parameter_graph_tikz(made, params).count("controls")
        40
    """
    scale = checked_scale(scale)
    return tikz(parameter_graph_picture(graph, params), scale)


def _strength(graph: ParameterGraph, params: Any) -> np.ndarray | None:
    """Return for each edge its value of largest magnitude, relative to the largest of its kind."""
    if params is None:
        return None
    from equikit.weightspace import of_one

    values = np.asarray(of_one(graph.features(params)).edges, np.float64)
    if not values.size:
        return np.zeros(graph.num_edges)
    best = np.take_along_axis(values, np.argmax(np.abs(values), axis=1)[:, None], axis=1)[:, 0]
    largest = np.zeros(len(graph.edge_kinds))
    np.maximum.at(largest, graph.edge_kind, np.abs(best))
    found: np.ndarray = best / np.where(largest > 0, largest, 1)[graph.edge_kind]
    return found


def _columns(graph: ParameterGraph) -> list[float]:
    """Return for each layer its distance from the inputs; parameters are between the layers that they join."""
    blocks = graph.layout.nodes
    neurons = [place for place, block in enumerate(blocks) if block.neurons]
    beside: dict[int, set[int]] = {place: set() for place in range(len(blocks))}
    for edge in graph.layout.edges:
        (a, _), (b, _) = edge.ends
        beside[a].add(b)
        beside[b].add(a)
    reasons = dict(graph.spec.reasons)
    inputs = [place for place in neurons if reasons.get(blocks[place].name) == "an input"]
    column: dict[int, float] = dict.fromkeys(inputs or neurons[:1], 0.0)
    front = list(column)
    while front:
        near = {other for place in front for other in beside[place]}
        near |= {other for place in near if not blocks[place].neurons for other in beside[place]}
        found = sorted(place for place in near if blocks[place].neurons and place not in column)
        column |= dict.fromkeys(found, column[front[0]] + 1)
        front = found
    outputs = [place for place in column if reasons.get(blocks[place].name) == "an output"]
    last = max((column[place] for place in column if place not in outputs), default=-1.0) + 1
    column |= dict.fromkeys(outputs, last)
    for place in range(len(blocks)):
        around = {column.get(other, 0.0) for other in beside[place]}
        if place not in column:
            column[place] = sum(around) / len(around) if len(around) > 1 else min(around, default=0.0) + 0.5
    return [column[place] for place in range(len(blocks))]


Name = tuple[str, complex, Literal["start", "middle", "end"]]
"""A text, its position, and which end of it is at the position."""


def _arranged(graph: ParameterGraph) -> tuple[list[complex], list[Name], tuple[float, float]]:
    """Return the positions of the nodes, the names of layers with their positions, and the size of the picture."""
    column = _columns(graph)
    ends = dict.fromkeys(column, -BETWEEN)  # height of the layers already placed
    tops = []
    pitches = [DOWN if block.neurons else DENSE for block in graph.layout.nodes]
    for block, place, pitch in zip(graph.layout.nodes, column, pitches, strict=True):
        tops.append(ends[place] + BETWEEN)
        ends[place] = tops[-1] + pitch * max(block.size - 1, 0)
    tall = max(ends.values(), default=0.0)
    names, points = list[Name](), list[complex]()
    left, above = MARGIN + ACROSS / 3, MARGIN + FONT + 14
    for block, place, top, pitch in zip(graph.layout.nodes, column, tops, pitches, strict=True):
        x, y = left + ACROSS * place, above + (tall - ends[place]) / 2 + top
        name = "/".join(block.name.split("/")[-2:])
        alone = not block.neurons and block.size == 1
        names.append((name, complex(x + 8, y + 4), "start") if alone else (name, complex(x, y - RADIUS - 6), "middle"))
        points += [complex(x, y + pitch * i) for i in range(block.size)]
    right = max((point.real + LETTER * columns(text) for text, point, _ in names), default=0.0) + MARGIN
    width = max(2 * left + ACROSS * max(column, default=0.0), right)
    return points, names, (width, above + tall + RADIUS + MARGIN)


def _curve(start: complex, end: complex, bow: int) -> Curve:
    """Return a curve between two nodes: around the nodes between them inside a column, a loop from a node to itself."""
    if start == end:
        loop = complex(14 + 5 * bow, 14 + 5 * bow)
        first, second = start + loop.conjugate(), start + loop
    elif start.real == end.real:
        reach = complex(12 + 0.35 * abs(end - start) + 5 * bow, 0)
        first, second = start + reach, end + reach
    else:
        side = 1j * (end - start) / abs(end - start) * 6 * bow * (1 if bow % 2 else -1)
        first, second = start + (end - start) / 3 + side, end - (end - start) / 3 + side
    return Curve(start, first, second, end)
