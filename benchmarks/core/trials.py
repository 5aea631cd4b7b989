"""Cells that train one rival on one task."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from benchmarks.core.benchmark import Cell, Measure, Tell
from benchmarks.core.measurement import Measurement
from benchmarks.core.task import Sizes, Task
from benchmarks.core.trained import Rival, measured

Make = Callable[[str, int], Rival]
"""Maps the name of a task and a seed to a rival."""


@dataclass(frozen=True)
class Trial:
    """A task and the rivals that are trained on it.

    Attributes:
        task: maps sizes and a seed to the task.
        rivals: name to the function that makes the rival.
        quick, full: sizes of a quick and of a complete run.
        copies: training rows of each example.
    """

    task: Callable[[Sizes, int], Task]
    rivals: Mapping[str, Make]
    quick: Sizes
    full: Sizes
    copies: int = 1

    def sizes(self, quick: bool) -> Sizes:
        """The sizes of a run."""
        return self.quick if quick else self.full


@dataclass(frozen=True)
class Budget:
    """Rows and epochs of each task."""

    sizes: dict[str, Sizes]


@dataclass(frozen=True)
class Trials:
    """Tasks by name, with the cells, the budget and the start of a benchmark on them."""

    of: Mapping[str, Trial]

    def limits(self, quick: bool) -> Budget:
        """Return the budget of every rival."""
        return Budget({name: trial.sizes(quick) for name, trial in self.of.items()})

    def cells(self, quick: bool) -> list[Cell]:
        """Return one cell for each rival of each task."""
        return [
            Cell({"task": name, "train": trial.copies * trial.sizes(quick).train}, "train", (rival,))
            for name, trial in self.of.items()
            for rival in trial.rivals
        ]

    def start(self, quick: bool, seed: int, tell: Tell) -> Measure:
        """Return the function that trains and tests the rival of a cell; the rivals of a task share its data."""

        @functools.cache
        def task(name: str) -> Task:
            tell(f"{name}: make data")
            return self.of[name].task(self.of[name].sizes(quick), seed)

        def measure(cell: Cell) -> list[Measurement]:
            name, (rival,) = cell.case["task"], cell.rivals
            data = task(name)
            tell(f"{name}: {rival}, compile")
            made = self.of[name].rivals[rival](name, seed)
            m = Measurement(dict(cell.case), "train", rival)
            return [measured(m, data, made, seed, lambda share: tell(f"{name}: {rival}, {share:.0%}"))]

        return measure
