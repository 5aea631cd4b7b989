"""The overhead of a call: a small layer against the same mathematics in three lines of `jnp`."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import asdict

from benchmarks.core.benchmark import Benchmark, Cell, Measure, Tell
from benchmarks.core.folders import ROOT
from benchmarks.core.harness import Limits
from benchmarks.core.measurement import Measurement
from benchmarks.core.targets import Target
from benchmarks.speed._layers import LayerCase

RIVALS: dict[str, str] = {
    "equikit": "`jax.jit` of `nnx.merge(static, parameters)(x)`; eager and traced, the layer itself",
    "plan": "`equikit.plans.apply` on a dictionary of weights",
    "by hand": "three lines of `jnp`, on the same dictionary (1 → 1)",
    "by hand, nnx": "the same as a module with two parameters, merged as equikit's is",
    "nnx.jit": "`nnx.jit` of a function of the module, which splits and merges it in each call",
}
# At most 1.5 times as long as by hand.
TARGETS = tuple(
    Target(rival, {"k": 1, "l": 1, "n": 8}, direction, round(1 / 1.5, 3))
    for rival in ("by hand", "by hand, nnx")
    for direction in ("forward", "training")
)
FULL = (*(LayerCase("S", 1, 1, n, 4) for n in (8, 32, 128)), LayerCase("S", 2, 2, 8, 4), LayerCase("S", 3, 3, 4, 4))
QUICK = (LayerCase("S", 1, 1, 8, 4),)


def limits(quick: bool) -> Limits:
    """The limits of a run."""
    return Limits(seconds=0.05, least=5, most=100, patience=0.5) if quick else Limits(seconds=0.7, most=5000)


def cells(quick: bool) -> list[Cell]:
    """Return a cell for each layer, whose calls of all directions are timed in one process."""
    return [
        Cell(
            {"k": case.k, "l": case.l, "n": case.n, "batch": case.batch},
            "",
            tuple(rival for rival in RIVALS if "by hand" not in rival or (case.k, case.l) == (1, 1)),
            case,
        )
        for case in (QUICK if quick else FULL)
    ]


def start(quick: bool, seed: int, tell: Tell) -> Measure:
    """Prepare nothing: each layer is timed in its own process."""

    def measure(cell: Cell) -> list[Measurement]:
        tell("time all calls")
        given = {"case": asdict(cell.given), "seed": seed, "limits": asdict(limits(quick))}
        command = [sys.executable, "-m", "benchmarks.speed._dispatch", json.dumps(given)]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"the process that times {cell.name} failed:\n{done.stderr}")
        found = [
            Measurement(case, direction, rival, times=times)
            for case, direction, rival, times in json.loads(done.stdout)
        ]
        for m in found:
            m.summarize()
        return found

    return measure


BENCHMARK = Benchmark(
    title="The overhead of a call",
    summary="a small layer against three lines of jnp: compiled, eager and traced",
    rivals=RIVALS,
    cells=cells,
    start=start,
    limits=limits,
    targets=TARGETS,
    panel=("k", "l", "batch"),
)
