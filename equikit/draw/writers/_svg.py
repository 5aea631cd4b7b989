"""A picture as SVG, with its license in the metadata."""

from __future__ import annotations

import base64
import math
from collections.abc import Iterable
from html import escape

from equikit.draw._curves import Curve
from equikit.draw._picture import FONT, Boxes, Curves, Dot, Lines, Pen, Picture, Shape, Words

SMALL_FONT = 10.0
LICENSE = (
    '<metadata><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#" xmlns:cc="http://creativecommons.org/'
    'ns#"><cc:Work rdf:about=""><cc:license rdf:resource="http://creativecommons.org/publicdomain/zero/1.0/"/>'
    "</cc:Work></rdf:RDF></metadata>"
)
"""The statement that Creative Commons recommends for SVG, of CC0 1.0."""


def number(value: float) -> str:
    """Format a number for SVG and TikZ: at most two decimals, without trailing zeros."""
    return f"{value:.2f}".rstrip("0").rstrip(".") if round(value, 2) else "0"


def xml_text(text: str) -> str:
    """Escape text for XML and HTML; characters that XML does not allow become the replacement character."""
    allowed = (
        c if c in "\t\n\r" or " " <= c <= "\ud7ff" or "\ue000" <= c <= "\ufffd" or c > "\uffff" else "\ufffd"
        for c in text
    )
    return escape("".join(allowed))


def svg(picture: Picture, scale: float = 1.0, *, licensed: bool = True) -> str:
    """Return a picture as an `<svg>` element without background.

    The size is rounded up to whole pixels, so that no browser cuts off a line at the border. A picture that stands
    alone has its license in it; pages of many pictures state it once.
    """
    width, height = math.ceil(picture.width), math.ceil(picture.height)
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{number(width * scale)}" height="{number(height * scale)}" '
        f'viewBox="0 0 {width} {height}" role="img" overflow="visible">',
        f"<title>{xml_text(picture.title)}</title>{LICENSE if licensed else ''}",
        *map(_element, picture.shapes),
        "</svg>",
    ]
    return "\n".join(lines)


def image(text: str, title: str) -> str:
    """Return an SVG picture as an HTML `<img>` element, which programs that remove SVG elements from HTML keep."""
    data = base64.b64encode(text.encode()).decode()
    return f'<img alt="{xml_text(title)}" title="{xml_text(title)}" src="data:image/svg+xml;base64,{data}"/>'


def _pair(point: complex) -> str:
    return f"{number(point.real)} {number(point.imag)}"


def _stroke(pen: Pen | None) -> str:
    if pen is None:
        return ""
    parts = [f' stroke="{pen.color}"']
    if pen.width != 1:
        parts.append(f' stroke-width="{number(pen.width)}"')
    if pen.opacity != 1:
        parts.append(f' stroke-opacity="{number(pen.opacity)}"')
    if pen.dashes:
        parts.append(f' stroke-dasharray="{" ".join(map(number, pen.dashes))}"')
    if pen.crisp:
        parts.append(' shape-rendering="crispEdges"')
    return "".join(parts)


def _curve_data(curves: Iterable[Curve]) -> str:
    """Return path data; a curve that starts where the last one ended continues it."""
    words: list[str] = []
    pen: complex | None = None
    for curve in curves:
        if pen is None or abs(curve.start - pen) > 1e-6:
            words.append(f"M{_pair(curve.start)}")
        words.append(f"C{_pair(curve.first)} {_pair(curve.second)} {_pair(curve.end)}")
        pen = curve.end
    return "".join(words)


def _box_data(corner: complex, extent: complex) -> str:
    across, down = number(extent.real), number(extent.imag)
    return f"M{_pair(corner)}h{across}v{down}h-{across}z"


def _element(shape: Shape) -> str:
    match shape:
        case Curves(role, curves, pen):
            return f'<path class="{role}" d="{_curve_data(curves)}" fill="none"{_stroke(pen)}/>'
        case Lines(role, lines, pen):
            data = "".join(f"M{_pair(start)}L{_pair(end)}" for start, end in lines)
            return f'<path class="{role}" d="{data}" fill="none"{_stroke(pen)}/>'
        case Boxes(role, boxes, fill, opacity, pen):
            data = "".join(_box_data(*box) for box in boxes)
            pale = f' fill-opacity="{number(opacity)}"' if opacity != 1 else ""
            crisp = "" if pen else ' shape-rendering="crispEdges"'
            return f'<path class="{role}" d="{data}" fill="{fill or "none"}"{pale}{_stroke(pen)}{crisp}/>'
        case Dot(role, center, radius, fill, pen):
            at = f'cx="{number(center.real)}" cy="{number(center.imag)}" r="{number(radius)}"'
            return f'<circle class="{role}" {at} fill="{fill or "none"}"{_stroke(pen)}/>'
        case Words(role, text, point, color, anchor, small):
            at = f'x="{number(point.real)}" y="{number(point.imag)}" text-anchor="{anchor}"'
            font = f'font-family="sans-serif" font-size="{number(SMALL_FONT if small else FONT)}"'
            return f'<text class="{role}" {at} {font} fill="{color}">{xml_text(text)}</text>'
