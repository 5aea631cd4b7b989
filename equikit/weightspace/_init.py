"""Initial weights of layers between many tensors, without a compiled program for each of their shapes."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np


def unit_normal(key: jax.Array, shape: tuple[int, ...], dtype: Any = jnp.float32, out_sharding: Any = None) -> Any:
    """Normal numbers with variance one; as many are drawn as the next power of two, so that few programs serve all."""
    size = math.prod(shape)
    drawn = jax.random.normal(key, (1 << max(size - 1, 0).bit_length(),), dtype)
    if isinstance(drawn, jax.core.Tracer):
        return drawn[:size].reshape(shape)
    return jnp.asarray(np.asarray(drawn)[:size].reshape(shape))
