"""The bytes that fused kernels move, counted from their grids and tiles: a compiler sees only operands and results."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike

from equikit import _checks
from equikit._errors import ShapeError
from equikit.plans._ir import Plan
from equikit.plans._weights import checked_plan
from equikit.plans.costs._cost import plan_sizes
from equikit.plans.fused._run import stage_of
from equikit.plans.fused._support import check_amounts, check_dtype, check_plan


@dataclass(frozen=True, slots=True)
class FusedBytes:
    """The bytes of a call with `method="fused"`.

    Attributes:
        moved: what the kernels load and store. Entries that several programs load count each time, although a later
            one may find them in the cache.
        tensors: the bytes of the inputs and outputs. With a gradient: of the inputs and outputs, the gradient of the
            outputs, and the gradients of the inputs.
    """

    moved: int
    tensors: int

    @property
    def ratio(self) -> float:
        """Bytes moved over the bytes of the tensors."""
        return self.moved / self.tensors if self.tensors else 1.0


def fused_bytes(
    plan: Plan,
    *,
    batch: int = 1,
    n: int | Mapping[str, int] | None = None,
    dtype: DTypeLike = jnp.float32,
    gradient: bool = False,
) -> FusedBytes:
    """Count the bytes that the kernels of `method="fused"` move.

    The small arrays between the kernels are computed by XLA and not counted, nor are masks.

    Args:
        plan: the plan.
        batch: the number of entries of all batch axes together.
        n: sizes of the free labels.
        dtype: of inputs and outputs.
        gradient: count the backward pass instead: the gradients of inputs and weights.

    Returns:
        The bytes, next to the bytes of inputs and outputs.

    Raises:
        OptionError: if the kernels do not support the plan, or an argument is invalid.
        DTypeError: for a dtype that they do not support.
        ShapeError: if a size is missing.

    Cost: proportional to the number of tiles of a sample.

    Example:
        >>> from equikit import S, hom
        >>> found = fused_bytes(hom("p p -> p p", p=S).plan((32, 32), normalize="mean"), batch=32, n=256)
        >>> round(found.ratio, 1)
        1.6
    """
    check_plan(checked_plan(plan))
    batch, gradient = _checks.count("batch", batch), _checks.flag("gradient", gradient)
    sizes: Any = plan_sizes(plan, n)
    missing = [label for label, size in sizes.items() if _checks.integer(size) is None]
    if missing:
        raise ShapeError(
            f"the size of {missing[0]!r} is missing",
            got="a free label",
            expected="a number",
            step="pass the size of each free label",
        )
    number = np.dtype(_checks.dtype("dtype", dtype))
    check_dtype(number)
    itemsize = number.itemsize
    stage = stage_of(plan, batch, sizes)
    check_amounts(stage, itemsize)
    tensors = batch * itemsize * sum(each.tensor.entries for each in (*stage.inputs, *stage.outputs))
    return FusedBytes(stage.gradient_bytes(itemsize) if gradient else stage.bytes(itemsize), tensors)
