"""Bars of positive numbers on a logarithmic scale, such as errors."""

from __future__ import annotations

import math
from collections.abc import Sequence

from equikit import _checks
from equikit._errors import OptionError
from equikit.draw._palette import NEGATIVE, POSITIVE, QUIET
from equikit.draw._svg import columns, number, xml_text

ROW, BAR, FONT = 18.0, 10.0, 11.0
WIDTH = 260.0
"""Width of the scale in pixels."""
MOST_BARS = 500


def bars_svg(bars: Sequence[tuple[str, float]], *, limit: float | None = None) -> str:
    """Draw numbers from 0 to 1 as horizontal bars on a logarithmic scale, a standalone SVG picture.

    Args:
        bars: names and numbers; a number below the scale, such as zero, has no bar.
        limit: a number that is marked by a line; larger numbers have another color.

    Returns:
        The text of an `<svg>` element.

    Raises:
        OptionError: if there are no bars, or a number is negative or not finite.
        TooLargeError: if there are more than 500 bars.

    Example:
        >>> bars_svg([("a rotation", 2e-7), ("a reflection", 0.5)], limit=1e-6).count("<rect")
        2
    """
    _checks.some("bars", bars, got=_checks.shown(bars), step="give names with numbers")
    _checks.refuse_if_more("the bars are too many for a picture", len(bars), MOST_BARS, "bars", "draw fewer bars")
    wrong = [value for _, value in bars if not 0 <= value < math.inf]
    if wrong:
        raise OptionError(
            "a bar has no length", got=wrong[0], expected="finite numbers, zero or more", step="leave this bar out"
        )
    values = [value for value in (*(value for _, value in bars), limit or 0.0) if value > 0]
    low = math.floor(math.log10(min(values, default=0.1)) - 0.3)
    high = max(math.ceil(math.log10(max(values, default=1.0))), low + 1)
    left = 12 + 0.6 * FONT * max(columns(name) for name, _ in bars)

    def place(value: float) -> float:
        return left + WIDTH * (math.log10(value) - low) / (high - low)

    width, height = left + WIDTH + 70, ROW * len(bars) + 24
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{number(width)}" height="{number(height)}" '
        f'viewBox="0 0 {number(width)} {number(height)}" role="img" font-family="sans-serif" font-size="{FONT:g}">',
        f"<title>{len(bars)} bars on a logarithmic scale</title>",
    ]
    bottom = ROW * len(bars) + 4
    for exponent in range(low, high + 1, max((high - low) // 6, 1)):
        x = number(place(10.0**exponent))
        lines.append(
            f'<line x1="{x}" y1="0" x2="{x}" y2="{number(bottom)}" stroke="{QUIET}" stroke-opacity="0.3"/>'
            f'<text x="{x}" y="{number(bottom + FONT + 2)}" text-anchor="middle" fill="{QUIET}">1e{exponent}</text>'
        )
    for row, (name, value) in enumerate(bars):
        y, above = row * ROW, limit is not None and value > limit
        middle = number(y + ROW / 2 + 4)
        end = place(value) if value > 0 else left
        lines.append(
            f'<text x="{number(left - 6)}" y="{middle}" text-anchor="end" fill="{QUIET}">{xml_text(name)}</text>'
        )
        if end > left:
            lines.append(
                f'<rect x="{number(left)}" y="{number(y + (ROW - BAR) / 2)}" width="{number(end - left)}" '
                f'height="{number(BAR)}" fill="{NEGATIVE if above else POSITIVE}"/>'
            )
        lines.append(f'<text x="{number(end + 5)}" y="{middle}" fill="{QUIET}">{value:.2g}</text>')
    if limit is not None and limit > 0:
        x = number(place(limit))
        lines.append(f'<line class="limit" x1="{x}" y1="0" x2="{x}" y2="{number(bottom)}" stroke="{NEGATIVE}"/>')
    return "\n".join([*lines, "</svg>"])
