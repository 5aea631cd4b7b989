"""A task on which networks are trained, and the parts that all rivals share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import optax
from scipy.stats import kendalltau

from benchmarks.core.fitting import Recipe, Rows

Move = Callable[[jax.Array, Rows], Rows]
"""Maps a key and rows to rows, each moved with its target by a random element."""


@dataclass(frozen=True)
class Test:
    """Rows to test on.

    Attributes:
        rows: inputs and targets.
        act: maps outputs for the unmoved rows to the outputs expected for these; `None` for the unmoved rows.
    """

    rows: Rows
    act: Callable[[np.ndarray], np.ndarray] | None = None


@dataclass(frozen=True)
class Task:
    """A task.

    Attributes:
        name: in tables.
        train: inputs and targets; inputs are arrays or tuples of arrays.
        tests: the first has the distribution of the training rows; the others are the same rows, moved.
        recipe: how rivals are trained.
        move: what augmentation does to a batch.
        outputs: numbers, whose error is the mean squared error; scores of classes, whose error is the error rate; or
            ranks, numbers whose error is 1 - Kendall's tau.
    """

    name: str
    train: Rows
    tests: dict[str, Test]
    recipe: Recipe
    move: Move
    outputs: Literal["numbers", "classes", "ranks"] = "numbers"

    def loss(self, outputs: jax.Array, targets: jax.Array) -> jax.Array:
        """Return the training loss."""
        if self.outputs == "classes":
            return jnp.mean(optax.softmax_cross_entropy_with_integer_labels(outputs, targets))
        return jnp.mean((outputs - targets) ** 2)

    def error(self, outputs: np.ndarray, targets: np.ndarray) -> float:
        """Return the reported error."""
        if self.outputs == "classes":
            return float(np.mean(np.argmax(outputs, axis=-1) != targets))
        if self.outputs == "ranks":
            return 1 - float(kendalltau(outputs, targets).statistic)
        return float(np.mean((outputs.astype(np.float64) - targets) ** 2))


@dataclass(frozen=True)
class Sizes:
    """How many rows there are, how many are skipped between them, and how long training takes."""

    train: int
    validation: int
    test: int
    recipe: Recipe

    def parts(self, data: Any) -> tuple[Any, Any]:
        """Rows to train on, and rows to test on."""
        first = self.train + self.validation
        return data.take(slice(0, self.train)), data.take(slice(first, first + self.test))

    @property
    def total(self) -> int:
        """All rows."""
        return self.train + self.validation + self.test
