"""Checks on arguments that many functions have: numbers, lists of widths, and specifications."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from equikit._errors import OptionError


def checked_number(
    name: str,
    value: Any,
    expected: str = "a finite number",
    fits: Callable[[float], bool] = math.isfinite,
    step: str = "leave it out for the default",
) -> Any:
    """Return a number of Python, NumPy or JAX as it came, or raise `OptionError`; what is traced has no value yet."""
    if isinstance(value, jax.core.Tracer):
        return value
    is_number = isinstance(value, int | float | np.number | np.ndarray | jax.Array) and not isinstance(value, bool)
    real = is_number and np.shape(value) == () and jnp.result_type(value).kind not in "bcSU"
    if not real or not fits(float(value)):
        raise OptionError(
            f"{name} does not fit",
            got=f"{name}={value!r}"[:80],
            expected=expected,
            step=step,
        )
    return value


def in_python(number: Any) -> Any:
    """A checked number as a float of Python, whose use compiles nothing; a traced number as it is."""
    return number if isinstance(number, jax.core.Tracer) else float(number)


def listed(values: Any) -> tuple[Any, ...] | None:
    """The entries of a list of widths, or None where it is no list."""
    if isinstance(values, str):
        return None
    try:
        return tuple(values)
    except TypeError:
        return None


def checked_specification(spec: Any) -> None:
    """Raise `OptionError` unless it is a specification."""
    from equikit.weightspace._specification import Specification  # which checks its arguments by this file

    if not isinstance(spec, Specification):
        raise OptionError(
            "spec= is no specification",
            got=repr(spec)[:60],
            expected="the symmetry of the parameters, a Specification",
            step="write spec=trace(apply, params, x)",
        )
