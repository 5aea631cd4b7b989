"""Symmetry teleportation: descent with and without moves along orbits, at the authors' rates and at the best ones."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.core import paper
from benchmarks.core.benchmark import Cell, Measure, Tell, reproduction
from benchmarks.core.measurement import Measurement
from benchmarks.papers._curves import style
from benchmarks.papers.teleportation_2205_10637._descent import Moves, Scores, Way, chosen, measurements
from benchmarks.papers.teleportation_2205_10637._figure import plot
from benchmarks.papers.teleportation_2205_10637._tasks import TASKS

PAPER = paper.read(Path(__file__).with_name("paper.toml"))
SMALL, SMALL_MOVED = "small rate", "small rate, teleported"
FLAT = "gradient descent, to low sharpness"
RIVALS = {
    SMALL: "gradient descent at the small rate of the authors' code",
    SMALL_MOVED: "the same, teleported to a large gradient",
    "gradient descent": "at the best rate of a grid",
    "gradient descent, teleported": "the same; the rate, the time and the length of the move are chosen together",
    FLAT: "the same, teleported to a low sharpness",
    "AdaGrad": "at the best rate of a grid",
    "AdaGrad, teleported": "the same; the rate, the time and the length of the move are chosen together",
}


@dataclass(frozen=True)
class Budget:
    """Sizes.

    Attributes:
        steps: of descent.
        rates: learning rates to choose from, for each optimizer.
        every: steps between the points of curves.
        at: steps before which the parameters may be teleported; one entry is chosen.
        lengths: lengths of an ascent step to choose from.
    """

    steps: int
    rates: int
    every: int
    at: tuple[tuple[int, ...], ...]
    lengths: tuple[float, ...]


def limits(quick: bool) -> Budget:
    """Return the budget of a run."""
    if quick:
        return Budget(20, 2, 10, ((5,),), (0.1,))
    return Budget(300, 10, 10, ((5,), (0, 50, 100, 150, 200, 250)), (0.1, 0.3))


def cells(quick: bool) -> list[Cell]:
    """One for each task: all rivals have the same starts."""
    return [Cell({"task": name}, "train", tuple(RIVALS)) for name in TASKS]


@functools.cache
def measured(name: str, quick: bool) -> dict[str, Callable[[int], Scores]]:
    """Return how every rival is measured on a task; its way is chosen once for all seeds."""
    budget = limits(quick)
    return measurements(TASKS[name](), ways(name, quick), budget.steps, budget.every)


def ways(name: str, quick: bool) -> dict[str, Way]:
    """Return what every rival does on a task, chosen on other starts than the test."""
    task, budget = TASKS[name](), limits(quick)
    grids = {optimizer: tuple(np.geomspace(*ends, budget.rates).tolist()) for optimizer, ends in task.rates.items()}

    def moves(objective: str) -> list[Moves]:
        return [Moves(objective, at, length) for at in budget.at for length in budget.lengths]

    first = Moves("gradient_norm", budget.at[0], budget.lengths[0])
    found = {SMALL: Way("gradient descent", task.small), SMALL_MOVED: Way("gradient descent", task.small, first)}
    for rival, optimizer, tried in (
        ("gradient descent", "gradient descent", [None]),
        ("gradient descent, teleported", "gradient descent", moves("gradient_norm")),
        (FLAT, "gradient descent", moves("sharpness")[:1]),
        ("AdaGrad", "AdaGrad", [None]),
        ("AdaGrad, teleported", "AdaGrad", moves("gradient_norm")),
    ):
        found[rival] = chosen(task, optimizer, tried, grids[optimizer], budget.steps)
    return found


def start(quick: bool, seed: int, tell: Tell) -> Measure:
    """Return the function that measures all rivals on a task."""

    def measure(cell: Cell) -> list[Measurement]:
        name, found = cell.case["task"], []
        tell(f"{name}: choose rates and moves, unless an earlier seed has")
        for rival, scores_of in measured(name, quick).items():
            tell(f"{name}: {rival}")
            found.append(Measurement(dict(cell.case), cell.direction, rival, scores=scores_of(seed)))
        return found

    return measure


BENCHMARK = reproduction(
    title="Symmetry teleportation",
    summary="descent along orbits of scales and linear groups: loss, gradient and sharpness on three tasks",
    rivals=RIVALS,
    cells=cells,
    start=start,
    limits=limits,
    style=style(plot),
    paper=PAPER,
)
