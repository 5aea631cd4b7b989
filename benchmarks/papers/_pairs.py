"""Barriers of the loss between two networks: unchanged, aligned, and with broken symmetry."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from benchmarks.core.fitting import Recipe, fit
from benchmarks.core.measurement import Measurement, Skip, skipped
from benchmarks.core.scores import Bound
from benchmarks.data.digits import Digits
from benchmarks.data.mnist import mnist
from equikit.weightspace import AsymmetricMLP, align, barrier, interpolate, trace

Tell = Callable[[str], None]
HIDDEN, CLASSES, PIXELS = 3, 10, 784
RIVALS = {
    "as they are": "two networks from two starts, and the straight line between them",
    "weight matching": "one of them permuted so that its weights come close to those of the other",
    "activation matching": "the same for what both compute from the training images",
    "straight through": "the same for the loss of the mean of both, by training",
    "W-Asym": "networks some of whose weights are fixed, as they are",
    "σ-Asym": "networks with fixed gates in place of activations, as they are",
}
ALIGNED = ("weight matching", "activation matching", "straight through")
BROKEN = {"W-Asym": "weights", "σ-Asym": "gates"}
PUBLISHED = {
    ("MNIST, width 512", "as they are"): "0.188 [5]",
    ("MNIST, width 512", "weight matching"): "-0.006 [5]",
    ("MNIST, width 512", "W-Asym"): "-0.012 [5]",
    ("MNIST, width 512", "σ-Asym"): "0.117 [5]",
}
KNOWN = {"weight matching": (0.26, 0.12)}
"""Known barriers of training and test loss for these networks and images at width 512."""
TARGETS = tuple(
    Bound(rival, {"task": "MNIST, width 512"}, f"barrier, {which}", most)
    for rival, both in KNOWN.items()
    for which, most in zip(("train", "test"), both, strict=True)
)


@dataclass(frozen=True)
class Sizes:
    """Widths of the hidden layers, images, and how networks are trained.

    Attributes:
        widths: one pair of networks each.
        broken: those for which asymmetric networks are trained too, and the straight-through estimator is run.
        train, test: images.
        recipe: of training.
        fixed: the share of the weights of a neuron that are fixed in W-Asym, and their scale.
        steps: of the straight-through estimator.
    """

    widths: tuple[int, ...]
    broken: tuple[int, ...]
    train: int
    test: int
    recipe: Recipe
    fixed: tuple[float, float]
    steps: int


QUICK = Sizes((32,), (32,), 500, 200, Recipe(2, 100, 1e-3), (0.5, 0.15), 4)
FULL = Sizes((128, 512, 1024), (512,), 4000, 1000, Recipe(15, 100, 1e-3), (0.5, 0.15), 200)


class Network(nnx.Module):
    """784 pixels to ten scores, with three hidden layers and ReLU."""

    def __init__(self, width: int, rngs: nnx.Rngs) -> None:
        widths = [PIXELS, *[width] * HIDDEN, CLASSES]
        self.layers = nnx.List([nnx.Linear(a, b, rngs=rngs) for a, b in pairwise(widths)])

    def __call__(self, x: jax.Array) -> jax.Array:
        for layer in self.layers[:-1]:
            x = jax.nn.relu(layer(x))
        return self.layers[-1](x)


@dataclass(frozen=True)
class Pair:
    """Two trained networks: their shared parts, the parameters of each, and the seconds of training."""

    static: Any
    rest: Any
    params: tuple[Any, Any]
    seconds: float

    def apply(self, params: Any, x: jax.Array) -> jax.Array:
        """Scores."""
        found: jax.Array = nnx.merge(self.static, params, *self.rest)(x)
        return found

    def loss(self, params: Any, batch: tuple[jax.Array, jax.Array]) -> jax.Array:
        """The mean cross entropy."""
        x, y = batch
        return jnp.mean(optax.softmax_cross_entropy_with_integer_labels(self.apply(params, x), y))


def trained(make: Callable[[int], nnx.Module], train: Digits, recipe: Recipe, seed: int, tell: Tell) -> Pair:
    """Two networks, from two starts and with batches in two orders."""

    def loss(module: Any, rows: Any, key: jax.Array) -> jax.Array:
        x, y = rows
        return jnp.mean(optax.softmax_cross_entropy_with_integer_labels(module(x), y))

    rows, found = (train.inputs, train.labels), []
    for which in range(2):
        fitted = fit(make(2 * seed + which), loss, rows, recipe, 2 * seed + which, lambda share: tell(f"{share:.0%}"))
        found.append((nnx.split(fitted.module, nnx.Param, ...), fitted.seconds))
    ((static, one, *rest), first), ((_, two, *_), second) = found
    return Pair(static, rest, (one, two), first + second)


def line(pair: Pair, params: tuple[Any, Any], data: dict[str, Digits]) -> dict[str, float]:
    """Barriers of the losses, and errors of the network half-way."""
    found = {}
    half = interpolate(*params, 0.5)
    for name, some in data.items():
        batch = jnp.asarray(some.inputs), jnp.asarray(some.labels)
        along = barrier(lambda p, batch=batch: pair.loss(p, batch), *params, points=11)
        found[f"barrier, {name}"] = along.barrier
        scores = pair.apply(half, batch[0])
        found[f"error half-way, {name}"] = float(np.mean(np.argmax(scores, -1) != some.labels))
    ends = [np.argmax(pair.apply(one, jnp.asarray(data["test"].inputs)), -1) for one in params]
    return found | {"error of the two, test": float(np.mean([np.mean(end != data["test"].labels) for end in ends]))}


def cases(sizes: Sizes) -> list[str]:
    """In the order in which they are run."""
    return [f"MNIST, width {width}" for width in sizes.widths]


def run(sizes: Sizes, seed: int, tell: Tell) -> Iterator[list[Measurement]]:
    """Barriers for every width and rival."""
    for width in sizes.widths:
        yield of_width(width, sizes, seed, tell)


def of_width(width: int, sizes: Sizes, seed: int, tell: Tell) -> list[Measurement]:
    """Barriers of all rivals."""
    case = f"MNIST, width {width}"
    rivals = ["as they are", *ALIGNED, *BROKEN] if width in sizes.broken else ["as they are", *ALIGNED[:2]]
    about = {"task": case, "train": sizes.train}
    try:
        data = mnist(seed)
    except Skip as reason:
        return skipped(about, rivals, reason)
    records = {rival: Measurement(dict(about), "train", rival) for rival in rivals}
    train, test = data.take(slice(0, sizes.train)), data.take(slice(sizes.train, sizes.train + sizes.test))
    parts = {"train": train, "test": test}

    def pair_of(rival: str, make: Callable[[int], nnx.Module]) -> Pair:
        pair = trained(make, train, sizes.recipe, seed, lambda text: tell(f"{case}: {rival}, {text}"))
        records[rival].scores = line(pair, pair.params, parts) | {"seconds": pair.seconds}
        return pair

    pair = pair_of("as they are", lambda one: Network(width, nnx.Rngs(one)))
    for rival in rivals[1:]:
        if rival in BROKEN:
            pair_of(rival, lambda one, kind=BROKEN[rival]: broken(width, kind, sizes, seed, one))
            continue
        tell(f"{case}: {rival}")
        start = time.perf_counter()
        aligned = matched(rival, pair, train, sizes)
        seconds = time.perf_counter() - start
        records[rival].scores = line(pair, (pair.params[0], aligned), parts) | {"seconds": seconds}
    return [*records.values()]


def broken(width: int, kind: Any, sizes: Sizes, seed: int, one: int) -> nnx.Module:
    """Return a network without symmetry: both of a pair share the key, but not the trained weights.

    The matrix of the gates is scaled so that what goes into them has the variance of the features.
    """
    widths, (share, scale) = [PIXELS, *[width] * HIDDEN, CLASSES], sizes.fixed
    options: dict[str, Any] = {"key": jax.random.key(seed), "rngs": nnx.Rngs(one)}
    if kind == "gates":
        return AsymmetricMLP(widths, how="gates", scale=width**-0.5, **options)
    fixed = [round(share * before) for before in widths[:-1]]
    return AsymmetricMLP(widths, how="weights", fixed=fixed, scale=scale, **options)


def matched(rival: str, pair: Pair, train: Digits, sizes: Sizes) -> Any:
    """The second network, moved."""
    x, y = jnp.asarray(train.inputs), jnp.asarray(train.labels)
    spec = trace(pair.apply, pair.params[0], x[:2])
    if rival == "weight matching":
        return align(spec, *pair.params)
    if rival == "activation matching":
        return align(spec, *pair.params, how="activations", apply=pair.apply, x=x)
    size = sizes.recipe.batch
    batches = [(x[i : i + size], y[i : i + size]) for i in range(0, len(x), size)]
    return align(spec, *pair.params, how="straight_through", loss=pair.loss, batches=batches, steps=sizes.steps)
