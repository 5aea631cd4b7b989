"""The shared part of papers on zoos: all rivals predict a property of networks from their weights."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from benchmarks.core.benchmark import Cell, Measure, Tell
from benchmarks.core.bounds import Bound
from benchmarks.core.fitting import Recipe
from benchmarks.core.measurement import Measurement
from benchmarks.core.task import Sizes
from benchmarks.core.trained import Rival, measured
from benchmarks.core.trials import Budget
from benchmarks.data.weight_tasks import make
from benchmarks.models.weight_networks import MAKE

RIVALS: dict[str, str] = {
    "flat": "a perceptron on all weights, one after another",
    "flat, augmented": "the same, every network of every batch moved by a random element of its group",
    "statistics": "a perceptron on the mean, deviation and quantiles of every array",
    "DWSNet": "all maps that commute with hidden neurons",
    "NFN": "ends permuted too, with codes of their positions; kernels as channels",
    "UNF": "the same, with positions of kernels permuted and coded",
    "probes": "a perceptron on what the networks compute for 64 learned inputs",
    "DWSNet, probes": "the maps of DWSNet, on weights and on the activations of all neurons for learned inputs",
    "DWSNet, probes, members": "the same with the mean of four perceptrons at the output",
    "message passing": "a graph network on the graph of the parameters, fewer steps",
    "transformer": "a relational transformer on the same graph, fewer steps still",
}
PROBED = ("probes", "DWSNet, probes", "DWSNet, probes, members")
ONLY = {
    "UNF": ("sines", "perceptrons", "convolutional networks", "recurrent networks"),
    "transformer": ("sines", "perceptrons"),
    **dict.fromkeys(PROBED, ("images",)),
}
"""The tasks of rivals that are not run on all: without kernels UNF is NFN; a step of the transformer takes a second."""
EQUIVARIANT = ("DWSNet", "NFN", "UNF", *PROBED, "message passing", "transformer")
QUICK = Sizes(32, 0, 16, Recipe(2, 16, 1e-3))


def rivals(task: str) -> list[str]:
    """Return the rivals of a task."""
    return [rival for rival in MAKE if task in ONLY.get(rival, (task,))]


def bounds(most: Mapping[str, float]) -> tuple[Bound, ...]:
    """Targets: how far the outputs of equivariant rivals for moved networks may differ, by task."""
    return tuple(
        Bound(rival, {"task": task}, "difference, moved", largest)
        for task, largest in most.items()
        for rival in rivals(task)
        if rival in EQUIVARIANT
    )


@dataclass(frozen=True)
class Zoos:
    """The tasks of a paper.

    Attributes:
        sizes: networks and epochs of a complete run, by the name of the task.
        quick: networks and epochs of a quick run.
        make: a function of name, sizes, seed and `tell` that returns a task; its attribute `task` has the rows.
        built: the rivals: functions of a task and a seed.
    """

    sizes: Mapping[str, Sizes]
    quick: Sizes = QUICK
    make: Callable[[str, Sizes, int, Tell], Any] = make
    built: Mapping[str, Callable[[Any, int], Rival]] = field(default_factory=lambda: MAKE)

    def limits(self, quick: bool) -> Budget:
        """Return the budget of every rival."""
        return Budget(dict.fromkeys(self.sizes, self.quick) if quick else dict(self.sizes))

    def cells(self, quick: bool) -> list[Cell]:
        """Return one cell for each task and rival."""
        return [
            Cell({"task": task, "train": sizes.train}, "train", (rival,), sizes)
            for task, sizes in self.limits(quick).sizes.items()
            for rival in self.built
            if task in ONLY.get(rival, (task,))
        ]

    def start(self, quick: bool, seed: int, tell: Tell) -> Measure:
        """Return the function that trains the rival of a cell; a zoo is trained when first needed, and cached."""
        task_of = functools.lru_cache(maxsize=1)(lambda name, sizes: self.make(name, sizes, seed, tell))

        def measure(cell: Cell) -> list[Measurement]:
            name, (rival,) = cell.case["task"], cell.rivals
            task = task_of(name, cell.given)
            tell(f"{name}: {rival}, compile")
            m = Measurement(dict(cell.case), cell.direction, rival)
            made = self.built[rival](task, seed)
            return [measured(m, task.task, made, seed, lambda share: tell(f"{name}: {rival}, {share:.0%}"))]

        return measure
