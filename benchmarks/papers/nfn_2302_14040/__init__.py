"""Neural functional networks: how well classifiers generalize, told from their weights; edits of images as networks."""

from __future__ import annotations

from pathlib import Path

from benchmarks.core import paper
from benchmarks.core.benchmark import Cell, Measure, Tell, reproduction
from benchmarks.core.fitting import Recipe
from benchmarks.core.measurement import Measurement
from benchmarks.core.task import Sizes
from benchmarks.core.task_report import TRAINED
from benchmarks.core.trials import Budget
from benchmarks.papers import _zoo_tasks as zoos
from benchmarks.papers.nfn_2302_14040._editing import EDITS, RIVALS, TARGETS

PAPER = paper.read(Path(__file__).with_name("paper.toml"))
ZOOS = zoos.Zoos(dict.fromkeys(("convolutional networks", "perceptrons"), Sizes(768, 0, 256, Recipe(40, 32, 1e-3))))


def limits(quick: bool) -> Budget:
    """Return the budget of every rival."""
    return Budget({**ZOOS.limits(quick).sizes, **EDITS.limits(quick).sizes})


def cells(quick: bool) -> list[Cell]:
    """Return one cell for each task and rival."""
    return [*ZOOS.cells(quick), *EDITS.cells(quick)]


def start(quick: bool, seed: int, tell: Tell) -> Measure:
    """Return the function that trains the rival of a cell."""
    told, edited = ZOOS.start(quick, seed, tell), EDITS.start(quick, seed, tell)

    def measure(cell: Cell) -> list[Measurement]:
        return (edited if cell.case["task"] in EDITS.sizes else told)(cell)

    return measure


BENCHMARK = reproduction(
    title="Neural functional networks",
    summary="the accuracy of classifiers told from their weights, and edits of images as networks",
    rivals=zoos.RIVALS | RIVALS,
    cells=cells,
    start=start,
    limits=limits,
    targets=(*zoos.bounds(dict.fromkeys(ZOOS.sizes, 1e-3)), *TARGETS),
    style=TRAINED,
    paper=PAPER,
)
