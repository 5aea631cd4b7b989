"""A diagram as a picture: two rows of vertices, and a curve through the vertices of each block.

Diagrams that are composed share the row between them, so that wires can be followed from stage to stage.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence

from equikit import _checks
from equikit.diagrams import Diagram
from equikit.draw._curves import PITCH, Weave, block_curves, head_curves, weave
from equikit.draw._palette import QUIET, hues
from equikit.draw._picture import (
    FONT,
    LETTER,
    MARGIN,
    Curves,
    Dot,
    Lines,
    Pen,
    Picture,
    Shape,
    Words,
    checked_scale,
    columns,
)
from equikit.draw.writers import svg, tikz
from equikit.signatures import base, parse_labels

RADIUS, LINE = 5.0, 2.6
NUMBER, NAME = 14.0, FONT + 4
"""The heights of a line of numbers and of a line of names."""
SCALE = 1.5
"""The default size of a single picture on a page."""

Colors = Mapping[str, tuple[str, ...]]


def _row(size: int, pitch: float, width: float, y: float) -> list[complex]:
    """Return the vertices of a row, centered."""
    left = (width - pitch * (size - 1)) / 2
    return [complex(left + pitch * i, y) for i in range(size)]


def _tones(diagram: Diagram, woven: Weave) -> list[int]:
    """Choose a tone for each block that differs from earlier blocks of the label that it crosses or nearly touches."""
    labels = diagram.block_labels
    tones: list[int] = []
    for block, met in enumerate(woven.met):
        taken = {tones[a] for a in met if labels[a] == labels[block]}
        tones.append(next(tone for tone in range(len(tones) + 1) if tone not in taken))
    return tones


def _height(diagram: Diagram) -> float:
    """Return the distance of the rows: long rows have wide arcs, a row without vertices needs little room."""
    most = max(len(diagram.top), len(diagram.bottom))
    return 60 + 9 * min(max(most - 2, 0), 6) if diagram.top and diagram.bottom else 34.0


def _tensors(diagram: Diagram) -> list[tuple[int, ...]]:
    """Return the blocks that broken lines join: legs of Levi-Civita tensors, axes of other invariant tensors."""
    whole = [
        tuple(i for i, name in enumerate(diagram.block_labels) if base(name) == label)
        for label, _, _ in diagram.elements
    ]
    return [*(legs for _, _, legs in diagram.heads), *whole]


def _wires(diagram: Diagram, points: Sequence[complex], height: float, colors: Colors) -> Iterator[Shape]:
    """Yield the curves between two rows."""
    woven = weave(block_curves(diagram, points, height))
    for label, curves, tone in zip(diagram.block_labels, woven.curves, _tones(diagram, woven), strict=True):
        if curves:
            yield Curves("block", curves, Pen(colors[label][tone % len(colors[label])], LINE))
    for legs in _tensors(diagram):
        for curve in head_curves(diagram, legs, points, height):
            color = colors[diagram.labels[diagram.blocks[legs[0]][0]]][0]
            yield Curves("head", (curve,), Pen(color, LINE * 0.7, dashes=(3, 3)))


def _joined(diagram: Diagram) -> set[int]:
    """Return the vertices that are joined to others."""
    tensors = {block for legs in _tensors(diagram) for block in legs}
    return {vertex for i, block in enumerate(diagram.blocks) if len(block) > 1 or i in tensors for vertex in block}


def stacked(
    diagrams: Sequence[Diagram],
    title: str,
    *,
    labels: Iterable[str] | None = None,
    numbers: bool = True,
    notes: Sequence[str] = (),
) -> Picture:
    """Return the picture of a composition: one diagram below the other, with common rows.

    Args:
        diagrams: from the last one that acts to the first; the bottom row of each is the top row of the next.
        title: the title.
        labels: the labels that share the colors.
        numbers: whether the first and the last row are numbered.
        notes: a text to the right of each diagram.
    """
    every = [label for diagram in diagrams for label in diagram.labels]
    given = parse_labels(labels) if isinstance(labels, str) else _checks.sequence(labels) or labels
    colors = hues(every, _checks.names("labels", given, optional=True, example="p"))
    named = len(colors) > 1 and bool(every)
    rows = [diagrams[0].top, *(diagram.bottom for diagram in diagrams)]
    most, widest = max(map(len, rows)), max(map(columns, every), default=0) * LETTER if named else 0.0
    pitch = max(PITCH, widest + 8)
    width = pitch * max(most - 1, 0) + 2 * MARGIN + max(2 * RADIUS + (0 if most > 1 else 10), widest)
    lines = (NUMBER if numbers else 0) + (NAME if named else 0)  # beyond the outer rows
    heights = [0.0, *itertools.accumulate(map(_height, diagrams))]
    levels = [MARGIN + RADIUS + (lines if rows[0] else 0) + height for height in heights]
    points = [_row(len(row), pitch, width, y) for row, y in zip(rows, levels, strict=True)]
    shapes, joined = list[Shape](), set[tuple[int, int]]()
    for level, y in enumerate(levels):
        if not rows[level]:
            shapes.append(Lines("rail", ((complex(MARGIN, y), complex(width - MARGIN, y)),), Pen(QUIET, dashes=(2, 3))))
    for level, diagram in enumerate(diagrams):
        split, height = len(diagram.top), levels[level + 1] - levels[level]
        shapes += _wires(diagram, points[level] + points[level + 1], height, colors)
        joined |= {(level, v) if v < split else (level + 1, v - split) for v in _joined(diagram)}
    for level, row in enumerate(rows):
        for place, (point, label) in enumerate(zip(points[level], row, strict=True)):
            shapes.append(_vertex(point, colors[label][0], (level, place) not in joined))
            if level in (0, len(diagrams)):
                name = label if named else ""
                shapes += _beyond(point, name, colors[label][0], place + 1 if numbers else None, below=level > 0)
    right = width
    for note, (high, low) in zip(notes, itertools.pairwise(levels), strict=bool(notes)):
        shapes.append(Words("note", note, complex(width + 4, (high + low) / 2 + 4), QUIET, "start"))
        right = max(right, width + 4 + LETTER * columns(note) + MARGIN)
    return Picture(right, levels[-1] + RADIUS + MARGIN + (lines if rows[-1] else 0), title, tuple(shapes))


def _vertex(point: complex, color: str, hollow: bool) -> Shape:
    # The outline of a hollow vertex lies inside, so that all vertices have one size.
    return Dot("vertex", point, RADIUS - 1, pen=Pen(color, 2)) if hollow else Dot("vertex", point, RADIUS, fill=color)


def _beyond(point: complex, name: str, color: str, number: int | None, *, below: bool) -> Iterator[Shape]:
    """Yield the number of a vertex and the name of its label, on the outer side of its row."""
    y = RADIUS + 11.0 if below else -RADIUS - 4.0
    if number is not None:
        yield Words("number", f"{number}'" if below else str(number), point + y * 1j, QUIET, small=True)
        y += NUMBER if below else -NUMBER
    if name:
        yield Words("label", name, point + y * 1j, color)


def diagram_picture(diagram: Diagram, *, labels: Iterable[str] | None = None, numbers: bool = True) -> Picture:
    """Return the model of the picture of a diagram; see `diagram_svg`."""
    _checks.instance("diagram", diagram, Diagram, 'ek.Diagram.identity("p")')
    _checks.flag("numbers", numbers)
    return stacked([diagram], str(diagram), labels=labels, numbers=numbers)


def diagram_svg(
    diagram: Diagram, *, scale: float = SCALE, labels: Iterable[str] | None = None, numbers: bool = True
) -> str:
    """Draw a diagram as a standalone SVG picture.

    The output axes are the top row, the input axes the bottom row; a dashed rail is a row without axes. A vertex has
    the color of its label, and is hollow if it is joined to nothing. The curves of a block have the hue of its label;
    where two blocks cross, the later one passes below and takes another tone. Broken lines join the legs of a
    Levi-Civita tensor, and the axes of an invariant tensor of a group without diagrams. There is no background, and the
    colors are legible on white and on dark pages.

    Args:
        diagram: the diagram.
        scale: the size of the picture; at 1 neighboring vertices are 36 pixels apart.
        labels: the labels that share the colors, for pictures that belong together; by default its own. If
            there are several, their names are next to the vertices.
        numbers: whether the vertices are numbered as in the text of the diagram: 1, 2 in the top row, 1', 2' in the
            bottom row.

    Returns:
        The text of an `<svg>` element, whose title is the text form of the diagram, and whose metadata has the license
        of the picture, CC0 1.0.

    Raises:
        OptionError: if `scale` is not from 0 to 100, or `labels` lacks a label of the diagram.

    Cost: the square of the number of vertices.

    Example:
        >>> from equikit import Diagram
        >>> diagram_svg(Diagram.parse("p p -> p p: 1 1' | 2 2'")).count("<circle")
        4
    """
    scale = checked_scale(scale)
    return svg(diagram_picture(diagram, labels=labels, numbers=numbers), scale)


def diagram_tikz(
    diagram: Diagram, *, scale: float = 1.0, labels: Iterable[str] | None = None, numbers: bool = True
) -> str:
    r"""Draw a diagram in TikZ, for papers and slides.

    The picture is the same as from `diagram_svg`. A document needs `\usepackage{tikz}` in its preamble; labels in
    letters that are not Latin need LuaLaTeX or XeLaTeX, and a font that has them.

    Args:
        diagram: the diagram.
        scale: the size of the picture with its text; at 1 neighboring vertices are 27 bp, almost 1 cm, apart.
        labels: as for `diagram_svg`.
        numbers: as for `diagram_svg`.

    Returns:
        The text of a `tikzpicture` environment, after a comment with the text form of the diagram and the license of
        the picture, CC0 1.0.

    Raises:
        OptionError: if `scale` is not from 0 to 100, or `labels` lacks a label of the diagram.
        TooLargeError: if `scale` makes a side longer than 16,000 bp, which TeX cannot draw.

    Cost: the square of the number of vertices.

    Example:
        >>> from equikit import Diagram
        >>> print(diagram_tikz(Diagram.parse("p p -> p p: 1 1' | 2 2'")).splitlines()[-1])
        \end{tikzpicture}
    """
    scale = checked_scale(scale)
    return tikz(diagram_picture(diagram, labels=labels, numbers=numbers), scale)
