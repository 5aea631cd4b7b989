"""The rounding unit of a dtype."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp

Array = Any
"""A JAX array."""


def rounding(dtype: Any) -> float:
    """Return the spacing of the numbers of a dtype at one."""
    finfo: Any = jnp.finfo  # untyped in JAX
    return float(finfo(dtype).eps)
