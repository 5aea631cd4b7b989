"""The definition of a plan, written as slowly and as plainly as possible: what every fast path is tested against.

It shares no code with the plan: each diagram is applied as its dense tensor.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import jax
import jax.numpy as jnp

from equikit.diagrams import Diagram, Diagrams
from equikit.diagrams._dense import diagram_tensor
from equikit.diagrams._signature import base
from equikit.plans._check import Shapes
from equikit.plans._ir import Plan
from equikit.plans._layout import Weights


def _scale(diagram: Diagram, plan: Plan, shapes: Shapes, masks: Mapping[str, jax.Array]) -> jax.Array:
    """One over the number of terms of each mean, `[*batch]`."""
    scale = jnp.ones(shapes.batch)
    legs = {block for _, _, blocks in diagram.heads for block in blocks}
    whole = {label for label, _, _ in diagram.elements}
    for number, block in enumerate(diagram.blocks if plan.normalize == "mean" else ()):
        label = base(diagram.labels[block[0]])
        if block[0] >= len(diagram.top) and number not in legs and label not in whole:
            count = jnp.sum(masks[label], -1) if label in masks else jnp.full(shapes.batch, shapes.sizes[label])
            scale = scale / jnp.maximum(count, 1)
    return scale


def _masked(x: jax.Array, labels: tuple[str, ...], masks: Mapping[str, jax.Array], batch: int) -> jax.Array:
    for axis, label in enumerate(labels):
        if label in masks:
            mask = jnp.expand_dims(masks[label], [i for i in range(batch, x.ndim) if i != batch + axis])
            x = jnp.where(mask, x, 0)
    return x


def run_reference(
    plan: Plan,
    inputs: Sequence[jax.Array],
    weights: Weights,
    shapes: Shapes,
    masks: Mapping[str, jax.Array],
) -> list[jax.Array]:
    """Apply every map of a plan by its dense tensor, one after another; the arguments are those of `run`."""
    signature, batch = plan.signature, len(shapes.batch)
    acted = {term: signature.acted(term) for term in (*signature.inputs, *signature.outputs)}
    plain = {term: signature.plain(term) for term in (*signature.inputs, *signature.outputs)}
    results = []
    for s, target in enumerate(signature.outputs):
        axes = [shapes.sizes[target.labels[i]] for i in acted[target]]
        fixed = [shapes.sizes[target.labels[i]] for i in plain[target]]
        total = jnp.zeros((*shapes.batch, *axes, plan.features[1][s]), jnp.result_type(*inputs, *weights.values()))
        sources: list[int | None] = [*range(len(inputs)), *([None] if plan.bias else [])]
        for t in (t for t in sources if (t, s) in weights):
            if t is None:
                bottoms: tuple[str, ...] = ()
                x = jnp.ones((*shapes.batch, 1), total.dtype)
                kernel = weights[None, s][:, None, :]
            else:
                term = signature.inputs[t]
                bottoms = tuple(term.labels[i] for i in acted[term])
                order = [batch + i for i in (*acted[term], *plain[term])]
                x = _masked(inputs[t], term.labels, masks, batch)
                x = x.transpose(*range(batch), *order, x.ndim - 1)
                x = x.reshape(*x.shape[: batch + len(bottoms)], plan.features[0][t])
                kernel = weights[t, s]
            tops = tuple(target.labels[i] for i in acted[target])
            groups = tuple(signature.groups.items())
            for diagram, weight in zip(Diagrams(tops, bottoms, groups), kernel, strict=True):
                dense = jnp.asarray(diagram_tensor(diagram, shapes.sizes), total.dtype)
                summed = jnp.tensordot(x, dense, (list(range(batch, x.ndim - 1)), list(range(len(tops), dense.ndim))))
                summed = jnp.moveaxis(summed, batch, -1)
                scale = _scale(diagram, plan, shapes, masks).reshape(*shapes.batch, *(1,) * (summed.ndim - batch))
                total = total + scale.astype(total.dtype) * summed @ weight
        total = total.reshape(*shapes.batch, *axes, *fixed, plan.channels[1][s])
        order = [*acted[target], *plain[target]]
        back = sorted(range(len(order)), key=order.__getitem__)
        total = total.transpose(*range(batch), *(batch + i for i in back), total.ndim - 1)
        results.append(_masked(total, target.labels, masks, batch))
    return results
