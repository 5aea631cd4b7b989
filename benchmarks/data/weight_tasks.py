"""Tasks on zoos: predict what a network computes, or how well, from its parameters."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.core.benchmark import Tell
from benchmarks.core.fitting import Rows
from benchmarks.core.folders import SCRATCH
from benchmarks.core.task import Move, Sizes, Task, Test
from benchmarks.data.zoos import Zoo, classifiers, images, sines
from equikit.weightspace import Specification


@dataclass(frozen=True)
class WeightTask:
    """A task, and the properties of its networks.

    Attributes:
        task: rows are trees of parameters, and targets.
        spec: the symmetry of the parameters, read off the program.
        zoo: the networks and their targets.
        outputs: how many numbers are predicted for each.
    """

    task: Task
    spec: Specification
    zoo: Zoo
    outputs: int


MAKERS: dict[str, Callable[[Sizes, int, Tell], Zoo]] = {
    "sines": lambda sizes, seed, tell: sines(SCRATCH, sizes.total, seed, tell),
    "images": lambda sizes, seed, tell: images(SCRATCH, sizes.train, sizes.validation + sizes.test, seed, tell)[0],
    **{
        name: lambda sizes, seed, tell, name=name: classifiers(name, SCRATCH, sizes.total, seed, tell)
        for name in ("perceptrons", "convolutional networks", "recurrent networks")
    },
}


def make(name: str, sizes: Sizes, seed: int, tell: Tell) -> WeightTask:
    """A task, with parameters moved by random elements as the second test."""
    zoo = MAKERS[name](sizes, seed, tell)
    spec = zoo.specification()
    classes = name == "images"
    targets = zoo.targets if classes else _standard(zoo.targets, sizes.train)
    rows = {key: array[: sizes.train] for key, array in zoo.params.items()}, targets[: sizes.train]
    kind: Any = "classes" if classes else "numbers" if name == "sines" else "ranks"
    every = tests(zoo, spec, targets, sizes, seed)
    return WeightTask(Task(name, rows, every, sizes.recipe, moves(spec), kind), spec, zoo, 10 if classes else 1)


def tests(zoo: Zoo, spec: Specification, targets: np.ndarray, sizes: Sizes, seed: int) -> dict[str, Test]:
    """The last rows as they are, and moved by random elements."""
    last = slice(sizes.train + sizes.validation, sizes.total)
    inputs = jax.tree.map(lambda array: jnp.asarray(array[last]), zoo.params)
    moved = jax.jit(spec.augment)(inputs, key=jax.random.key(seed + 1))
    return {"as drawn": Test((inputs, targets[last])), "moved": Test((moved, targets[last]), lambda y: y)}


def moves(spec: Specification) -> Move:
    """Return the function that moves every row by a random element of its own."""

    def move(key: jax.Array, rows: Rows) -> Rows:
        params, y = rows
        return spec.augment(params, key=key), y

    return move


def _standard(targets: np.ndarray, train: int) -> np.ndarray:
    """Standardize to mean zero and variance one over the training rows."""
    return ((targets - np.mean(targets[:train])) / np.std(targets[:train])).astype(np.float32)
