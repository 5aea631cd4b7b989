"""Rotations as a constraint, whose multiplier separates digits that keep their class from others (Hounie et al.)."""

from __future__ import annotations

import functools
from collections.abc import Callable
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
from benchmarks.core.measurement import Measurement
from benchmarks.data.digits import SIZE, digits, turned
from benchmarks.models.networks import Perceptron
from benchmarks.papers._dots import style

CONSTRAINED, AUGMENTED, PLAIN = "constrained", "augmented", "no augmentation"
RIVALS: dict[str, str] = {
    CONSTRAINED: "`ek.relax.Augmentation`: the loss on rotated images is at most 0.3",
    AUGMENTED: "the same network, with every image rotated in every step",
    PLAIN: "the same network",
}
TASKS = {"0 against 8": (0, 8), "6 against 9": (6, 9)}
MULTIPLIER = "multiplier"
PAPER = paper.read(Path(__file__).with_name("paper.toml"))
Rows = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True)
class Budget:
    """Training.

    Attributes:
        train: images to train on; the others are tested.
        batch: images in a step.
        epochs: passes over the images.
        rate: the highest learning rate of Adam.
        epsilon, dual: the bound on the loss of rotated images, and the learning rate of its multiplier.
    """

    train: int = 256
    batch: int = 64
    epochs: int = 125
    rate: float = 2e-3
    epsilon: float = 0.3
    dual: float = 1e-2


def limits(quick: bool) -> Budget:
    """Return the budget of every rival."""
    return Budget(epochs=10) if quick else Budget()


def cells(quick: bool) -> list[Cell]:
    """Return a cell for each pair of digits and rival."""
    return [Cell({"task": task}, "train", (rival,)) for task in TASKS for rival in RIVALS]


def rotated(x: jax.Array, *, key: jax.Array) -> jax.Array:
    """Rotate every image about its center by a random angle, with bilinear interpolation and zeros outside."""
    angle = jax.random.uniform(key, (len(x), 1, 1), maxval=2 * np.pi)
    center = (SIZE - 1) / 2
    row, column = jnp.mgrid[:SIZE, :SIZE] - center
    cos, sin = jnp.cos(angle), jnp.sin(angle)
    places = jnp.stack([cos * row + sin * column, cos * column - sin * row], 1) + center
    found: jax.Array = jax.vmap(lambda image, at: jax.scipy.ndimage.map_coordinates(image, [*at], 1))(x, places)
    return found


class Classifier(nnx.Module):
    """A multilayer perceptron on images, with scores of two classes."""

    def __init__(self, seed: int) -> None:
        self.network = Perceptron([SIZE**2, 128, 128, 2], nnx.Rngs(seed))

    def __call__(self, x: jax.Array) -> jax.Array:
        """Map images `[N, 8, 8]` to scores."""
        return self.network(x.reshape(len(x), -1))


def entropies(model: Any, batch: Any) -> jax.Array:
    """Return the cross-entropy of each image."""
    found: jax.Array = optax.softmax_cross_entropy_with_integer_labels(model(batch[0]), batch[1])
    return found


def mean_entropy(model: Any, batch: Any) -> jax.Array:
    """Return the mean cross-entropy."""
    return jnp.mean(entropies(model, batch))


def turn_batch(batch: Any, *, key: jax.Array) -> Any:
    """Rotate the images of a batch."""
    return rotated(batch[0], key=key), batch[1]


def scores(rival: str, train: Rows, test: Rows, budget: Budget, seed: int) -> dict[str, float]:
    """Train a rival, and return its errors and the multiplier."""
    model: nnx.Module = Classifier(seed)
    loss: Callable[..., Any] = mean_entropy
    if rival == CONSTRAINED:
        model = ek.relax.Augmentation(model, rotated, loss=entropies, epsilon=budget.epsilon, rate=budget.dual)
        loss = ek.relax.Augmentation.objective
    fitted = ek.train.fit(
        model,
        loss,
        train,
        epochs=budget.epochs,
        batch=budget.batch,
        key=jax.random.key(seed),
        optimizer=budget.rate,
        augment=turn_batch if rival == AUGMENTED else None,
    )
    x, labels = test
    moved = np.concatenate([turned(x, np.full(len(x), 15.0 * k)) for k in range(24)])
    wrong = np.argmax(np.asarray(fitted.model(jnp.concatenate([x, moved]))), 1) != np.tile(labels, 25)
    found = {
        "error, as drawn": float(np.mean(wrong[: len(x)])),
        "error, moved": float(np.mean(wrong[len(x) :])),
        "steps": float(budget.epochs * (budget.train // budget.batch)),
        "seconds": float(fitted.seconds[1:].sum()),
    }
    return found | ({MULTIPLIER: float(fitted.model.multiplier[...])} if rival == CONSTRAINED else {})


def start(quick: bool, seed: int, tell: Tell) -> Measure:
    """Return the function that trains and tests the rival of a cell."""
    budget = limits(quick)

    @functools.cache
    def data(pair: tuple[int, int]) -> tuple[Rows, Rows]:
        every = digits(seed)
        chosen = np.flatnonzero(np.isin(every.labels, pair))
        x, labels = every.inputs[chosen], (every.labels[chosen] == pair[1]).astype(np.int32)
        return (x[: budget.train], labels[: budget.train]), (x[budget.train :], labels[budget.train :])

    def measure(cell: Cell) -> list[Measurement]:
        (rival,), name = cell.rivals, cell.case["task"]
        tell(f"{name}: train {rival}")
        m = Measurement(dict(cell.case), cell.direction, rival)
        m.scores = scores(rival, *data(TASKS[name]), budget, seed)
        return [m]

    return measure


BENCHMARK = reproduction(
    title="Invariance-constrained augmentation",
    summary="digits under rotations: the multiplier separates 0 and 8 from 6 and 9",
    rivals=RIVALS,
    cells=cells,
    start=start,
    limits=limits,
    style=style(MULTIPLIER, "multiplier of the constraint"),
    paper=PAPER,
)
