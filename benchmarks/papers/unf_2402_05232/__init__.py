"""Universal neural functionals: how well recurrent networks generalize, told from their weights; learned optimizers."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from benchmarks.core import paper, trials
from benchmarks.core.benchmark import Cell, Measure, Tell, reproduction
from benchmarks.core.fitting import Recipe
from benchmarks.core.measurement import Measurement
from benchmarks.core.task import Sizes
from benchmarks.core.task_report import TRAINED
from benchmarks.papers import _zoo_tasks as zoos
from benchmarks.papers.unf_2402_05232 import _optimizers as optimizers

PAPER = paper.read(Path(__file__).with_name("paper.toml"))


@dataclass(frozen=True)
class Budget:
    """Networks and epochs of each task, and the training of learned optimizers."""

    zoos: trials.Budget
    optimizers: optimizers.Sizes


ZOOS = zoos.Zoos({"recurrent networks": Sizes(768, 0, 256, Recipe(40, 32, 1e-3))})


def limits(quick: bool) -> Budget:
    """Return the budget of every rival."""
    return Budget(ZOOS.limits(quick), optimizers.QUICK if quick else optimizers.FULL)


def cells(quick: bool) -> list[Cell]:
    """Return one cell for each rival on the zoo, and one for all optimizers of a problem."""
    return [*ZOOS.cells(quick), *optimizers.cells(limits(quick).optimizers)]


def start(quick: bool, seed: int, tell: Tell) -> Measure:
    """Return the function that trains the rivals of a cell."""
    told, learned = ZOOS.start(quick, seed, tell), optimizers.start(seed, tell)

    def measure(cell: Cell) -> list[Measurement]:
        return (learned if cell.case["task"] in optimizers.CASES else told)(cell)

    return measure


BENCHMARK = reproduction(
    title="Universal neural functionals",
    summary="the accuracy of recurrent networks told from their weights, and learned optimizers",
    rivals=zoos.RIVALS | optimizers.RIVALS,
    cells=cells,
    start=start,
    limits=limits,
    targets=(*zoos.bounds({"recurrent networks": 1e-3}), *optimizers.TARGETS),
    style=TRAINED,
    paper=PAPER,
)
