"""Feature emergence: networks of the largest margin on modular addition, permutations and sparse parity."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import jax
import numpy as np
from flax import nnx

import equikit as ek
from benchmarks.core import paper
from benchmarks.core.benchmark import Cell, Measure, Tell, reproduction
from benchmarks.core.measurement import Measurement
from benchmarks.papers._curves import points, style
from benchmarks.papers.feature_emergence_2311_07568._figure import plot
from benchmarks.papers.feature_emergence_2311_07568._network import Powers, limit, loss, scores, shares
from benchmarks.papers.feature_emergence_2311_07568._tasks import TASKS, make

PAPER = paper.read(Path(__file__).with_name("paper.toml"))
RIVALS = {
    "norm of theory": "cross-entropy and the sum of the norms of all neurons, to the degree of the network",
    "weight decay": "the same with the sum of their squares",
}


@dataclass(frozen=True)
class Budget:
    """Steps and factors of the penalty, which falls in stages.

    Attributes:
        first, steps: of the first stage, and of each of the others.
        width: hidden neurons for each task.
        stages: the factors for each task.
        rate: the learning rate of Adam in each stage, which falls to zero as a cosine.
        places: of each curve.
    """

    first: int
    steps: int
    width: dict[str, int]
    stages: dict[str, tuple[float, ...]]
    rate: float = 1e-2
    places: int = 12


FULL = Budget(
    1500,
    800,
    {"Z_23": 200, "S_3": 100, "S_4": 300, "parity of 4 in 10": 40},
    {
        "Z_23": (1e-3, 1e-4),
        "S_3": (1e-3, 1e-4, 1e-5, 1e-6, 1e-7),
        "S_4": (1e-3, 1e-4, 1e-5, 1e-6, 1e-7),
        "parity of 4 in 10": (1e-3, 1e-4, 1e-5),
    },
)


def limits(quick: bool) -> Budget:
    """Return the budget of a run."""
    return replace(FULL, first=800, steps=200) if quick else FULL


def cells(quick: bool) -> list[Cell]:
    """One for each task and rival."""
    return [Cell({"task": task}, "train", (rival,)) for task in TASKS for rival in RIVALS]


def start(quick: bool, seed: int, tell: Tell) -> Measure:
    """Return the function that trains one network."""
    budget = limits(quick)

    def measure(cell: Cell) -> list[Measurement]:
        name, (rival,) = cell.case["task"], cell.rivals
        task = make(name)
        regularizer = task.power + 1 if rival == "norm of theory" else 2
        model = Powers(task, budget.width[name], regularizer, nnx.Rngs(seed))
        before = np.sort(shares(task, model)[0].max(axis=0))
        places, along, seconds = [], [], 0.0
        for stage, penalty in enumerate(budget.stages[name]):
            tell(f"{name}, {rival}: penalty {penalty:g}")
            steps = budget.steps if stage else budget.first
            model.penalty[...] = np.float32(penalty)
            rows, key = (task.inputs, task.labels), jax.random.key(seed)
            fitted = ek.train.fit(model, loss(task), rows, epochs=steps, key=key, optimizer=budget.rate)
            model, seconds = fitted.model, seconds + float(fitted.seconds.sum())
            each = np.linspace(0, steps - 1, budget.places).astype(int)[1:]
            places += (each + 1 + (budget.first + (stage - 1) * budget.steps if stage else 0)).tolist()
            along += fitted.losses[each, 0].tolist()
        found = scores(task, model)
        ends = along[budget.places - 2 :: budget.places - 1]
        if len(ends) > 3 and rival == "norm of theory":
            found["limit of the margin over theory"] = limit(ends)
        after = np.sort(shares(task, model)[0].max(axis=0))
        ranks = np.linspace(0, 1, 21)
        found |= points("margin", places, along)
        found |= points("share before training", ranks, np.quantile(before, ranks))
        found |= points("share", ranks, np.quantile(after, ranks))
        return [Measurement(dict(cell.case), cell.direction, rival, scores=found | {"seconds": seconds})]

    return measure


BENCHMARK = reproduction(
    title="Feature emergence",
    summary="networks of the largest margin: frequencies, irreps and parities, against theory",
    rivals=RIVALS,
    cells=cells,
    start=start,
    limits=limits,
    style=style(plot),
    paper=PAPER,
)
