"""Trajectory transfer: a training of one perceptron on MNIST, moved to the start of another, and trained on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

import equikit as ek
from benchmarks.core import paper
from benchmarks.core.benchmark import Cell, Measure, Tell, reproduction
from benchmarks.core.fitting import Recipe
from benchmarks.core.measurement import Measurement
from benchmarks.core.plot import new_figure, tidy
from benchmarks.core.task_report import by_task
from benchmarks.data.digits import Digits
from benchmarks.papers import _pairs as pairs
from benchmarks.papers._curves import draw_all, points, style
from benchmarks.papers._pairs import Pair
from equikit.weightspace import trace, transfer

PAPER = paper.read(Path(__file__).with_name("paper.toml"))
RIVALS = {
    "FGMT": "`transfer` of the straight line from start to end",
    "GMT": "`transfer` of the path itself, a point for each epoch",
    "naive": "the change of the source's parameters, not permuted",
    "scratch": "the start of the target, not moved",
}


@dataclass(frozen=True)
class Budget:
    """Networks, images and training.

    Attributes:
        width: of the hidden layers.
        sizes: of images, and the recipe of the source.
        further: the recipe of the training after the transfer.
    """

    width: int
    sizes: pairs.Sizes
    further: Recipe


def limits(quick: bool) -> Budget:
    """Return the budget of a run."""
    return Budget(32, pairs.QUICK, Recipe(2, 100, 1e-3)) if quick else Budget(512, pairs.FULL, Recipe(8, 100, 1e-3))


def cells(quick: bool) -> list[Cell]:
    """A single one: all rivals get the same source and the same target."""
    budget = limits(quick)
    return [Cell({"task": pairs.task(budget.width), "train": budget.sizes.train}, "train", tuple(RIVALS), budget.width)]


def start(quick: bool, seed: int, tell: Tell) -> Measure:
    """Return the function that trains the source, moves its training to the target, and trains on."""
    budget = limits(quick)

    def measure(cell: Cell) -> list[Measurement]:
        data = budget.sizes.data(seed)
        source, target = (pairs.network(budget.width, 2 * seed + which) for which in range(2))
        tell("source")
        path = [_params(source), *trained(source, data["train"], budget.sizes.recipe, seed)]
        static, params, *rest = nnx.split(target, nnx.Param, ...)
        pair = Pair(static, rest, (path[-1], params), 0.0)
        found = []
        for rival in cell.rivals:
            tell(rival)
            moved = transferred(rival, pair, path, params, data["train"], budget.sizes.recipe.batch)
            network = nnx.merge(static, moved, *rest)
            later = [moved, *trained(network, data["train"], budget.further, 1000 + seed)]
            scores = scores_of(pair, later, data)
            scores["source, test"] = measured(pair, path[-1], data["test"])[1]
            found.append(Measurement(dict(cell.case), cell.direction, rival, scores=scores))
        return found

    return measure


def _params(module: nnx.Module) -> Any:
    return nnx.split(module, nnx.Param, ...)[1]


def trained(module: nnx.Module, train: Digits, recipe: Recipe, seed: int) -> list[Any]:
    """The parameters after each epoch of a training."""
    found: list[Any] = []

    def loss(module: Any, rows: Any) -> jax.Array:
        x, y = rows
        return jnp.mean(optax.softmax_cross_entropy_with_integer_labels(module(x), y))

    def after(epoch: int, *measures: Any, model: Any) -> None:
        found.append(jax.tree.map(jnp.array, _params(model)))

    ek.train.fit(
        module,
        loss,
        (train.inputs, train.labels),
        epochs=recipe.epochs,
        batch=recipe.batch,
        optimizer=recipe.rate,
        key=jax.random.key(seed),
        callback=after,
    )
    return found


def transferred(rival: str, pair: Pair, path: Sequence[Any], target: Any, train: Digits, size: int) -> Any:
    """The target after the training of the source is moved to it."""
    if rival == "scratch":
        return target
    if rival == "naive":
        return jax.tree.map(lambda own, late, early: own + late - early, target, path[-1], path[0])
    x, y = jnp.asarray(train.inputs), jnp.asarray(train.labels)
    spec = trace(pair.apply, target, x[:2])
    fast = rival == "FGMT"
    batches = [(x[i : i + size], y[i : i + size]) for i in range(0, len(x), size)]
    return transfer(spec, list(path), target, loss=pair.loss, batches=batches, fast=fast, points=len(path) - 1)


def measured(pair: Pair, params: Any, data: Digits) -> tuple[float, float]:
    """The loss and the share of wrong answers."""
    batch = jnp.asarray(data.inputs), jnp.asarray(data.labels)
    wrong = np.argmax(pair.apply(params, batch[0]), -1) != data.labels
    return float(pair.loss(params, batch)), float(np.mean(wrong))


def scores_of(pair: Pair, later: Sequence[Any], data: Mapping[str, Digits]) -> dict[str, float]:
    """Loss and error after the transfer, and after each epoch of the training that follows."""
    found: dict[str, float] = {}
    for part, some in data.items():
        losses, errors = zip(*(measured(pair, params, some) for params in later), strict=True)
        found |= {f"loss after transfer, {part}": losses[0], f"error after transfer, {part}": errors[0]}
        found[f"error after one epoch, {part}"] = errors[1]
        found |= points(f"error, {part}", range(len(errors)), errors)
    return found | {"error at the end, test": errors[-1]}


def plot(path: Path, result: Mapping[str, Any], rivals: Sequence[str], panel: Sequence[str], axis: str) -> None:
    """Plot the errors over the epochs of training after the transfer."""
    figure = new_figure(8.4, 3.9)
    panels = dict(zip(("train", "test"), figure.subplots(1, 2, sharey=True), strict=True))
    for records in by_task(result["measurements"]).values():
        draw_all(records, rivals, {f"error, {part}": axes for part, axes in panels.items()})
    for part, axes in panels.items():
        tidy(axes, f"{part} images")
        axes.set_xlabel("epochs after the transfer")
    panels["train"].set_ylabel("share of wrong answers")
    panels["train"].set_yscale("log")
    figure.savefig(path)


BENCHMARK = reproduction(
    title="Trajectory transfer",
    summary="a training of a perceptron on MNIST moved to another start, and the training that follows",
    rivals=RIVALS,
    cells=cells,
    start=start,
    limits=limits,
    style=style(plot),
    paper=PAPER,
)
