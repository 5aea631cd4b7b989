"""Neural functional networks: how well classifiers generalize, told from their weights."""

from __future__ import annotations

from pathlib import Path

from benchmarks.core import paper
from benchmarks.core.benchmark import reproduction
from benchmarks.core.fitting import Recipe
from benchmarks.core.task import Sizes
from benchmarks.core.task_report import TRAINED
from benchmarks.papers import _zoo_tasks as zoos

PAPER = paper.read(Path(__file__).with_name("paper.toml"))
ZOOS = zoos.Zoos(dict.fromkeys(("convolutional networks", "perceptrons"), Sizes(768, 0, 256, Recipe(40, 32, 1e-3))))


BENCHMARK = reproduction(
    title="Neural functional networks",
    summary="the accuracy of convolutional networks and perceptrons, told from their weights",
    rivals=zoos.RIVALS,
    cells=ZOOS.cells,
    start=ZOOS.start,
    limits=ZOOS.limits,
    targets=zoos.bounds(dict.fromkeys(ZOOS.sizes, 1e-3)),
    style=TRAINED,
    paper=PAPER,
)
