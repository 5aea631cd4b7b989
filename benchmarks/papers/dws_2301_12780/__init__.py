"""Deep weight space networks: frequencies of sines, and digits, told from the weights of networks that fit them."""

from __future__ import annotations

from pathlib import Path

from benchmarks.core import paper
from benchmarks.core.benchmark import reproduction
from benchmarks.core.fitting import Recipe
from benchmarks.core.task import Sizes
from benchmarks.core.task_report import TRAINED
from benchmarks.papers import _zoo_tasks as zoos

PAPER = paper.read(Path(__file__).with_name("paper.toml"))
ZOOS = zoos.Zoos(
    {
        "sines": Sizes(768, 0, 256, Recipe(60, 32, 1e-3)),
        "images": Sizes(4000, 500, 500, Recipe(30, 32, 1e-3)),
    }
)


BENCHMARK = reproduction(
    title="Deep weight space networks",
    summary="frequencies of sines, and digits, told from the weights of networks that fit them",
    rivals=zoos.RIVALS,
    cells=ZOOS.cells,
    start=ZOOS.start,
    limits=ZOOS.limits,
    targets=zoos.bounds({"sines": 1e-3, "images": 0.01}),
    style=TRAINED,
    paper=PAPER,
)
