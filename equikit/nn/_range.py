"""Scale large numbers so that their products stay in the range of their dtype."""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp

from equikit.numerics import power_of_two

LARGE = 2.0**40
"""Numbers up to this size are not scaled, so that results for them do not change in any bit."""


def bounded(x: jax.Array, axes: int | Sequence[int]) -> tuple[jax.Array, jax.Array]:
    """Return x / size and the size, `x.shape` with ones for these axes: 1, or a power of two where entries are large.

    The size is NaN where an entry is infinite or NaN, since powers of two cannot divide such entries.
    """
    most = jnp.max(jnp.abs(jax.lax.stop_gradient(x)), axes, keepdims=True, initial=0)
    most = most.astype(jnp.promote_types(most.dtype, jnp.float32))
    size = jnp.where(most <= LARGE, 1, jnp.where(most < jnp.inf, power_of_two(most), jnp.nan))
    return x / size.astype(x.real.dtype), size
