"""The definition of multilinear maps by dense tensors: what the contractions are tested against."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import jax
import jax.numpy as jnp

from equikit.diagrams import Diagram, MultilinearSpace
from equikit.diagrams._dense import diagram_tensor
from equikit.diagrams._signature import base
from equikit.plans._check import Shapes


def _scale(diagram: Diagram, scales: Mapping[str, jax.Array | float]) -> jax.Array | float:
    """One over the number of terms of every sum: of blocks in the bottom row alone, legs of tensors excepted."""
    legs = {block for _, _, blocks in diagram.heads for block in blocks}
    whole = {label for label, _, _ in diagram.elements}
    result: jax.Array | float = 1.0
    for number, block in enumerate(diagram.blocks):
        label = diagram.labels[block[0]]
        if block[0] >= len(diagram.top) and number not in legs and base(label) not in whole and scales:
            result = result * scales[label]
    return result


def run_reference(
    space: MultilinearSpace,
    inputs: Sequence[jax.Array],
    weights: jax.Array,
    shapes: Shapes,
    scales: Mapping[str, jax.Array | float],
    *,
    channelwise: bool,
) -> jax.Array:
    """Apply every basis element by its dense tensor; the arguments are those of `run_multilinear`."""
    groups, starts = space.signature.groups, space.starts
    order, sizes = starts[-1], shapes.sizes
    batch, first = order, order + 1
    channel = [first] * len(inputs) if channelwise else [first + i for i in range(len(inputs))]
    out = first if channelwise else first + len(inputs)
    operands: list[object] = []
    for i, x in enumerate(inputs):
        operands += [x, [batch, *range(starts[i + 1], starts[i + 2]), channel[i]]]
    labels = [label for label in space.target.labels if label in groups]
    total = jnp.zeros((inputs[0].shape[0], *(sizes[label] for label in labels), weights.shape[-1]), weights.dtype)
    for element, weight in zip(space.basis, weights, strict=True):
        for diagram, sign in element.terms:
            tensor = jnp.asarray(sign * diagram_tensor(diagram, sizes), weights.dtype)
            letters = [out] if channelwise else [*channel, out]
            y = jnp.einsum(
                *operands,
                tensor,
                [*range(order)],
                weight,
                letters,
                [batch, *range(starts[1]), out],
            )
            scale = jnp.asarray(_scale(diagram, scales), weights.dtype)
            total = total + scale.reshape(-1, *(1,) * (y.ndim - 1)) * y
    return total
