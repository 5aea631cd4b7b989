"""The steps of a plan for arrays whose tensor axes or channels are sharded over devices.

The usual steps fold the axes of an array, take diagonals as strided slices of folded axes, and concatenate features of
several tensors. That is fast on one device, and if only the batch is sharded; but every device has to gather a sharded
axis before it is folded. Here no axis of a feature is folded: a diagonal is a masked sum (`_arrays.py`), and each
device computes its part, and tensors that enter a product are stacked along an axis of their own.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import jax
import jax.numpy as jnp
from jax import lax

from equikit._array_checks import Shapes
from equikit.diagrams import HalfDiagram
from equikit.plans._ir import Plan, Product
from equikit.plans.execution._arrays import alike, joined, rewired, unstacked, wide, widened
from equikit.plans.execution._layout import Pieces, pieces
from equikit.plans.execution._whole import folded, invariant_tensors, unfolded

Spread = Literal["axes", "channels"]
"""What is sharded over devices besides the batch: tensor axes, and perhaps channels; or only channels."""


def _laid_out(plan: Plan, product: Product, given: Mapping[int, jax.Array], source: int, target: int) -> jax.Array:
    """Return the weights of a pair of terms: [wires in and halves, features in, wires out, halves, features out]."""
    segments = next(b.segments for b in product.blocks if (b.source, b.target) == (source, target))
    bottoms, tops = len(product.inputs[source]), len(product.outputs[target])
    copies_in, copies_out = len(product.wires_in), len(product.wires_out)
    grid = joined(pieces(given, segments), 0)
    f, g = grid.shape[1:]
    if not product.tensors:
        grid = grid.reshape(bottoms, tops, copies_out, copies_in, f, g).transpose(3, 0, 4, 2, 1, 5)
        return grid.reshape(copies_in * bottoms, f, copies_out, tops, g)
    tensors = invariant_tensors(plan.signature, product.tensors)
    choices, above, below = tensors.shape
    grid = tensors.spread(grid.reshape(bottoms, tops, copies_out, copies_in, choices, f, g), 4)
    grid = grid.transpose(3, 0, 5, 6, 2, 1, 4, 7)
    return grid.reshape(copies_in * bottoms, below * f, copies_out, tops, above * g)


def mix_spread(
    plan: Plan,
    product: Product,
    tensors: Mapping[tuple[int, HalfDiagram], jax.Array],
    given: Pieces,
    shapes: Shapes,
    precision: lax.PrecisionLike,
    spread: Spread,
) -> dict[tuple[int, HalfDiagram], jax.Array]:
    """Compute the matrix products of one core, one for each pair of terms: a tensor for every output half."""
    batch = len(shapes.batch)
    blocks = {(block.source, block.target): block.segments for block in product.blocks}
    stacks = {}
    for t, halves in enumerate(product.inputs):
        rows = [folded(tensors[t, half], half, batch) for half in halves]
        if rows:
            rows = alike(*rows)
            stacks[t] = jnp.stack([rewired(x, wiring, batch) for wiring in product.wires_in for x in rows], -2)
    found: dict[tuple[int, HalfDiagram], jax.Array] = {}
    core = tuple(shapes.sizes[label] for label in product.core)
    for s, halves in enumerate(product.outputs):
        kernels = {t: _laid_out(plan, product, given[t, s], t, s) for t in stacks if (t, s) in blocks}
        bias = _bias(plan, product, given[None, s], blocks[None, s], len(halves)) if (None, s) in blocks else None
        wired: list[jax.Array] = []
        # With sharded axes there is one product for each wiring: for a single product, XLA would exchange everything,
        # not only the permuted part. With sharded channels there is a single product: the backward pass then has a
        # single sum over devices.
        count = len(product.wires_out)
        for i in range(0, count if kernels else 0, 1 if spread == "axes" else count):
            parts = []
            for t, kernel in kernels.items():
                some = kernel[:, :, i : i + 1] if spread == "axes" else kernel
                x = stacks[t]
                dimensions = ((x.ndim - 2, x.ndim - 1), (0, 1)), ((), ())
                parts.append(lax.dot_general(x, some.astype(x.dtype), dimensions, precision, **widened(x)))
            y = sum(parts[1:], parts[0])
            wired += [rewired(z, product.wires_out[i + j], batch) for j, z in enumerate(unstacked(y, y.ndim - 3))]
        columns = unstacked(sum(wired[1:], wired[0]), wired[0].ndim - 2) if wired else [None] * len(halves)
        for j, (half, z) in enumerate(zip(halves, columns, strict=True)):
            if bias is not None:
                one = bias[j].astype(wide(bias.dtype))
                z = jnp.broadcast_to(one, (*shapes.batch, *core, bias.shape[1])) if z is None else z + one
            if z is not None:
                found[s, half] = unfolded(z, half, batch, shapes.sizes)
    return found


def _bias(
    plan: Plan, product: Product, given: Mapping[int, jax.Array], segments: tuple[tuple[int, int], ...], tops: int
) -> jax.Array:
    """Return the bias of each output half of a term: [halves, features out]."""
    grid = joined(pieces(given, segments), 0)
    if product.tensors:
        tensors = invariant_tensors(plan.signature, product.tensors)
        grid = tensors.spread(grid.reshape(tops, tensors.shape[0], grid.shape[1]), 1)
    return grid.reshape(tops, -1)
