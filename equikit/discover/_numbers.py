"""Real numbers of any dtype, bfloat16 included, as float64."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from equikit import _checks
from equikit._errors import DTypeError


def is_real(dtype: Any) -> bool:
    """Whether a dtype is one of real numbers, integers included."""
    return bool(jnp.issubdtype(dtype, jnp.floating) or jnp.issubdtype(dtype, jnp.integer))


def real_array(what: str, value: Any) -> NDArray[np.float64]:
    """Return real numbers or booleans in float64, or raise `DTypeError`: a cast would drop imaginary parts."""
    _checks.unmasked(what, value)
    array = np.asarray(value)
    if not is_real(array.dtype) and array.dtype.kind != "b":
        raise DTypeError(
            f"{what} must be real numbers",
            got=f"dtype {array.dtype}",
            expected="floating-point numbers or integers",
            step="pass real and imaginary parts as two channels" if array.dtype.kind == "c" else "pass numbers",
        )
    return array.astype(np.float64)
