"""Rivals that are trained on a task: their training and measurement."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import jax
import numpy as np
from flax import nnx

from benchmarks.core.fitting import Apply, Fitted, Recipe, Rows, fit, predict, rows_of
from benchmarks.core.measurement import Measurement
from benchmarks.core.task import Task
from equikit import OptionError


@dataclass(frozen=True)
class Rival:
    """A network, and how it is used.

    Attributes:
        module: everything that has parameters.
        apply: the module, inputs and a key to outputs, in the tests.
        train: the same in training, if it differs: to outputs, and a term that is added to the loss.
        augmented: whether every row of every batch is moved by a random element.
        share: the fraction of the task's epochs, for rivals that evaluate the network many times in a step.
    """

    module: nnx.Module
    apply: Apply
    train: Callable[[Any, Rows, jax.Array], tuple[jax.Array, jax.Array | float]] | None = None
    augmented: bool = False
    share: float = 1.0


def recipe(task: Task, rival: Rival) -> Recipe:
    """How a rival is trained."""
    return replace(task.recipe, epochs=math.ceil(rival.share * task.recipe.epochs))


def train(task: Task, rival: Rival, seed: int, tell: Callable[[float], None] | None = None) -> Fitted:
    """Train a rival on a task."""

    def loss(module: Any, rows: Rows, key: jax.Array) -> jax.Array:
        turn, draw = jax.random.split(key)
        inputs, targets = task.move(turn, rows) if rival.augmented else rows
        if rival.train is None:
            return task.loss(rival.apply(module, inputs, draw), targets)
        found, more = rival.train(module, inputs, draw)
        return task.loss(found, targets) + more

    return fit(rival.module, loss, task.train, recipe(task, rival), seed, tell)


def measured(m: Measurement, task: Task, rival: Rival, seed: int, tell: Callable[[float], None]) -> Measurement:
    """Train and test a rival; a training that diverges is a failure with its reason."""
    try:
        found = scores(task, rival, train(task, rival, seed, tell))
    except OptionError as error:
        m.status, m.reason = "failed", error.problem
        return m
    if all(np.isfinite(value) for value in found.values()):
        m.scores = found
    else:
        m.status, m.reason = "failed", "an output is not finite"
    return m


def outputs(task: Task, rival: Rival, module: Any) -> dict[str, np.ndarray]:
    """The outputs for the rows of every test, by one compiled program."""
    inputs = [test.rows[0] for test in task.tests.values()]
    joined = jax.tree.map(lambda *arrays: np.concatenate(arrays), *inputs)
    found = predict(module, rival.apply, joined)
    ends = np.cumsum([0, *(rows_of(one) for one in inputs)])
    return {name: found[a:b] for name, (a, b) in zip(task.tests, itertools.pairwise(ends), strict=True)}


def difference(task: Task, moved: np.ndarray, expected: np.ndarray) -> float:
    """Return the relative root mean square distance between outputs of moved inputs and moved outputs.

    If outputs are scores of classes, it is the fraction of rows whose class changes.
    """
    if task.outputs == "classes":
        return float(np.mean(np.argmax(moved, axis=-1) != np.argmax(expected, axis=-1)))
    gap = moved.astype(np.float64) - expected
    return float(np.sqrt(np.mean(gap**2) / np.mean(expected.astype(np.float64) ** 2)))


def scores(task: Task, rival: Rival, fitted: Fitted) -> dict[str, float]:
    """Return the scores of a rival after training."""
    found = outputs(task, rival, fitted.module)
    result = {}
    first = next(iter(found.values()))
    for name, test in task.tests.items():
        result[f"error, {name}"] = task.error(found[name], test.rows[1])
        if test.act is not None:
            result[f"difference, {name}"] = difference(task, found[name], test.act(first))
    return result | {
        "train_loss": fitted.losses[-1],
        "seconds": fitted.seconds,
        "compile_seconds": fitted.compile_seconds,
        "parameters": float(sum(leaf.size for leaf in jax.tree.leaves(nnx.state(fitted.module, nnx.Param)))),
        "steps": float(recipe(task, rival).steps(rows_of(task.train))),
    }
