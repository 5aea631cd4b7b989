"""Bars of positive numbers on a logarithmic scale, such as errors."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from equikit import _checks
from equikit._errors import OptionError
from equikit.draw._palette import NEGATIVE, POSITIVE, QUIET
from equikit.draw._picture import FONT, LETTER, Boxes, Lines, Pen, Picture, Shape, Words, columns
from equikit.draw.writers import svg, tikz

ROW, BAR = 18.0, 10.0
WIDTH = 260.0
"""Width of the scale in pixels."""
MOST_BARS = 500


def _checked(bars: object) -> tuple[tuple[str, float], ...]:
    """Return the names and the numbers, or raise `OptionError`."""
    found = []
    for bar in bars if isinstance(bars, Iterable) else (bars,):
        if not (isinstance(bar, tuple | list) and len(bar) == 2 and isinstance(bar[0], str)):
            raise OptionError(
                "a bar is not a name with a number",
                got=_checks.shown(bar),
                expected="a text and a number",
                step='write for example bars=[("a rotation", 2e-7)]',
            )
        found.append((bar[0], _checks.number("the number of a bar", bar[1], least=0, traced=False)))
    return tuple(found)


def bars_picture(bars: Sequence[tuple[str, float]], limit: float | None) -> Picture:
    """Return the model of the picture of bars; see `bars_svg`."""
    bars = _checked(bars)
    limit = _checks.number("limit", limit, example=1e-6, optional=True, traced=False)
    _checks.some("bars", bars, got=_checks.shown(bars), step="give names with numbers")
    _checks.refuse_if_more("the bars are too many for a picture", len(bars), MOST_BARS, "bars", "draw fewer bars")
    values = [value for value in (*(value for _, value in bars), limit or 0.0) if value > 0]
    low = math.floor(math.log10(min(values, default=0.1)) - 0.3)
    high = max(math.ceil(math.log10(max(values, default=1.0))), low + 1)
    left = 12 + LETTER * max(columns(name) for name, _ in bars)

    def place(value: float) -> float:
        return left + WIDTH * (math.log10(value) - low) / (high - low)

    bottom = ROW * len(bars) + 4
    mark = place(limit) if limit is not None and limit > 0 else -math.inf
    shapes: list[Shape] = []
    for exponent in range(low, high + 1, max((high - low) // 6, 1)):
        x = left + WIDTH * (exponent - low) / (high - low)
        shapes.append(Lines("scale", ((complex(x), complex(x, bottom)),), Pen(QUIET, opacity=0.3)))
        shapes.append(Words("exponent", f"1e{exponent}", complex(x, bottom + FONT + 2), QUIET))
    for row, (name, value) in enumerate(bars):
        y, above = row * ROW, limit is not None and value > limit
        middle, end = y + ROW / 2 + 4, place(value) if value > 0 else left
        shapes.append(Words("name", name, complex(left - 6, middle), QUIET, "end"))
        if end > left:
            bar = complex(left, y + (ROW - BAR) / 2), complex(end - left, BAR)
            shapes.append(Boxes("bar", (bar,), fill=NEGATIVE if above else POSITIVE))
        # All numbers are right of the scale, where no line crosses them.
        shapes.append(Words("value", f"{value:.2g}", complex(left + WIDTH + 8, middle), QUIET, "start"))
    if mark >= 0:
        shapes.append(Lines("limit", ((complex(mark), complex(mark, bottom)),), Pen(NEGATIVE)))
        shapes.append(Words("limit name", f"limit {limit:.2g}", complex(mark, bottom + 2 * FONT + 6), NEGATIVE))
    title = f"{len(bars)} bars on a logarithmic scale"
    below = FONT + 4 if mark >= 0 else 0
    return Picture(left + WIDTH + 70, ROW * len(bars) + 24 + below, title, tuple(shapes))


def bars_svg(bars: Sequence[tuple[str, float]], *, limit: float | None = None) -> str:
    """Draw numbers from 0 to 1 as horizontal bars on a logarithmic scale, a standalone SVG picture.

    Args:
        bars: names and numbers; a number below the scale, such as zero, has no bar.
        limit: a number that is marked by a line with its value; larger numbers have another color.

    Returns:
        The text of an `<svg>` element.

    Raises:
        OptionError: if there are no bars, one is not a name with a number, or a number is negative or not finite.
        TooLargeError: if there are more than 500 bars.

    Example:
        >>> bars_svg([("a rotation", 2e-7), ("a reflection", 0.5)], limit=1e-6).count('class="bar"')
        2
    """
    return svg(bars_picture(bars, limit))


def bars_tikz(bars: Sequence[tuple[str, float]], *, limit: float | None = None) -> str:
    r"""Draw numbers from 0 to 1 as horizontal bars in TikZ; the picture is the same as from `bars_svg`.

    Args:
        bars: names and numbers; a number below the scale, such as zero, has no bar.
        limit: a number that is marked by a line with its value; larger numbers have another color.

    Returns:
        The text of a `tikzpicture` environment; a document needs `\usepackage{tikz}` in its preamble.

    Raises:
        OptionError: if there are no bars, one is not a name with a number, or a number is negative or not finite.
        TooLargeError: if there are more than 500 bars.

    Example:
        >>> bars_tikz([("a rotation", 2e-7), ("a reflection", 0.5)]).count(" rectangle ")  # bars and bounding box
        3
    """
    return tikz(bars_picture(bars, limit))
