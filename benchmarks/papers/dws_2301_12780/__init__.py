"""Deep weight space networks: frequencies of sines, and digits, told from the weights of networks that fit them."""

from __future__ import annotations

from pathlib import Path

from benchmarks.core import paper
from benchmarks.core.benchmark import Benchmark, Cell, Measure, Tell
from benchmarks.core.fitting import Recipe
from benchmarks.core.task import Sizes
from benchmarks.core.task_report import TRAINED
from benchmarks.papers import _zoo_tasks as zoos

PAPER = paper.read(Path(__file__).with_name("paper.toml"))
FULL = zoos.Budget(
    {
        "sines": Sizes(768, 0, 256, Recipe(60, 32, 1e-3)),
        "images": Sizes(5600, 0, 397, Recipe(20, 32, 1e-3)),
    }
)


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
    title="Deep weight space networks",
    summary="frequencies of sines, and digits, told from the weights of networks that fit them",
    rivals=zoos.RIVALS,
    cells=cells,
    start=start,
    limits=limits,
    targets=zoos.bounds({"sines": 1e-3, "images": 0.01}),
    style=TRAINED,
    panel=("task",),
    axis="task",
    seeds=5,
    timed=False,
    paper=PAPER,
)
