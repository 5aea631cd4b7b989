"""Options of a run: how a plan is executed, but not what it computes."""

from __future__ import annotations

import functools
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from equikit import _checks
from equikit._errors import OptionError

Chosen = Literal["factored", "dense", "naive", "fused"]
Method = Literal["auto"] | Chosen
"""How to run a plan: `"factored"`, by its steps; `"dense"`, by one matrix; `"naive"`, diagram by diagram; `"fused"`, by
kernels that are made from it; `"auto"` chooses between the first two."""
METHODS: tuple[Method, ...] = ("auto", "factored", "dense", "naive", "fused")


@functools.lru_cache(maxsize=64)
def _is_precision(precision: Any) -> bool:
    try:
        jax.eval_shape(lambda one: jnp.matmul(one, one, precision=precision), np.ones((1, 1), np.float32))
    except (TypeError, ValueError):
        return False
    return True


def checked_precision(precision: Any) -> Any:
    """Return a precision that JAX supports, or raise `OptionError`."""
    if not isinstance(precision, Hashable) or not _is_precision(precision):
        raise OptionError(
            "unknown value for precision=",
            got=repr(precision),
            expected='None, "default", "high", "highest" or a jax.lax.Precision',
            step='write precision="highest"',
        )
    return precision


@dataclass(frozen=True, slots=True)
class RunOptions:
    """How a plan is executed; results agree up to rounding for all values.

    Args:
        precision: of the matrix products, as in `jax.lax.dot_general`.
        method: `"factored"`, `"dense"`, `"naive"`, `"fused"` or `"auto"`, as in `apply`.
        remat: keep only inputs and weights for the backward pass.
        chunk_size: the number of samples to compute at a time; `None` for all.

    Raises:
        OptionError: for an invalid value.

    Example:
        >>> RunOptions(method="naive").chunk_size is None
        True
    """

    precision: lax.PrecisionLike = None
    method: Method = "auto"
    remat: bool = False
    chunk_size: int | None = None

    def __post_init__(self) -> None:
        checked_precision(self.precision)
        _checks.choice("method", self.method, METHODS)
        object.__setattr__(self, "remat", _checks.flag("remat", self.remat))
        if self.chunk_size is not None:
            object.__setattr__(self, "chunk_size", _checks.count("chunk_size", self.chunk_size, least=1, example=8))

    def chunks(self, batch: tuple[Any, ...]) -> int | None:
        """Return the chunk size for a batch, or raise `OptionError` if the batch size is a symbol of `jax.export`."""
        if self.chunk_size is not None and not all(isinstance(size, int) for size in batch):
            raise OptionError(
                "a batch of symbolic size cannot be computed in chunks",
                got=f"chunk_size={self.chunk_size}, batch axes {list(batch)}",
                expected="a batch whose size is known",
                step="leave chunk_size out, or export with a fixed batch",
            )
        return self.chunk_size
