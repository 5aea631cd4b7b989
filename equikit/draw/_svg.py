"""A diagram as an SVG picture: two rows of vertices, and a curve through the vertices of each block."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence
from html import escape

from equikit import _checks
from equikit.diagrams import Diagram
from equikit.draw._curves import PITCH, Curve, Weave, block_curves, head_curves, weave
from equikit.draw._palette import QUIET, hues
from equikit.signatures import base

RADIUS, LINE = 5.0, 2.6
MARGIN = 10.0
FONT = 11.0


def number(value: float) -> str:
    """Format a number for SVG: at most two decimals, without trailing zeros."""
    return f"{value:.2f}".rstrip("0").rstrip(".") if round(value, 2) else "0"


def xml_text(text: str) -> str:
    """Escape text for XML and HTML; characters that XML does not allow become the replacement character."""
    allowed = (
        c if c in "\t\n\r" or " " <= c <= "\ud7ff" or "\ue000" <= c <= "\ufffd" or c > "\uffff" else "\ufffd"
        for c in text
    )
    return escape("".join(allowed))


def columns(text: str) -> int:
    """Return the width of text in terminal columns: two for wide characters, none for combining marks."""
    wide = sum(unicodedata.east_asian_width(character) in "WF" for character in text)
    return len(text) + wide - sum(unicodedata.combining(character) > 0 for character in text)


def _row(size: int, pitch: float, width: float, y: float) -> list[complex]:
    """Return the vertices of a row, centered."""
    left = (width - pitch * (size - 1)) / 2
    return [complex(left + pitch * i, y) for i in range(size)]


def _path(curves: Sequence[Curve]) -> str:
    """Return path data; a curve that starts where the last one ended continues it."""
    words: list[str] = []
    pen: complex | None = None

    def pair(point: complex) -> str:
        return f"{number(point.real)} {number(point.imag)}"

    for curve in curves:
        if pen is None or abs(curve.start - pen) > 1e-6:
            words.append(f"M{pair(curve.start)}")
        words.append(f"C{pair(curve.first)} {pair(curve.second)} {pair(curve.end)}")
        pen = curve.end
    return "".join(words)


def _tones(diagram: Diagram, woven: Weave) -> list[int]:
    """Choose a tone for each block that differs from earlier blocks of the label that it crosses or nearly touches."""
    labels = diagram.block_labels
    tones: list[int] = []
    for block, met in enumerate(woven.met):
        taken = {tones[a] for a in met if labels[a] == labels[block]}
        tones.append(next(tone for tone in range(len(tones) + 1) if tone not in taken))
    return tones


def diagram_svg(diagram: Diagram, *, scale: float = 1.0, labels: Iterable[str] | None = None) -> str:
    """Draw a diagram as a standalone SVG picture.

    The output axes are the top row, the input axes the bottom row; a dashed rail is a row without axes. A vertex has
    the color of its label, and is hollow if it is joined to nothing. The curves of a block have the hue of its label;
    where two blocks cross, the later one passes below and takes another tone. Broken lines join the legs of a
    Levi-Civita tensor, and the axes of an invariant tensor of a group without diagrams. There is no background, and the
    colors are legible on white and on dark pages.

    Args:
        diagram: the diagram.
        scale: the size of the picture; at 1 neighboring vertices are 36 pixels apart.
        labels: the labels that share the colors, for pictures that belong together; by default those of the diagram. If
            there are several, their names are next to the vertices.

    Returns:
        The text of an `<svg>` element, whose title is the text form of the diagram.

    Raises:
        OptionError: if `scale` is not positive, or `labels` lacks a label of the diagram.

    Cost: the square of the number of vertices.

    Example:
        >>> from equikit import Diagram
        >>> diagram_svg(Diagram.parse("p p -> p p: 1 1' | 2 2'")).count("<circle")
        4
    """
    scale = _checks.number("scale", scale, above=0, example=2, traced=False)
    labels = None if labels is None else tuple(labels)
    colors = hues(diagram.labels, labels)
    named = len(colors) > 1 and diagram.order > 0
    rows = diagram.top, diagram.bottom
    most = max(map(len, rows))
    widest = max(map(columns, diagram.labels), default=0) if named else 0
    pitch = max(PITCH, 0.62 * FONT * widest + 8)
    width = pitch * max(most - 1, 0) + 2 * MARGIN + max(2 * RADIUS + (0 if most > 1 else 10), 0.62 * FONT * widest)
    # Long rows have wide arcs, which need room; a row without vertices needs little room.
    height = 34.0 if not all(rows) else 60 + 9 * min(max(most - 2, 0), 6)
    head = FONT + 4 if named and diagram.top else 0
    foot = FONT + 4 if named and diagram.bottom else 0
    top = MARGIN + RADIUS + head
    bottom = top + height
    total = bottom + RADIUS + MARGIN + foot
    points = _row(len(diagram.top), pitch, width, top) + _row(len(diagram.bottom), pitch, width, bottom)
    woven = weave(block_curves(diagram, points, height))
    size = f'width="{number(width * scale)}" height="{number(total * scale)}"'
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} viewBox="0 0 {number(width)} {number(total)}" role="img">',
        f"<title>{xml_text(str(diagram))}</title>",
    ]
    for row, y in zip(rows, (top, bottom), strict=True):
        if not row:
            lines.append(
                f'<path class="rail" d="M{number(MARGIN)} {number(y)}H{number(width - MARGIN)}" fill="none" '
                f'stroke="{QUIET}" stroke-dasharray="2 3"/>'
            )
    for label, curves, tone in zip(diagram.block_labels, woven.curves, _tones(diagram, woven), strict=True):
        if curves:
            tones = colors[label]
            lines.append(
                f'<path class="block" d="{_path(curves)}" fill="none" stroke="{tones[tone % len(tones)]}" '
                f'stroke-width="{number(LINE)}"/>'
            )
    whole = [
        tuple(i for i, name in enumerate(diagram.block_labels) if base(name) == label)
        for label, _, _ in diagram.elements
    ]
    tensors = [*(legs for _, _, legs in diagram.heads), *whole]
    for legs in tensors:
        color = colors[diagram.labels[diagram.blocks[legs[0]][0]]][0] if legs else ""
        for curve in head_curves(diagram, legs, points, height):
            lines.append(
                f'<path class="head" d="{_path([curve])}" fill="none" stroke="{color}" '
                f'stroke-width="{number(LINE * 0.7)}" stroke-dasharray="3 3"/>'
            )
    joined = {block for legs in tensors for block in legs}
    alone = {block[0] for i, block in enumerate(diagram.blocks) if len(block) == 1 and i not in joined}
    for vertex, (point, label) in enumerate(zip(points, diagram.labels, strict=True)):
        color = colors[label][0]
        # The outline of a hollow vertex lies inside, so that all vertices have one size.
        radius, fill = (RADIUS - 1, "none") if vertex in alone else (RADIUS, color)
        outline = f' stroke="{color}" stroke-width="2"' if vertex in alone else ""
        lines.append(
            f'<circle class="vertex" cx="{number(point.real)}" cy="{number(point.imag)}" r="{number(radius)}" '
            f'fill="{fill}"{outline}/>'
        )
        if named:
            y = top - RADIUS - 5 if vertex < len(diagram.top) else bottom + RADIUS + FONT + 2
            lines.append(
                f'<text x="{number(point.real)}" y="{number(y)}" text-anchor="middle" font-family="sans-serif" '
                f'font-size="{number(FONT)}" fill="{color}">{xml_text(label)}</text>'
            )
    lines.append("</svg>")
    return "\n".join(lines)
