"""The check of random keys."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from equikit._errors import OptionError


def checked_key(key: Any, expected: str = "a key of JAX", step: str = "write key=jax.random.key(0)") -> jax.Array:
    """Return one random key of JAX, of either kind, or raise `OptionError`."""
    is_array = isinstance(key, jax.Array | np.ndarray)
    if is_array:
        typed = jnp.issubdtype(key.dtype, jax.dtypes.prng_key)
        if key.ndim == 0 if typed else (key.ndim == 1 and key.dtype == jnp.uint32):
            found: jax.Array = key
            return found
    raise OptionError(
        "key= is not one random key",
        got=f"{key.dtype} of shape {list(key.shape)}" if is_array else repr(key)[:60],
        expected=expected,
        step=step,
    )
