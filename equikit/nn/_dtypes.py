"""Dtypes of layers: of the computation, of parameters, and of inputs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike

from equikit import _checks
from equikit._array_checks import foreign
from equikit._errors import DTypeError


def is_complex(dtype: Any) -> bool:
    """Whether a dtype is complex."""
    return bool(jnp.issubdtype(dtype, jnp.complexfloating))


def checked_dtypes(
    dtype: DTypeLike | None, param_dtype: DTypeLike | None, *, complex_group: bool = False
) -> tuple[Any, Any]:
    """Return the dtypes of computation and parameters, or raise `DTypeError` if parameters would lose precision.

    If `param_dtype` is `None`, parameters are float32, or complex64 if a group is complex.
    """
    usual = jnp.complex64 if complex_group else jnp.float32
    computed = _checks.dtype("dtype", dtype)
    stored = _checks.dtype("param_dtype", usual if param_dtype is None else param_dtype)
    if computed is not None and is_complex(stored) and not is_complex(computed):
        raise DTypeError(
            "the layer would drop the imaginary part of its parameters",
            got=f"param_dtype={stored}, dtype={computed}",
            expected="a complex dtype, or real parameters",
            step="leave dtype out",
        )
    return computed, stored


def cast(x: Any, dtype: Any) -> Any:
    """Cast floating-point arrays to the dtype of a layer; return others unchanged, for the checks to reject."""
    if isinstance(x, Mapping):
        return {name: cast(array, dtype) for name, array in x.items()}
    if (isinstance(x, jax.Array) or (isinstance(x, np.ndarray) and not foreign(x))) and _checks.is_float(x.dtype):
        if is_complex(x.dtype) and not is_complex(dtype):
            raise DTypeError(
                f"the layer computes in {dtype}, which would drop the imaginary part of its input",
                got=f"dtype {x.dtype}",
                expected="real numbers, or a layer with a complex dtype",
                step="pass x.real, or make the layer with dtype=jnp.complex64",
            )
        return jnp.asarray(x, dtype)
    return x
