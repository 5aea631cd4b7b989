"""The graph of a support: nodes on circles, an arrow for each pair, and a line along the nodes of each triple."""

from __future__ import annotations

import cmath
import math
from collections.abc import Iterator, Sequence

import numpy as np

from equikit.draw._curves import Curve
from equikit.draw._palette import QUIET
from equikit.draw._picture import Curves, Dot, Lines, Pen, Picture, Shape, Words

NODE = 9.0
"""Radius of a node."""
APART = 66.0
"""Distance of neighboring nodes on a circle."""
AROUND = 30.0
"""Room for loops around the nodes."""
BOW = 0.14
"""How far an arrow bends if there is one in the other direction, relative to its length."""
HEAD = 6.5
"""Length of the head of an arrow."""

Entry = tuple[int, ...]


def circles(graph_of: Sequence[int]) -> list[complex]:
    """Return the position of each node: the nodes of each graph on a circle, graphs next to each other."""
    points, left = [0j] * len(graph_of), 0.0
    for graph in sorted({*graph_of}):
        nodes = [node for node, own in enumerate(graph_of) if own == graph]
        radius = 0.5 * APART / math.sin(math.pi / len(nodes)) if len(nodes) > 1 else 0.0
        for place, node in enumerate(nodes):
            points[node] = complex(left + radius) + cmath.rect(radius, 2 * math.pi * place / len(nodes) - math.pi / 2)
        left += 2 * radius + APART
    return points


def scaled(positions: np.ndarray) -> list[complex]:
    """Return positions `[n, 2]`, with the second axis pointing up, at the scale of a picture."""
    low, high = positions.min(axis=0, initial=np.inf), positions.max(axis=0, initial=-np.inf)
    extent = float(np.max(high - low, initial=0)) if len(positions) else 0.0
    side = APART * math.sqrt(len(positions)) * 1.2
    return [complex(x, -y) * (side / extent if extent else 1) for x, y in (positions - low).tolist()]


def graph_picture(points: list[complex], pairs: Sequence[Entry], triples: Sequence[Entry], pens: _Pens) -> Picture:
    """Return the picture of a graph.

    Args:
        points: the position of each node.
        pairs, triples: the nodes of each entry.
        pens: the pen of each pair, and the color of each triple.
    """
    corner = complex(*(min((f(p) for p in points), default=0.0) - AROUND for f in (_real, _imag)))
    points = [point - corner for point in points]
    width, height = (max((f(p) for p in points), default=0.0) + AROUND for f in (_real, _imag))
    center = complex(width / 2, height / 2)
    there, shapes = {*pairs}, list[Shape]()
    for (a, b), pen in zip(pairs, pens[0], strict=True):
        shapes += _loop(points[a], center, pen) if a == b else _arrow(points[a], points[b], (b, a) in there, pen)
    shapes += _triples(points, triples, pens[1])
    for node, point in enumerate(points):
        shapes.append(Dot("node", point, NODE, pen=Pen(QUIET, 1.4)))
        shapes.append(Words("name", str(node), point + 3.5j, QUIET, small=True))
    return Picture(width, height, "a graph", tuple(shapes))


_Pens = tuple[Sequence[Pen], Sequence[str]]


def _real(point: complex) -> float:
    return point.real


def _imag(point: complex) -> float:
    return point.imag


def _unit(vector: complex, other: complex = -1j) -> complex:
    return vector / abs(vector) if abs(vector) > 1e-9 else other


def _headed(curve: Curve, pen: Pen) -> Iterator[Shape]:
    """Yield a curve with the head of an arrow at its end."""
    back = -_unit(curve.end - curve.second)
    tips = tuple((curve.end, curve.end + HEAD * back * cmath.rect(1, turn)) for turn in (0.45, -0.45))
    yield Curves("pair", (curve,), pen)
    yield Lines("head", tips, Pen(pen.color, pen.width, pen.opacity))


def _arrow(start: complex, end: complex, back: bool, pen: Pen) -> Iterator[Shape]:
    way = end - start
    side = way * 1j * BOW * back
    first, second = start + way / 3 + side, end - way / 3 + side
    start, end = start + NODE * _unit(first - start), end - (NODE + 1) * _unit(end - second)
    yield from _headed(Curve(start, first, second, end), pen)


def _loop(point: complex, center: complex, pen: Pen) -> Iterator[Shape]:
    """Yield an arrow from a node to itself, outside of the graph."""
    out = _unit(point - center)
    ways = [out * cmath.rect(1, turn) for turn in (0.7, -0.7)]
    first, second = (point + 3.8 * NODE * way for way in ways)
    start, end = (point + NODE * way * cmath.rect(1, turn) for way, turn in zip(ways, (-0.2, 0.2), strict=True))
    yield from _headed(Curve(start, first, second, end + 0.5 * (end - point) / NODE), pen)


def _triples(points: list[complex], triples: Sequence[Entry], colors: Sequence[str]) -> Iterator[Shape]:
    """Yield a line for each set of nodes: a triangle, or a curve along a path; rings where all nodes are one."""
    found: dict[frozenset[int], tuple[str, set[Entry]]] = {}
    for own, color in zip(triples, colors, strict=True):
        found.setdefault(frozenset(own), (color, set()))[1].add(min(own, own[::-1]))
    for place, (nodes, (color, ways)) in enumerate(found.items()):
        pen, at = Pen(color, 2.0), [points[node] for node in sorted(nodes)]
        if len(at) == 1:
            yield Dot("triple", at[0], NODE + 3, pen=pen)
        elif len(at) == 2:
            way = _unit(at[1] - at[0])
            side = way * 1j * (4 + 2 * (place % 3))
            yield Lines("triple", ((at[0] + NODE * way + side, at[1] - NODE * way + side),), pen)
        elif len(ways) == 3:
            middle = sum(at) / 3
            inner = [middle + (point - middle) * 0.5 for point in at]
            yield Lines("triple", tuple(zip(inner, [*inner[1:], inner[0]], strict=True)), pen)
        else:
            yield from (_path([points[node] for node in own], pen) for own in sorted(ways))


def _path(points: list[complex], pen: Pen) -> Shape:
    """Return a curve from the first node to the last one that bends towards the node between them."""
    start, through, end = points
    middle = (start + end) / 2
    inside = through + (middle - through) * 0.12
    start, end = (point + (NODE + 3) * _unit(inside - point) for point in (start, end))
    return Curves("triple", (Curve(start, inside, inside, end),), pen)
