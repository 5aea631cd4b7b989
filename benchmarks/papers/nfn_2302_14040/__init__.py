"""Neural functional networks: how well classifiers generalize, told from their weights."""

from __future__ import annotations

from pathlib import Path

from benchmarks.core import paper
from benchmarks.core.benchmark import Benchmark, Cell, Measure, Tell
from benchmarks.core.fitting import Recipe
from benchmarks.core.task import Sizes
from benchmarks.core.task_report import TRAINED
from benchmarks.papers import _zoo_tasks as zoos

PAPER = paper.read(Path(__file__).with_name("paper.toml"))
FULL = zoos.Budget(dict.fromkeys(("convolutional networks", "perceptrons"), Sizes(768, 0, 256, Recipe(40, 32, 1e-3))))


def limits(quick: bool) -> zoos.Budget:
    """Return the budget of every rival."""
    return FULL.quick() if quick else FULL


def cells(quick: bool) -> list[Cell]:
    """One for each task and rival."""
    return zoos.cells(limits(quick))


def start(quick: bool, seed: int, tell: Tell) -> Measure:
    """Return the function that trains the rival of a cell."""
    return zoos.start(seed, tell)


BENCHMARK = Benchmark(
    title="Neural functional networks",
    summary="the accuracy of convolutional networks and perceptrons, told from their weights",
    rivals=zoos.RIVALS,
    cells=cells,
    start=start,
    limits=limits,
    targets=zoos.bounds(dict.fromkeys(FULL.sizes, 1e-3)),
    style=TRAINED,
    panel=("task",),
    axis="task",
    seeds=5,
    timed=False,
    paper=PAPER,
)
