"""The three synthetic tasks of EMLP's paper: test errors over training points, against EMLP and networks without it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.core.measurement import Measurement, Skip, time_limit
from benchmarks.core.scores import SCORES, Bound
from benchmarks.core.training import Augment, Budget, Trainer
from benchmarks.data.emlp import TASKS, Data, Task, make_data
from benchmarks.models.emlp import Model, emlp, equikit, perceptron, scalars
from benchmarks.models.emlp_library import load_emlp

TITLE = "EMLP's synthetic tasks"
SUMMARY = "O(5) regression, inertia and Lorentz scattering against EMLP, augmented MLPs and invariant scalars"
STYLE = SCORES
PANEL, AXIS = ("task",), "train"
RIVALS: dict[str, str] = {
    "equikit": "`equikit.nn` layers of the task's group",
    "EMLP": "EMLP's own network by its Flax interface, 64 channels",
    "MLP": "a multilayer perceptron, 3 hidden layers of 256",
    "MLP, augmented": "the same, every batch moved by random group elements",
    "scalars": "a multilayer perceptron on all inner products (Villar et al., arXiv:2106.06610)",
}
MAKERS: dict[str, Callable[[Task, int], Model]] = {
    "equikit": equikit,
    "EMLP": emlp,
    "MLP": perceptron,
    "MLP, augmented": perceptron,
    "scalars": scalars,
}
TARGETS = (Bound("equikit", {"task": "scattering", "train": 10_000}, "error_over_variance", 0.0014),)

FULL = (100, 300, 1_000, 3_000, 10_000)
QUICK = (100, 300)
VALIDATION, TEST = 1_000, 5_000


@dataclass(frozen=True)
class Case:
    """A task, and how many points there are to train on."""

    task: str
    train: int


def limits(quick: bool) -> Budget:
    """What every contender may use."""
    if quick:
        return Budget(steps=100, batch=64, rate=3e-3, checks=4, seconds=2.0, prepare=8.0)
    return Budget(steps=3_000, batch=128, rate=3e-3, checks=20, seconds=45.0, prepare=120.0)


def cases(quick: bool) -> list[Case]:
    """In the order in which they are run."""
    return [Case(task, train) for task in TASKS for train in (QUICK if quick else FULL)]


def augmentation(task: Task, data: Data) -> Augment:
    """Move every row of a batch, and its target, by its own element."""
    pools = jnp.asarray(data.elements)

    def move(key: jax.Array, x: jax.Array, y: jax.Array) -> tuple[jax.Array, jax.Array]:
        one, two = jax.random.randint(key, (2, len(x)), 0, pools.shape[1])
        elements = jnp.einsum("bij,bjk->bik", pools[0][one], pools[1][two])
        scalars, vectors = task.split(x)
        moved = jnp.einsum("bij,bvj->bvi", elements, vectors).reshape(len(x), -1)
        if task.matrix:
            square = y.reshape(-1, task.n, task.n)
            y = jnp.einsum("bij,bjk,blk->bil", elements, square, elements).reshape(len(x), -1)
        return jnp.concatenate([scalars, moved], axis=1), y

    return move


@dataclass
class Contender:
    """A rival in one task: a trainer, or the reason for skipping it."""

    rival: str
    trainer: Trainer | None = None
    parameters: int = 0
    build_seconds: float | None = None
    reason: str | None = None


def prepare(rival: str, task: Task, data: Data, budget: Budget, seed: int) -> Contender:
    """Build and compile a rival."""
    found = Contender(rival)
    start = time.perf_counter()
    try:
        with time_limit(budget.prepare, "building it"):
            model = MAKERS[rival](task, seed)
            jax.block_until_ready(model.parameters)
    except Skip as reason:
        found.reason = str(reason)
        return found
    found.build_seconds, found.parameters = time.perf_counter() - start, model.size
    augment = augmentation(task, data) if rival == "MLP, augmented" else None
    parts = (data.train, data.validation, data.test)
    found.trainer = Trainer(model.apply, model.parameters, *parts, budget, augment)
    return found


def measure(case: Case, contender: Contender, data: Data, seed: int) -> Measurement:
    """Train one rival on one number of points."""
    m = Measurement({"task": case.task, "train": case.train}, "train", contender.rival)
    if contender.trainer is None:
        m.status, m.reason = "skipped", contender.reason
        return m
    outcome = contender.trainer.fit(case.train, seed)
    m.prepare_seconds, m.compile_seconds = contender.build_seconds, contender.trainer.compile_seconds
    error = outcome.test * data.scale**2
    scores: dict[str, Any] = {
        "test_mse": error,
        "error_over_variance": error / data.variance,
        "validation_mse": outcome.validation * data.scale**2,
        "variance": data.variance,
        "parameters": contender.parameters,
        "build_seconds": contender.build_seconds,
        "compile_seconds": contender.trainer.compile_seconds,
        "step_ms": outcome.step_seconds * 1e3,
        "steps": outcome.steps,
    }
    m.scores = {name: float(value) for name, value in scores.items()}
    if not np.isfinite(error):
        m.status, m.reason, m.scores = "failed", "training diverged", None
    return m


def run(quick: bool, seed: int, tell: Callable[[str], None]) -> Iterator[list[Measurement]]:
    """Train every rival on every task and number of points."""
    budget, wanted = limits(quick), cases(quick)
    load_emlp()  # importing it takes seconds, which are not part of its basis
    for task in TASKS.values():
        sizes = [case.train for case in wanted if case.task == task.name]
        data = make_data(task, max(sizes), VALIDATION, TEST, seed)
        contenders = []
        for rival in RIVALS:
            tell(f"{task.name}: build and compile {rival}")
            contenders.append(prepare(rival, task, data, budget, seed))
        for case in (Case(task.name, size) for size in sizes):
            found = []
            for contender in contenders:
                tell(f"{task.name}, {case.train} points: train {contender.rival}")
                found.append(measure(case, contender, data, seed))
            yield found
