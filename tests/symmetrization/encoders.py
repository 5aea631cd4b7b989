"""What the tests of canonical forms by energy share: functions that commute with nothing."""

import jax.numpy as jnp
import numpy as np


def weights(*shape, seed=0, dtype=np.float32):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape) / np.sqrt(shape[0]), dtype)


def energy(x):
    """Any function of the entries, which commutes with nothing."""
    flat = x.reshape(x.shape[0], -1)
    return jnp.tanh(flat @ weights(flat.shape[1], 4, dtype=x.dtype)) @ weights(4, seed=1, dtype=x.dtype)


def mixed(x, axes):
    """A backbone that commutes with nothing: all entries of the last axes are mixed."""
    flat = x.reshape(*x.shape[: x.ndim - axes], -1)
    return jnp.tanh(flat @ weights(flat.shape[-1], flat.shape[-1], seed=3, dtype=x.dtype)).reshape(x.shape)
