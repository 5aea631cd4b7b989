"""One call of a plan with the operations of any library."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from equikit.plans._ir import MultilinearPlan, Plan
from equikit.plans._weights import weight_shapes
from equikit.plans.readers._contractions import Contractions, symmetrized
from equikit.plans.readers._library import Array, Library, Size
from equikit.plans.readers._products import Products
from equikit.plans.readers._walk import Walk

AnyPlan = Plan | MultilinearPlan
KERNEL = "kernel"
"""The name of the weights of a multilinear plan, which has a single array."""


def shapes_of(plan: AnyPlan) -> dict[str, tuple[int, ...]]:
    """Return the shape of the weights by name."""
    if isinstance(plan, Plan):
        return weight_shapes(plan)
    wide, (narrow,) = plan.features if plan.mode == "full" else ((), plan.channels[1])
    return {KERNEL: (len(plan.elements), *wide, narrow)}


def read(
    plan: AnyPlan,
    library: Library,
    inputs: Sequence[Array],
    weights: Mapping[str, Array],
    batch: Size,
    sizes: Mapping[str, Size],
    masks: Mapping[str, Array],
) -> list[Array]:
    """Run a plan on checked arrays of one dtype.

    Args:
        plan: the plan.
        library: the array operations.
        inputs: arrays `[batch, *axes, channels]`, with one batch axis.
        weights: by name, with the shapes of `shapes_of(plan)`.
        batch: the size of the batch.
        sizes: the size of every label.
        masks: for a label, booleans `[batch, n]`.

    Returns:
        For each output term an array `[batch, *axes, channels]`.
    """
    walk = Walk(plan, library, batch, sizes, masks)
    if isinstance(plan, Plan):
        return walk.expanded(Products(walk, weights).parts(walk.reduced(inputs)), inputs[0])
    operands = zip(inputs, plan.space.operands, plan.signature.inputs, strict=True)
    arrays = [symmetrized(library, x, own.exchanges, len(term.labels)) for x, own, term in operands]
    (y,) = walk.expanded(Contractions(walk, weights[KERNEL]).parts(walk.reduced(arrays)), inputs[0])
    return [symmetrized(library, y, plan.space.target.exchanges, len(plan.signature.outputs[0].labels))]
