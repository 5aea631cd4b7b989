"""Confidence intervals contain the mean as often as they claim."""

import math

import numpy as np
import pytest

import equikit as ek
from equikit.auditing._bounds import mean_interval, refuse_few


@pytest.mark.parametrize("mean", [0.02, 0.5])
def test_intervals_contain_the_mean(mean):
    """Coins have the largest variance of all numbers in [0, 1] with a given mean."""
    coins = np.random.default_rng(0).random((400, 60)) < mean
    intervals = [mean_interval(float(row.mean()), 60, 0.9) for row in coins]
    missed = sum(not interval.low <= mean <= interval.high for interval in intervals)
    assert missed <= 40
    assert np.mean([interval.high - interval.low for interval in intervals]) < 0.5


def test_ends_are_those_of_the_formula():
    zero = mean_interval(0.0, 100, 0.95)
    assert (zero.low, zero.high) == (0.0, pytest.approx(1 - math.exp(-math.log(40) / 100)))
    one = mean_interval(1.0, 100, 0.95)
    assert (one.low, one.high) == (pytest.approx(1 - zero.high), 1.0)
    middle = mean_interval(0.3, 50, 0.95)
    for end in (middle.low, middle.high):
        assert 0.3 * math.log(0.3 / end) + 0.7 * math.log(0.7 / (1 - end)) == pytest.approx(math.log(40) / 50)
    # Hoeffding's bound in its usual form is wider.
    assert middle.high - 0.3 < math.sqrt(math.log(40) / 100)
    assert str(middle) == "0.15 to 0.49 at 95 %, 50 draws"


def test_too_few_draws_are_refused():
    with pytest.raises(ek.OptionError, match="too few samples for the claimed confidence") as caught:
        refuse_few(35, 0.95)
    assert caught.value.step == "write draws=36"
    refuse_few(36, 0.95)
    assert mean_interval(0.0, 36, 0.95).high <= 0.1 < mean_interval(0.0, 35, 0.95).high
