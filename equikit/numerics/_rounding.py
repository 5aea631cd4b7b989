"""What a dtype rounds to."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp

Array = Any
"""A JAX array."""


def rounding(dtype: Any) -> float:
    """The spacing of the numbers of a dtype at one."""
    finfo: Any = jnp.finfo  # which JAX leaves untyped
    return float(finfo(dtype).eps)
