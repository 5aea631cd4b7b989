"""What fused kernels do not support: every such call is refused, and nothing else runs in their place."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import jax
import numpy as np

from equikit._array_checks import Shapes
from equikit._errors import DTypeError, OptionError
from equikit.plans._ir import Plan, Step
from equikit.plans.compilation._lattice import acted_labels, root
from equikit.plans.fused._expand import padded
from equikit.plans.fused._pallas import check_installed, current_mode
from equikit.plans.fused._run import stage_of
from equikit.plans.fused._stage import Pair, Stage

FACTORED = 'write method="factored"'

DTYPES = ("float32", "bfloat16", "float16")
"""The dtypes of fused kernels; sums and products are in float32."""

MOST_MATRIX_BYTES = 2**17
"""The most bytes of the matrices of one product, which a program keeps while it runs."""

MOST_NUMBERS = 2**31
"""Kernels compute offsets in 32 bits."""


def _refused(problem: str, got: str, expected: str, step: str = FACTORED) -> OptionError:
    return OptionError(f"fused kernels {problem}", got=got, expected=expected, step=step)


def check_fused(plan: Plan, shapes: Shapes, dtype: np.dtype[Any], arrays: Iterable[jax.Array], spread: bool) -> None:
    """Raise an error if fused kernels cannot run a plan.

    Args:
        plan: the plan.
        shapes: batch and sizes.
        dtype: the common dtype of inputs and weights.
        arrays: inputs and weights.
        spread: whether a mesh of several devices is set, or in the type of an array.

    Raises:
        OptionError: for a group, a size, a sharding or a platform that they do not support.
        DTypeError: for other dtypes than `DTYPES`.
        MissingPackageError: if Pallas cannot be imported.
    """
    if str(dtype) not in DTYPES:
        raise DTypeError(
            "fused kernels compute in float32",
            got=f"dtype {dtype}",
            expected=", ".join(DTYPES),
            step=FACTORED,
        )
    symbols = [size for size in (*shapes.batch, *shapes.sizes.values()) if not isinstance(size, int)]
    if symbols:
        expected, step = "whole numbers", f"{FACTORED}, or export with fixed sizes"
        raise _refused("are made for every size", f"the symbolic size {symbols[-1]}", expected, step)
    check_plan(plan)
    if spread or any(_on_several_devices(array) for array in arrays):
        raise _refused("run on one device", "arrays or a mesh of several devices", "arrays on one device")
    _check_amounts(stage_of(plan, math.prod(shapes.batch), shapes.sizes), dtype.itemsize)
    check_installed()
    if current_mode() is None:
        raise _refused(
            "run on a GPU",
            f"JAX's default device is a {jax.default_backend()}",
            "a GPU, or a context that says how kernels run",
            f'{FACTORED}, or call in `with ek.plans.kernels("interpret"):` to test them here',
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
                    got, expected = f"{what} {term.name!r} with {reason}", "steps that are sums and diagonals"
                    raise _refused("have sums and diagonals only", got, expected)


def _unsupported(plan: Plan, step: Step) -> str | None:
    """Return why a kernel cannot compute a step at a root, or `None`."""
    label = step.large.core[step.axes[0]] if step.axes else step.small.heads[-1].label
    group = plan.signature.groups[label]
    if step.operation == "head":
        return f"an invariant tensor of {label}={group}"
    form = group.form
    signs = {"diagonal": "symplectic", "sum": "metric"}[step.operation]
    return None if form is None or form.kind != signs else f"the {signs} form of {label}={group}"


def _check_amounts(stage: Stage, itemsize: int) -> None:
    """Raise `OptionError` if an array has too many entries, or a product too many weights."""
    for each in (*stage.inputs, *stage.outputs):
        numbers = stage.batch * each.tensor.entries
        if numbers >= MOST_NUMBERS:
            step = f"{FACTORED}, or split the batch with chunk_size=1"
            raise _refused(
                "count entries in 32 bits", f"an array of {numbers:,} numbers", f"fewer than {2**31:,}", step
            )
    for pair in stage.pairs:
        size = itemsize * _weights(stage, pair)
        if size > MOST_MATRIX_BYTES:
            got, expected = f"matrices of {size:,} bytes", f"at most {MOST_MATRIX_BYTES:,}"
            raise _refused("keep the matrices of a product on the processor", got, expected)


def _weights(stage: Stage, pair: Pair) -> int:
    """Return the number of entries of the matrices of a product, padded."""
    ends = stage.inputs[pair.source].tensor, stage.outputs[pair.target].tensor
    return len(pair.wirings) * math.prod(padded(tensor.features) for tensor in ends)
