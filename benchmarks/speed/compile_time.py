"""Seconds to compile layers and functionals, forward and with gradients, compared with an earlier equikit."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from benchmarks.core.benchmark import Benchmark, Cell, Measure, Tell
from benchmarks.core.folders import ROOT
from benchmarks.core.measurement import Measurement
from benchmarks.speed._checkout import checkout
from benchmarks.speed._values_report import AtMost, values

BEFORE = "abedac0"
RIVALS: dict[str, str] = {"now": "this version", "before": f"equikit at {BEFORE}"}
COMPILED, CONSTRUCTED = ("forward", "value and gradient"), ("construction",)
PROGRAM = Path(__file__).with_name("_compile_program.py")


@dataclass(frozen=True)
class Limits:
    """The seconds after which a program is stopped."""

    seconds: float


TARGETS = (
    *(
        AtMost("now", "value and gradient", 4.0, over="forward", case={"layer": layer})
        for layer in ("labels", "S 4 → 4")
    ),
    AtMost("now", "value and gradient", 10.0, case={"layer": "functional"}),
)
# The size is the number of labels, the n of an axis, or the depth of a functional's network.
FULL = (
    *(("labels", count) for count in range(3, 9)),
    ("S 4 → 4", 4),
    *(("functional", depth) for depth in (4, 8, 16, 32)),
    ("jets Network", 1),
    ("GeometricMessage", 1),
)
QUICK = (("labels", 2), ("GeometricMessage", 1))


def limits(quick: bool) -> Limits:
    """The limits of a run."""
    return Limits(60.0)


def cells(quick: bool) -> list[Cell]:
    """Return a cell for each program and version."""
    return [
        Cell({"layer": layer, "size": size}, direction, (rival,))
        for layer, size in (QUICK if quick else FULL)
        for direction in (CONSTRUCTED if size == 1 else COMPILED)
        for rival in RIVALS
    ]


def measured(cell: Cell, limit: float) -> Measurement:
    """Compile one program in a separate process."""
    (rival,) = cell.rivals
    m = Measurement(dict(cell.case), cell.direction, rival)
    path = ROOT if rival == "now" else checkout(BEFORE)
    command = [sys.executable, str(PROGRAM), json.dumps([*cell.case.values(), cell.direction])]
    environment = os.environ | {"PYTHONPATH": str(path)}
    try:
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=limit)
    except subprocess.TimeoutExpired:
        m.status, m.reason, m.longer_than = "given up", f"took longer than {limit:g} s", limit
        return m
    if done.returncode:
        raise RuntimeError(f"the process that compiles {cell.name} failed:\n{done.stderr}")
    m.scores = {"value": json.loads(done.stdout)}
    return m


def start(quick: bool, seed: int, tell: Tell) -> Measure:
    """Prepare nothing: each program is compiled in its own process."""

    def measure(cell: Cell) -> list[Measurement]:
        tell("compile")
        return [measured(cell, limits(quick).seconds)]

    return measure


BENCHMARK = Benchmark(
    title="Compile time",
    summary="seconds to compile layers, functionals and their gradients, now and before",
    rivals=RIVALS,
    cells=cells,
    start=start,
    limits=limits,
    targets=TARGETS,
    style=values("seconds of the processor to trace and compile"),
)
