"""Run a plan on a part of the batch at a time, which takes less memory."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.custom_derivatives import SymbolicZero

from equikit.plans._ir import Plan
from equikit.plans.costs._cost import kept_bytes

Computed = Callable[[Any, Any, Any], list[jax.Array]]
"""The results of a plan, from weights, inputs and masks."""

MOST_TENSORS, PART_BYTES = 3, (2**24, 2**26)
"""A layer whose tensors take more than `MOST_TENSORS` times the bytes of its inputs and outputs is computed in chunks
if no gradient is taken. Chunks of this many bytes keep all threads busy, with arrays small enough that the C library
does not map them again in each call."""


def in_chunks(part: Callable[[tuple[int, ...]], Computed], batch: tuple[int, ...], size: int) -> Computed:
    """Compute `size` samples at a time, in a loop over the batch."""

    def computed(weights: Any, arrays: Any, masks: Any) -> list[jax.Array]:
        rows = math.prod(batch)
        whole = rows - rows % size
        flat = jax.tree.map(lambda a: a.reshape(rows, *a.shape[len(batch) :]), (arrays, masks))
        chunks = jax.tree.map(lambda a: a[:whole].reshape(whole // size, size, *a.shape[1:]), flat)
        found = lax.map(lambda chunk: part((size,))(weights, *chunk), chunks)
        found = [y.reshape(whole, *y.shape[2:]) for y in found]
        if rows > whole:
            rest = part((rows - whole,))(weights, *jax.tree.map(lambda a: a[whole:], flat))
            found = [jnp.concatenate(pieces) for pieces in zip(found, rest, strict=True)]
        return [y.reshape(*batch, *y.shape[1:]) for y in found]

    return computed


def chunked_inference(chunked: Computed, whole: Computed, differentiated: Computed) -> Computed:
    """Compute in chunks if the program is lowered for a CPU and no gradient is taken.

    A differentiated loop copies everything that it keeps for the backward pass, and takes longer.
    """

    @jax.custom_jvp
    def computed(*operands: Any) -> list[jax.Array]:
        found: list[jax.Array] = lax.platform_dependent(*operands, cpu=chunked, default=whole)
        return found

    @functools.partial(computed.defjvp, symbolic_zeros=True)
    def _(primals: Any, tangents: Any) -> Any:
        leaves, structure = jax.tree.flatten(primals)
        moving = {i: dot for i, dot in enumerate(jax.tree.leaves(tangents)) if not isinstance(dot, SymbolicZero)}

        def moved(*values: jax.Array) -> list[jax.Array]:
            given = dict(zip(moving, values, strict=True))
            return differentiated(*jax.tree.unflatten(structure, [given.get(i, leaf) for i, leaf in enumerate(leaves)]))

        return jax.jvp(moved, [leaves[i] for i in moving], [*moving.values()])

    return computed


def count_parts(plan: Plan, batch: tuple[int, ...], sizes: tuple[tuple[str, int], ...], itemsize: int) -> int:
    """Count the chunks in which a CPU computes the batch without a gradient."""
    rows = math.prod(batch)
    if not all(isinstance(size, int) for size in (rows, *dict(sizes).values())):
        return 1
    tensors, between = kept_bytes(plan, rows, dict(sizes), itemsize)
    enough = math.ceil(between / ((MOST_TENSORS - 1) * max(tensors, 1)))
    if enough < 2:
        return 1
    least = max(enough, math.ceil(between / PART_BYTES[1]))
    divisors = [parts for parts in range(2, min(between // PART_BYTES[0], rows) + 1) if rows % parts == 0]
    return min((parts for parts in divisors if parts >= least), default=max(divisors, default=1))
