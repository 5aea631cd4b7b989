"""Upper confidence bounds on means of numbers in [0, 1]."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray


def upper_bound(values: NDArray[np.float64], confidence: float) -> float:
    r"""Return an upper bound on the mean of independent numbers in [0, 1], whatever their distribution.

    The bound is \(\bar x + \sqrt{2 V \ln(2/\delta) / n} + 7 \ln(2/\delta) / (3 (n - 1))\) with the sample variance
    V and \(\delta\) = 1 - confidence.

    Source:
        Maurer and Pontil, Empirical Bernstein bounds and sample variance penalization, arXiv:0907.3740, theorem 4.
    """
    n, log = len(values), math.log(2 / (1 - confidence))
    bound = np.mean(values) + math.sqrt(2 * float(np.var(values, ddof=1)) * log / n) + 7 * log / (3 * (n - 1))
    return min(1.0, float(bound))
