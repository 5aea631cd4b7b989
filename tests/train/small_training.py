"""A network of two numbers, its data, and losses, for tests of training."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from equikit.train import fit

KEY = jax.random.key(0)


class Affine(nnx.Module):
    """A network of two numbers, with dropout and a counter of calls if asked for."""

    def __init__(self, dropout=0.0):
        self.weight, self.shift = nnx.Param(jnp.float32(0.5)), nnx.Param(jnp.float32(0.0))
        self.calls = nnx.Variable(jnp.int32(0))
        self.dropout = nnx.Dropout(dropout, rngs=nnx.Rngs(3))

    def __call__(self, x):
        self.calls.set_value(self.calls[...] + 1)
        return self.dropout(x) * self.weight[...] + self.shift[...]


def data(rows=12):
    x = np.linspace(-1, 1, rows).astype(np.float32)
    return x, 3 * x + 1


def squared(model, batch):
    x, y = batch
    return jnp.mean((model(x) - y) ** 2)


def both(model, batch):
    """The loss and the mean absolute error."""
    x, y = batch
    error = model(x) - y
    return jnp.mean(error**2), jnp.mean(jnp.abs(error))


def trained(**options):
    return fit(Affine(), squared, data(), **{"epochs": 5, "key": KEY, "optimizer": optax.sgd(0.1)} | options)


def numbers(model):
    return np.array([model.weight[...], model.shift[...]])


def signed(model, batch):
    """The loss, and a measure that is better when it is higher."""
    loss, error = both(model, batch)
    return loss, -error
