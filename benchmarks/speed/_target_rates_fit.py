"""Rates of the cost model from counts: how many kernels, bytes and FLOPs XLA makes of the work of a plan."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from scipy.optimize import nnls

from benchmarks.core.lines import rounded
from benchmarks.speed._target_seconds import LAUNCH, expected_seconds
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


def counted_seconds(record: Mapping[str, Any]) -> float:
    """Return the time of a program by its counts.

    Bytes in the on-chip memory of a TPU count as others: arrays of larger programs do not fit there.
    """
    scores, target = record["scores"], record["case"]["target"]
    return expected_seconds(scores | {"bandwidth_seconds": scores["bytes"] / _bandwidth(target)}, target)


def _bandwidth(target: str) -> float:
    bandwidth = TARGETS[target].bandwidth
    assert bandwidth is not None
    return bandwidth


def fitted_counts(records: Sequence[Mapping[str, Any]]) -> Counts:
    """Fit kernels, bytes and FLOPs of the programs of one target to their work, each on its own.

    The factors are at least zero, and have the least squares of errors over the counted time of a program.
    """
    work, scores = [work_of(record) for record in records], [record["scores"] for record in records]
    seconds = [counted_seconds(record) for record in records]

    def fitted(names: Sequence[str], wanted: Sequence[float]) -> list[float]:
        columns = np.array([[getattr(each, name) for name in names] for each in work], float)
        scale = np.array(seconds)[:, None] * max(wanted)
        factors, _ = nnls(columns / scale, np.array(wanted) / scale[:, 0])
        return [float(factor) for factor in factors]

    kernels = fitted(("calls", "products", "steps"), [each["kernels"] for each in scores])
    moved = fitted(("product_bytes", "step_bytes"), [each["bytes"] for each in scores])
    flops = fitted(("product_flops",), [each["flops"] for each in scores])
    return Counts(*kernels, *moved, *flops)


def rates(counts: Counts, target: str) -> Rates:
    """Return the price of each unit of work, with two digits."""
    device, bandwidth = TARGETS[target], _bandwidth(target)
    launch = LAUNCH[device.platform]
    prices = Rates(
        call=counts.call * launch,
        product=counts.product * launch,
        flop=counts.flop / device.rates["float32"],
        product_byte=counts.product_byte / bandwidth,
        step=counts.step * launch,
        step_byte=counts.step_byte / bandwidth,
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
