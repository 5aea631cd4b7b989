"""PER: free weights with a penalty for each candidate group, and which group the data choose (Kim et al.)."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax import nnx

import equikit as ek
from benchmarks.core import paper
from benchmarks.core.benchmark import Cell, Measure, Tell, reproduction
from benchmarks.core.bounds import Bound
from benchmarks.core.measurement import Measurement
from benchmarks.papers._dots import style
from benchmarks.papers.per_2306_00356._tasks import FUNCTIONS, ROTATIONS, SCALED, Flat, Function, Rows

INERTIA = "modified inertia"
EXACT, WRONG, PER, MLP = "equikit, O(2) × Z2", "equikit, O(3)", "PER", "MLP"
RIVALS: dict[str, str] = {
    EXACT: "an equivariant network of the group of the target",
    WRONG: "the same network for a larger group that is no symmetry",
    PER: "the same network with free weights, `ek.relax.Regularized`",
    MLP: "a multilayer perceptron, 3 hidden layers of 128",
}
MSE, RANK, RATIO = "test MSE", "rank of the true group", "λ, largest of the others"
TARGETS = (Bound(EXACT, {"task": INERTIA}, MSE, 0.45), Bound(PER, {"task": INERTIA}, RANK, 1.0))
PAPER = paper.read(Path(__file__).with_name("paper.toml"))


@dataclass(frozen=True)
class Budget:
    """Rows and training.

    Attributes:
        train, test: rows.
        batch: rows in a step.
        rate: the highest learning rate of Adam, which falls to zero as a cosine.
        steps: of inertia, and of cosines. Weights of penalties adapt in the middle.
    """

    train: int
    test: int
    batch: int
    rate: float
    steps: tuple[int, int]

    def epochs(self, task: str) -> int:
        """The passes over the training rows."""
        return math.ceil(self.steps[task != INERTIA] * self.batch / self.train)


def limits(quick: bool) -> Budget:
    """Return the budget of every rival."""
    if quick:
        return Budget(250, 100, 50, 3e-3, (20, 20))
    return Budget(1_000, 2_000, 250, 3e-3, (1_600, 600))


def cells(quick: bool) -> list[Cell]:
    """Return a cell for each function and rival; a quick run has one function."""
    rivals = {INERTIA: (EXACT, WRONG, PER, MLP), ROTATIONS: (PER, MLP), SCALED: (PER, MLP)}
    tasks = [ROTATIONS] if quick else [*rivals]
    return [Cell({"task": task}, "train", (rival,)) for task in tasks for rival in rivals[task]]


def model_of(function: Function, rival: str, rows: Rows, budget: Budget, seed: int) -> nnx.Module:
    """Return the model of a rival before training."""
    if rival == MLP:
        return Flat(rows, seed)
    network = function.network(seed)
    if rival == WRONG:
        return network
    if rival == EXACT:
        return ek.relax.restrict(network, x=function.candidates[function.true])
    return ek.relax.Regularized(
        function.free(seed),
        loss=function.loss,
        weights=function.weight,
        adapt_after=budget.epochs(function.name) * (budget.train // budget.batch) // 2,
        window=min(100, budget.epochs(function.name)),
        x=list(function.candidates),
    )


def scores(function: Function, rival: str, data: dict[str, Rows], budget: Budget, seed: int) -> dict[str, float]:
    """Train a rival, and return its error, and for PER the order of the groups."""
    model = model_of(function, rival, data["train"], budget, seed)
    fitted = ek.train.fit(
        model,
        ek.relax.Regularized.objective if rival == PER else function.loss,
        data["train"],
        epochs=budget.epochs(function.name),
        batch=budget.batch,
        key=jax.random.key(seed),
        optimizer=budget.rate,
    )
    split: Any = nnx.split(fitted.model.model if rival == PER else fitted.model)
    error = jax.jit(lambda state, batch: function.loss(nnx.merge(split[0], state), batch))(split[1], data["test"])
    found = {
        MSE: float(error),
        "parameters": float(sum(leaf.size for leaf in jax.tree.leaves(nnx.state(fitted.model, nnx.Param)))),
        "steps": float(budget.epochs(function.name) * (budget.train // budget.batch)),
        "seconds": float(fitted.seconds[1:].sum()),
    }
    return found | (ranking(function, np.asarray(fitted.model.weights[...])) if rival == PER else {})


def ranking(function: Function, weights: np.ndarray) -> dict[str, float]:
    """Return the rank of the true group by its weight, and the largest weight of another group, relative to its own."""
    own, others = weights[function.true], np.delete(weights, function.true)
    return {RANK: 1.0 + float(np.sum(others >= own)), RATIO: float(others.max() / own)}


def start(quick: bool, seed: int, tell: Tell) -> Measure:
    """Return the function that trains and tests the rival of a cell."""
    budget = limits(quick)

    @functools.cache
    def data(name: str) -> dict[str, Rows]:
        generator = np.random.default_rng([seed, *map(ord, name)])
        sizes = {"train": budget.train, "test": budget.test}
        return {part: FUNCTIONS[name].make(generator, size) for part, size in sizes.items()}

    def measure(cell: Cell) -> list[Measurement]:
        (rival,), name = cell.rivals, cell.case["task"]
        tell(f"{name}: train {rival}")
        m = Measurement(dict(cell.case), cell.direction, rival)
        m.scores = scores(FUNCTIONS[name], rival, data(name), budget, seed)
        return [m]

    return measure


BENCHMARK = reproduction(
    title="Soft equivariance by projection penalties (PER)",
    summary="modified inertia and cosines: free weights with penalties rank the candidate groups",
    rivals=RIVALS,
    cells=cells,
    start=start,
    limits=limits,
    targets=TARGETS,
    style=style(MSE, "mean squared error"),
    paper=PAPER,
)
