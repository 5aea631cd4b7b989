"""What fused kernels do not support: every such call is refused, and nothing else runs in their place."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import jax
import numpy as np

from equikit._array_checks import Shapes
from equikit._errors import DTypeError
from equikit.plans._ir import Plan, Step
from equikit.plans.compilation._lattice import acted_labels, root
from equikit.plans.fused._explained import refused
from equikit.plans.fused._pallas import check_installed, current_mode
from equikit.plans.fused._run import stage_of
from equikit.plans.fused._stage import Pair, Stage
from equikit.plans.fused._tiles import padded

DTYPES = ("float32", "bfloat16", "float16")
"""The dtypes of fused kernels; sums and products are in float32."""

MOST_MATRIX_BYTES = 2**17
"""The most bytes of the matrices of one product, which a program keeps while it runs."""

MOST_NUMBERS = 2**31
"""Kernels compute offsets in 32 bits."""


def check_fused(
    plan: Plan,
    shapes: Shapes,
    dtype: np.dtype[Any],
    arrays: Iterable[jax.Array],
    *,
    spread: bool,
    chunk_size: int | None,
) -> None:
    """Raise an error if fused kernels cannot run a plan.

    Args:
        plan: the plan.
        shapes: batch and sizes.
        dtype: the common dtype of inputs and weights.
        arrays: inputs and weights.
        spread: whether a mesh of several devices is set, or in the type of an array.
        chunk_size: the number of samples that are computed at a time, `None` for all.

    Raises:
        OptionError: for a group, a size, a sharding or a platform that they do not support.
        DTypeError: for other dtypes than `DTYPES`.
        MissingPackageError: if Pallas cannot be imported.
    """
    check_dtype(dtype)
    symbols = [size for size in (*shapes.batch, *shapes.sizes.values()) if not isinstance(size, int)]
    if symbols:
        raise refused(
            "are made for one size",
            f"the symbolic size {symbols[-1]}",
            "whole numbers",
            step='write method="factored", or export with fixed sizes',
        )
    check_plan(plan)
    if spread or any(_on_several_devices(array) for array in arrays):
        raise refused(
            "run on one device",
            "arrays or a mesh of several devices",
            "arrays on one device",
            step='write method="factored", or divide the batch by jax.shard_map with check_vma=False',
        )
    batch = math.prod(shapes.batch)
    check_amounts(stage_of(plan, min(batch, chunk_size or batch), shapes.sizes), dtype.itemsize)
    check_installed()
    if current_mode() is None:
        raise refused(
            "run on a GPU",
            f"JAX's default device is a {jax.default_backend()}",
            "a GPU, or a context that says how kernels run",
            step='write method="factored", or test them here inside of ek.plans.kernels("interpret")',
        )


def check_dtype(dtype: np.dtype[Any]) -> None:
    """Raise `DTypeError` for other dtypes than `DTYPES`."""
    if str(dtype) not in DTYPES:
        raise DTypeError(
            "fused kernels compute in float32",
            got=f"dtype {dtype}",
            expected=", ".join(DTYPES),
            step='write method="factored"',
        )


def _on_several_devices(array: jax.Array) -> bool:
    if isinstance(array, jax.core.Tracer):
        return False
    return len(array.sharding.device_set) > 1 and not array.sharding.is_fully_replicated


def check_plan(plan: Plan) -> None:
    """Raise `OptionError` for a step at an input or output that no kernel computes."""
    signature = plan.signature
    sides = (("input", signature.inputs, plan.reductions), ("output", signature.outputs, plan.expansions))
    for what, terms, steps in sides:
        for step in steps:
            term = terms[step.term]
            if step.large == root(acted_labels(signature, term)):
                reason = _unsupported(plan, step)
                if reason is not None:
                    raise refused(
                        "have sums and diagonals only",
                        f"{what} {term.name!r} with {reason}",
                        "a term whose first steps are sums and diagonals",
                        step='write method="factored"',
                    )


def _unsupported(plan: Plan, step: Step) -> str | None:
    """Return why a kernel cannot compute a step at a root, or `None`."""
    label = step.large.core[step.axes[0]] if step.axes else step.small.heads[-1].label
    group = plan.signature.groups[label]
    if step.operation == "head":
        return f"an invariant tensor of {label}={group}"
    form = group.form
    signs = {"diagonal": "symplectic", "sum": "metric"}[step.operation]
    return None if form is None or form.kind != signs else f"the {signs} form of {label}={group}"


def check_amounts(stage: Stage, itemsize: int) -> None:
    """Raise `OptionError` if an array has too many entries, or a product too many weights."""
    for each in (*stage.inputs, *stage.outputs):
        numbers = stage.batch * each.tensor.entries
        if numbers >= MOST_NUMBERS:
            raise refused(
                "count entries in 32 bits",
                f"an array of {numbers:,} numbers",
                f"fewer than {MOST_NUMBERS:,}",
                step='write method="factored", or compute parts of the batch with chunk_size=1',
            )
    for pair in stage.pairs:
        size = itemsize * _weights(stage, pair)
        if size > MOST_MATRIX_BYTES:
            raise refused(
                "keep the matrices of a product on the processor",
                f"matrices of {size:,} bytes",
                f"at most {MOST_MATRIX_BYTES:,}",
                step='write method="factored", or use fewer channels',
            )


def _weights(stage: Stage, pair: Pair) -> int:
    """Return the number of entries of the matrices of a product, padded."""
    ends = stage.inputs[pair.source].tensor, stage.outputs[pair.target].tensor
    return len(pair.wirings) * math.prod(padded(tensor.features) for tensor in ends)
