"""The shared part of papers on networks of many architectures: their accuracy is predicted from their weights."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.stats import kendalltau

from benchmarks.core.benchmark import Cell, Measure, Tell
from benchmarks.core.folders import SCRATCH
from benchmarks.core.measurement import Measurement
from benchmarks.data.mixed_zoo import MixedTask, Population, accuracy_of, left_out, mixed_zoo, within
from benchmarks.models.architectures import architectures
from benchmarks.models.mixed_networks import MAKE, Predicted, Training, graphs_of
from benchmarks.papers._curves import points
from equikit import OptionError
from equikit.weightspace import ParameterGraph

WITHIN, WITHOUT = "within the zoo", "without "
RIVALS: dict[str, str] = {
    "statistics": "boosted trees on statistics of the weights",
    "Deep Sets": "a network on the set of neurons, each with statistics of its weights and the kind of its parameter",
    "message passing": "a graph network on the joined graphs of the parameters, with one set of weights for all",
    "message passing, bare": "the same without features of uses, nonlinearities, depth and position",
    "transformer": "a relational transformer on the same graphs",
}
SHOWN = 120
"""Networks in the scatter of the figure, of the first seed."""


@dataclass(frozen=True)
class Budget:
    """How much is trained.

    Attributes:
        networks: of each architecture.
        few: whether there are few architectures.
        steps: of the longest training of a network.
        rivals: how each rival is trained if a family is left out.
        within: the same within the zoo, for rivals that need more passes there.
    """

    networks: int
    few: bool
    steps: int
    rivals: Mapping[str, Training]
    within: Mapping[str, Training]


TREES = Training(800, 0.1)
RATES = {"message passing": 5e-3, "message passing, bare": 5e-3, "transformer": 3e-3}
FULL = Budget(
    32,
    False,
    240,
    {
        "statistics": TREES,
        "Deep Sets": Training(40, 3e-3),
        **{name: Training(12, rate) for name, rate in RATES.items()},
    },
    {name: Training(30, rate) for name, rate in RATES.items()},
)
QUICK = Budget(10, True, 20, dict.fromkeys(RIVALS, Training(1, 3e-3)) | {"statistics": Training(20, 0.1)}, {})


@dataclass(frozen=True)
class Mixed:
    """The tasks of a paper.

    Attributes:
        rivals: names, with the tasks that each of them is measured on.
    """

    rivals: Mapping[str, Sequence[str]]

    def limits(self, quick: bool) -> Budget:
        """Return the budget."""
        every = QUICK if quick else FULL
        rivals, within = (
            {rival: how[rival] for rival in self.rivals if rival in how} for how in (every.rivals, every.within)
        )
        return replace(every, rivals=rivals, within=within)

    def cells(self, quick: bool) -> list[Cell]:
        """Return one cell for each task and rival; a quick run has two tasks."""
        limits = self.limits(quick)
        every = list(dict.fromkeys(task for of in self.rivals.values() for task in of))
        return [
            Cell({"task": task}, "train", (rival,), limits)
            for task in (every[:2] if quick else every)
            for rival, of in self.rivals.items()
            if task in of
        ]

    def start(self, quick: bool, seed: int, tell: Tell) -> Measure:
        """Return the function that trains the rival of a cell; the zoo is trained when first needed, and cached."""
        limits = self.limits(quick)

        @functools.cache
        def zoo() -> list[Population]:
            return mixed_zoo(SCRATCH, limits.networks, seed, tell, steps=limits.steps, few=limits.few)

        @functools.cache
        def task_of(name: str) -> MixedTask:
            return within(zoo(), seed) if name == WITHIN else left_out(zoo(), name.removeprefix(WITHOUT), seed)

        @functools.cache
        def graphs() -> dict[str, ParameterGraph]:
            tell("trace all architectures")
            return graphs_of(zoo())

        def measure(cell: Cell) -> list[Measurement]:
            name, (rival,) = cell.case["task"], cell.rivals
            task = task_of(name)
            training = {**limits.rivals, **(limits.within if name == WITHIN else {})}[rival]
            tell(f"{name}: {rival}")
            m = Measurement(dict(cell.case), cell.direction, rival)
            try:
                found = MAKE[rival](task, graphs(), training, seed)
            except OptionError as error:  # training diverged
                m.status, m.reason = "failed", error.problem
                return [m]
            m.scores = scores(task, found)
            if seed == 0 and name == WITHIN:
                m.scores |= scatter(accuracy_of(task.test), found.test)
            return [m]

        return measure


def everywhere() -> tuple[str, ...]:
    """Return the names of all tasks."""
    return (WITHIN, *(WITHOUT + family for family in architectures()))


def scores(task: MixedTask, found: Predicted) -> dict[str, float]:
    """Return Kendall's tau and the coefficient of determination of predictions, and what they cost."""
    validation, test = accuracy_of(task.validation), accuracy_of(task.test)
    return {
        "tau": tau(found.test, test),
        "R2": 1 - float(np.mean((found.test - test) ** 2) / np.var(test)),
        "tau, validation": tau(found.validation, validation),
        "error, validation": float(np.mean((found.validation - validation) ** 2)),
        "epochs or trees": float(found.best),
        "parameters": float(found.parameters),
        "seconds": found.seconds,
    }


def tau(one: np.ndarray, other: np.ndarray) -> float:
    """Return Kendall's rank correlation; zero if one of them is constant."""
    return float(np.nan_to_num(kendalltau(one, other).statistic))


def scatter(truth: np.ndarray, found: np.ndarray) -> dict[str, float]:
    """Return some of the true and of the predicted accuracies, by number."""
    rows = np.linspace(0, len(truth) - 1, min(SHOWN, len(truth))).astype(int)
    places = range(len(rows))
    return points("truth", places, truth[rows]) | points("predicted", places, found[rows])
