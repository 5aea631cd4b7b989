"""Spacing of floating-point numbers, and inputs that are perturbed by it."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np

SMALLEST_HALF = 2.0**-24
"""The smallest positive number of float16."""


def epsilon(dtype: Any) -> float:
    """Return the spacing of the numbers of a dtype at one."""
    finfo: Any = jnp.finfo  # untyped in JAX
    return float(finfo(dtype).eps) if jnp.issubdtype(dtype, jnp.inexact) else 0.0


def smallest(dtype: Any) -> float:
    """Return the absolute error of the smallest numbers of a dtype, which have no relative precision.

    XLA sets numbers below the smallest normal one to zero, except in float16.
    """
    finfo: Any = jnp.finfo  # untyped in JAX
    return min(float(finfo(dtype).tiny), SMALLEST_HALF) if jnp.issubdtype(dtype, jnp.inexact) else 0.0


def spacing(array: np.ndarray, dtype: Any) -> np.ndarray:
    """Return the distance of each entry, real and not zero, from the next larger number of a dtype."""
    _, exponent = np.frexp(array)
    return np.where(array == 0, 0.0, np.ldexp(epsilon(dtype), exponent - 1))


def perturbed(array: np.ndarray, dtype: Any, seeds: np.random.Generator, *, ties: bool = True) -> np.ndarray:
    """Return an array in double precision plus uniform errors of at most one spacing of a dtype.

    After rounding to the same dtype, half of the entries have moved to a neighbor. The mean square of the errors is one
    half or one third of the square of the spacing; for a rounding error it is one twelfth. With `ties` equal numbers
    get equal errors: permutations are exact, so rounding does not break ties, and must not excuse functions that depend
    on their order.
    """
    parts = [array.real, array.imag] if np.iscomplexobj(array) else [array]
    moved = []
    for part in parts:
        values, places = np.unique(part, return_inverse=True) if ties else (part, ...)
        errors = spacing(values, dtype) * seeds.uniform(-1, 1, values.shape)
        moved.append((values + errors)[places].reshape(part.shape))
    return moved[0] + 1j * moved[1] if len(moved) == 2 else moved[0]
