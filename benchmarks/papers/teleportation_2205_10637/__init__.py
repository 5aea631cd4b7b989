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
from benchmarks.papers.teleportation_2205_10637._tasks import TASKS, Task

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
        share: of the steps of each task, one over this number.
        rates: learning rates to choose from, for each optimizer.
        moves: numbers of moves to choose from: one is before step 5, more are spread evenly from step 0.
        lengths: lengths of an ascent step to choose from.
    """

    share: int
    rates: int
    moves: tuple[int, ...]
    lengths: tuple[float, ...]

    def steps(self, task: Task) -> int:
        """Return the number of steps."""
        return task.steps // self.share

    def at(self, task: Task) -> list[tuple[int, ...]]:
        """Return the steps before which parameters may move."""
        return [tuple(range(0, self.steps(task), self.steps(task) // n)) if n > 1 else (5,) for n in self.moves]


def limits(quick: bool) -> Budget:
    """Return the budget of a run."""
    return Budget(10, 2, (1,), (0.1,)) if quick else Budget(1, 10, (1, 6), (0.1, 0.3))


def cells(quick: bool) -> list[Cell]:
    """One for each task: all rivals have the same starts."""
    return [Cell({"task": name}, "train", tuple(RIVALS)) for name in TASKS]


@functools.cache
def measured(name: str, quick: bool) -> dict[str, Callable[[int], Scores]]:
    """Return how every rival is measured on a task; its way is chosen once for all seeds."""
    task = TASKS[name]()
    steps = limits(quick).steps(task)
    return measurements(task, ways(task, limits(quick)), steps, max(1, steps // 30))


def ways(task: Task, budget: Budget) -> dict[str, Way]:
    """Return what every rival does on a task, chosen on other starts than the test."""
    grids = {optimizer: tuple(np.geomspace(*ends, budget.rates).tolist()) for optimizer, ends in task.rates.items()}

    def moves(objective: str) -> list[Moves]:
        return [Moves(objective, at, length) for at in budget.at(task) for length in budget.lengths]

    first = moves("gradient_norm")[0]
    found = {SMALL: Way("gradient descent", task.small), SMALL_MOVED: Way("gradient descent", task.small, first)}
    for rival, optimizer, tried in (
        ("gradient descent", "gradient descent", [None]),
        ("gradient descent, teleported", "gradient descent", moves("gradient_norm")),
        (FLAT, "gradient descent", moves("sharpness")[:1]),
        ("AdaGrad", "AdaGrad", [None]),
        ("AdaGrad, teleported", "AdaGrad", moves("gradient_norm")),
    ):
        found[rival] = chosen(task, optimizer, tried, grids[optimizer], budget.steps(task))
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
