"""Activations that are known outside of JAX, by name. Their formulas are as in `jax.nn`."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from equikit._errors import OptionError


def _sigmoid(x: np.ndarray) -> np.ndarray:
    found: np.ndarray = 0.5 * (1 + np.tanh(0.5 * x))  # never overflows
    return found


def _gelu(x: np.ndarray) -> np.ndarray:
    found: np.ndarray = 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x * x * x)))
    return found


IN_NUMPY: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "relu": lambda x: np.maximum(x, 0),
    "silu": lambda x: x * _sigmoid(x),
    "sigmoid": _sigmoid,
    "tanh": np.tanh,
    "gelu": _gelu,
    "abs": np.abs,
}
"""Activations by their names in JAX."""


def activation_name(function: Any) -> str:
    """Return the name of an activation of JAX, or raise `OptionError` for one that is not in `IN_NUMPY`."""
    name, module = (str(getattr(function, what, None)) for what in ("__name__", "__module__"))
    if name in IN_NUMPY and module.partition(".")[0] in ("jax", "equikit"):
        return name
    raise OptionError(
        f"the activation {name!r} is not known outside of JAX",
        got=f"{module}.{name}",
        expected=f"one of {', '.join(IN_NUMPY)}, from jax.nn or jax.numpy",
        step="convert the layers of the network one by one, and write the activation in the other library",
    )
