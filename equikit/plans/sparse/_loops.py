"""Einsums of rows in loops over a letter that is summed over, so that no outer product of features is held.

The product of two features of each row with a matrix for all pairs of channels would hold all pairs for each row. In a
loop over the channels of one feature, the other one is multiplied by a matrix: as many operations, and arrays that are
as small as the features.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax import lax

from equikit.plans.compilation._contractions import Letters
from equikit.plans.compilation._loop_orders import LoopedOrder
from equikit.plans.execution._arrays import wide
from equikit.plans.execution._contract import einsum_of


def looped_einsum(
    operands: Sequence[tuple[jax.Array, Letters]],
    result: Letters,
    plan: LoopedOrder,
    sizes: tuple[int, ...],
    precision: lax.PrecisionLike,
) -> jax.Array:
    """Return the einsum of some operands; the backward pass computes each step of a loop again."""
    if not plan.letters:
        return einsum_of(operands, result, plan.order, precision)
    extents = [sizes[letter] for letter in plan.letters]

    def part(step: jax.Array) -> jax.Array:
        places = dict(zip(plan.letters, jnp.unravel_index(step, extents), strict=True))
        cut = []
        for array, own in operands:
            for letter in sorted({*own} & places.keys(), key=own.index, reverse=True):
                array = lax.dynamic_index_in_dim(array, places[letter], own.index(letter), keepdims=False)
            cut.append((array, tuple(letter for letter in own if letter not in places)))
        return einsum_of(cut, result, plan.order, precision)

    def added(total: jax.Array, step: jax.Array) -> tuple[jax.Array, None]:
        return total + part(step).astype(total.dtype), None

    shape = jax.eval_shape(part, jnp.zeros((), jnp.int32))
    zeros = jnp.zeros(shape.shape, wide(shape.dtype))
    total, _ = lax.scan(jax.checkpoint(added), zeros, jnp.arange(math.prod(extents), dtype=jnp.int32))
    return total
