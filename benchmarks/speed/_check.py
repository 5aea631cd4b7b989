"""The regression check: whether equikit has become slower relative to a rival.

Seconds depend on the machine and its load; the ratio of two programs that are timed in turns hardly does. The fastest
call of each counts, because other work disturbs it least, and a ratio may be FACTOR times the stored one before it
counts as a regression; a failure is measured a second time, and the better result counts.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from benchmarks.core import machine as _machine
from benchmarks.core.folders import RESULTS
from benchmarks.core.harness import Harness, Limits
from benchmarks.core.lines import rounded
from benchmarks.core.report import label
from benchmarks.speed import peers
from benchmarks.speed.peers import Case

STORED = RESULTS / "ratios.json"
FACTOR = 2.0
LIMITS = Limits(seconds=0.3, least=20, most=400, patience=3.0)
STORE = "python -m benchmarks check --store"


@dataclass(frozen=True)
class Check:
    """One ratio: equikit's time over the time of a rival."""

    case: Case
    direction: str
    rival: str

    def __str__(self) -> str:
        return f"{label(asdict(self.case))}, {self.direction}, as a multiple of {self.rival}"


CHECKS = (
    Check(Case("S 1 → 1", 64, 8), "forward+backward", "by hand"),
    Check(Case("S 2 → 2", 16, 8), "forward+backward", "einsum, staged"),
    Check(Case("S 3 → 3", 6, 4), "forward", "einsum, staged"),
)


def measure(checks: Iterable[Check], tell: Callable[[str], None] = lambda text: None) -> dict[str, float]:
    """Return the ratio of each check."""
    harness, ratios = Harness(LIMITS), {}
    for check in checks:
        harness.tell = lambda text, check=check: tell(f"{check}: {text}")  # type: ignore[misc]
        contenders = peers.contenders(check.case, check.direction, 0, (check.rival,))
        ours, theirs = harness.measure(asdict(check.case), check.direction, contenders)
        for m in (ours, theirs):
            if m.minimum is None:
                raise RuntimeError(f"{check}: {m.rival} was not measured: {m.reason}")
        assert ours.minimum is not None
        assert theirs.minimum is not None
        ratios[str(check)] = ours.minimum / theirs.minimum
    return ratios


def complaints(stored: Mapping[str, float], measured: Mapping[str, float], factor: float = FACTOR) -> dict[str, str]:
    """Return failures by check: a ratio above `factor` times the stored one, or nothing to compare it with."""
    found = {}
    for name, ratio in measured.items():
        if name not in stored:
            found[name] = f"no ratio is stored; store one: {STORE}"
        elif not ratio <= factor * stored[name]:  # NaN must fail
            found[name] = (
                f"REGRESSION: {ratio:.2f}x, stored {stored[name]:.2f}x: more than {factor:g} times as slow as it was. "
                f"Run it once more on an idle machine; if the loss is meant, store it: {STORE}"
            )
    for name in stored.keys() - measured.keys():
        found[name] = f"a ratio is stored, but it is no longer measured; store anew: {STORE}"
    return found


def read(path: Path) -> dict[str, float]:
    """Return the stored ratios by check; none if the file is missing."""
    if not path.is_file():
        return {}
    return {one["check"]: one["ratio"] for one in json.loads(path.read_text(encoding="utf-8"))["ratios"]}


def store(path: Path, ratios: Mapping[str, float]) -> None:
    """Write ratios, and the machine on which they were measured."""
    result: dict[str, Any] = {
        "date": _machine.now(),
        "revision": _machine.revision(),
        "machine": _machine.machine(),
        "versions": _machine.versions(),
        "ratios": [{"check": name, "ratio": ratio} for name, ratio in ratios.items()],
    }
    path.write_text(json.dumps(rounded(result), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def run(
    console: Console,
    path: Path = STORED,
    keep: bool = False,
    measure: Callable[[Iterable[Check], Callable[[str], None]], dict[str, float]] = measure,
) -> int:
    """Check, or store with `keep`; return the exit status: 1 if a ratio is worse or none is stored."""
    with console.status("") as status:
        ratios = measure(CHECKS, status.update)
        if keep:
            store(path, ratios)
        stored = read(path)
        slower = [check for check in CHECKS if str(check) in complaints(stored, ratios) and str(check) in stored]
        if slower:
            again = measure(slower, status.update)
            ratios |= {name: min(ratio, ratios[name]) for name, ratio in again.items()}
    wrong = complaints(stored, ratios)
    for name in [*ratios, *(name for name in wrong if name not in ratios)]:
        text = wrong[name] if name in wrong else f"{ratios[name]:.2f}x, stored {stored[name]:.2f}x, fine"
        console.print(f"check: {name}: {text}", highlight=False, soft_wrap=True, markup=False)
    if keep:
        console.print(f"written: {path.name} in {path.parent}", highlight=False, soft_wrap=True)
    return 1 if wrong else 0
