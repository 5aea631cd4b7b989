"""Symmetrized networks against bare and augmented ones: errors on data as drawn and moved, and what they cost."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks import _symmetrization_tasks as tasks
from benchmarks._measurement import Measurement, Skip
from benchmarks._scores import Bound
from benchmarks._symmetrization_backbones import augmented, bare, straight_line
from benchmarks._symmetrization_report import STYLE as STYLE
from benchmarks._symmetrization_rivals import Rival, scores, train
from benchmarks._symmetrization_separation import SEPARATORS
from benchmarks._symmetrization_tasks import Sizes, Task
from benchmarks._symmetrization_training import Recipe, rows_of
from benchmarks._symmetrization_wrapped import MAKERS

TITLE = "Symmetrization"
SUMMARY = "frames and canonical forms around one network a task, against it bare and augmented; graphs to tell apart"
PANEL, AXIS = ("task",), "task"
RIVALS: dict[str, str] = {
    "straight line": "x + t v with the best t",
    "bare": "the network as it is",
    "augmented": "the same, every row of every batch moved by a random element",
    "frame": "the mean over the frame, in training too",
    "stochastic frame": "one element of the frame at random in training, the mean over all in the tests",
    "sorted": "points sorted by their coordinates, bodies by mass, in addition to a stochastic frame",
    "colour refinement": "1-WL, the limit of message passing",
}
MAKE: dict[str, Callable[[str, int], Rival]] = {
    "straight line": straight_line,
    "bare": bare,
    "augmented": augmented,
    **MAKERS,
}
TASKS: dict[str, tuple[Callable[[Sizes, int], Task], tuple[str, ...]]] = {
    "n-body": (tasks.particles, ("straight line", "bare", "augmented", "frame", "stochastic frame")),
    "inertia": (tasks.inertia, ("bare", "augmented", "frame", "stochastic frame", "sorted")),
    "scattering": (tasks.scattering, ("bare", "augmented")),
    "digits": (tasks.images, ("bare", "augmented")),
    "digit clouds": (tasks.digit_clouds, ("bare", "augmented", "sorted")),
}
GRAPHS = "graphs"
EXACT = 1e-4
TARGETS = (
    Bound("stochastic frame", {"task": "n-body", "train": 3000}, "error, moved", 0.0092),
    Bound("stochastic frame", {"task": "inertia", "train": 1000}, "error, moved", 0.21),
    *(Bound("stochastic frame", {"task": task}, "difference, moved", EXACT) for task in ("n-body", "inertia")),
    Bound("sorted", {"task": "digit clouds"}, "difference, moved", 0.0),
)


@dataclass(frozen=True)
class Budget:
    """Rows and epochs of each task, and nodes of the graphs."""

    sizes: dict[str, Sizes]
    nodes: int


def limits(quick: bool) -> Budget:
    """What every rival may use."""
    if quick:
        sizes = {
            "n-body": Sizes(200, 0, 100, Recipe(2, 100, 1e-3, calls=1)),
            "inertia": Sizes(500, 0, 200, Recipe(20, 250, 3e-3, calls=1)),
            "scattering": Sizes(1000, 0, 200, Recipe(4, 250, 3e-3, calls=1)),
            "digits": Sizes(500, 0, 200, Recipe(2, 50, 1e-3, calls=1)),
            "digit clouds": Sizes(100, 0, 100, Recipe(1, 100, 1e-3, calls=1)),
        }
        return Budget(sizes, 6)
    sizes = {
        "n-body": Sizes(3000, 2000, 2000, Recipe(150, 100, 1e-3)),
        "inertia": Sizes(1000, 0, 2000, Recipe(1000, 250, 3e-3)),
        "scattering": Sizes(10_000, 1000, 5000, Recipe(100, 1000, 3e-3)),
        "digits": Sizes(1400, 0, 397, Recipe(30, 50, 1e-3)),
        "digit clouds": Sizes(1400, 0, 397, Recipe(43, 100, 1e-3)),
    }
    return Budget(sizes, 7)


def cases(quick: bool) -> list[str]:
    """In the order in which they are run."""
    return [*TASKS, GRAPHS]


def measure(name: str, rival: str, task: Task, seed: int, tell: Callable[[str], None]) -> Measurement:
    """Train and test one rival."""
    m = Measurement({"task": name, "train": rows_of(task.train)}, "train", rival)
    tell(f"{name}: {rival}, compile")
    made = MAKE[rival](name, seed)
    fitted = train(task, made, seed, lambda share: tell(f"{name}: {rival}, {share:.0%}"))
    found = scores(task, made, fitted)
    if all(np.isfinite(value) for value in found.values()):
        m.scores = found
    else:
        m.status, m.reason = "failed", "training diverged, or an input had no frame"
    return m


def separate(nodes: int, seed: int, tell: Callable[[str], None]) -> list[Measurement]:
    """Tell graphs apart."""
    found = []
    for rival, function in SEPARATORS.items():
        tell(f"{GRAPHS}: {rival}")
        m = Measurement({"task": GRAPHS}, "separate", rival)
        m.scores = function(nodes, seed)
        found.append(m)
    return found


def run(quick: bool, seed: int, tell: Callable[[str], None]) -> Iterator[list[Measurement]]:
    """Train every rival on every task, and tell graphs apart."""
    budget = limits(quick)
    for name, (make, rivals) in TASKS.items():
        tell(f"{name}: make data")
        try:
            task: Any = make(budget.sizes[name], seed)
        except Skip as reason:
            case = {"task": name, "train": budget.sizes[name].train}
            yield [Measurement(case, "train", rival, "skipped", str(reason)) for rival in rivals]
            continue
        yield [measure(name, rival, task, seed, tell) for rival in rivals]
    yield separate(budget.nodes, seed, tell)
