"""A zoo of many architectures: networks of six families that classify digits, each with a recipe of its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.core.benchmark import Tell
from benchmarks.core.cache import cached
from benchmarks.data.digits import Digits, digits
from benchmarks.data.zoos import SHARE_OF_TESTS, accuracies, classification, log_uniform, recipes, train_many
from benchmarks.models.architectures import Architecture, architectures
from benchmarks.models.zoo import Params

SETTLED = 256
"""Training images that determine the statistics of batch normalization."""
OPTIONS = {"xla_backend_optimization_level": 1}
"""Programs run as fast as with all optimizations, and compile four times as fast; each architecture needs three."""
SHARES = (0.7, 0.1)
"""Of the networks of each architecture, for training and for validation."""


@dataclass(frozen=True)
class Population:
    """Networks of one architecture.

    Attributes:
        architecture: see there.
        params: arrays with one row a network, in the order in which the network uses them.
        accuracy: of each network on unseen digits.
    """

    architecture: Architecture
    params: dict[str, np.ndarray]
    accuracy: np.ndarray

    def take(self, rows: np.ndarray | slice) -> Population:
        """Some of the networks."""
        params = {name: array[rows] for name, array in self.params.items()}
        return Population(self.architecture, params, self.accuracy[rows])


@dataclass(frozen=True)
class MixedTask:
    """Predict the accuracy of networks from their weights.

    Attributes:
        name: of the task.
        train, validation, test: networks of every architecture; within each part, there are equally many of each.
    """

    name: str
    train: Sequence[Population]
    validation: Sequence[Population]
    test: Sequence[Population]


def accuracy_of(part: Sequence[Population]) -> np.ndarray:
    """Return the accuracies of all networks, architecture by architecture."""
    return np.concatenate([one.accuracy for one in part])


def mixed_zoo(
    folder: Path, count: int, seed: int, tell: Tell, *, steps: int = 240, batch: int = 16, few: bool = False
) -> list[Population]:
    """Train networks of every architecture.

    They differ in rate of learning, start, decay, wrong labels, and the number of steps.

    Args:
        folder: of the cache, a file for each architecture.
        count: networks of each architecture.
        seed: of data, starts and recipes.
        tell: receives the number of trained networks.
        steps: of the longest training.
        batch: images in a step.
        few: whether only the first architecture of each family is trained.
    """
    data = digits(seed)
    split = round(SHARE_OF_TESTS * len(data))
    test, train = data.take(slice(0, split)), data.take(slice(split, len(data)))
    found = []
    for of in architectures().values():
        for number, one in enumerate(of[:1] if few else of):
            name = f"{one.family} {one.name}"
            generator = np.random.default_rng([seed, 3, number, *one.family.encode()])
            own = recipes(generator, one.rates, count)
            own["steps"] = log_uniform(generator, steps / 8, steps, count).round()
            settings = {"count": count, "seed": seed, "steps": steps, "batch": batch, "rates": one.rates}
            make = _trainer(one, train, test, own, settings, tell)
            arrays = cached(folder, f"mixed-{name.replace(' ', '-')}", settings, make)
            found.append(Population(one, {key: arrays[key] for key in one.parameters()}, arrays["accuracy"]))
    return found


def _trainer(
    one: Architecture, train: Digits, test: Digits, own: dict[str, np.ndarray], settings: dict[str, Any], tell: Tell
) -> Callable[[], dict[str, np.ndarray]]:
    count, name = settings["count"], f"{one.family}, {one.name}"

    def make() -> dict[str, np.ndarray]:
        x = one.inputs(jnp.asarray(train.inputs))
        loss = classification(one.model, x, jnp.asarray(train.labels), settings["batch"])
        chunk = min(count, 64)
        params = train_many(
            name, one.model, loss, own, count, settings["steps"], settings["seed"], tell, chunk, OPTIONS
        )
        if one.settle is not None:
            settle, shown = one.settle, x[:SETTLED]

            def settled(p: Params) -> Params:
                return settle(p, shown)

            params = jax.tree.map(np.asarray, jax.jit(jax.vmap(settled), compiler_options=OPTIONS)(params))
        right = accuracies(one.test, params, one.inputs(jnp.asarray(test.inputs)), test.labels, chunk, OPTIONS)
        return {**params, "accuracy": right}

    return make


def within(zoo: Sequence[Population], seed: int) -> MixedTask:
    """Split the networks of every architecture at random."""
    parts: list[list[Population]] = [[], [], []]
    for number, one in enumerate(zoo):
        count = len(one.accuracy)
        order = np.random.default_rng([seed, 5, number]).permutation(count)
        ends = np.round(np.cumsum(SHARES) * count).astype(int)
        for part, rows in zip(parts, np.split(order, ends), strict=True):
            part.append(one.take(rows))
    return MixedTask("within the zoo", *parts)


def left_out(zoo: Sequence[Population], family: str, seed: int) -> MixedTask:
    """Train on all families but one, and test on all networks of this one."""
    whole = within(zoo, seed)
    train, validation = (
        [one for one in part if one.architecture.family != family] for part in (whole.train, whole.validation)
    )
    return MixedTask(f"without {family}", train, validation, [one for one in zoo if one.architecture.family == family])
