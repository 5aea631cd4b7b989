"""A zoo of many architectures: networks of six families that classify digits, each with a recipe of its own."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.core.benchmark import Tell
from benchmarks.core.cache import cached
from benchmarks.data.digits import digits
from benchmarks.data.zoos import SHARE_OF_TESTS, accuracies, classification, log_uniform, recipes, train_many
from benchmarks.models.architectures import Architecture, architectures
from benchmarks.models.zoo import Params

SETTLED = 256
"""Training images that determine the statistics of batch normalization."""


@dataclass(frozen=True)
class Population:
    """Networks of one architecture.

    Attributes:
        architecture: see there.
        params: arrays with one row a network.
        accuracy: of each network on unseen digits.
    """

    architecture: Architecture
    params: dict[str, np.ndarray]
    accuracy: np.ndarray


def mixed_zoo(
    folder: Path, count: int, seed: int, tell: Tell, *, steps: int = 240, batch: int = 16
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
    """
    data = digits(seed)
    split = round(SHARE_OF_TESTS * len(data))
    test, train = data.take(slice(0, split)), data.take(slice(split, len(data)))
    found = []
    for number, one in enumerate(one for of in architectures().values() for one in of):
        name = f"{one.family}, {one.name}"
        generator = np.random.default_rng([seed, 3, number])
        own = recipes(generator, one.rates, count)
        own["steps"] = log_uniform(generator, steps / 8, steps, count).round()

        def make(one: Architecture = one, name: str = name, own: dict[str, np.ndarray] = own) -> dict[str, np.ndarray]:
            x = one.inputs(jnp.asarray(train.inputs))
            loss = classification(one.model, x, jnp.asarray(train.labels), batch)
            params = train_many(name, one.model, loss, own, count, steps, seed, tell, chunk=min(count, 64))
            if one.settle is not None:
                settle = one.settle
                shown = x[:SETTLED]

                def settled(p: Params) -> Params:
                    return settle(p, shown)

                params = jax.tree.map(np.asarray, jax.jit(jax.vmap(settled))(params))
            right = accuracies(one.test, params, one.inputs(jnp.asarray(test.inputs)), test.labels)
            return {**params, "accuracy": right}

        settings = {"count": count, "seed": seed, "steps": steps, "batch": batch, "rates": one.rates, "number": number}
        arrays = dict(cached(folder, "mixed-" + name.replace(",", "").replace(" ", "-"), settings, make))
        accuracy = arrays.pop("accuracy")
        found.append(Population(one, arrays, accuracy))
    return found
