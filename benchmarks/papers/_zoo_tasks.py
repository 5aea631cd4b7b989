"""Networks as data: predictions from their weights, barriers between them, and learned optimizers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from benchmarks.core.fitting import Recipe, rows_of
from benchmarks.core.measurement import Measurement, Skip, skipped
from benchmarks.core.scores import Bound
from benchmarks.core.task import Sizes
from benchmarks.core.task_report import style
from benchmarks.core.trained import measured
from benchmarks.models.weight_networks import MAKE
from benchmarks.tasks import _weight_barriers as barriers, _weight_optimizers as optimizers
from benchmarks.tasks._weight_tasks import MAKERS, WeightTask, make

TITLE = "Weight spaces"
SUMMARY = "frequencies, digits and accuracies told from weights; barriers between networks; learned optimizers"
PANEL, AXIS = ("task",), "task"
RIVALS: dict[str, str] = {
    "flat": "a perceptron on all weights, one after another",
    "flat, augmented": "the same, every network of every batch moved by a random element of its group",
    "statistics": "a perceptron on the mean, deviation and quantiles of every array",
    "DWSNet": "all maps that commute with hidden neurons",
    "NFN": "ends permuted too, with codes of their positions; kernels as channels",
    "UNF": "the same, with positions of kernels permuted and coded",
    "message passing": "a graph network on the graph of the parameters, fewer steps",
    "transformer": "a relational transformer on the same graph, fewer steps still",
    **barriers.RIVALS,
    **optimizers.RIVALS,
}
PUBLISHED: dict[tuple[str, str], str] = {
    ("convolutional networks", "NFN"): "0.078 [1]",
    ("convolutional networks", "DWSNet"): "0.066 [1]",
    ("convolutional networks", "statistics"): "0.085 [1]",
    ("recurrent networks", "UNF"): "0.103 [2]",
    ("recurrent networks", "statistics"): "0.116 [2]",
    ("images", "DWSNet"): "0.143 [3]",
    ("images", "flat"): "0.824 [3]",
    ("images", "NFN"): "0.071 [1]",
    ("images", "message passing"): "0.086 [4]",
    **barriers.PUBLISHED,
}
STYLE = style(PUBLISHED)
SHORT = ("sines", "perceptrons")
"""Tasks on which the transformer is run; its steps take a second."""
EQUIVARIANT = ("DWSNet", "NFN", "UNF", "message passing", "transformer")
TARGETS = (
    *(
        Bound(rival, {"task": task}, "difference, moved", most)
        for rival in EQUIVARIANT
        for task, most in (
            ("sines", 1e-3),
            ("images", 0.01),
            ("perceptrons", 1e-3),
            ("convolutional networks", 1e-3),
            ("recurrent networks", 1e-3),
        )
    ),
    *barriers.TARGETS,
    *optimizers.TARGETS,
)


@dataclass(frozen=True)
class Budget:
    """Networks and epochs of each task, the networks of the barriers, and the training of learned optimizers."""

    sizes: dict[str, Sizes]
    barriers: barriers.Sizes
    optimizers: optimizers.Sizes


def limits(quick: bool) -> Budget:
    """Return the budget of every rival."""
    if quick:
        recipe = Recipe(2, 16, 1e-3)
        sizes = {name: Sizes(32, 0, 16, recipe) for name in MAKERS}
        return Budget(sizes, barriers.QUICK, optimizers.QUICK)
    return Budget(
        {
            "sines": Sizes(768, 0, 256, Recipe(60, 32, 1e-3)),
            "images": Sizes(5600, 0, 397, Recipe(20, 32, 1e-3)),
            "perceptrons": Sizes(768, 0, 256, Recipe(40, 32, 1e-3)),
            "convolutional networks": Sizes(768, 0, 256, Recipe(40, 32, 1e-3)),
            "recurrent networks": Sizes(768, 0, 256, Recipe(40, 32, 1e-3)),
        },
        barriers.FULL,
        optimizers.FULL,
    )


def cases(quick: bool) -> list[str]:
    """In the order in which they are run."""
    return [*MAKERS, *barriers.cases(limits(quick).barriers), *optimizers.cases(limits(quick).optimizers)]


def measure(name: str, rival: str, task: WeightTask, seed: int, tell: Callable[[str], None]) -> Measurement:
    """Train and test one rival."""
    m = Measurement({"task": name, "train": rows_of(task.task.train)}, "train", rival)
    tell(f"{name}: {rival}, compile")
    made = MAKE[rival](task, seed)
    return measured(m, task.task, made, seed, lambda share: tell(f"{name}: {rival}, {share:.0%}"))


def run(quick: bool, seed: int, tell: Callable[[str], None]) -> Iterator[list[Measurement]]:
    """Train every rival on every task, then measure barriers, then learn optimizers."""
    budget = limits(quick)
    for name, sizes in budget.sizes.items():
        rivals = [rival for rival in MAKE if name in SHORT or rival != "transformer"]
        try:
            task = make(name, sizes, seed, tell)
        except Skip as reason:
            case = {"task": name, "train": sizes.train}
            yield skipped(case, rivals, reason)
            continue
        yield [measure(name, rival, task, seed, tell) for rival in rivals]
    yield from barriers.run(budget.barriers, seed, tell)
    yield from optimizers.run(budget.optimizers, seed, tell)
