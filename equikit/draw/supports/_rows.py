"""The entries of a support in a matrix, and the rows of their features."""

from __future__ import annotations

from collections.abc import Sequence

from equikit.draw._palette import NEGATIVE, POSITIVE, QUIET
from equikit.draw._picture import FONT, LETTER, Boxes, Lines, Pen, Picture, Shape, Words, columns

CELL = 17.0
"""Side of an entry of a matrix."""
LINE = 15.0
"""Height of a row."""
ACROSS = 20.0
"""Least distance of the nodes of a row."""
BAR = 44.0
"""Length of the bar of the largest value."""
MOST_LINES = 20
"""The most rows below each other."""

Entry = tuple[int, ...]


def matrix_of_rows(pairs: Sequence[Entry], graph_of: Sequence[int], shares: Sequence[float] | None) -> Picture:
    """Return a matrix with an entry for each pair of nodes: the present ones are filled and have the number of a row.

    Args:
        pairs: the nodes of each row.
        graph_of: the graph of each node; lines divide the graphs.
        shares: for each row a value from -1 to 1, or nothing.
    """
    n = len(graph_of)
    corner, side = complex(ACROSS, FONT + 6), n * CELL
    shapes = list[Shape]()
    for row, (a, b) in enumerate(pairs):
        at, share = corner + complex(b * CELL, a * CELL), 1.0 if shares is None else shares[row]
        fill = POSITIVE if share >= 0 else NEGATIVE
        shapes.append(Boxes("entry", ((at, complex(CELL, CELL)),), fill=fill, opacity=_opacity(share, shares)))
        shapes.append(Words("row", str(row), at + complex(CELL / 2, CELL / 2 + 3.5), fill, small=True))
    inner = [i for i in range(1, n) if graph_of[i] == graph_of[i - 1]]
    outer = [i for i in range(1, n) if graph_of[i] != graph_of[i - 1]]
    for places, opacity in ((inner, 0.3), (outer, 1.0)):
        across = [(corner + 1j * i * CELL, corner + complex(side, i * CELL)) for i in places]
        down = [(corner + i * CELL, corner + complex(i * CELL, side)) for i in places]
        if places:
            shapes.append(Lines("grid", (*across, *down), Pen(QUIET, opacity=opacity, crisp=True)))
    shapes.append(Boxes("frame", ((corner, complex(side, side)),), pen=Pen(QUIET, crisp=True)))
    for node in range(n):
        at = (node + 0.5) * CELL
        shapes.append(Words("node", str(node), corner + complex(-5, at + 3.5), QUIET, "end", small=True))
        shapes.append(Words("node", str(node), corner + complex(at, -5), QUIET, small=True))
    return Picture(corner.real + side + 2, corner.imag + side + 2, f"{n} × {n} matrix", tuple(shapes))


def _opacity(share: float, shares: Sequence[float] | None) -> float:
    return 0.16 if shares is None else 0.08 + 0.3 * abs(share)


def rows_picture(
    labels: Sequence[str],
    entries: Sequence[Entry],
    colors: Sequence[str],
    shares: Sequence[float] | None,
    texts: Sequence[str],
) -> Picture:
    """Return the list of rows: the number of each, its nodes, and a bar with the text of its value.

    Args:
        labels: the label of each axis, as a heading.
        entries: the nodes of each row.
        colors: the color of the nodes of each row.
        shares: for each row a value from -1 to 1, or nothing.
        texts: the text of each value.
    """
    pitch = max(ACROSS, max(map(columns, labels)) * LETTER + 6)
    widest = max(map(columns, texts), default=0) * LETTER
    number = max(LETTER * columns(str(len(entries))), LETTER * 3)
    step = number + 8 + len(labels) * pitch + (BAR + widest + 14 if shares is not None else 10)
    shapes: list[Shape] = []
    stacks = -(-len(entries) // MOST_LINES) or 1
    for stack in range(stacks):
        left = stack * step
        shapes.append(Words("heading", "row", complex(left + number, FONT), QUIET, "end", small=True))
        for place, label in enumerate(labels):
            shapes.append(Words("heading", label, complex(left + number + 8 + (place + 0.5) * pitch, FONT), QUIET))
    for row, own in enumerate(entries):
        left, y = row // MOST_LINES * step, 2 * LINE + row % MOST_LINES * LINE
        shapes.append(Words("number", str(row), complex(left + number, y), QUIET, "end", small=True))
        for place, node in enumerate(own):
            at = complex(left + number + 8 + (place + 0.5) * pitch, y)
            shapes.append(Words("entry", str(node), at, colors[row]))
        if shares is not None:
            start, long = left + number + 12 + len(labels) * pitch, BAR * abs(shares[row])
            fill = POSITIVE if shares[row] >= 0 else NEGATIVE
            if long:
                shapes.append(Boxes("bar", ((complex(start, y - 8), complex(long, 8)),), fill=fill, opacity=0.8))
            shapes.append(Words("value", texts[row], complex(start + long + 4, y), QUIET, "start", small=True))
    lines = min(len(entries), MOST_LINES)
    return Picture(stacks * step, (lines + 2) * LINE - 6, f"{len(entries)} rows", tuple(shapes))
