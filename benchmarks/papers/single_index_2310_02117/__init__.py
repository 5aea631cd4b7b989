"""Symmetric single index learning: orthogonal power sums, and recovery of a planted direction by gradient flow."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.core import paper
from benchmarks.core.benchmark import Cell, Measure, Tell, reproduction
from benchmarks.core.measurement import Measurement
from benchmarks.papers._curves import points as on_curve, style
from benchmarks.papers.single_index_2310_02117 import _power_sums as sums, _student as students
from benchmarks.papers.single_index_2310_02117._figure import plot

PAPER = paper.read(Path(__file__).with_name("paper.toml"))
RIVALS = {
    "Haar unitary": "points are the eigenvalues of a random unitary matrix",
    "independent points": "independent points on the circle, for which power sums are not orthogonal",
    "Deep Sets": "the student, trained by gradient flow",
}
EXPONENTS = (1, 2, 3)
TIME = 8.0


@dataclass(frozen=True)
class Budget:
    """Sizes.

    Attributes:
        unitaries: samples for inner products.
        n, degree: points, and the largest degree of products, for each task on power sums.
        points: for recovery, where all products of the link function are orthogonal.
        samples: for recovery; the curves over time are for the last.
        rate: the step of gradient flow.
    """

    unitaries: int
    n: tuple[int, ...]
    degree: int
    points: int
    samples: tuple[int, ...]
    rate: float


def limits(quick: bool) -> Budget:
    """Return the budget of a run."""
    if quick:
        return Budget(4000, (10, 3), 4, 16, (6, 2048), 0.04)
    return Budget(20_000, (10, 3), 5, 16, (4, 6, 8, 12, 16, 64, 8192), 0.02)


def cells(quick: bool) -> list[Cell]:
    """One for each task and rival."""
    budget = limits(quick)
    products = [
        Cell({"task": f"power sums, {n} points"}, "sample", (rival,), n)
        for n in budget.n
        for rival in ("Haar unitary", "independent points")
    ]
    return products + [Cell({"task": f"exponent {s}"}, "train", ("Deep Sets",), s) for s in EXPONENTS]


def start(quick: bool, seed: int, tell: Tell) -> Measure:
    """Return the function that measures a cell."""
    budget = limits(quick)

    def measure(cell: Cell) -> list[Measurement]:
        (rival,), given = cell.rivals, cell.given
        tell(f"{cell.case['task']}: {rival}")
        scores = products(rival, given, budget, seed) if cell.direction == "sample" else recovery(given, budget, seed)
        return [Measurement(dict(cell.case), cell.direction, rival, scores=scores)]

    return measure


def products(rival: str, n: int, budget: Budget, seed: int) -> dict[str, float]:
    """Compare the inner products of products of power sums with theory, relative to the norms."""
    x = sums.points(rival, n, budget.unitaries, seed)
    ratios, cross = [], [0.0]
    for degree in range(1, budget.degree + 1):
        theory, found = sums.expected(n, degree), sums.gram(x, degree)
        ratios += (np.diag(found).real / np.diag(theory)).tolist()
        scale = np.sqrt(np.diag(theory))
        gap = np.abs(found - theory) / np.outer(scale, scale)
        cross.append(float(np.max(gap - np.diag(np.diag(gap)))))
    k = np.arange(1, 2 * n + 1)
    squares = np.mean(np.abs(sums.power_sums(x, 2 * n)) ** 2, axis=0)
    return {
        "squared norms over theory": float(np.mean(ratios)),
        "largest error of a squared norm": float(np.max(np.abs(np.array(ratios) - 1))),
        "largest error of a cross term": max(cross),
        "largest error of a power sum": float(np.max(np.abs(squares / np.minimum(k, n) - 1))),
        **on_curve("square", k, squares),
    }


def recovery(exponent: int, budget: Budget, seed: int) -> dict[str, float]:
    """Recover the planted direction from more and more samples."""
    steps = round(TIME / budget.rate)
    times = budget.rate * np.arange(steps)
    every = sums.points("Haar unitary", budget.points, budget.samples[-1], seed)
    overlaps = [students.recover(every[:count], exponent, steps, budget.rate, seed) for count in budget.samples]
    theory = students.flow(exponent, times)
    time, of_theory = (students.reached(times, each) for each in (overlaps[-1], theory))
    ends = [float(each[-1]) for each in overlaps]
    enough = [count for count, end in zip(budget.samples, ends, strict=True) if end >= students.REACHED]
    places = np.linspace(0, steps - 1, 40).astype(int)
    return {
        "overlap": ends[-1],
        **({"time to 0.9": time, "time over theory": time / of_theory} if math.isfinite(time) else {}),
        **({"samples to 0.9": float(enough[0])} if enough else {}),
        **{f"overlap, {count} samples": end for count, end in zip(budget.samples, ends, strict=True)},
        **on_curve("overlap", times[places], overlaps[-1][places]),
        **on_curve("theory", times[places], theory[places]),
        **on_curve("end", budget.samples, ends),
    }


BENCHMARK = reproduction(
    title="Symmetric single index learning",
    summary="power sums of random unitaries are orthogonal; gradient flow recovers a planted direction",
    rivals=RIVALS,
    cells=cells,
    start=start,
    limits=limits,
    style=style(plot),
    paper=PAPER,
)
