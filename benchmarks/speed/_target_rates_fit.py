"""Rates of the cost model from counts: how many kernels, bytes and FLOPs XLA makes of the work of a plan."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from scipy.optimize import nnls

from benchmarks.core.lines import rounded
from benchmarks.speed._target_seconds import LAUNCH
from benchmarks.speed.methods import WORK, Case, layer
from equikit.plans import TARGETS
from equikit.plans.costs._method import Work
from equikit.plans.costs._rates import Rates


@dataclass(frozen=True)
class Counts:
    """What one unit of work of the cost model becomes in compiled programs.

    Attributes:
        call, product, step: kernels.
        product_byte, step_byte: bytes moved.
        flop: FLOPs.
    """

    call: float
    product: float
    step: float
    product_byte: float
    step_byte: float
    flop: float


def work_of(record: Mapping[str, Any]) -> Work:
    """Return the work of a record's program, as the cost model counts it."""
    case = Case(*(record["case"][name] for name in ("layer", "batch", "width")))
    plan, sizes = layer(case)
    return WORK[record["rival"]](plan, case.batch, sizes)


def _relative(columns: Sequence[Sequence[float]], wanted: Sequence[float]) -> list[float]:
    """Return the factors, at least zero, whose combination of the columns has the least relative error."""
    scaled = np.array(columns, float).T / np.array(wanted)[:, None]
    return [float(factor) for factor in nnls(scaled, np.ones(len(wanted)))[0]]


def fitted_counts(records: Sequence[Mapping[str, Any]]) -> Counts:
    """Fit kernels, bytes and FLOPs of the programs of one target to their work, each on its own."""
    work, scores = [work_of(record) for record in records], [record["scores"] for record in records]
    kernels = _relative(
        [[w.calls for w in work], [w.products for w in work], [w.steps for w in work]], [s["kernels"] for s in scores]
    )
    moved = _relative(
        [[w.product_bytes for w in work], [w.step_bytes for w in work]],
        [s["bytes"] - s["on_chip_bytes"] for s in scores],
    )
    flops = _relative([[w.product_flops for w in work]], [s["flops"] for s in scores])
    return Counts(*kernels, *moved, *flops)


def rates(counts: Counts, target: str) -> Rates:
    """Return the price of each unit of work, with two digits."""
    device = TARGETS[target]
    launch = LAUNCH[device.platform]
    assert device.bandwidth is not None
    prices = Rates(
        call=counts.call * launch,
        product=counts.product * launch,
        flop=counts.flop / device.rates["float32"],
        product_byte=counts.product_byte / device.bandwidth,
        step=counts.step * launch,
        step_byte=counts.step_byte / device.bandwidth,
    )
    return Rates(**{name: float(f"{value:.1e}") for name, value in asdict(prices).items()})


def summary(records: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return counts and rates by target."""
    found: dict[str, Any] = {}
    measured = [record for record in records if "scores" in record]
    for target in dict.fromkeys(record["case"]["target"] for record in measured):
        counts = fitted_counts([record for record in measured if record["case"]["target"] == target])
        found[target] = {"counts": rounded(asdict(counts)), "rates": asdict(rates(counts, target))}
    return found
