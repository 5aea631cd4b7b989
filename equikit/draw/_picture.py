"""The model of all pictures: shapes at positions, which the writers turn into SVG and TikZ.

Positions are complex numbers in pixels, with the imaginary axis pointing down as in SVG. The geometry of a picture is
computed once, here and in the files that make pictures; writers only translate.
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass, replace
from typing import Literal

from equikit import _checks
from equikit.draw._curves import Curve

MARGIN = 10.0
FONT = 11.0
LETTER = 0.62 * FONT
"""Width of a character, on average."""
MOST_SCALE = 100.0
"""The largest scale of a picture."""


@dataclass(frozen=True, slots=True)
class Pen:
    """How a line is drawn; `crisp` lines end at whole pixels on a screen."""

    color: str
    width: float = 1.0
    opacity: float = 1.0
    dashes: tuple[float, float] | None = None
    crisp: bool = False


@dataclass(frozen=True, slots=True)
class Curves:
    """Curves with one pen; one that starts where the last one ended continues it."""

    role: str
    curves: tuple[Curve, ...]
    pen: Pen


@dataclass(frozen=True, slots=True)
class Lines:
    """Straight lines with one pen, by their ends."""

    role: str
    lines: tuple[tuple[complex, complex], ...]
    pen: Pen


@dataclass(frozen=True, slots=True)
class Boxes:
    """Rectangles, by their upper left corner and their extent, filled or outlined."""

    role: str
    boxes: tuple[tuple[complex, complex], ...]
    fill: str | None = None
    opacity: float = 1.0
    pen: Pen | None = None


@dataclass(frozen=True, slots=True)
class Dot:
    """A circle, filled or outlined."""

    role: str
    center: complex
    radius: float
    fill: str | None = None
    pen: Pen | None = None


@dataclass(frozen=True, slots=True)
class Words:
    """A text on a baseline, and which end of it is at the position."""

    role: str
    text: str
    at: complex
    color: str
    anchor: Literal["start", "middle", "end"] = "middle"
    small: bool = False


Shape = Curves | Lines | Boxes | Dot | Words


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture: its size in pixels, a title for readers that do not see it, and the shapes from back to front."""

    width: float
    height: float
    title: str
    shapes: tuple[Shape, ...]


def checked_scale(scale: object) -> float:
    """Return the scale of a picture as a float, or raise `OptionError`."""
    found: float = _checks.number("scale", scale, above=0, most=MOST_SCALE, example=2, traced=False)
    return found


def columns(text: str) -> int:
    """Return the width of text in terminal columns: two for wide characters, none for combining marks."""
    wide = sum(unicodedata.east_asian_width(character) in "WF" for character in text)
    return len(text) + wide - sum(unicodedata.combining(character) > 0 for character in text)


def moved(shape: Shape, by: complex) -> Shape:
    """Return a shape at another position."""
    match shape:
        case Curves():
            curves = tuple(Curve(c.start + by, c.first + by, c.second + by, c.end + by) for c in shape.curves)
            return replace(shape, curves=curves)
        case Lines():
            return replace(shape, lines=tuple((start + by, end + by) for start, end in shape.lines))
        case Boxes():
            return replace(shape, boxes=tuple((corner + by, extent) for corner, extent in shape.boxes))
        case Dot():
            return replace(shape, center=shape.center + by)
        case Words():
            return replace(shape, at=shape.at + by)


def beside(*pictures: Picture, gap: float = 12.0) -> Picture:
    """Return pictures next to each other, centered vertically, as one; its title is the first one's."""
    height = max(one.height for one in pictures)
    shapes, left = list[Shape](), 0.0
    for one in pictures:
        shapes += [moved(shape, complex(left, (height - one.height) / 2)) for shape in one.shapes]
        left += one.width + gap
    return Picture(left - gap, height, pictures[0].title, tuple(shapes))
