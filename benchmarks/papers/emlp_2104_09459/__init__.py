"""The three synthetic tasks of EMLP's paper: test errors over training points, next to the published curves."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

import equikit as ek
from benchmarks.core import paper
from benchmarks.core.benchmark import Cell, Measure, Tell, reproduction
from benchmarks.core.bounds import Bound
from benchmarks.core.fitting import Recipe, predict
from benchmarks.core.measurement import Measurement
from benchmarks.data.emlp import TASKS, Data, Task, make_data
from benchmarks.models.perceptron import optimizer
from benchmarks.papers.emlp_2104_09459._curves import style
from benchmarks.papers.emlp_2104_09459._models import Scalars, equikit, mlp

RIVALS: dict[str, str] = {
    "equikit": "`equikit.nn` layers of the task's group",
    "MLP": "a multilayer perceptron, 3 hidden layers of 256",
    "MLP, augmented": "the same, every row of every batch moved by a random group element",
    "scalars": "a multilayer perceptron on all inner products (Villar et al., arXiv:2106.06610)",
}
MODELS: dict[str, Callable[[Task, int], nnx.Module]] = {
    "equikit": equikit,
    "MLP": mlp,
    "MLP, augmented": mlp,
    "scalars": Scalars,
}
TARGETS = (Bound("equikit", {"task": "scattering", "train": 10_000}, "error_over_variance", 0.0014),)
PAPER = paper.read(Path(__file__).with_name("paper.toml"))
FULL, QUICK = (100, 300, 1_000, 3_000, 10_000), (100, 300)
"""Numbers of training points."""


@dataclass(frozen=True)
class Budget:
    """The budget of every rival.

    Attributes:
        rows: of an epoch; training points are repeated, so that all sizes take the same steps and checks.
        recipe: how rivals are trained.
        validation: points; the parameters of the epoch with the lowest error on them are tested.
        test: points.
    """

    rows: int
    recipe: Recipe
    validation: int
    test: int


def limits(quick: bool) -> Budget:
    """Return the budget of every rival."""
    if quick:
        return Budget(300, Recipe(4, 50, 3e-3), 100, 200)
    return Budget(10_000, Recipe(30, 100, 3e-3), 1_000, 5_000)


def cells(quick: bool) -> list[Cell]:
    """Return a cell for each task, number of points and rival."""
    return [
        Cell({"task": task, "train": size}, "train", (rival,))
        for task in TASKS
        for size in (QUICK if quick else FULL)
        for rival in RIVALS
    ]


def augmentation(task: Task, data: Data) -> Callable[..., Any]:
    """Return a function that moves every row of a batch, and its target, by its own random element."""
    pools = jnp.asarray(data.elements)

    def move(batch: Any, *, key: jax.Array) -> Any:
        x, y = batch
        one, two = jax.random.randint(key, (2, len(x)), 0, pools.shape[1])
        elements = jnp.einsum("bij,bjk->bik", pools[0][one], pools[1][two])
        scalars, vectors = task.split(x)
        moved = jnp.einsum("bij,bvj->bvi", elements, vectors).reshape(len(x), -1)
        if task.matrix:
            square = y.reshape(-1, task.n, task.n)
            y = jnp.einsum("bij,bjk,blk->bil", elements, square, elements).reshape(len(x), -1)
        return jnp.concatenate([scalars, moved], axis=1), y

    return move


def outputs(module: Any, x: jax.Array, key: jax.Array) -> jax.Array:
    """Return the outputs of a module; no module uses the key."""
    found: jax.Array = module(x)
    return found


def scores(task: Task, rival: str, data: Data, count: int, budget: Budget, seed: int) -> dict[str, float]:
    """Train a rival on the first points, and return its errors in the units of the target."""
    known = np.arange(budget.rows) % count
    recipe = budget.recipe
    steps = recipe.steps(budget.rows)
    fitted = ek.train.fit(
        MODELS[rival](task, seed),
        lambda module, batch: jnp.mean((module(batch[0]) - batch[1]) ** 2),
        (data.train[0][known], data.train[1][known]),
        data.validation,
        epochs=recipe.epochs,
        batch=recipe.batch,
        key=jax.random.key(seed),
        optimizer=optimizer(steps, recipe.rate),
        augment=augmentation(task, data) if rival == "MLP, augmented" else None,
    )
    x, y = data.test
    error = float(np.mean((predict(fitted.model, outputs, x) - y) ** 2, dtype=np.float64)) * data.scale**2
    return {
        "test_mse": error,
        "error_over_variance": error / data.variance,
        "validation_mse": float(fitted.losses[fitted.best, 1]) * data.scale**2,
        "variance": data.variance,
        "parameters": float(sum(leaf.size for leaf in jax.tree.leaves(nnx.state(fitted.model, nnx.Param)))),
        "steps": float(steps),
    }


def start(quick: bool, seed: int, tell: Tell) -> Measure:
    """Return the function that trains and tests the rival of a cell."""
    budget = limits(quick)

    @functools.cache
    def data(name: str) -> Data:
        return make_data(TASKS[name], budget.rows, budget.validation, budget.test, seed)

    def measure(cell: Cell) -> list[Measurement]:
        (rival,), name, count = cell.rivals, cell.case["task"], cell.case["train"]
        tell(f"{name}, {count:,} points: train {rival}")
        m = Measurement(dict(cell.case), cell.direction, rival)
        m.scores = scores(TASKS[name], rival, data(name), count, budget, seed)
        return [m]

    return measure


BENCHMARK = reproduction(
    title="EMLP's synthetic tasks",
    summary="O(5) regression, inertia and Lorentz scattering: equikit, augmented MLPs, scalars, and EMLP's own curves",
    rivals=RIVALS,
    cells=cells,
    start=start,
    limits=limits,
    targets=TARGETS,
    style=style(PAPER),
    paper=PAPER,
)
