"""The curves of a diagram's blocks: their paths, their crossings, and the gaps cut into them.

Points are complex numbers, with the imaginary axis pointing down as in SVG. A block is a chain of arcs within each row
and one link between the rows. Every curve leaves its vertices vertically, so that no curve touches the vertex of
another block. Where two blocks cross, the later one is cut on both sides of the crossing, as in knot diagrams: this
needs no background color, so it works on any page.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from equikit.diagrams import Diagram

PITCH = 36.0
"""Distance of neighboring vertices in a row."""
GAP = 3.4
"""Distance that the lower curve keeps from a crossing, measured across the upper curve."""
SPECK = 3.0
"""Shorter pieces between two gaps are omitted."""
SAMPLES = 47
"""Number of straight pieces that approximate a curve to find crossings; the error is a small part of a pixel."""
ROUNDING = 1e-9
CLOSE = 5.0
"""Distance below which two curves look like one."""


@dataclass(frozen=True, slots=True)
class Curve:
    """A cubic Bézier curve, by its end points and control points."""

    start: complex
    first: complex
    second: complex
    end: complex

    @property
    def span(self) -> float:
        """The distance of the ends."""
        return abs(self.end - self.start)

    @property
    def left(self) -> float:
        """The smallest abscissa: curves here run from side to side without turning back."""
        return min(self.start.real, self.end.real)

    @property
    def right(self) -> float:
        """The largest abscissa."""
        return max(self.start.real, self.end.real)

    def at(self, t: np.ndarray) -> np.ndarray:
        """Return the points at the given parameters."""
        s = 1 - t
        weights = np.stack([s**3, 3 * s * s * t, 3 * s * t * t, t**3], axis=-1)
        points: np.ndarray = weights @ np.array([self.start, self.first, self.second, self.end])
        return points

    def velocity(self, t: float) -> complex:
        """Return the derivative at a parameter."""
        s = 1 - t
        first, middle, last = self.first - self.start, self.second - self.first, self.end - self.second
        return 3 * (s * s * first + 2 * s * t * middle + t * t * last)

    def part(self, low: float, high: float) -> Curve:
        """Return the piece between two parameters as a separate curve."""
        start, end = self.at(np.array([low, high])).tolist()
        third = (high - low) / 3
        return Curve(start, start + third * self.velocity(low), end - third * self.velocity(high), end)


def arc(start: complex, end: complex, height: float) -> Curve:
    """Return an arc between two vertices of a row, whose height grows with their distance, up to `height`."""
    steps = abs(end - start) / PITCH
    # At most a little below half of the way to the other row, so that arcs of the two rows never meet.
    depth = 1j * height * 0.62 * steps / (steps + 0.8)
    return Curve(start, start + depth, end + depth, end)


def link(start: complex, end: complex) -> Curve:
    """Return a curve from a top vertex to a bottom vertex.

    Links that lean by two or more places are bent, to a side that depends on their direction, and more if they lean
    more: otherwise many links could meet in one point.
    """
    height, lean = (end - start).imag, (end - start).real / PITCH
    bend = 0.0 if abs(lean) < 1.5 else math.copysign(min(0.04 * abs(lean), 0.13), lean)
    return Curve(start, start + 1j * height * (0.5 + bend), end - 1j * height * (0.5 - bend), end)


def block_curves(diagram: Diagram, points: Sequence[complex], height: float) -> list[list[Curve]]:
    """Return the curves of each block: the arcs of the top row, of the bottom row, and the link between the rows.

    The link of a block joins the two vertices between which it is shortest, where each crossing with a curve of another
    block counts as much as the distance of two neighboring vertices; in a tie the leftmost link is used.

    Args:
        diagram: the diagram.
        points: the position of each vertex.
        height: the distance between the rows.

    Cost: for each block the number of pairs of a top and a bottom vertex, times the number of curves.
    """
    split = len(diagram.top)
    rows = [
        ([points[v] for v in block if v < split], [points[v] for v in block if v >= split]) for block in diagram.blocks
    ]
    result = []
    for above, below in rows:
        arcs = [arc(a, b, height) for a, b in itertools.pairwise(above)]
        arcs += [arc(a, b, -height) for a, b in itertools.pairwise(below)]
        result.append(arcs)
    for own, (above, below) in zip(result, rows, strict=True):
        others = [curve for curves in result if curves is not own for curve in curves]
        costs = {
            link(a, b): round(abs(a - b) / PITCH, 6) + sum(len(crossings(other, link(a, b))) for other in others)
            for a in above
            for b in below
        }
        if costs:
            own.append(min(costs, key=costs.__getitem__))
    return result


def head_curves(diagram: Diagram, legs: Sequence[int], points: Sequence[complex], height: float) -> list[Curve]:
    """The curves that join the legs of a Levi-Civita tensor, each at its first vertex, as in one block."""
    first = {diagram.blocks[block][0] for block in legs}
    growth = tuple(0 if vertex in first else vertex + 1 for vertex in range(diagram.order))
    joined = Diagram(diagram.top, diagram.bottom, growth)
    return block_curves(joined, points, height)[joined.growth[min(first)]] if first else []


def crossings(one: Curve, other: Curve) -> list[tuple[float, float]]:
    """Return the parameters of both curves at each of their crossings."""
    if one.right <= other.left or other.right <= one.left:
        return []
    grid = np.linspace(0, 1, SAMPLES + 1)
    p, q = one.at(grid), other.at(grid)
    dp, dq = np.diff(p)[:, None], np.diff(q)[None, :]
    apart = q[None, :-1] - p[:-1, None]

    def cross(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        area: np.ndarray = a.real * b.imag - a.imag * b.real
        return area

    area = cross(dp, dq)
    with np.errstate(divide="ignore", invalid="ignore"):  # parallel pieces do not cross
        s, t = cross(apart, dq) / area, cross(apart, dp) / area
    # A crossing at a joint of two pieces must be found in one of them, and may be found in both: round, and count once.
    i, j = np.nonzero((area != 0) & (abs(s - 0.5) <= 0.5 + ROUNDING) & (abs(t - 0.5) <= 0.5 + ROUNDING))
    found = zip(((i + s[i, j]) / SAMPLES).round(6).tolist(), ((j + t[i, j]) / SAMPLES).round(6).tolist(), strict=True)
    return sorted(set(found))


def near(one: Curve, other: Curve) -> bool:
    """Whether two curves are so close that they could look like one."""
    if one.right + CLOSE <= other.left or other.right + CLOSE <= one.left:
        return False
    grid = np.linspace(0, 1, SAMPLES + 1)
    return bool(abs(one.at(grid)[:, None] - other.at(grid)[None, :]).min() < CLOSE)


def kept(curve: Curve, cuts: Sequence[tuple[float, float]]) -> list[Curve]:
    """Return the parts of a curve outside the given intervals of its parameter, without very short parts."""
    pieces, low = [], 0.0
    for start, end in [*sorted(cuts), (1.0, 1.0)]:
        whole = (low, start) == (0.0, 1.0)
        piece = curve if whole else curve.part(low, max(low, start))
        if piece.span > SPECK:
            pieces.append(piece)
        low = max(low, end)
    return pieces


@dataclass(frozen=True, slots=True)
class Weave:
    """The curves of all blocks with gaps where they pass below others, and which blocks meet.

    Attributes:
        curves: the pieces to draw for each block; none for a block of one vertex.
        met: for each block, the earlier blocks that it crosses or nearly touches.
    """

    curves: tuple[tuple[Curve, ...], ...]
    met: tuple[frozenset[int], ...]


def weave(blocks: Sequence[Sequence[Curve]]) -> Weave:
    """Cut the curves of each block where they cross a block before it.

    Cost: the square of the number of curves.
    """
    curves, neighbors = [], []
    for b, block in enumerate(blocks):
        pieces: list[Curve] = []
        met: set[int] = set()
        earlier = [(a, upper) for a in range(b) for upper in blocks[a]]
        for curve in block:
            cuts = []
            for a, upper in earlier:
                if near(upper, curve):
                    met.add(a)
                for s, t in crossings(upper, curve):
                    over, under = upper.velocity(s), curve.velocity(t)
                    sine = abs((over.conjugate() * under).imag) / (abs(over) * abs(under))
                    half = GAP / max(sine, 0.45) / abs(under)  # a flat crossing hides a longer piece, within reason
                    cuts.append((t - half, t + half))
            pieces += kept(curve, cuts)
        curves.append(tuple(pieces))
        neighbors.append(frozenset(met))
    return Weave(tuple(curves), tuple(neighbors))
