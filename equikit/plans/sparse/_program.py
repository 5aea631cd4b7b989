"""The compiled program of a plan on a support, from checked arrays to results."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import jax

from equikit._array_checks import Shapes
from equikit.plans._ir import Plan
from equikit.plans._options import RunOptions
from equikit.plans.execution._execute import inlined
from equikit.plans.execution._layout import Layout, Weights
from equikit.plans.execution._program import LEAST_BYTES, LEAST_EXPANSIONS, written_out
from equikit.plans.sparse._walk import run_sparse
from equikit.supports import Support


@functools.partial(jax.jit, static_argnames=("plan", "pairs", "batch", "sizes", "options", "apart"), inline=False)
def _compiled(
    weights: Sequence[jax.Array] | Layout,
    arrays: Sequence[jax.Array],
    masks: Mapping[str, jax.Array],
    support: Support,
    *,
    plan: Plan,
    pairs: tuple[tuple[int | None, int], ...],
    batch: int,
    sizes: tuple[tuple[str, int], ...],
    options: RunOptions,
    apart: bool,
) -> list[jax.Array]:
    stage = written_out if apart else inlined

    def computed(weights: Any, arrays: Any, masks: Any, support: Support) -> list[jax.Array]:
        given: Weights | Layout = weights if isinstance(weights, Layout) else dict(zip(pairs, weights, strict=True))
        return run_sparse(plan, arrays, given, support, dict(sizes), masks, options.precision, stage)

    run: Any = computed
    for _ in range(batch):
        run = jax.vmap(run, in_axes=(None, 0, 0, None))
    run = jax.checkpoint(run) if options.remat else run
    found: list[jax.Array] = run(weights, arrays, masks, support)
    return found


def _wants_memory(plan: Plan, arrays: Sequence[jax.Array], shapes: Shapes, support: Support) -> bool:
    """Whether a CPU should write the results to memory before they are used; see `written_out`."""
    if len(plan.products) < 2 or not any(isinstance(array, jax.core.Tracer) for array in arrays):
        return False
    entries = sum(
        width
        * support.levels[term.labels.count(support.label)].count
        * math.prod(shapes.sizes[label] for label in term.labels if label != support.label)
        for term, width in zip(plan.signature.outputs, plan.channels[1], strict=True)
    )
    entries *= math.prod(shapes.batch)
    large = isinstance(entries, int) and entries * arrays[0].dtype.itemsize >= LEAST_BYTES
    return large or len(plan.expansions) >= LEAST_EXPANSIONS


def execute_sparse(
    plan: Plan,
    arrays: Sequence[jax.Array],
    weights: Weights | Layout,
    shapes: Shapes,
    masks: Mapping[str, jax.Array],
    support: Support,
    options: RunOptions,
) -> list[jax.Array]:
    """Run a plan on a support, on checked arrays of one dtype; `equikit.plans.apply` is the public function."""
    given = weights if isinstance(weights, Layout) else list(weights.values())
    found: list[jax.Array] = _compiled(
        given,
        list(arrays),
        dict(masks),
        support,
        plan=plan,
        pairs=() if isinstance(weights, Layout) else tuple(weights),
        batch=len(shapes.batch),
        sizes=tuple(sorted((label, size) for label, size in shapes.sizes.items() if label != support.label)),
        options=options,
        apart=_wants_memory(plan, arrays, shapes, support),
    )
    return found
