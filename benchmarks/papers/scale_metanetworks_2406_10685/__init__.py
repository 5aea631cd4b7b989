"""Scale-equivariant metanetworks: the identity and accuracies, of networks with random scales and signs."""

from __future__ import annotations

import functools
from pathlib import Path

from benchmarks.core import paper
from benchmarks.core.benchmark import Cell, Measure, Tell, reproduction
from benchmarks.core.bounds import Bound
from benchmarks.core.fitting import Recipe
from benchmarks.core.measurement import Measurement
from benchmarks.core.task import Sizes
from benchmarks.core.task_report import TRAINED
from benchmarks.core.trained import measured
from benchmarks.core.trials import Budget
from benchmarks.papers.scale_metanetworks_2406_10685._rivals import DESCRIBED, EXACT, MAKE
from benchmarks.papers.scale_metanetworks_2406_10685._tasks import make

PAPER = paper.read(Path(__file__).with_name("paper.toml"))
SIZES = {
    "identity, sines": Sizes(768, 0, 256, Recipe(60, 32, 3e-3)),
    "perceptrons": Sizes(768, 0, 256, Recipe(40, 32, 1e-3)),
}
QUICK = Sizes(32, 0, 16, Recipe(2, 16, 1e-3))
LARGEST = 1e-3
"""The largest difference of outputs for moved networks that counts as rounding."""


def limits(quick: bool) -> Budget:
    """Return the budget of every rival."""
    return Budget(dict.fromkeys(SIZES, QUICK) if quick else dict(SIZES))


def cells(quick: bool) -> list[Cell]:
    """Return one cell for each task and rival."""
    return [
        Cell({"task": task, "train": sizes.train}, "train", (rival,), sizes)
        for task, sizes in limits(quick).sizes.items()
        for rival in MAKE
    ]


def start(quick: bool, seed: int, tell: Tell) -> Measure:
    """Return the function that trains the rival of a cell; a zoo is trained when first needed, and cached."""
    task_of = functools.lru_cache(maxsize=1)(lambda name, sizes: make(name, sizes, seed, tell))

    def measure(cell: Cell) -> list[Measurement]:
        name, (rival,) = cell.case["task"], cell.rivals
        task = task_of(name, cell.given)
        tell(f"{name}: {rival}, compile")
        m = Measurement(dict(cell.case), cell.direction, rival)
        made = MAKE[rival](task, seed)
        return [measured(m, task.task, made, seed, lambda share: tell(f"{name}: {rival}, {share:.0%}"))]

    return measure


BENCHMARK = reproduction(
    title="Scale-equivariant metanetworks",
    summary="the identity on parameters, and accuracies, of networks with random scales and signs",
    rivals=DESCRIBED,
    cells=cells,
    start=start,
    limits=limits,
    targets=tuple(Bound(rival, {"task": task}, "difference, moved", LARGEST) for task in SIZES for rival in EXACT),
    style=TRAINED,
    paper=PAPER,
)
