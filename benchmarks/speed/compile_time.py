"""Seconds to compile layers and functionals, forward and with gradients, compared with an earlier equikit."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.core.folders import ROOT
from benchmarks.core.measurement import Measurement, Skip
from benchmarks.core.values import AtMost, values

TITLE = "Compile time"
SUMMARY = "seconds to compile layers, functionals and their gradients, now and before"
STYLE = values("seconds of the processor to trace and compile")
PANEL, AXIS = (), "size"
BEFORE = "abedac0"
RIVALS: dict[str, str] = {"now": "this version", "before": f"equikit at {BEFORE}"}
COMPILED, CONSTRUCTED = ("forward", "value and gradient"), ("construction",)
PROGRAM = Path(__file__).with_name("_compile_program.py")


@dataclass(frozen=True)
class Case:
    """A program; `size` is the number of labels, the n of an axis, or the depth of a functional's network."""

    layer: str
    size: int


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
FULL = (
    *(Case("labels", count) for count in range(3, 9)),
    Case("S 4 → 4", 4),
    *(Case("functional", depth) for depth in (4, 8, 16, 32)),
    Case("jets Network", 1),
    Case("GeometricMessage", 1),
)
QUICK = (Case("labels", 2), Case("GeometricMessage", 1))


def limits(quick: bool) -> Limits:
    """The limits of a run."""
    return Limits(60.0)


def cases(quick: bool) -> list[Case]:
    """In the order in which they are run."""
    return list(QUICK if quick else FULL)


def checkout(folder: Path) -> Path:
    """Write the earlier version to a folder, or raise `Skip` where git does not have it."""
    done = subprocess.run(["git", "archive", BEFORE, "equikit"], cwd=ROOT, capture_output=True, check=False)
    if done.returncode:
        raise Skip(f"git has no {BEFORE} here")
    with tarfile.open(fileobj=io.BytesIO(done.stdout)) as archive:
        archive.extractall(folder, filter="data")
    return folder


def measured(case: Case, direction: str, rival: str, path: Path, limit: float) -> Measurement:
    """Compile one program in a separate process."""
    m = Measurement(asdict(case), direction, rival)
    command = [sys.executable, str(PROGRAM), json.dumps([case.layer, case.size, direction])]
    environment = os.environ | {"PYTHONPATH": str(path)}
    try:
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=limit)
    except subprocess.TimeoutExpired:
        m.status, m.reason, m.longer_than = "given up", f"took longer than {limit:g} s", limit
        return m
    if done.returncode:
        raise RuntimeError(f"the process that compiles {case} failed:\n{done.stderr}")
    m.scores = {"value": json.loads(done.stdout)}
    return m


def run(quick: bool, seed: int, tell: Callable[[str], None]) -> Iterator[list[Measurement]]:
    """Measure case after case; a program that was stopped is not tried for larger cases."""
    given_up: set[tuple[str, str, str]] = set()
    with tempfile.TemporaryDirectory() as folder:
        paths: dict[str, Path | Skip] = {"now": ROOT}
        try:
            paths["before"] = checkout(Path(folder))
        except Skip as reason:
            paths["before"] = reason
        for case in cases(quick):
            found = []
            for direction in CONSTRUCTED if case.size == 1 else COMPILED:
                for rival, path in paths.items():
                    tell(f"{case.layer}, {case.size}, {direction}, {rival}")
                    key = case.layer, direction, rival
                    reason = "was given up for a smaller case" if key in given_up else path
                    if isinstance(reason, Path):
                        found.append(measured(case, direction, rival, reason, limits(quick).seconds))
                        if found[-1].status != "measured":
                            given_up.add(key)
                    else:
                        found.append(Measurement(asdict(case), direction, rival, "skipped", str(reason)))
            yield found
