"""Layers compiled for an H100 and a TPU v5e that are not here: kernels and bytes are counted, nothing is timed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.core.benchmark import Benchmark, Cell, Measure, Tell
from benchmarks.core.folders import ROOT
from benchmarks.core.measurement import Measurement, Skip
from benchmarks.speed._checkout import checkout
from benchmarks.speed._target_program import FULL, QUICK
from benchmarks.speed._targets_report import STYLE, Fewer

BEFORE = "40a4a393"
NEWER = ("equikit/plans/targets", "equikit/plans/costs/_rows_as_text.py")
"""What counts, which the earlier version lacks."""
RIVALS: dict[str, str] = {"now": "this version", "before": f"equikit at {BEFORE}"}
DIRECTIONS = ("forward", "gradient")
PROGRAM = Path(__file__).with_name("_target_program.py")
OWN = ROOT / ".venv" / "targets" / "bin" / "python"
"""The interpreter that `make compilers` makes, which has the compilers."""
COMPILERS = {"h100": "jax_cuda12_plugin", "v5e": "libtpu"}
TARGETS = tuple(Fewer(target, direction, 2.0) for target in COMPILERS for direction in DIRECTIONS)

SCORES = ("kernels", "bytes", "on_chip_bytes", "io_bytes", "ratio", "loops", "bandwidth_seconds", "arithmetic_seconds")
Job = tuple[str, str, str]
"""A layer, a target and a direction."""


@dataclass(frozen=True)
class Limits:
    """The seconds after which a compiler is stopped."""

    seconds: float


def limits(quick: bool) -> Limits:
    """The limits of a run."""
    return Limits(1500.0)


def cells(quick: bool) -> list[Cell]:
    """Return a cell for each layer, target, direction and version."""
    return [
        Cell({"layer": layer, "target": target}, direction, (rival,))
        for layer in (QUICK if quick else FULL)
        for target in COMPILERS
        for direction in DIRECTIONS
        for rival in RIVALS
    ]


def interpreter() -> Path:
    """The interpreter that compiles: the one that `make compilers` has made, else this one."""
    return OWN if OWN.exists() else Path(sys.executable)


def missing() -> str | None:
    """Return why nothing can be compiled here: the packages that the interpreter lacks; `None` if it has them."""
    names = json.dumps(list(COMPILERS.values()))
    find = f"import importlib.util as u, json; print(json.dumps([n for n in {names} if u.find_spec(n) is None]))"
    done = subprocess.run([str(interpreter()), "-c", find], capture_output=True, text=True, check=True)
    absent = json.loads(done.stdout)
    return f"{' and '.join(absent)} not installed: make compilers" if absent else None


def printed(words: Sequence[str], path: Path = ROOT, limit: float | None = None) -> list[dict[str, Any]]:
    """Return the lines of JSON that a program of the interpreter prints, with equikit from a path."""
    environment = os.environ | {"PYTHONPATH": str(path), "JAX_PLATFORMS": "cpu"}
    command = [str(interpreter()), *words]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=limit)
    if done.returncode:
        raise RuntimeError(f"compiling failed: {' '.join(words)}: {done.stderr[-2000:]}")
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]


def compiled(jobs: Sequence[Job], path: Path = ROOT, limit: float | None = None) -> list[dict[str, Any]]:
    """Return what layers cost, compiled in a separate process by the version of equikit on a path."""
    return printed([str(PROGRAM), json.dumps(jobs)], path, limit)


def measured(cell: Cell, limit: float) -> Measurement:
    """Compile one layer, and return its counts."""
    (rival,) = cell.rivals
    m = Measurement(dict(cell.case), cell.direction, rival)
    path = ROOT if rival == "now" else checkout(BEFORE, *NEWER)
    try:
        (found,) = compiled([(cell.case["layer"], cell.case["target"], cell.direction)], path, limit)
    except subprocess.TimeoutExpired:
        m.status, m.reason, m.longer_than = "given up", f"took longer than {limit:g} s to compile", limit
        return m
    m.compile_seconds, m.temporary_bytes, m.flops = found["compile_seconds"], found["temporaries"], found["flops"]
    m.scores = {name: float(found[name]) for name in SCORES}
    return m


def start(quick: bool, seed: int, tell: Tell) -> Measure:
    """Prepare nothing: each program is compiled in its own process.

    Raises:
        Skip: if the compilers are not installed; a quick run has gaps instead.
    """
    reason = missing()
    if reason is not None and not quick:
        raise Skip(reason)

    def measure(cell: Cell) -> list[Measurement]:
        if reason is not None:
            raise Skip(reason)
        tell("compile")
        return [measured(cell, limits(quick).seconds)]

    return measure


BENCHMARK = Benchmark(
    title="Layers compiled for accelerators",
    summary="kernels and bytes of layers compiled for an H100 and a TPU v5e that are not here, now and before",
    rivals=RIVALS,
    cells=cells,
    start=start,
    limits=limits,
    targets=TARGETS,
    style=STYLE,
    timed=False,
)
