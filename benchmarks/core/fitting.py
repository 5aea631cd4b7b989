"""Training of rivals on a task: one recipe for all rivals."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
import optax
from flax import nnx
from jax import lax

import equikit as ek

Rows = Any
"""A tree of arrays that have one row an example."""
Apply = Callable[[Any, Rows, jax.Array], jax.Array]
"""Maps a module, rows of inputs and a key to outputs."""
Loss = Callable[[Any, Rows, jax.Array], jax.Array]
"""Maps a module, the rows of a batch and a key to a number."""


@dataclass(frozen=True)
class Recipe:
    """How all rivals of a task are trained.

    Attributes:
        epochs: passes over the training rows, each in its own order; rows that do not fill a batch are left out.
        batch: rows in a step.
        rate: the learning rate of Adam, which falls to zero as a cosine.
    """

    epochs: int
    batch: int
    rate: float

    def steps(self, rows: int) -> int:
        """The total number of steps."""
        return self.epochs * (rows // self.batch)


@dataclass(frozen=True)
class Fitted:
    """A module after training.

    Attributes:
        module: with the parameters of the last step.
        seconds: of all epochs: their number times the median of all but the first.
        compile_seconds: the first epoch minus that median.
        losses: the mean loss of each epoch.
    """

    module: Any
    seconds: float
    compile_seconds: float
    losses: tuple[float, ...]


def rows_of(tree: Rows) -> int:
    """The number of examples."""
    return int(jax.tree.leaves(tree)[0].shape[0])


def fit(
    module: nnx.Module,
    loss: Loss,
    rows: Rows,
    recipe: Recipe,
    seed: int,
    tell: Callable[[float], None] | None = None,
    optimizer: optax.GradientTransformation | None = None,
) -> Fitted:
    """Train a copy of a module with `ek.train.fit`.

    Args:
        module: left as it is.
        loss: a function of a module, a batch and a key; every step has a new key.
        rows: a tree of arrays, one row an example.
        recipe: see `Recipe`.
        seed: of the order of rows and of the keys.
        tell: called with the fraction that is done.
        optimizer: in place of Adam with the rate of the recipe.
    """
    found = ek.train.fit(
        module,
        lambda module, batch, *, key: loss(module, batch, key),
        rows,
        epochs=recipe.epochs,
        batch=recipe.batch,
        optimizer=recipe.rate if optimizer is None else optimizer,
        key=jax.random.key(seed),
        callback=None if tell is None else lambda epoch, *_: tell((epoch + 1) / recipe.epochs),
    )
    each = float(np.median(found.seconds[1:])) if recipe.epochs > 1 else 0.0
    first = float(found.seconds[0])
    return Fitted(found.model, recipe.epochs * each, first - each, tuple(found.losses[:, 0].tolist()))


def predict(module: nnx.Module, apply: Apply, rows: Rows, seed: int = 0, batch: int = 250) -> np.ndarray:
    """Apply a module to rows, one batch at a time and each with its own key; outputs have one row per example."""
    static, state = nnx.split(module)
    count = rows_of(rows)
    parts = -(-count // batch)

    def cut(a: Any) -> np.ndarray:
        padded = np.asarray(a)[np.arange(parts * batch) % count]  # the first rows fill up the last batch
        return padded.reshape(parts, batch, *padded.shape[1:])

    keys = jax.random.split(jax.random.key(seed), parts)
    found = np.asarray(_predicted(static, apply, state, jax.tree.map(cut, rows), keys))
    return found.reshape(parts * batch, *found.shape[2:])[:count]


@functools.partial(jax.jit, static_argnums=(0, 1))
def _predicted(static: Any, apply: Apply, state: Any, cut: Rows, keys: jax.Array) -> jax.Array:
    """Return the outputs for all batches; a module before and after training shares the program."""
    found: jax.Array = lax.map(lambda of: apply(nnx.merge(static, state), *of), (cut, keys))
    return found
