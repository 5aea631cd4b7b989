"""Find the precision of a program's computation, which may differ from the precision of its parameters."""

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
"""Primitives that move entries without rounding."""


def rounding(closed: Any) -> float:
    """Return the rounding error of the narrowest floating-point dtype in a computation; 0 if there is none.

    Inputs and primitives that only move entries do not count: converting bfloat16 weights to float32 is exact.
    """
    finfo: Any = jnp.finfo
    dtypes = {dtype for dtype in _computed(closed) if jnp.issubdtype(dtype, jnp.inexact)}
    return max((float(finfo(dtype).eps) for dtype in dtypes), default=0.0)


def _computed(closed: Any) -> Iterator[Any]:
    """Yield the result dtypes of all primitives that are not in MOVING, also in inner programs."""
    for equation in opened(closed)[0].eqns:
        inner = [*jaxprs_in_params(equation.params)]
        for program in inner:
            yield from _computed(program)
        if not inner and equation.primitive.name not in MOVING:
            yield from (result.aval.dtype for result in equation.outvars if hasattr(result.aval, "dtype"))
