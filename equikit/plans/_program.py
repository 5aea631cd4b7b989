"""The program of a plan: from checked arrays to results, compiled as one."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.experimental.xla_metadata import set_xla_metadata

from equikit.plans._check import Shapes
from equikit.plans._dense import run_dense
from equikit.plans._execute import run
from equikit.plans._ir import Plan
from equikit.plans._layout import Layout, Weights
from equikit.plans._method import Chosen
from equikit.plans._reference import run_reference
from equikit.plans._spread import Spread

LEAST_BYTES = 2**18
"""Results from this size on are written out before they are used; below, calls cost more than they save."""


@functools.partial(
    jax.jit,
    static_argnames=("plan", "pairs", "batch", "sizes", "method", "precision", "remat", "chunk_size", "spread"),
    inline=False,
)
def _compiled(
    arrays: Sequence[jax.Array],
    weights: Sequence[jax.Array] | Layout,
    masks: Mapping[str, jax.Array],
    *,
    plan: Plan,
    pairs: tuple[tuple[int | None, int], ...],
    batch: tuple[int, ...],
    sizes: tuple[tuple[str, int], ...],
    method: Chosen,
    precision: lax.PrecisionLike,
    remat: bool,
    chunk_size: int | None,
    spread: Spread | None,
) -> list[jax.Array]:
    def computed(arrays: Any, weights: Any, masks: Any, *, batch: tuple[int, ...]) -> list[jax.Array]:
        shapes = Shapes(batch, dict(sizes))
        if isinstance(weights, Layout):
            return run(plan, arrays, weights, shapes, masks, precision)
        given: Weights = dict(zip(pairs, weights, strict=True))
        if method == "naive":
            return run_reference(plan, arrays, given, shapes, masks)
        if method == "dense":
            return run_dense(plan, arrays, given, shapes, masks, precision)
        return run(plan, arrays, given, shapes, masks, precision, spread)

    def program(part: Any, batch: tuple[int, ...]) -> list[jax.Array]:
        arrays, masks = part
        one = functools.partial(computed, batch=batch)
        return (jax.checkpoint(one) if remat else one)(arrays, weights, masks)

    with set_xla_metadata(inlineable=None):  # what `execute` asks for holds for the whole, not for calls in it
        rows = math.prod(batch)
        if chunk_size is None or rows <= chunk_size:
            return program((arrays, masks), batch)
        whole = rows - rows % chunk_size
        flat = jax.tree.map(lambda a: a.reshape(rows, *a.shape[len(batch) :]), (arrays, masks))
        chunks = jax.tree.map(lambda a: a[:whole].reshape(whole // chunk_size, chunk_size, *a.shape[1:]), flat)
        found = lax.map(lambda chunk: program(chunk, (chunk_size,)), chunks)
        found = [y.reshape(whole, *y.shape[2:]) for y in found]
        if rows > whole:
            rest = program(jax.tree.map(lambda a: a[whole:], flat), (rows - whole,))
            found = [jnp.concatenate(parts) for parts in zip(found, rest, strict=True)]
        return [y.reshape(*batch, *y.shape[1:]) for y in found]


def _written_out(plan: Plan, arrays: Sequence[jax.Array], shapes: Shapes) -> bool:
    """Whether the results should be in memory before they are used.

    XLA on the CPU fuses the sum of all contributions into every operation that uses it: in a network it is then
    computed five times, for the next product and each reduction. A call that is not inlined stops that. With several
    devices calls stay inlined, as the partitioner has to see through them.
    """
    if jax.default_backend() != "cpu" or jax.device_count() > 1 or len(plan.products) < 2:
        return False
    if not any(isinstance(array, jax.core.Tracer) for array in arrays):
        return False
    entries = math.prod(shapes.batch) * sum(
        width * math.prod(shapes.sizes[label] for label in term.labels)
        for term, width in zip(plan.signature.outputs, plan.channels[1], strict=True)
    )
    return isinstance(entries, int) and entries * arrays[0].dtype.itemsize >= LEAST_BYTES


def execute(
    plan: Plan,
    arrays: Sequence[jax.Array],
    weights: Weights | Layout,
    shapes: Shapes,
    masks: Mapping[str, jax.Array],
    *,
    method: Chosen,
    precision: lax.PrecisionLike,
    remat: bool,
    chunk_size: int | None,
    spread: Spread | None = None,
) -> list[jax.Array]:
    """Run a plan on checked arrays of one dtype; `equikit.plans.apply` is the public way."""
    apart = _written_out(plan, arrays, shapes)
    with set_xla_metadata(inlineable="false") if apart else nullcontext():
        found: list[jax.Array] = _compiled(
            arrays,
            weights if isinstance(weights, Layout) else list(weights.values()),
            masks,
            plan=plan,
            pairs=() if isinstance(weights, Layout) else tuple(weights),
            batch=shapes.batch,
            sizes=tuple(sorted(shapes.sizes.items())),
            method=method,
            precision=precision,
            remat=remat,
            chunk_size=chunk_size,
            spread=spread,
        )
    return found
