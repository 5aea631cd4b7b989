"""The rates of the cost model for GPUs and TPUs, from kernels, bytes and FLOPs of layers compiled for them."""

from __future__ import annotations

import functools
import json
from dataclasses import asdict
from typing import Any

from benchmarks.core.benchmark import Benchmark, Cell, Measure, Tell
from benchmarks.core.measurement import Measurement, Skip
from benchmarks.speed._target_rates_report import METHODS, STYLE
from benchmarks.speed.methods import Case
from benchmarks.speed.targets import COMPILERS, missing, printed

RIVALS: dict[str, str] = {
    "factored": "the steps of the plan",
    "dense": "one product with the whole matrix, assembled by a plan in each call",
}
LAYERS = (
    "S 1 → 1, n 32",
    "S 2 → 2, n 12",
    "S 2 → 1, n 6",
    "S 3 → 3, n 3",
    "A(5) 3 → 3",
    "O(3) 2 → 2",
    "O(3) 3 → 3",
    "SO(3) 3 → 3",
    "Z(6) 2 → 2",
    "S × O(3), n 6",
)
FULL = tuple(Case(layer, batch, 16) for layer in LAYERS for batch in (32, 4096))
QUICK = (Case("O(3) 2 → 2", 32, 4),)
SCORES = ("kernels", "bytes", "on_chip_bytes", "flops", "bandwidth_seconds", "arithmetic_seconds")
TARGETS = (1.2,)
PLATFORMS = {"h100": "gpu", "v5e": "tpu"}
"""The platform of each target, whose rates are fitted."""


def cells(quick: bool) -> list[Cell]:
    """Return a cell for each layer and target."""
    return [
        Cell({**asdict(case), "target": target}, "forward", METHODS, case)
        for case in (QUICK if quick else FULL)
        for target in COMPILERS
    ]


def start(quick: bool, seed: int, tell: Tell) -> Measure:
    """Prepare the counts of a target, whose programs are compiled in one process when the first is needed.

    Raises:
        Skip: if the compilers are not installed; a quick run has gaps instead.
    """
    reason = missing()
    if reason is not None and not quick:
        raise Skip(reason)

    @functools.cache
    def counted(target: str) -> dict[str, dict[str, Any]]:
        every = [[*cell.case.values(), rival] for cell in cells(quick) for rival in cell.rivals]
        jobs = [job for job in every if job[3] == target]
        tell(f"compile for {target}")
        found = printed(["-m", "benchmarks.speed._target_rates_program", json.dumps(jobs)])
        return {json.dumps(job): costs for job, costs in zip(jobs, found, strict=True)}

    def measure(cell: Cell) -> list[Measurement]:
        if reason is not None:
            raise Skip(reason)
        measurements = []
        for rival in cell.rivals:
            costs = counted(cell.case["target"])[json.dumps([*cell.case.values(), rival])]
            m = Measurement(dict(cell.case), cell.direction, rival)
            m.scores = {name: float(costs[name]) for name in SCORES}
            measurements.append(m)
        return measurements

    return measure


BENCHMARK = Benchmark(
    title="Rates of accelerators",
    summary="the cost model's rates for GPUs and TPUs, from kernels, bytes and FLOPs of compiled layers",
    rivals=RIVALS,
    cells=cells,
    start=start,
    targets=TARGETS,
    style=STYLE,
    axis="batch",
    timed=False,
)
