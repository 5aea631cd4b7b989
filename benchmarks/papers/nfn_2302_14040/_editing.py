"""Edits of networks that show an image, so that they show it dilated."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from scipy.ndimage import grey_dilation

from benchmarks.core.benchmark import Tell
from benchmarks.core.bounds import Bound
from benchmarks.core.fitting import Recipe
from benchmarks.core.folders import SCRATCH
from benchmarks.core.task import Sizes, Task
from benchmarks.core.trained import Rival
from benchmarks.data.weight_tasks import moves, tests
from benchmarks.data.zoos import SIDE, images, positions
from benchmarks.models.networks import Perceptron
from benchmarks.models.weight_networks import flattened, probes_of
from benchmarks.models.zoo import Model
from benchmarks.papers._zoo_tasks import Zoos
from equikit.weightspace import NFN, DWSNet, Functional, Specification, Standardize

TASK = "dilate"
QUICK, FULL = Sizes(16, 0, 16, Recipe(2, 8, 1e-3)), Sizes(4000, 500, 500, Recipe(10, 32, 3e-3))
MEMBERS, WIDTH, HIDDEN, STEP = 4, 16, 256, 0.01
RIVALS = {
    "scaled": "every array times a learned number, which is the same for all networks",
    "NFN, members": f"{MEMBERS} changes instead of one; the image is the mean of what the changed networks show",
    "NFN, probes": "a single change, told also from the activations of the network at learned positions",
}
"""Those that other tasks do not have."""
EQUIVARIANT = ("DWSNet", "NFN", "NFN, members", "NFN, probes")
TARGETS = tuple(Bound(rival, {"task": TASK}, "difference, moved", 1e-3) for rival in EQUIVARIANT)


@dataclass(frozen=True)
class Editing:
    """The task, the networks that are edited, and the symmetry of their weights."""

    task: Task
    model: Model
    spec: Specification


class Scaled(nnx.Module):
    """No change; `Edited` multiplies the arrays."""

    def __call__(self, params: Any) -> Any:
        """Return the parameters."""
        return params


class Flat(nnx.Module):
    """A perceptron from all weights to all weights."""

    def __init__(self, task: Editing, rngs: nnx.Rngs) -> None:
        example = task.task.train[0]
        self.standardize = Standardize(task.spec, example)
        self.sizes = tuple((key, math.prod(array.shape[1:])) for key, array in sorted(example.items()))
        count = sum(size for _, size in self.sizes)
        self.network = Perceptron([count, HIDDEN, HIDDEN, HIDDEN, count], rngs, jax.nn.relu)

    def __call__(self, params: Any) -> Any:
        """Parameters `[N, ...]` to changes of them."""
        found = self.network(flattened(self.standardize(params)))
        parts = jnp.split(found, np.cumsum([size for _, size in self.sizes])[:-1], axis=-1)
        return {key: part.reshape(params[key].shape) for (key, _), part in zip(self.sizes, parts, strict=True)}


class Edited(nnx.Module):
    """The images that networks show after a change of their weights.

    Args:
        change: parameters `[N, ...]` to changes of them, `[N, ...]` or `[members, N, ...]`.
        task: see `Editing`.
    """

    def __init__(self, change: Any, task: Editing) -> None:
        self.change, self.show = change, functools.partial(shown, task.model.train)
        self.steps = nnx.Dict({key: nnx.Param(jnp.full((), STEP)) for key in task.task.train[0]})
        self.members = isinstance(change, Functional) and change.members > 1

    def __call__(self, params: Any) -> jax.Array:
        """Parameters `[N, ...]` to images `[N, 784]` from -1 to 1."""
        changes = self.change(params)
        edited = {key: array + self.steps[key][...] * changes[key] for key, array in params.items()}
        show = jax.vmap(self.show)
        return jnp.mean(jax.vmap(show)(edited), axis=0) if self.members else show(edited)


def shown(apply: Callable[[Any, jax.Array], jax.Array], params: Any) -> jax.Array:
    """The image of a network, `[784]`, from -1 to 1 as in the paper; the network itself computes it from 0 to 1."""
    return 2 * apply(params, jnp.asarray(positions()))[:, 0] - 1


def dilated(pictures: np.ndarray) -> np.ndarray:
    """Give every pixel of images `[N, 784]` the maximum of the 3 × 3 pixels around it."""
    found: np.ndarray = grey_dilation(pictures.reshape(-1, SIDE, SIDE), size=(1, 3, 3))
    return found.reshape(len(pictures), -1)


def make(name: str, sizes: Sizes, seed: int, tell: Tell) -> Editing:
    """The task: parameters, and the dilated image."""
    zoo, pictures = images(SCRATCH, sizes.train, sizes.validation + sizes.test, seed, tell)
    spec, targets = zoo.specification(), 2 * dilated(pictures) - 1
    rows = {key: array[: sizes.train] for key, array in zoo.params.items()}, targets[: sizes.train]
    return Editing(
        Task(name, rows, tests(zoo, spec, targets, sizes, seed), sizes.recipe, moves(spec), "numbers"), zoo.model, spec
    )


def _functional(kind: Callable[..., nnx.Module], **options: Any) -> Callable[[Editing, nnx.Rngs], nnx.Module]:
    def build(task: Editing, rngs: nnx.Rngs) -> nnx.Module:
        return kind(task.spec, [1, WIDTH, WIDTH, WIDTH, 1], statistics=task.task.train[0], rngs=rngs, **options)

    return build


MAKE: Mapping[str, Callable[[Editing, nnx.Rngs], nnx.Module]] = {
    "scaled": lambda task, rngs: Scaled(),
    "flat": Flat,
    "DWSNet": _functional(DWSNet),
    "NFN": _functional(NFN),
    "NFN, members": _functional(NFN, members=MEMBERS),
    "NFN, probes": lambda task, rngs: _functional(NFN, probes=probes_of(task.spec, task.model, 0))(task, rngs),
}


def _rival(change: Callable[[Editing, nnx.Rngs], nnx.Module], task: Editing, seed: int) -> Rival:
    return Rival(Edited(change(task, nnx.Rngs(seed)), task), lambda module, inputs, key: module(inputs))


EDITS = Zoos({TASK: FULL}, QUICK, make, {name: functools.partial(_rival, change) for name, change in MAKE.items()})
"""The task and its rivals."""
