"""Training on graphs with standardized targets; the best parameters on the validation graphs are kept."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jaxtyping import Float

from equikit import _checks
from equikit.demo._data import Graphs, Split
from equikit.train import fit

Batch = tuple[jax.Array, jax.Array, jax.Array]
"""Adjacency matrices, masks, and standardized targets."""


@dataclass(frozen=True, slots=True, eq=False)
class Trained:
    """A trained model, with the best parameters on the validation graphs.

    Attributes:
        model: takes `[graphs, n, n, 1]` and `mask=`, returns standardized targets.
        mean, std: of the targets of the training graphs.
        losses: mean absolute error of standardized targets in each epoch: training, validation. Not squared, because
            the few graphs with one or two nodes would dominate.
        best: the epoch whose parameters were kept.
    """

    model: Any
    mean: Float[np.ndarray, " targets"]
    std: Float[np.ndarray, " targets"]
    losses: Float[np.ndarray, "epochs 2"]
    best: int

    def predict(self, graphs: Graphs) -> Float[np.ndarray, "graphs targets"]:
        """Predict the targets of graphs, in their own units."""
        scaled = _forward(*nnx.split(self.model), jnp.asarray(graphs.adjacency), jnp.asarray(graphs.mask))
        result: np.ndarray = np.asarray(scaled) * self.std + self.mean
        return result


@jax.jit(static_argnums=0)
def _forward(graphdef: Any, state: Any, adjacency: jax.Array, mask: jax.Array) -> jax.Array:
    result: jax.Array = nnx.merge(graphdef, state)(adjacency[..., None], mask=mask)
    return result


def _errors(model: Any, batch: Batch) -> tuple[jax.Array, jax.Array]:
    """Return the mean squared error, which is minimized, and the mean absolute error, which is recorded."""
    adjacency, mask, targets = batch
    error = model(adjacency[..., None], mask=mask) - targets
    return jnp.mean(error**2), jnp.mean(jnp.abs(error))


def _relabel(batch: Batch, *, key: jax.Array) -> Batch:
    """Permute the present nodes, like `Graphs.relabeled`, inside a compiled loop."""
    adjacency, mask, targets = batch
    order = jnp.argsort(jax.random.uniform(key, mask.shape) + ~mask, axis=1)
    rows = jnp.take_along_axis(adjacency, order[:, :, None], axis=1)
    return jnp.take_along_axis(rows, order[:, None, :], axis=2), mask, targets


def train(
    model: nnx.Module,
    data: Split,
    *,
    epochs: int,
    rate: float,
    seed: int,
    batch: int = 32,
    decay: float = 1e-4,
    relabel: bool = False,
    tell: Callable[[int, float], None] | None = None,
    devices: Sequence[jax.Device] | None = None,
) -> Trained:
    """Train a model with AdamW, a short warm-up and a cosine decay to zero, on the mean squared error.

    Args:
        model: a Flax module that takes `[batch, n, n, 1]` and `mask=` and returns `[batch, targets]`; it is not
            modified.
        data: graphs for training and for the choice of parameters; the test graphs are not used.
        epochs: passes over the training graphs.
        rate: the highest learning rate.
        seed: seed of the order of the graphs, and of `relabel`.
        batch: graphs in a minibatch; the remainder is another part of the graphs in every epoch.
        decay: weight decay.
        relabel: relabel the nodes at random whenever a graph is used.
        tell: called after every epoch with its number and its validation error.
        devices: devices that share every batch equally, as for `ek.train.fit`.

    Returns:
        The model with the parameters of the best epoch on the validation graphs, and the losses.

    Raises:
        OptionError: if there is no epoch, or no whole batch, or the devices do not divide it.
    """
    epochs = _checks.count("epochs", epochs, least=1, example=100)
    batch = _checks.count("batch", batch, least=1, most=len(data.train), example=min(32, len(data.train)))
    mean, std = data.train.targets.mean(0), data.train.targets.std(0)
    rows, held = ((part.adjacency, part.mask, (part.targets - mean) / std) for part in (data.train, data.validation))
    steps = len(data.train) // batch * epochs
    schedule = optax.warmup_cosine_decay_schedule(0.0, rate, max(1, steps // 20), steps)
    # Sums over seven nodes and their pairs make gradients of very different sizes; without the clip some runs diverge.
    optimizer = optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(schedule, weight_decay=decay))
    fitted = fit(
        model,
        _errors,
        rows,
        held,
        epochs=epochs,
        key=jax.random.key(seed),
        optimizer=optimizer,
        batch=batch,
        augment=_relabel if relabel else None,
        devices=devices,
        callback=None if tell is None else lambda epoch, _, validation: tell(epoch, validation),
    )
    return Trained(fitted.model, mean, std, fitted.losses, fitted.best)
