"""Initial weights: normal numbers, scaled for each diagram, with few programs to compile.

A layer on many tensors has hundreds of parameters of many shapes. XLA would compile a generator of random numbers and
a product for each, and take seconds for it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike


def unit_normal(
    key: jax.Array, shape: Sequence[int], dtype: DTypeLike = jnp.float32, out_sharding: Any = None
) -> jax.Array:
    """Normal numbers of variance one: the first of as many as the next power of two, of which there are few."""
    count = math.prod(shape)
    drawn = jax.random.normal(key, (1 << max(count - 1, 0).bit_length(),), dtype)
    if isinstance(drawn, jax.core.Tracer) or out_sharding is not None:
        placed = {} if out_sharding is None else {"out_sharding": out_sharding}
        return jnp.reshape(drawn[:count], tuple(shape), **placed)
    return jnp.asarray(np.asarray(drawn)[:count].reshape(tuple(shape)))


def scaled(weights: jax.Array, scale: np.ndarray) -> jax.Array:
    """Every `weights[i]` times `scale[i]`, in the dtype of the weights."""
    factors = np.asarray(scale).astype(weights.dtype).reshape(-1, *(1,) * (weights.ndim - 1))
    if isinstance(weights, jax.core.Tracer) or len(weights.devices()) > 1:
        return weights * factors
    return jnp.asarray(np.asarray(weights) * factors)
