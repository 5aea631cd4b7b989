"""The precision of a program's computation, whatever the precision of its parameters."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import jax.numpy as jnp
from jax.extend.core import jaxprs_in_params

from equikit.weightspace.tracing.programs._program import opened

_MOVING = """
broadcast_in_dim concatenate copy dynamic_slice dynamic_update_slice expand_dims gather pad reshape rev select_n slice
split squeeze stack tile transpose unstack
"""
MOVING = frozenset(_MOVING.split())
"""Operations that move entries, and round none."""


def rounding(closed: Any) -> float:
    """Return the rounding error of the narrowest floating-point dtype in a computation; 0 if there is none.

    Inputs, and operations that move their entries, do not count: weights of bfloat16 that are converted to float32 are
    exact.
    """
    finfo: Any = jnp.finfo
    dtypes = {dtype for dtype in _computed(closed) if jnp.issubdtype(dtype, jnp.inexact)}
    return max((float(finfo(dtype).eps) for dtype in dtypes), default=0.0)


def _computed(closed: Any) -> Iterator[Any]:
    """Yield the dtypes of the results of all operations; for those with inner programs, of the inner operations."""
    for equation in opened(closed)[0].eqns:
        inner = [*jaxprs_in_params(equation.params)]
        for program in inner:
            yield from _computed(program)
        if not inner and equation.primitive.name not in MOVING:
            yield from (result.aval.dtype for result in equation.outvars if hasattr(result.aval, "dtype"))
