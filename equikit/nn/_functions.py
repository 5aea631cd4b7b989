"""Activations as plain functions, because the activations of `jax.nn` cannot be pickled."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp

Activation = Callable[[jax.Array], jax.Array]
"""A function that is applied to each number of an array by itself, such as `jnp.tanh`."""


def relu(x: jax.Array) -> jax.Array:
    """Return the positive part of each entry."""
    return jax.nn.relu(x)


def silu(x: jax.Array) -> jax.Array:
    """Return each entry times its logistic sigmoid, or the sigmoid of its real part if it is complex."""
    return x * sigmoid(x) if jnp.iscomplexobj(x) else jax.nn.silu(x)


def sigmoid(x: jax.Array) -> jax.Array:
    """Return the logistic sigmoid of each entry, or of its real part if it is complex."""
    return jax.nn.sigmoid(x.real if jnp.iscomplexobj(x) else x)
