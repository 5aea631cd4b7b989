"""Networks that are invariant, and networks whose invariance is relaxed."""

from __future__ import annotations

import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

import equikit as ek
from benchmarks.papers.explanations_2304_06715._data import Data

CHANNELS, HIDDEN = 16, 32
MODELS: dict[str, str] = {
    "invariant": "equivariant layers, means and maxima over all places, and two dense layers",
    "positions, 0.3": "the same, trained with fixed random numbers added at each place, of 0.3 times the inputs' scale",
    "positions, 1": "the same, with numbers of the inputs' scale",
    "augmented": "one dense layer for all places instead of means and maxima, trained on randomly moved inputs",
    "standard": "the same, without augmentation",
}


class Network(nnx.Module):
    """An equivariant body and a readout, invariant or not.

    Args:
        data: its axes, groups and classes.
        kind: one of `MODELS`.
        rngs: of initial parameters.
    """

    def __init__(self, data: Data, kind: str, rngs: nnx.Rngs) -> None:
        widths = (data.x.shape[-1], CHANNELS, CHANNELS)
        self.body = nnx.List([_layer(data, one, other, rngs) for one, other in itertools.pairwise(widths)])
        self.flat = kind in ("augmented", "standard")
        self.axes = tuple(range(-1 - len(data.axes), -1))
        entries = CHANNELS * (int(np.prod(data.axes)) if self.flat else 2)
        self.hidden = nnx.Linear(entries, HIDDEN, rngs=rngs)
        self.last = nnx.Linear(HIDDEN, data.classes, rngs=rngs)
        self.positions = nnx.Variable(jnp.asarray(_positions(data, kind)))

    def equivariant(self, x: jax.Array) -> jax.Array:
        """The values of the last equivariant layer, `[..., *axes, channels]`."""
        x = x + self.positions[...]
        for layer in self.body:
            x = jax.nn.relu(layer(x))
        return x

    def invariant(self, x: jax.Array) -> jax.Array:
        """The values of the hidden layer after the means and maxima, `[..., hidden]`."""
        y = self.equivariant(x)
        if self.flat:
            return jax.nn.relu(self.hidden(y.reshape(*y.shape[: y.ndim - 1 - len(self.axes)], -1)))
        pooled = [jnp.mean(y, axis=self.axes), jnp.max(y, axis=self.axes)]
        return jax.nn.relu(self.hidden(jnp.concatenate(pooled, axis=-1)))

    def __call__(self, x: jax.Array) -> jax.Array:
        """Return the scores of the classes."""
        scores: jax.Array = self.last(self.invariant(x))
        return scores


def _layer(data: Data, channels: int, features: int, rngs: nnx.Rngs) -> Any:
    """An equivariant layer: a circular convolution on grids, all linear maps for sets and graphs."""
    if data.term in ("p", "p p"):
        return ek.nn.Linear(f"{data.term} -> {data.term}", channels, features, p=ek.S, rngs=rngs)
    return nnx.Conv(channels, features, (5,) if data.term == "t" else (3, 3), padding="CIRCULAR", rngs=rngs)


def _positions(data: Data, kind: str) -> np.ndarray:
    share = float(kind.partition(", ")[2] or 0)
    drawn = np.random.default_rng(0).normal(size=data.x.shape[1:])
    if data.term == "p p":
        drawn = (drawn + drawn.swapaxes(0, 1)) / np.sqrt(2)
    return (share * data.x.std() * drawn).astype(np.float32)


def trained(data: Data, kind: str, rows: tuple[Any, Any], epochs: int, seed: int) -> Any:
    """Train a network with Adam in batches of 50."""

    def loss(model: Any, batch: Any) -> jax.Array:
        scores = jax.nn.log_softmax(model(batch[0]))
        return -jnp.mean(jnp.take_along_axis(scores, batch[1][:, None], axis=1))

    def augment(batch: Any, *, key: jax.Array) -> Any:
        return data.move(key, batch[0]), batch[1]

    return ek.train.fit(
        Network(data, kind, nnx.Rngs(seed)),
        loss,
        rows,
        epochs=epochs,
        batch=50,
        optimizer=5e-3,
        augment=augment if kind == "augmented" else None,
        key=jax.random.key(seed),
    ).model
