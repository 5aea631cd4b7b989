"""The exponent of a power law from measured values, with its standard error."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Exponent:
    """The slope of log y over log x by least squares.

    Attributes:
        value: the slope.
        error: its standard error, from the scatter about the line; `None` for two points.
        points: how many there are.
        first, last: smallest and largest x.
    """

    value: float
    error: float | None
    points: int
    first: float
    last: float

    def __str__(self) -> str:
        return f"{self.value:.2f}" + ("" if self.error is None else f" ± {self.error:.2f}")


def exponent(x: Sequence[float], y: Sequence[float]) -> Exponent:
    """Fit y = c x^e.

    Raises:
        ValueError: if a value is not positive, or there are not two different x.
    """
    if len(x) != len(y) or len(set(x)) < 2 or min(*x, *y) <= 0:
        raise ValueError(f"a power law needs positive values at two different places or more, not x={x}, y={y}")
    u, v = [math.log(value) for value in x], [math.log(value) for value in y]
    count = len(u)
    center_u, center_v = sum(u) / count, sum(v) / count
    spread = sum((one - center_u) ** 2 for one in u)
    slope = sum((one - center_u) * (other - center_v) for one, other in zip(u, v, strict=True)) / spread
    left = sum((other - center_v - slope * (one - center_u)) ** 2 for one, other in zip(u, v, strict=True))
    error = math.sqrt(left / (count - 2) / spread) if count > 2 else None
    return Exponent(slope, error, count, min(x), max(x))
