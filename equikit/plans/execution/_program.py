"""The compiled program of a plan, from checked arrays to results."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
from jax import lax
from jax.experimental.xla_metadata import set_xla_metadata

from equikit._array_checks import Shapes
from equikit.plans._ir import Plan
from equikit.plans._options import Chosen, RunOptions
from equikit.plans.costs._method import Choice, run_choice
from equikit.plans.execution._chunks import Computed, chunked_inference, count_parts, in_chunks
from equikit.plans.execution._dense import run_dense
from equikit.plans.execution._execute import Linear, Stage, inlined, run
from equikit.plans.execution._layout import Layout, Weights
from equikit.plans.execution._reference import run_reference
from equikit.plans.execution._steps import Platform
from equikit.plans.fused._run import run_fused
from equikit.plans.sharding._spread import Spread

LEAST_BYTES, LEAST_EXPANSIONS = 2**18, 15
"""Results of at least this size, or sums of at least this many expansions, are written to memory before they are used.
Below both bounds a call costs more run time than it saves, and the fused sum compiles quickly."""


def by_platform(made: Callable[[Platform], Linear], operands: Any) -> list[jax.Array]:
    """Call a stage in the form for the platform for which the program is lowered."""
    found: list[jax.Array] = lax.platform_dependent(operands, cpu=made("cpu"), tpu=made("tpu"), default=made("gpu"))
    return found


def written_out(made: Callable[[Platform], Linear], operands: Any) -> list[jax.Array]:
    """Call a stage like `by_platform` so that, lowered for a CPU, it writes its results to memory before they are used.

    XLA on the CPU fuses the sum of all contributions into every operation that uses it: in a network it is then
    computed five times, for the next product and each reduction, and the gradient of six labels compiles 64 copies of a
    sum of 64 tensors. A call that is not inlined prevents that. On other platforms such a call would prevent XLA from
    fusing anything across it.
    """

    def called(operands: Any) -> list[jax.Array]:
        with set_xla_metadata(inlineable="false"):
            found: list[jax.Array] = jax.jit(made("cpu"))(operands)
        return found

    found: list[jax.Array] = lax.platform_dependent(operands, cpu=called, tpu=made("tpu"), default=made("gpu"))
    return found


@functools.partial(
    jax.jit,
    static_argnames=("plan", "pairs", "batch", "sizes", "choice", "options", "spread", "apart", "least"),
    inline=False,
)
def _compiled(
    weights: Sequence[jax.Array] | Layout,
    arrays: Sequence[jax.Array],
    masks: Mapping[str, jax.Array],
    *,
    plan: Plan,
    pairs: tuple[tuple[int | None, int], ...],
    batch: tuple[int, ...],
    sizes: tuple[tuple[str, int], ...],
    choice: Choice[Chosen],
    options: RunOptions,
    spread: Spread | None,
    apart: bool,
    least: int,
) -> list[jax.Array]:
    # Weights come first: XLA on the CPU then computes their gradients first, and releases the operands of the products
    # before it computes the gradient of the inputs.
    def by(method: Chosen, batch: tuple[int, ...], stage: Stage) -> Computed:
        shapes = Shapes(batch, dict(sizes))

        def computed(weights: Any, arrays: Any, masks: Any) -> list[jax.Array]:
            if isinstance(weights, Layout):
                return run(plan, arrays, weights, shapes, masks, options.precision, None, stage, large)
            given: Weights = dict(zip(pairs, weights, strict=True))
            if method == "naive":
                return run_reference(plan, arrays, given, shapes, masks)
            # Arrays without entries need no kernel.
            if method == "fused" and 0 not in (*batch, *shapes.sizes.values(), *plan.features[0], *plan.features[1]):
                return run_fused(plan, arrays, given, shapes, masks, options.precision)
            if method == "dense":
                return run_dense(plan, arrays, given, shapes, masks, options.precision)
            return run(plan, arrays, given, shapes, masks, options.precision, spread, stage, large)

        return jax.checkpoint(computed) if options.remat else computed

    shapes = Shapes(batch, dict(sizes))
    large = any(_is_large(plan, arrays, shapes, least, results=results) for results in (False, True))
    inside = by_platform if large else inlined

    def part(batch: tuple[int, ...], stage: Stage = inside) -> Computed:
        return lambda *operands: run_choice(choice, lambda method: by(method, batch, stage), *operands)

    if options.chunk_size is not None and math.prod(batch) > options.chunk_size:
        return in_chunks(part, batch, options.chunk_size)(weights, arrays, masks)
    whole = part(batch, written_out if apart else inside)
    own = options.chunk_size is None and choice.cpu == "factored" and not is_divided((arrays, weights))
    parts = count_parts(plan, batch, sizes, arrays[0].dtype.itemsize) if own else 1
    if parts > 1:
        chunked = in_chunks(part, batch, math.prod(batch) // parts)
        return chunked_inference(chunked, part(batch), whole)(weights, arrays, masks)
    return whole(weights, arrays, masks)


def is_divided(operands: Any) -> bool:
    """Whether a mesh of several devices is set, or is in the type of an array, so that the program is partitioned.

    Calls are then inlined, so that their sums over devices are combined.
    """
    arrays = jax.tree.leaves(operands)
    meshes = {jax.sharding.get_abstract_mesh(), *(jax.typeof(array).sharding.mesh for array in arrays)}
    return any(size > 1 and axis not in mesh.manual_axes for mesh in meshes for axis, size in mesh.shape.items())


def _is_large(plan: Plan, arrays: Sequence[jax.Array], shapes: Shapes, least: int, *, results: bool = True) -> bool:
    """Whether the inputs or the results take at least so many bytes; not if a size is a symbol."""
    signature = plan.signature
    terms = signature.outputs if results else signature.inputs
    entries = math.prod(shapes.batch) * sum(
        width * math.prod(shapes.sizes[label] for label in term.labels)
        for term, width in zip(terms, plan.channels[results], strict=True)
    )
    return isinstance(entries, int) and entries * arrays[0].dtype.itemsize >= least


def _wants_memory(plan: Plan, arrays: Sequence[jax.Array], weights: Any, shapes: Shapes) -> bool:
    """Whether a CPU should write the results to memory before they are used."""
    if len(plan.products) < 2 or not any(isinstance(array, jax.core.Tracer) for array in arrays):
        return False
    large = _is_large(plan, arrays, shapes, LEAST_BYTES) or len(plan.expansions) >= LEAST_EXPANSIONS
    return large and not is_divided((arrays, weights))


def execute(
    plan: Plan,
    arrays: Sequence[jax.Array],
    weights: Weights | Layout,
    shapes: Shapes,
    masks: Mapping[str, jax.Array],
    choice: Choice[Chosen],
    options: RunOptions,
    spread: Spread | None = None,
) -> list[jax.Array]:
    """Run a plan on checked arrays of one dtype; `equikit.plans.apply` is the public function."""
    given = weights if isinstance(weights, Layout) else list(weights.values())
    found: list[jax.Array] = _compiled(
        given,
        list(arrays),
        dict(masks),
        plan=plan,
        pairs=() if isinstance(weights, Layout) else tuple(weights),
        batch=shapes.batch,
        sizes=tuple(sorted(shapes.sizes.items())),
        choice=choice,
        options=options,
        spread=spread,
        apart=_wants_memory(plan, arrays, given, shapes),
        least=LEAST_BYTES,
    )
    return found
