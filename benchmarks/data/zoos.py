"""Zoos: many networks trained at once, each with its own start, task or recipe."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from benchmarks.core.benchmark import Tell
from benchmarks.core.cache import cached
from benchmarks.data.digits import Digits, digits
from benchmarks.data.mnist import mnist
from benchmarks.models.zoo import PIXELS, Model, Params, convolutional, gru, perceptron, siren
from equikit.weightspace import Specification, trace

SIDE, PARTS = 28, 4
"""The pixels along the side of an image of MNIST, and how many parts of all pixels there are, one for each step."""
SHARE_OF_TESTS = 0.2
"""The number of digits that measure how well the networks of a zoo generalize."""


@dataclass(frozen=True)
class Zoo:
    """Networks of one architecture.

    Attributes:
        model: the architecture.
        params: arrays with one row a network.
        targets: the property to predict from the parameters, one row for each network.
    """

    model: Model
    params: dict[str, np.ndarray]
    targets: np.ndarray

    def specification(self) -> Specification:
        """The symmetry of the parameters, read off the program."""
        example = jax.tree.map(lambda array: jax.ShapeDtypeStruct(array.shape[1:], array.dtype), self.params)
        return trace(self.model.apply, example, self.model.example)


def train_many(
    name: str,
    model: Model,
    loss: Callable[[Params, Any, jax.Array], jax.Array],
    own: Any,
    count: int,
    steps: int,
    seed: int,
    tell: Tell,
    chunk: int = 64,
    cosine: bool = False,
    options: Mapping[str, Any] | None = None,
) -> dict[str, np.ndarray]:
    """Train networks by Adam, many at once.

    Args:
        name: for `tell`.
        model: the architecture.
        loss: parameters, what belongs to one network, and a key, to a number.
        own: arrays with one row for each network; `rate`, `scale` of the start, `decay`, and `steps` after which a
            network does not change set up the training.
        count: of networks.
        steps: of training.
        seed: of starts and batches.
        tell: receives the number of trained networks.
        chunk: networks that are trained at once, with one compiled program for all chunks.
        cosine: whether the rate falls to zero as a cosine.
        options: of the compiler.
    """
    adam = optax.scale_by_adam()
    factors = (1 + jnp.cos(jnp.pi * jnp.arange(steps) / steps)) / 2 if cosine else jnp.ones(steps)

    def one(key: jax.Array, own: Any) -> Params:
        start, draws = jax.random.split(key)
        params = model.init(start, own.get("scale", 1.0))

        def step(carry: Any, now: tuple[jax.Array, jax.Array, jax.Array]) -> tuple[Any, None]:
            (params, memory), (number, key, factor) = carry, now
            updates, memory = adam.update(jax.grad(loss)(params, own, key), memory)
            decay = own.get("decay", 0.0)
            rate = factor * own["rate"] * (number < own.get("steps", steps))
            params = jax.tree.map(lambda p, u: p - rate * (u + decay * p), params, updates)
            return (params, memory), None

        every = jnp.arange(steps), jax.random.split(draws, steps), factors
        (params, _), _ = jax.lax.scan(step, (params, adam.init(params)), every)
        return params

    run = jax.jit(jax.vmap(one), compiler_options=options)
    keys = jax.random.split(jax.random.key(seed), count)
    found = []
    for first in range(0, count, chunk):
        tell(f"{name}: {first} of {count} networks trained")
        # The last chunk is padded, so that all chunks share one program.
        index = np.minimum(np.arange(first, first + chunk), count - 1)
        found.append(jax.tree.map(np.asarray, run(keys[index], jax.tree.map(lambda a, i=index: a[i], own))))
    return {key: np.concatenate([part[key] for part in found])[:count] for key in found[0]}


def log_uniform(generator: np.random.Generator, low: float, high: float, count: int) -> np.ndarray:
    """Draw numbers whose logarithms are uniform."""
    return np.exp(generator.uniform(np.log(low), np.log(high), count)).astype(np.float32)


def sines(folder: Path, count: int, seed: int, tell: Tell, steps: int = 300, points: int = 64) -> Zoo:
    """Networks for x to sin(a x) on [-π, π], with a from 0.5 to 10; the target is a."""
    model = siren((1, 32, 32, 1))
    frequencies = np.random.default_rng(seed).uniform(0.5, 10, count).astype(np.float32)
    x = jnp.linspace(-np.pi, np.pi, points)[:, None]

    def loss(params: Params, own: Any, key: jax.Array) -> jax.Array:
        return jnp.mean((model.train(params, x / np.pi) - jnp.sin(own["target"] * x)) ** 2)

    def make() -> dict[str, np.ndarray]:
        own = {"target": frequencies, "rate": np.full(count, 3e-3, np.float32)}
        return train_many("sine networks", model, loss, own, count, steps, seed, tell)

    settings = {"count": count, "seed": seed, "steps": steps, "points": points}
    return Zoo(model, cached(folder, "sines", settings, make), frequencies)


def images(
    folder: Path, train: int, held: int, seed: int, tell: Tell, steps: int = 400, chunk: int = 64
) -> tuple[Zoo, np.ndarray]:
    """Networks from a position to the brightness of a digit of MNIST there; the target is the digit.

    If there are more training rows than images, images repeat with other starts; the rows that are held out, which come
    last, have other images. Every network has a start of its own. A step sees a quarter of the pixels. Starts are
    small and weights decay: otherwise a network with more weights than pixels stays close to its start, and its weights
    hardly depend on the image.

    Returns:
        The zoo, and the images `[rows, 784]`.
    """
    model, data = siren((2, 32, 32, 1), 6.0, 3.0), mnist(seed)
    shown = len(data) - held
    rows = np.concatenate([np.arange(train) % shown, np.arange(shown, len(data))])
    order = np.random.default_rng(0).permutation(SIDE**2).reshape(PARTS, -1)
    x = jnp.asarray(positions()[order])

    def loss(params: Params, own: Any, key: jax.Array) -> jax.Array:
        part = jax.random.randint(key, (), 0, PARTS)
        return jnp.mean((model.train(params, x[part])[:, 0] - own["image"][part]) ** 2)

    def make() -> dict[str, np.ndarray]:
        numbers = {"rate": 1e-2, "scale": 0.5, "decay": 0.03}
        own = {name: np.full(len(rows), value, np.float32) for name, value in numbers.items()}
        own["image"] = data.inputs[rows][:, order]
        return train_many("images as networks", model, loss, own, len(rows), steps, seed, tell, chunk, cosine=True)

    settings = {"train": train, "held": held, "seed": seed, "steps": steps}
    return Zoo(model, cached(folder, "mnist-images", settings, make), data.labels[rows]), data.inputs[rows]


def positions() -> np.ndarray:
    """The centers of all pixels of an image of MNIST, `[784, 2]`, from -1 to 1, row by row."""
    axis = np.linspace(-1, 1, SIDE, dtype=np.float32)
    return np.stack(np.meshgrid(axis, axis, indexing="ij"), -1).reshape(-1, 2)


def classifiers(
    name: str, folder: Path, count: int, seed: int, tell: Tell, *, steps: int = 150, batch: int = 32
) -> Zoo:
    """Networks that classify digits, with individual learning rates, starts, decays and lengths of training.

    The target is their accuracy on unseen digits.
    """
    model, rates = CLASSIFIERS[name]()
    data = digits(seed)
    split = round(SHARE_OF_TESTS * len(data))
    test, train = data.take(slice(0, split)), data.take(slice(split, len(data)))
    generator = np.random.default_rng([seed, 2])
    own = recipes(generator, rates, count)
    loss = classification(model, _flat(name, train), jnp.asarray(train.labels), batch)

    def make() -> dict[str, np.ndarray]:
        params = train_many(name, model, loss, own, count, steps, seed, tell)
        return {**params, "accuracy": accuracies(model.train, params, _flat(name, test), test.labels)}

    settings = {"count": count, "seed": seed, "steps": steps, "batch": batch, "rates": rates}
    found = dict(cached(folder, name.replace(" ", "-"), settings, make))
    accuracy = found.pop("accuracy")
    return Zoo(model, found, accuracy)


def recipes(generator: np.random.Generator, rates: tuple[float, float], count: int) -> dict[str, np.ndarray]:
    """Draw a rate of learning, a scale of the start, a decay, and the fraction of wrong labels for each network."""
    return {
        "rate": log_uniform(generator, *rates, count),
        "scale": log_uniform(generator, 0.3, 1.5, count),
        "decay": log_uniform(generator, 1e-4, 0.1, count),
        "noise": generator.choice([0.0, 0.3], count).astype(np.float32),
    }


def classification(
    model: Model, x: jax.Array, y: jax.Array, batch: int
) -> Callable[[Params, Any, jax.Array], jax.Array]:
    """Return the cross entropy on a random batch, some of whose labels are wrong."""

    def loss(params: Params, own: Any, key: jax.Array) -> jax.Array:
        draw, wrong, label = jax.random.split(key, 3)
        rows = jax.random.randint(draw, (batch,), 0, len(y))
        labels = jnp.where(
            jax.random.bernoulli(wrong, own["noise"], (batch,)), jax.random.randint(label, (batch,), 0, 10), y[rows]
        )
        return jnp.mean(optax.softmax_cross_entropy_with_integer_labels(model.train(params, x[rows]), labels))

    return loss


CLASSIFIERS: dict[str, Callable[[], tuple[Model, tuple[float, float]]]] = {
    "perceptrons": lambda: (perceptron((PIXELS**2, 32, 32, 10)), (1e-4, 3e-3)),
    "convolutional networks": lambda: (convolutional((8, 16)), (3e-4, 2e-2)),
    "recurrent networks": lambda: (gru(16), (3e-4, 2e-2)),
}
"""The models, and from which rates of learning to which they are trained."""


def _flat(name: str, data: Digits) -> jax.Array:
    images = jnp.asarray(data.inputs)
    return images.reshape(len(images), -1) if name == "perceptrons" else images


def accuracies(
    apply: Callable[[Params, jax.Array], jax.Array],
    params: dict[str, np.ndarray],
    x: jax.Array,
    labels: np.ndarray,
    chunk: int = 64,
    options: Mapping[str, Any] | None = None,
) -> np.ndarray:
    """Return the share of right answers of every network."""
    run = jax.jit(jax.vmap(lambda p: jnp.mean(jnp.argmax(apply(p, x), -1) == labels)), compiler_options=options)
    count = len(next(iter(params.values())))
    parts = [run({key: a[i : i + chunk] for key, a in params.items()}) for i in range(0, count, chunk)]
    return np.concatenate(parts).astype(np.float32)
