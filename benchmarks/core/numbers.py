"""Numbers as text."""

from __future__ import annotations

import math
from collections.abc import Iterable

MOST_DIGITS, SMALLEST = 12, -300
"""Digits of a value, and powers of ten, between which its standard deviation has the same digits."""


def with_spread(value: float, spread: float | None = None, digits: int = 3) -> str:
    """Format a value with this many digits; or with its standard deviation, which gets two digits."""
    if spread is None:
        return plain(value, digits)
    if spread == 0 or not math.isfinite(spread) or not math.isfinite(value):
        return f"{plain(value, digits)} ± {spread:g}"
    largest, last = exponent(max(abs(value), spread)), exponent(spread) - 1
    if largest - last > MOST_DIGITS or not SMALLEST <= largest <= MOST_DIGITS:
        return f"{plain(value, digits)} ± {plain(spread, 2)}"
    if largest < -3:
        scale = 10.0**largest
        return f"({with_spread(value / scale, spread / scale, digits)})e{largest}"
    decimals = max(0, -last)
    return f"{round(value, -last):.{decimals}f} ± {round(spread, -last):.{decimals}f}"


def exponent(value: float) -> int:
    """The power of ten of the first digit, after rounding to two digits."""
    return int(f"{value:.1e}".partition("e")[2])


def plain(value: float, digits: int) -> str:
    """Format a value with this many digits, small ones with an exponent."""
    if value == 0 or not math.isfinite(value):
        return f"{value or 0:g}"
    return f"{value:.{digits}g}" if abs(value) >= 1e-3 else f"{value:.{digits - 1}e}".replace("e-0", "e-")


def ranges(values: Iterable[int]) -> str:
    """Format integers as in "0 to 4" or "1, 3"."""
    every = sorted(set(values))
    if len(every) > 2 and every[-1] - every[0] == len(every) - 1:
        return f"{every[0]} to {every[-1]}"
    return ", ".join(map(str, every))
