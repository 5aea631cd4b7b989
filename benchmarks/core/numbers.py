"""Numbers as text."""

from __future__ import annotations

import math
from collections.abc import Iterable


def with_spread(value: float, spread: float | None = None, digits: int = 3) -> str:
    """Format a value with this many digits; or with its standard deviation, which gets two digits."""
    if spread is None or not math.isfinite(spread) or not math.isfinite(value):
        return plain(value, digits)
    if spread == 0:
        return f"{plain(value, digits)} ± 0"
    largest = math.floor(math.log10(max(abs(value), spread)))
    if largest < -3:
        scale = 10.0**largest
        return f"({with_spread(value / scale, spread / scale, digits)})e{largest}"
    decimals = max(0, 1 - math.floor(math.log10(spread)))
    return f"{value:.{decimals}f} ± {spread:.{decimals}f}"


def plain(value: float, digits: int) -> str:
    """Format a value with this many digits, small ones with an exponent."""
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    return f"{value:.{digits}g}" if abs(value) >= 1e-3 else f"{value:.{digits - 1}e}".replace("e-0", "e-")


def ranges(values: Iterable[int]) -> str:
    """Format integers as in "0 to 4" or "1, 3"."""
    every = sorted(set(values))
    if len(every) > 2 and every[-1] - every[0] == len(every) - 1:
        return f"{every[0]} to {every[-1]}"
    return ", ".join(map(str, every))
