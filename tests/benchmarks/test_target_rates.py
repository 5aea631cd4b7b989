"""Rates of GPUs and TPUs are fitted to counts, and the cost model has the rates that fit the stored counts."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import pytest

from benchmarks.core import pages
from benchmarks.core.results import joined
from benchmarks.speed._target_rates_fit import Counts, counted_seconds, fitted_counts, rates, summary, work_of
from benchmarks.speed._target_rates_report import STYLE
from benchmarks.speed.target_rates import BENCHMARK, PLATFORMS, TARGETS
from equikit.plans.costs._rates import RATES, Rates

KNOWN = Counts(call=1.0, product=2.0, step=0.5, product_byte=1.5, step_byte=3.0, flop=1.25)


def record(layer: str, batch: int, rival: str, target: str = "h100") -> dict[str, Any]:
    """A program that has exactly the counts of `KNOWN` for its work."""
    case = {"layer": layer, "batch": batch, "width": 4, "target": target}
    found = {"case": case, "direction": "forward", "rival": rival, "status": "measured"}
    work = work_of(found)
    moved = KNOWN.product_byte * work.product_bytes + KNOWN.step_byte * work.step_bytes
    return found | {
        "scores": {
            "kernels": KNOWN.call + KNOWN.product * work.products + KNOWN.step * work.steps,
            "bytes": moved,
            "on_chip_bytes": moved / 2,
            "flops": KNOWN.flop * work.product_flops,
            "bandwidth_seconds": moved / 2 / 3.35e12,
            "arithmetic_seconds": KNOWN.flop * work.product_flops / 494.7e12,
        }
    }


CASES = [
    record(layer, batch, rival)
    for layer in ("S 1 → 1, n 4", "S 2 → 1, n 6", "O(3) 2 → 2")
    for batch in (2, 512)
    for rival in ("factored", "dense")
]


def test_the_fit_finds_the_counts_of_a_unit_of_work() -> None:
    assert asdict(fitted_counts(CASES)) == pytest.approx(asdict(KNOWN), rel=1e-6)
    found = rates(KNOWN, "h100")
    assert found == Rates(3.0e-6, 6.0e-6, 2.5e-15, 4.5e-13, 1.5e-6, 9.0e-13)


def test_the_rates_expect_the_counted_times() -> None:
    assert {name: found["rates"] for name, found in summary(CASES).items()} == {"h100": asdict(rates(KNOWN, "h100"))}
    prices = rates(KNOWN, "h100")
    for one in CASES:
        assert work_of(one).seconds(prices) == pytest.approx(counted_seconds(one), rel=0.02)
    result = {"targets": STYLE.check_targets(TARGETS, CASES), "summary": summary(CASES)}
    lines = STYLE.target_lines(result)
    assert lines[0] == "H100: the choice is within 1.2x of the best in 6 of 6 cases"
    assert lines[-1].startswith("H100, rates: call 3.0e-06, product 6.0e-06, flop 2.5e-15")


def test_the_cost_model_has_the_rates_that_fit_the_stored_counts() -> None:
    stored = joined(pages.stored("target_rates"))
    assert len(stored) == 2 * len(BENCHMARK.cells(False))
    found = summary(stored)
    assert {PLATFORMS[target]: Rates(**one["rates"]) for target, one in found.items()} == {
        platform: RATES[platform] for platform in PLATFORMS.values()
    }
