"""Confidence intervals for the mean of independent numbers in [0, 1]."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from equikit._errors import OptionError

UNSEEN = 0.1
"""The largest mean that may remain unseen, with the claimed confidence, where all numbers are zero."""


@dataclass(frozen=True, slots=True)
class Interval:
    """An interval that contains a mean with a given confidence.

    Attributes:
        low, high: the ends.
        confidence: the probability that such intervals contain the mean; one for an exact value.
        draws: the number of independent numbers; 0 for an exact value.
        elements: the number of elements of the group, if all were used; otherwise 0.
    """

    low: float
    high: float
    confidence: float = 1.0
    draws: int = 0
    elements: int = 0

    def __str__(self) -> str:
        if not self.draws:
            return f"exact, {self.elements} element{'s' * (self.elements != 1)}"
        return f"{self.low:.2g} to {self.high:.2g} at {100 * self.confidence:g} %, {self.draws} draws"


def mean_interval(mean: float, draws: int, confidence: float) -> Interval:
    r"""Return the interval of Hoeffding's bound in its sharp form, with the relative entropy.

    With probability at least `confidence`, the expected mean p of n independent numbers in [0, 1] with mean m satisfies
    \(n\, \mathrm{kl}(m \Vert p) \le \log(2 / \delta)\). The numbers need not have the same distribution.

    Args:
        mean: the mean of the numbers.
        draws: how many they are.
        confidence: \(1 - \delta\).

    Source:
        Hoeffding, Probability inequalities for sums of bounded random variables, 1963, theorem 1.
    """
    bound = math.log(2 / (1 - confidence)) / draws
    mean = min(max(mean, 0.0), 1.0)
    return Interval(_end(mean, 0.0, bound), _end(mean, 1.0, bound), confidence, draws)


def upper_bound(values: np.ndarray, confidence: float) -> float:
    """Return an upper bound on the expected mean of independent numbers in [0, 1], the end of `mean_interval`."""
    return mean_interval(float(np.mean(values)), len(values), confidence).high


def _end(mean: float, far: float, bound: float) -> float:
    """Return the point between the mean and `far` at which the relative entropy is `bound`, by bisection."""
    near = mean
    for _ in range(60):
        middle = (near + far) / 2
        near, far = (middle, far) if _entropy(mean, middle) <= bound else (near, middle)
    return far


def _entropy(m: float, p: float) -> float:
    """Return the relative entropy of coins with probabilities m and p."""
    parts = ((m, p), (1 - m, 1 - p))
    return sum(0.0 if a == 0 else math.inf if b <= 0 else a * math.log(a / b) for a, b in parts)


def refuse_few(draws: int, confidence: float) -> None:
    """Raise `OptionError` if an error above `UNSEEN` could remain unseen with the claimed confidence."""
    wanted = math.ceil(math.log(2 / (1 - confidence)) / -math.log(1 - UNSEEN))
    if draws < wanted:
        unseen = mean_interval(0.0, draws, confidence).high
        raise OptionError(
            "too few samples for the claimed confidence",
            got=f"{draws} draws, confidence={confidence:g}: a mean error of {unseen:.2g} could remain unseen",
            expected=f"{wanted} draws or more, so that at most {UNSEEN:g} remains unseen",
            step=f"write draws={wanted}",
        )
