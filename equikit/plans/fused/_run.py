"""Run a plan with fused kernels: the stage that a plan needs, and the small steps between its kernels."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import jax
import jax.numpy as jnp

from equikit._array_checks import Shapes
from equikit.diagrams import HalfDiagram
from equikit.plans._ir import Plan, Product, Step
from equikit.plans.compilation._lattice import acted_labels, root
from equikit.plans.execution._execute import Tensors, Walk, multiplied, parted
from equikit.plans.execution._layout import Weights, laid_out
from equikit.plans.execution._steps import scaled, scales_of
from equikit.plans.fused._orbits import composed
from equikit.plans.fused._pallas import current_mode
from equikit.plans.fused._stage import Pair, Root, Stage, run_stage
from equikit.plans.fused._tensors import RootStep, Wiring, tensor_of


@dataclass(frozen=True, eq=False)
class Split:
    """A product of a plan, split into what kernels compute and what XLA computes.

    Attributes:
        product: the product.
        sources, targets: the input and output terms between whose roots kernels compute it.
        parts: products for XLA: of all other input halves; and of the roots, to all other output halves.
    """

    product: Product
    sources: tuple[int, ...]
    targets: tuple[int, ...]
    parts: tuple[Product, ...]


def _roots(plan: Plan) -> tuple[list[HalfDiagram], list[HalfDiagram]]:
    """Return the half diagram of each input term, and of each output term, that is the term itself."""
    inputs, outputs = (
        [root(acted_labels(plan.signature, term)) for term in terms]
        for terms in (plan.signature.inputs, plan.signature.outputs)
    )
    return inputs, outputs


def split_product(plan: Plan, product: Product) -> Split:
    """Split a product: kernels multiply the inputs themselves where the result is an output itself."""
    tops, bottoms = _roots(plan)
    sources = tuple(t for t, halves in enumerate(product.inputs) if tops[t] in halves)
    targets = tuple(s for s, halves in enumerate(product.outputs) if bottoms[s] in halves)
    if not (product.core and sources and targets) or product.tensors:
        return Split(product, (), (), (product,))
    smaller = tuple(
        tuple(half for half in halves if t not in sources or half != tops[t]) for t, halves in enumerate(product.inputs)
    )
    roots = tuple((tops[t],) if t in sources else () for t in range(len(tops)))
    others = tuple(
        tuple(half for half in halves if s not in targets or half != bottoms[s])
        for s, halves in enumerate(product.outputs)
    )
    parts = []
    if any(smaller):
        parts.append(replace(product, inputs=smaller))
    if any(others):
        parts.append(replace(product, inputs=roots, outputs=others))
    return Split(product, sources, targets, tuple(parts))


def stage_of(plan: Plan, batch: int, sizes: Mapping[str, int]) -> Stage:
    """Return the kernels of a plan for a number of samples and for sizes of the axes."""
    signature = plan.signature
    tops, bottoms = _roots(plan)
    products = [split_product(plan, product) for product in plan.products]
    parts = [part for product in products for part in product.parts]

    def of_term(i: int, half: HalfDiagram, steps: Sequence[Step], wanted: bool) -> tuple[RootStep, ...]:
        found = [RootStep(_operation(step), step.axes) for step in steps if (step.term, step.large) == (i, half)]
        return (*([RootStep("whole")] if wanted or not half.labels else []), *found)

    inputs = tuple(
        Root(
            tensor_of(signature, term, sizes, plan.channels[0][t]),
            of_term(t, tops[t], plan.reductions, any(tops[t] in part.inputs[t] for part in parts)),
        )
        for t, term in enumerate(signature.inputs)
    )
    outputs = tuple(
        Root(
            tensor_of(signature, term, sizes, plan.channels[1][s]),
            of_term(s, bottoms[s], plan.expansions, any(bottoms[s] in part.outputs[s] for part in parts)),
        )
        for s, term in enumerate(signature.outputs)
    )
    pairs = tuple(Pair(t, s, _wirings(each.product)) for each in products for t in each.sources for s in each.targets)
    return Stage(inputs, outputs, pairs, batch)


def _wirings(product: Product) -> tuple[Wiring, ...]:
    return tuple(composed(after, before) for before in product.wires_in for after in product.wires_out)


def _operation(step: Step) -> Any:
    assert step.operation != "head"  # refused before
    return step.operation


def _matrices(
    plan: Plan, each: Split, rows: tuple[jax.Array, ...]
) -> tuple[list[jax.Array], list[tuple[jax.Array, ...]]]:
    """Return the matrices of the kernels of a product, and the rows of each of its parts."""
    product, (wide, narrow) = each.product, plan.features
    if not each.sources:
        return [], [rows]
    tops, bottoms = _roots(plan)
    before, after = len(product.wires_in), len(product.wires_out)
    entering = [t for t, halves in enumerate(product.inputs) if halves]
    keys = [(s, half) for s, halves in enumerate(product.outputs) for half in halves]
    grids = {
        t: block.reshape(before, len(product.inputs[t]), wide[t], after, -1)
        for t, block in zip(entering, rows, strict=True)
    }
    starts, start = {}, 0
    for s, half in keys:
        starts[s, half] = start
        start += narrow[s]

    def columns(grid: jax.Array, some: Sequence[tuple[int, HalfDiagram]]) -> jax.Array:
        pieces = [grid[..., starts[key] : starts[key] + narrow[key[0]]] for key in some]
        return pieces[0] if len(pieces) == 1 else jnp.concatenate(pieces, -1)

    def flat(t: int, halves: Sequence[HalfDiagram], some: Sequence[tuple[int, HalfDiagram]]) -> jax.Array:
        grid = columns(grids[t], some)
        if len(halves) < len(product.inputs[t]):
            grid = jnp.stack([grid[:, product.inputs[t].index(half)] for half in halves], 1)
        return grid.reshape(before * len(halves) * wide[t], -1)

    kernels = []
    for t in each.sources:
        for s in each.targets:
            grid = columns(grids[t][:, product.inputs[t].index(tops[t])], [(s, bottoms[s])])
            kernels.append(grid.transpose(0, 2, 1, 3).reshape(before * after, wide[t], narrow[s]))
    parts = []
    for part in each.parts:
        some = [(s, half) for s, halves in enumerate(part.outputs) for half in halves]
        parts.append(tuple(flat(t, halves, some) for t, halves in enumerate(part.inputs) if halves))
    return kernels, parts


class Waiting:
    """The sum of tensors that a kernel will expand to one output: for each step what it expands."""

    __slots__ = ("found",)

    def __init__(self, found: Mapping[RootStep, jax.Array]) -> None:
        self.found = dict(found)

    def __add__(self, other: Waiting | jax.Array) -> Waiting:
        """Add to each step, and an array of the size of the output to the step that changes nothing."""
        found = dict(self.found)
        for step, y in (other.found if isinstance(other, Waiting) else {RootStep("whole"): other}).items():
            found[step] = found[step] + y if step in found else y
        return Waiting(found)

    __radd__ = __add__


@dataclass(frozen=True, eq=False)
class Between(Walk):
    """The steps of a plan between its kernels: steps at the roots are left to them."""

    bottoms: Sequence[HalfDiagram] = field(default_factory=tuple)

    def grown(self, step: Step, y: jax.Array) -> Any:
        """Return the larger tensor of an expansion, or what a kernel expands."""
        if step.large == self.bottoms[step.term]:
            return Waiting({RootStep(_operation(step), step.axes): y})
        return super().grown(step, y)

    def left(self, s: int, y: Any, dtype: Any) -> Any:
        """Return what a kernel expands to an output."""
        if y is None:
            return Waiting({})
        return y if isinstance(y, Waiting) else Waiting({RootStep("whole"): y})


def run_fused(
    plan: Plan,
    inputs: Sequence[jax.Array],
    weights: Weights,
    shapes: Shapes,
    masks: Mapping[str, jax.Array],
    precision: Any,
) -> list[jax.Array]:
    """Run a plan on checked arrays of one dtype; `equikit.plans.apply` is the public function.

    `precision` is for the small products; kernels multiply float32 without rounding it.
    """
    mode = current_mode()
    assert mode is not None  # checked before
    batch, dtype, count = math.prod(shapes.batch), jnp.result_type(*inputs), len(shapes.batch)
    flat = Shapes((batch,), shapes.sizes)
    stage = stage_of(plan, batch, shapes.sizes)
    tops, bottoms = _roots(plan)
    arrays = [x.reshape(batch, *x.shape[count:]) for x in inputs]
    flags = {label: mask.reshape(batch, mask.shape[-1]) for label, mask in masks.items()}
    marks = {label: (mask != 0).astype(jnp.int32) for label, mask in flags.items()}
    scales = scales_of(plan, flat, flags)
    numbers = {label: scale for label, scale in scales.items() if not isinstance(scale, jax.Array)}
    given = {label: scale for label, scale in scales.items() if isinstance(scale, jax.Array)}
    layout = laid_out(plan, weights)
    products = [split_product(plan, product) for product in plan.products]
    matrices: list[jax.Array] = []
    parts: list[tuple[tuple[jax.Array, ...], jax.Array | None]] = []
    for each, (rows, bias) in zip(products, layout.products, strict=True):
        kernels, others = _matrices(plan, each, rows)
        matrices += [matrix.astype(dtype) for matrix in kernels]
        parts += [(other, bias) for other in others]

    def small(reduced: Any, others: Any) -> tuple[list[list[jax.Array]], tuple[()]]:
        parts, given = others
        walk = Between(plan, flat, {}, {**numbers, **given}, precision, bottoms=bottoms)
        down: Tensors = {}
        steps = {(step.term, RootStep(_operation(step), step.axes)): step.small for step in _first(plan, tops)}
        for t, (term, found) in enumerate(zip(stage.inputs, reduced, strict=True)):
            for step, x in zip(term.steps, found, strict=True):
                if step.operation == "sum":
                    scale = walk.scales.get(term.tensor.labels[step.axes[0]])
                    x = x if scale is None else scaled(x, scale, 1).astype(dtype)
                elif step.operation == "diagonal":
                    x = x.astype(dtype)
                down[t, tops[t] if step.operation == "whole" else steps[t, step]] = x
        for later in plan.reductions:
            if later.large != tops[later.term]:
                down[later.term, later.small] = walk.shrunk(later, down[later.term, later.large])
        found = walk.expanded(_parts(plan, walk, products, parts, down), dtype)
        return [_ordered(stage, s, waiting) for s, waiting in enumerate(found)], ()

    results, _ = run_stage(stage, small, arrays, matrices, (parts, given), marks, mode)
    return [y.reshape(*shapes.batch, *y.shape[1:]) for y in results]


def _first(plan: Plan, tops: Sequence[HalfDiagram]) -> list[Step]:
    return [step for step in plan.reductions if step.large == tops[step.term]]


def _parts(plan: Plan, walk: Walk, products: Sequence[Split], parts: Any, down: Tensors) -> Any:
    """Yield the tensors of output halves that XLA computes."""
    every, widths = [part for each in products for part in each.parts], plan.features[1]
    for product, (rows, bias) in zip(every, parts, strict=True):
        yield from parted(walk, product, multiplied(walk, product, rows, down, widths), bias, widths)


def _ordered(stage: Stage, s: int, waiting: Any) -> list[jax.Array]:
    """Return what the kernel of an output expands, in the order of its steps."""
    tensor, found = stage.outputs[s].tensor, []
    for step in stage.outputs[s].steps:
        small = step.small(tensor)
        zero = jnp.zeros((stage.batch, *small.shape), jnp.float32)
        found.append(waiting.found.get(step, zero))
    assert waiting.found.keys() <= set(stage.outputs[s].steps)
    return found
