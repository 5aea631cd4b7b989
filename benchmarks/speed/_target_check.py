"""The check of compiled layers: whether they move more bytes or run more kernels than the stored programs.

Counts do not depend on the machine, but on the version of the compilers: nothing is compared if the stored lines are of
another JAX.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from rich.console import Console

from benchmarks.core import machine, pages
from benchmarks.speed import targets
from benchmarks.speed._targets_report import NAMES, megabytes
from benchmarks.speed.targets import COMPILERS, Job

LAYERS = ("S 1 → 1, n 4096, batch 64", "S 2 → 2, n 64, batch 32", "p x -> p x, n 1024, batch 512")
JOBS: tuple[Job, ...] = tuple((layer, target, "forward") for layer in LAYERS for target in COMPILERS)
TOLERANCE = 0.02
STORE = "python -m benchmarks run targets --store"
COUNTS = ("bytes", "kernels")
Counts = Mapping[str, float]


def stored(lines: Iterable[Mapping[str, Any]]) -> dict[Job, Mapping[str, Any]]:
    """Return the lines of the programs of this version by layer, target and direction."""
    return {
        (line["case"]["layer"], line["case"]["target"], line["direction"]): line
        for line in lines
        if line["rival"] == "now" and "scores" in line
    }


def not_comparable(known: Iterable[Mapping[str, Any]], versions: Mapping[str, str | None]) -> str | None:
    """Return why counts of these versions are not compared with stored lines; `None` if they are."""
    for line in known:
        for name in ("jax", "jaxlib"):
            if line["versions"][name] != versions[name]:
                return f"stored with {name} {line['versions'][name]}, and this is {versions[name]}; store anew: {STORE}"
    return None


def verdict(found: Counts, known: Counts | None) -> tuple[bool, str]:
    """Return whether counts are good, and a sentence: more than 2 % above the stored ones is a regression."""
    if known is None:
        return False, f"no counts are stored; store them: {STORE}"
    here, there = (f"{megabytes(of['bytes'])} MB and {of['kernels']:.0f} kernels" for of in (found, known))
    text = f"{here}, stored {there}"
    if not all(found[name] <= (1 + TOLERANCE) * known[name] for name in COUNTS):  # NaN must fail
        return False, f"REGRESSION: {text}. If the loss is meant, store it: {STORE}"
    fewer = any(found[name] < (1 - TOLERANCE) * known[name] for name in COUNTS)
    return True, f"{text}, fewer: store them: {STORE}" if fewer else f"{text}, fine"


def run(
    console: Console,
    lines: Iterable[Mapping[str, Any]] | None = None,
    missing: Callable[[], str | None] = targets.missing,
    compiled: Callable[[Sequence[Job]], list[dict[str, float]]] = targets.compiled,
) -> int:
    """Check, and return the exit status: 1 if a program has become worse or is not stored, 0 if nothing is compared."""

    def said(text: str) -> None:
        console.print(f"check: {text}", highlight=False, soft_wrap=True, markup=False)

    known = stored(pages.stored("targets") if lines is None else lines)
    reason = missing() or not_comparable(known.values(), machine.versions())
    if reason is not None:
        said(f"compiled layers: skipped: {reason}")
        return 0
    with console.status("check: compile for an H100 and a TPU"):
        every = compiled(JOBS)
    worse = 0
    for job, found in zip(JOBS, every, strict=True):
        good, text = verdict(found, known[job]["scores"] if job in known else None)
        worse |= not good
        said(f"{job[0]}, {NAMES[job[1]]}, {job[2]}: {text}")
    return worse
