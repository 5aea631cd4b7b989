"""Deep Sets: statistics of populations, sums of digits, outliers, and expansion of sets."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from benchmarks.core import paper
from benchmarks.core.benchmark import Cell, Measure, Tell, reproduction
from benchmarks.core.fitting import Recipe
from benchmarks.core.measurement import Measurement
from benchmarks.papers._curves import style
from benchmarks.papers.deep_sets_1703_06114 import _tasks as tasks
from benchmarks.papers.deep_sets_1703_06114._figure import plot

PAPER = paper.read(Path(__file__).with_name("paper.toml"))
RIVALS = {
    "Deep Sets": "sums or equivariant layers from `ek.nn`",
    "kernel mean": "kernel ridge regression on the means of random Fourier features",
    "GRU": "a recurrent layer that reads one digit after another",
    "LSTM": "the same with an LSTM",
    "alone": "the same perceptron for each image, which sees no other",
    "nearest": "by the mean distance of pixels to the images of the set",
    "random": "in random order",
}
POPULATION = ("entropy", "mutual information")
SUMS = ("sums of symbols", "sums of images")


@dataclass(frozen=True)
class Budget:
    """Sets for training and tests, and recipes.

    Attributes:
        bags: sizes of training sets for population statistics; 128 more bags for validation.
        tested: bags for tests.
        passes: training steps on bags, in batches of 16.
        sums: sums of digits for training.
        sets: sets with outliers, and queries to expand.
        tests: sets for tests, and queries.
        by_symbols, by_images, by_sets: recipes.
    """

    bags: tuple[int, ...]
    tested: int
    passes: int
    sums: int
    sets: int
    tests: tuple[int, int]
    by_symbols: Recipe
    by_images: Recipe
    by_sets: Recipe


def limits(quick: bool) -> Budget:
    """Return the budget of a run."""
    if quick:
        recipes = Recipe(4, 128, 3e-3), Recipe(4, 128, 3e-3), Recipe(5, 64, 2e-3)
        return Budget((128,), 64, 60, 4000, 4000, (200, 10), *recipes)
    recipes = Recipe(20, 128, 3e-3), Recipe(20, 128, 3e-3), Recipe(20, 64, 2e-3)
    return Budget((128, 512, 1024), 512, 320, 10_000, 8000, (500, 50), *recipes)


def named(statistic: str, bags: int) -> str:
    """The name of a task with a number of bags for training."""
    return f"{statistic}, {bags} bags"


def cells(quick: bool) -> list[Cell]:
    """One for each task and rival."""
    budget = limits(quick)
    population = [
        Cell({"task": named(statistic, bags)}, "train", (rival,), (statistic, bags))
        for statistic in POPULATION
        for bags in budget.bags
        for rival in ("Deep Sets", "kernel mean")
    ]
    sums = [Cell({"task": task}, "train", (rival,)) for task in SUMS for rival in ("Deep Sets", "GRU", "LSTM")]
    outliers = [Cell({"task": "outliers"}, "train", (rival,)) for rival in ("Deep Sets", "alone")]
    ranked = [Cell({"task": "set expansion"}, "train", (rival,)) for rival in ("Deep Sets", "nearest", "random")]
    return [*population, *sums, *outliers, *ranked]


def start(quick: bool, seed: int, tell: Tell) -> Measure:
    """Return the function that trains and tests one rival."""
    budget = limits(quick)

    def measure(cell: Cell) -> list[Measurement]:
        task, (rival,) = cell.case["task"], cell.rivals
        tell(f"{task}: {rival}")
        if cell.given is not None:
            statistic, bags = cell.given
            recipe = Recipe(max(1, budget.passes * 16 // bags), 16, 3e-3)
            scores = tasks.population(statistic, rival, bags, budget.tested, recipe, seed)
        elif task in SUMS:
            recipe = budget.by_symbols if task == "sums of symbols" else budget.by_images
            scores = tasks.digit_sums(task, rival, (budget.sums, budget.tests[0]), recipe, seed)
        elif task == "outliers":
            scores = tasks.outlier(rival, (budget.sets, budget.tests[0]), budget.by_sets, seed)
        else:
            scores = tasks.expansion(rival, (budget.sets, budget.tests[1]), budget.by_sets, seed)
        return [Measurement(dict(cell.case), cell.direction, rival, scores=scores)]

    return measure


BENCHMARK = reproduction(
    title="Deep Sets",
    summary="entropy and mutual information of bags, sums of up to 100 digits, outliers, expansion of sets",
    rivals=RIVALS,
    cells=cells,
    start=start,
    limits=limits,
    style=style(plot),
    paper=PAPER,
)
