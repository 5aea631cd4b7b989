"""A picture as TikZ, to be compiled by LaTeX with the package `tikz`."""

from __future__ import annotations

import math
from collections.abc import Iterable

from equikit import _checks
from equikit.draw._curves import Curve
from equikit.draw._picture import Boxes, Curves, Dot, Lines, Pen, Picture, Shape, Words
from equikit.draw.writers._svg import number

POINT = 0.75
"""The big points (bp) of a pixel: 96 pixels are an inch."""

SPECIAL = {
    "\\": r"$\backslash$",
    "{": r"$\{$",
    "}": r"$\}$",
    "^": r"\^{}",
    "~": r"\~{}",
    "'": "$'$",
    "<": "$<$",
    ">": "$>$",
    "|": "$|$",
    "×": r"$\times$",
    "→": r"$\to$",
    **{character: f"\\{character}" for character in "#$%&_"},
}
MOST_POINTS = 16_000
"""The longest side in big points; TeX has no longer lengths."""
BASELINE = "baseline={([yshift=-0.6ex]current bounding box.center)}"
NODES = r"every node/.style={inner sep=0pt, font=\sffamily\footnotesize}"
ANCHORS = {"start": "base west", "middle": "base", "end": "base east"}


def tex_text(text: str) -> str:
    """Escape text for LaTeX; control characters become spaces."""
    return "".join(SPECIAL.get(c, c if c.isprintable() else " ") for c in text)


def tikz(picture: Picture, scale: float = 1.0) -> str:
    """Return a picture as a `tikzpicture` environment whose baseline is its center.

    A pixel is 0.75 bp. The first line is a comment with the title and the license; colors are defined in the picture.
    """
    longest = int(max(picture.width, picture.height) * POINT * scale)
    if scale > 1:  # at smaller scales too, but notebooks ask for TikZ of every picture that they show as SVG
        step = f"write scale={math.floor(10 * MOST_POINTS * scale / longest) / 10:g}"
        _checks.refuse_if_more("the picture is too large for TeX", longest, MOST_POINTS, "bp", step)
    title = "".join(c if c.isprintable() else " " for c in picture.title)
    size = f", scale={number(scale)}, transform shape" if scale != 1 else ""
    colors = dict.fromkeys(color for shape in picture.shapes for color in _colors(shape))
    lines = [
        rf"% {title} (drawn by equikit; needs \usepackage{{tikz}}; license of the picture: CC0 1.0)",
        rf"\begin{{tikzpicture}}[x={POINT}bp, y=-{POINT}bp{size}, {BASELINE}, {NODES}]",
        *(rf"\definecolor{{{_color(color)}}}{{HTML}}{{{color[1:].upper()}}}" for color in colors),
        rf"\useasboundingbox (0,0) rectangle ({number(picture.width)},{number(picture.height)});",
        *(_command(shape, scale) for shape in picture.shapes),
        r"\end{tikzpicture}",
    ]
    return "\n".join(lines)


def latex(text: str, otherwise: str) -> str:
    r"""Return TikZ pictures for a document that may not load TikZ, where the text is set instead.

    A notebook that is exported to LaTeX has a preamble of the exporter. Without this condition the export would fail
    there at `\begin{tikzpicture}`.
    """
    return "\n".join([r"\ifdefined\tikzpicture", text, r"\else", rf"\texttt{{{tex_text(otherwise)}}}", r"\fi"])


def _color(color: str) -> str:
    return f"ek{color[1:]}"


def _colors(shape: Shape) -> list[str]:
    pen = getattr(shape, "pen", None)
    found = [pen.color if pen else None, getattr(shape, "fill", None), getattr(shape, "color", None)]
    return [color for color in found if color is not None]


def _pair(point: complex) -> str:
    return f"({number(point.real)},{number(point.imag)})"


def _stroke(pen: Pen, scale: float) -> list[str]:
    unit = POINT * scale
    options = [f"draw={_color(pen.color)}", f"line width={number(pen.width * unit)}bp"]
    if pen.opacity != 1:
        options.append(f"draw opacity={number(pen.opacity)}")
    if pen.dashes:
        on, off = (number(length * unit) for length in pen.dashes)
        options.append(f"dash pattern=on {on}bp off {off}bp")
    return options


def _curves(curves: Iterable[Curve]) -> str:
    words: list[str] = []
    pen: complex | None = None
    for curve in curves:
        if pen is None or abs(curve.start - pen) > 1e-6:
            words.append(_pair(curve.start))
        words.append(f".. controls {_pair(curve.first)} and {_pair(curve.second)} .. {_pair(curve.end)}")
        pen = curve.end
    return " ".join(words)


def _command(shape: Shape, scale: float) -> str:
    match shape:
        case Curves(_, curves, pen):
            return rf"\path[{', '.join(_stroke(pen, scale))}] {_curves(curves)};"
        case Lines(_, lines, pen):
            data = " ".join(f"{_pair(start)} -- {_pair(end)}" for start, end in lines)
            return rf"\path[{', '.join(_stroke(pen, scale))}] {data};"
        case Boxes(_, boxes, fill, opacity, pen):
            data = " ".join(f"{_pair(corner)} rectangle {_pair(corner + extent)}" for corner, extent in boxes)
            return rf"\path[{_area(fill, opacity, pen, scale)}] {data};"
        case Dot(_, center, radius, fill, pen):
            options = _area(fill, 1.0, pen, scale)
            return rf"\path[{options}] {_pair(center)} circle[radius={number(radius * POINT)}bp];"
        case Words(_, text, at, color, anchor, small):
            font = r", font=\sffamily\scriptsize" if small else ""
            options = f"anchor={ANCHORS[anchor]}, text={_color(color)}{font}"
            return rf"\node[{options}] at {_pair(at)} {{{tex_text(text)}}};"


def _area(fill: str | None, opacity: float, pen: Pen | None, scale: float) -> str:
    options = [f"fill={_color(fill)}"] if fill else []
    if fill and opacity != 1:
        options.append(f"fill opacity={number(opacity)}")
    return ", ".join([*options, *(_stroke(pen, scale) if pen else [])])
