"""Symmetrized networks against plain and augmented ones: errors on sampled and moved data, and costs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from benchmarks.core.fitting import Recipe, rows_of
from benchmarks.core.measurement import Measurement, Skip, skipped
from benchmarks.core.scores import Bound
from benchmarks.core.task import Sizes, Task
from benchmarks.core.task_report import style
from benchmarks.core.trained import Rival, measured
from benchmarks.models.backbones import augmented, bare, straight_line
from benchmarks.models.frames import FRAMES
from benchmarks.models.learned import LEARNED
from benchmarks.tasks import _symmetrization_tasks as tasks
from benchmarks.tasks._symmetrization_separation import SEPARATORS, graph_sets

TITLE = "Symmetrization"
SUMMARY = "every method around one network a task, against it bare and augmented; graphs to tell apart"
PANEL, AXIS = ("task",), "task"
RIVALS: dict[str, str] = {
    "straight line": "x + t v with the best t",
    "bare": "the network as it is",
    "augmented": "the same, every row of every batch moved by a random element",
    "frame": "the mean over the frame, in training too",
    "stochastic frame": "one element of the frame at random in training, the mean over all in the tests",
    "sorted": "points sorted by their coordinates, bodies by mass, in addition to a stochastic frame",
    "minimal frame": "one element, by Gram-Schmidt on the vectors in the order given",
    "weighted frame": "one element of a continuous weighted frame in training, the mean over all in the tests",
    "group average": "one quarter turn at random in training, the mean over all four in the tests",
    "canonical": "one element, that vector neurons or a group convolution choose",
    "canonical, eighths": "the same with eighths of a turn",
    "canonical by energy": "the turn that an encoder of any kind likes best",
    "probabilistic": "an element that vector neurons make of input and noise; the mean over 20 in the tests",
    "orbit distance": "a matrix that a network makes of the input, drawn to the group by a loss",
    "color refinement": "1-WL, the limit of message passing",
    "Laplacian frame": "nodes sorted by the spectrum of the Laplacian, the mean over all orders that are left",
    "canonical form": "the order of nodes that a search for automorphisms finds",
}
MAKE: dict[str, Callable[[str, int], Rival]] = {
    "straight line": straight_line,
    "bare": bare,
    "augmented": augmented,
    **FRAMES,
    **LEARNED,
}
FREE = ("bare", "augmented")
TASKS: dict[str, tuple[Callable[[Sizes, int], Task], tuple[str, ...]]] = {
    "n-body": (
        tasks.particles,
        ("straight line", *FREE, "frame", "stochastic frame", "weighted frame", "canonical", "probabilistic"),
    ),
    "inertia": (
        tasks.inertia,
        (
            *(*FREE, "frame", "stochastic frame", "sorted"),
            *("minimal frame", "weighted frame", "canonical", "probabilistic"),
        ),
    ),
    "scattering": (tasks.scattering, (*FREE, "minimal frame", "orbit distance")),
    "digits": (tasks.images, (*FREE, "group average", "canonical", "canonical, eighths", "canonical by energy")),
    "digit clouds": (tasks.digit_clouds, (*FREE, "sorted", "weighted frame")),
}
GRAPHS = "graphs"
EXACT, EXACT_64 = 1e-4, 1e-12
INVARIANT = ("Laplacian frame", "canonical form")
TARGETS = (
    Bound("stochastic frame", {"task": "n-body", "train": 3000}, "error, moved", 0.0092),
    Bound("stochastic frame", {"task": "inertia", "train": 1000}, "error, moved", 0.21),
    Bound("orbit distance", {"task": "scattering", "train": 10_000}, "error, moved", 0.029),
    *(
        Bound(rival, {"task": task}, "difference, moved", EXACT)
        for task in ("n-body", "inertia")
        for rival in ("stochastic frame", "weighted frame", "canonical")
    ),
    *(
        Bound(rival, {"task": "digits"}, "difference, moved", 0.0)
        for rival in ("group average", "canonical", "canonical, eighths", "canonical by energy")
    ),
    *(Bound(rival, {"task": "digit clouds"}, "difference, moved", 0.0) for rival in ("sorted", "weighted frame")),
    *(
        Bound(rival, {"task": task}, score, most)
        for task in ("graphs", "CSL")
        for rival in INVARIANT
        for score, most in (("pairs not told apart", 0.0), ("largest difference of copies", EXACT_64))
    ),
)
PUBLISHED: dict[tuple[str, str], str] = {
    ("n-body", "straight line"): "0.0819 [1]",
    ("n-body", "bare"): "0.0107 [1]",
    ("n-body", "frame"): "0.0057 [2]",
    ("n-body", "canonical"): "0.0043 [4]",
    ("n-body", "probabilistic"): "0.0039 [5]",
    ("inertia", "bare"): "3.2 [3]",
    ("inertia", "augmented"): "0.13 [3]",
    ("scattering", "bare"): "0.017 [3]",
    ("scattering", "augmented"): "0.013 [3]",
}
STYLE = style(PUBLISHED)


@dataclass(frozen=True)
class Budget:
    """Rows and epochs of each task, nodes of the graphs, and how many circulants there are."""

    sizes: dict[str, Sizes]
    nodes: int
    circulants: int


def limits(quick: bool) -> Budget:
    """Return the budget of every rival."""
    if quick:
        sizes = dict.fromkeys(TASKS, Sizes(100, 0, 80, Recipe(2, 50, 1e-3)))
        sizes["digit clouds"] = Sizes(20, 0, 80, Recipe(2, 100, 1e-3))  # ten clouds for each image
        return Budget(sizes, 6, 2)
    sizes = {
        "n-body": Sizes(3000, 2000, 2000, Recipe(150, 100, 1e-3)),
        "inertia": Sizes(1000, 0, 2000, Recipe(1000, 250, 3e-3)),
        "scattering": Sizes(10_000, 1000, 5000, Recipe(100, 1000, 3e-3)),
        "digits": Sizes(1400, 0, 397, Recipe(30, 50, 1e-3)),
        "digit clouds": Sizes(1400, 0, 397, Recipe(43, 100, 1e-3)),
    }
    return Budget(sizes, 7, 10)


def cases(quick: bool) -> list[str]:
    """In the order in which they are run."""
    return [*TASKS, GRAPHS]


def measure(name: str, rival: str, task: Task, seed: int, tell: Callable[[str], None]) -> Measurement:
    """Train and test one rival."""
    m = Measurement({"task": name, "train": rows_of(task.train)}, "train", rival)
    tell(f"{name}: {rival}, compile")
    made = MAKE[rival](name, seed)
    return measured(m, task, made, seed, lambda share: tell(f"{name}: {rival}, {share:.0%}"))


def separate(budget: Budget, seed: int, tell: Callable[[str], None]) -> list[Measurement]:
    """Distinguish graphs."""
    found = []
    for name, (graphs, copies) in graph_sets(budget.nodes, budget.circulants, seed).items():
        for rival, function in SEPARATORS.items():
            tell(f"{name}: {rival}")
            m = Measurement({"task": name}, "separate", rival)
            m.scores = function(graphs, copies, seed)
            found.append(m)
    return found


def run(quick: bool, seed: int, tell: Callable[[str], None]) -> Iterator[list[Measurement]]:
    """Train every rival on every task, and distinguish graphs."""
    budget = limits(quick)
    for name, (make, rivals) in TASKS.items():
        tell(f"{name}: make data")
        try:
            task: Any = make(budget.sizes[name], seed)
        except Skip as reason:
            case = {"task": name, "train": budget.sizes[name].train}
            yield skipped(case, rivals, reason)
            continue
        yield [measure(name, rival, task, seed, tell) for rival in rivals]
    yield separate(budget, seed, tell)
