"""What the program of a plan costs on a device, with weights and inputs of given sizes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import jax
from jax import numpy as jnp

from equikit import _checks
from equikit.plans._apply import apply
from equikit.plans._ir import LARGEST_AXIS, MultilinearPlan, Plan
from equikit.plans._multilinear import apply_multilinear, multilinear_weight_shape
from equikit.plans._weights import weight_shapes
from equikit.plans.targets._compiled import compiled_cost
from equikit.plans.targets._cost import CompiledCost
from equikit.signatures import base


def plan_compiled_cost(
    plan: Plan | MultilinearPlan,
    sizes: Mapping[str, int],
    *,
    batch: int,
    target: str,
    gradient: bool,
    devices: int,
) -> CompiledCost:
    """Compile what `apply` or `apply_multilinear` runs for a plan, and return its cost.

    Arrays are float32, or complex64 for complex groups.

    Args:
        plan: of linear or multilinear maps.
        sizes: the size of every label.
        batch: entries of the batch axis, which is spread over the devices.
        target, gradient, devices: as in `compiled_cost`.

    Raises:
        TooLargeError: if no array can have so many entries, or the program does not fit in the memory of a device.
    """

    dtype = jnp.complex64 if plan.signature.is_complex else jnp.float32

    def array(*shape: int) -> Any:
        what, step = "an array of the program would have too many entries", "use a smaller size, or fewer channels"
        _checks.refuse_if_more(what, math.prod(shape), LARGEST_AXIS, "entries", step)
        return jax.ShapeDtypeStruct(shape, dtype)

    terms = plan.signature.inputs
    inputs = [
        array(batch, *(sizes[base(label)] for label in term.labels), width)
        for term, width in zip(terms, plan.channels[0], strict=True)
    ]
    weights: Any
    if isinstance(plan, MultilinearPlan):
        space, mode, normalize = plan.space, plan.mode, plan.normalize
        weights = array(*multilinear_weight_shape(space, plan.channels[0], plan.channels[1][0], mode=mode))

        def run(weights: Any, *inputs: Any) -> Any:
            return apply_multilinear(space, inputs, weights, mode=mode, normalize=normalize, sizes=alone)

    else:
        linear = plan
        weights = {name: array(*shape) for name, shape in weight_shapes(linear).items()}

        def run(weights: Any, *inputs: Any) -> Any:
            return apply(linear, dict(zip((term.name for term in terms), inputs, strict=True)), weights, sizes=alone)

    known = {base(label) for term in terms for label in term.labels}
    free = (label for label, size in plan.signature.sizes.items() if size is None)
    alone = {base(label): sizes[base(label)] for label in free if base(label) not in known}
    axes = (None, *(0,) * len(inputs))
    return compiled_cost(run, weights, *inputs, target=target, gradient=gradient, devices=devices, axis=axes)
