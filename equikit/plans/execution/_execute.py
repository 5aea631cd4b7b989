"""Run a plan in JAX.

There is no gather and no scatter, and no array is larger than the largest input or output; weights are arranged by
slices. (For groups without diagrams they are looked up, and fill a matrix.) The operations on single arrays are in
`_arrays.py`.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from equikit._array_checks import Shapes
from equikit._masks import masked
from equikit.diagrams import HalfDiagram
from equikit.groups import Form
from equikit.plans._ir import Plan, Product, Stages, Step
from equikit.plans.compilation._lattice import acted_labels, root
from equikit.plans.costs._cost import product_name, step_name
from equikit.plans.execution._arrays import (
    broadcast,
    cut_diagonal,
    diagonal,
    embed,
    joined,
    joined_channels,
    levi_civita,
    rewired,
    signed,
    split_channels,
    symplectic_diagonal,
    symplectic_signs,
    wide,
)
from equikit.plans.execution._layout import Layout, Weights, cut, laid_out
from equikit.plans.execution._matmul import matmul_rows
from equikit.plans.execution._whole import folded, unfolded
from equikit.plans.sharding._spread import Spread, masked_diagonal, masked_embed, mix_spread
from equikit.signatures import Signature, Term

Tensors = dict[tuple[int, HalfDiagram], jax.Array]
Scales = Mapping[str, jax.Array | float]
"""For each label the factor that makes a sum a mean: a number, or one for each batch entry."""
Stage = Callable[[Callable[[Any], list[jax.Array]], Any], list[jax.Array]]
"""A way to call a linear function of arrays."""


def inlined(function: Callable[[Any], list[jax.Array]], operands: Any) -> list[jax.Array]:
    """Call a stage as part of the program around it."""
    return function(operands)


def _axis_order(term: Term, acted: Sequence[int], by_label: bool) -> list[int]:
    return sorted(acted, key=lambda i: (term.labels[i], i)) if by_label else list(acted)


def inward(signature: Signature, term: Term, x: jax.Array, by_label: bool = True) -> jax.Array:
    """Move acted axes to the front, by default sorted by label as in a root node; fold plain axes into channels."""
    start = x.ndim - 1 - len(term.labels)
    acted, plain = signature.acted(term), signature.plain(term)
    order = [*_axis_order(term, acted, by_label), *plain]
    x = x.transpose(*range(start), *(start + i for i in order), x.ndim - 1)
    return x.reshape(*x.shape[: start + len(acted)], math.prod(x.shape[start + len(acted) :]))


def outward(signature: Signature, term: Term, x: jax.Array, channels: int, by_label: bool = True) -> jax.Array:
    """The inverse of `inward`."""
    acted, plain = signature.acted(term), signature.plain(term)
    start = x.ndim - 1 - len(acted)
    order = [*_axis_order(term, acted, by_label), *plain]
    sizes = signature.sizes
    folded = [sizes[term.labels[i]] for i in plain]
    x = x.reshape(*x.shape[:-1], *folded, channels)
    return x.transpose(*range(start), *(start + int(i) for i in np.argsort(order)), x.ndim - 1)


def scales_of(plan: Stages, shapes: Shapes, masks: Mapping[str, jax.Array]) -> Scales:
    """Return for each label the factor that makes a sum a mean; an empty mean is zero."""
    if plan.normalize == "sum":
        return {}
    scales: dict[str, jax.Array | float] = {}
    for label in plan.signature.groups:
        if label in masks:
            scales[label] = 1 / jnp.maximum(jnp.sum(masks[label], axis=-1), 1)
        else:
            scales[label] = 1 / max(shapes.sizes[label], 1)
    return scales


def _apply_head(
    step: Step,
    x: jax.Array,
    batch: int,
    form: Form | None,
    n: int,
    precision: lax.PrecisionLike,
    *,
    upwards: bool,
) -> jax.Array:
    """Convert between a tensor with legs among its axes, and a tensor with the axes of the head last.

    If the head is applied in this row, the legs of this row are contracted with the Levi-Civita tensor and replaced by
    axes for the legs of the other row (upwards, vice versa); otherwise axes are only transposed.
    """
    head = step.small.heads[-1]
    count = len(step.large.core)
    wired = [i for i, block in enumerate(step.large.wires) if block in step.small.propagating] if head.wired else []
    wired = [i for i in wired if step.large.core[i] == head.label]
    rest = [i for i in range(count) if i not in step.axes and i not in wired]
    if not upwards:
        x = x.transpose(*range(batch), *(batch + i for i in (*rest, *wired, *step.axes)), x.ndim - 1)
    else:  # all axes except the axes of the head are as below, without its legs
        below = [i for i in range(count) if i not in step.axes]
        order = [below.index(i) for i in (*rest, *wired)] + list(range(len(below), len(below) + head.axes))
        x = x.transpose(*range(batch), *(batch + i for i in order), x.ndim - 1)
    if head.applied:
        x = levi_civita(x, len(wired), head, form, n, upwards=upwards, precision=precision)
    if upwards:
        order = [int(i) for i in np.argsort((*rest, *wired, *step.axes))]
    else:
        order = [int(i) for i in np.argsort((*rest, *wired))]
        order += range(len(order), len(order) + head.axes)
    return x.transpose(*range(batch), *(batch + i for i in order), x.ndim - 1)


def _reduce(
    step: Step,
    x: jax.Array,
    batch: int,
    scales: Mapping[str, jax.Array | float],
    forms: Mapping[str, Form | None],
    spread: Spread | None,
) -> jax.Array:
    label, axis = step.large.core[step.axes[0]], batch + step.axes[0]
    form = forms[label]
    if step.operation == "diagonal":
        turned = form is not None and form.kind == "symplectic"
        if spread is not None:
            signs = form.matrix(x.shape[axis]).sum(axis=1) if form is not None and turned else None
            return masked_diagonal(x, axis, batch + step.axes[1], signs)
        # With three axes or fewer, at most one diagonal needs a padded copy, and is faster with it.
        plain = cut_diagonal if len(step.large.core) > 3 else diagonal
        return (symplectic_diagonal if turned else plain)(x, axis, batch + step.axes[1])
    scale = scales.get(label)
    if form is not None and form.kind == "metric":
        x = signed(x, axis, form.signs())
    # Accumulate in float32: in half precision the sum can overflow although the mean, or a part of the sum, does not.
    total = jnp.sum(x, axis=axis, dtype=wide(x.dtype))
    return total if scale is None else scaled(total, scale, batch).astype(x.dtype)


def scaled(x: jax.Array, scale: jax.Array | float, batch: int) -> jax.Array:
    """Multiply by a number, or by one number for each batch entry, in the dtype of x."""
    if isinstance(scale, jax.Array):
        scale = scale.astype(x.dtype).reshape(*scale.shape, *(1,) * (x.ndim - batch))
    return x * scale


def _expand(
    step: Step,
    x: jax.Array,
    batch: int,
    sizes: Mapping[str, int],
    forms: Mapping[str, Form | None],
    spread: Spread | None,
) -> jax.Array:
    label, axis = step.large.core[step.axes[0]], batch + step.axes[0]
    form, n = forms[label], sizes[label]
    if step.operation == "diagonal":
        grow = embed if spread is None else masked_embed
        if form is not None and form.kind == "symplectic":
            return grow(symplectic_signs(x, axis), axis, batch + step.axes[1], n // 2)
        return grow(x, axis, batch + step.axes[1])
    shape = (*x.shape[:axis], n, *x.shape[axis:])
    grown = broadcast(jnp.expand_dims(x, axis), shape)
    return signed(grown, axis, form.signs()) if form is not None and form.kind == "metric" else grown


def _multiplied(
    product: Product, rows: tuple[jax.Array, ...], tensors: Tensors, batch: int, precision: lax.PrecisionLike
) -> jax.Array | None:
    """Return the matrix product of one core, `None` if it has no input."""
    if not rows:
        return None
    sides = []
    for t, halves in enumerate(product.inputs):
        if halves:
            x = joined([folded(tensors[t, half], half, batch) for half in halves], -1)
            sides.append(joined_channels([rewired(x, wiring, batch) for wiring in product.wires_in]))
    return matmul_rows(sides if len(rows) > 1 else [joined(sides, -1)], rows, precision)


def _parted(
    product: Product, y: jax.Array | None, bias: jax.Array | None, widths: Sequence[int], shapes: Shapes
) -> Iterator[tuple[tuple[int, HalfDiagram], jax.Array]]:
    """Yield the tensor of every output half, from the matrix product of a core and its bias."""
    batch = len(shapes.batch)
    if y is None:
        assert bias is not None
        core = tuple(shapes.sizes[label] for label in product.core)
        y = broadcast(bias.astype(wide(bias.dtype)), (*shapes.batch, *core, *bias.shape))
    else:
        if product.permutes_out:
            copies = zip(split_channels(y, len(product.wires_out)), product.wires_out, strict=True)
            wired = [rewired(part, wiring, batch) for part, wiring in copies]
            y = sum(wired[1:], wired[0])
        if bias is not None:
            y = y + broadcast(bias.astype(y.dtype), y.shape)
    entries = math.prod(shapes.sizes[kind.label] ** kind.above for kind in product.tensors)
    keys = [(s, half) for s, halves in enumerate(product.outputs) for half in halves]
    parts = lax.split(y, [widths[s] * entries for s, _ in keys], y.ndim - 1)
    for key, part in zip(keys, parts, strict=True):
        yield key, unfolded(part, key[1], batch, shapes.sizes)


@dataclass(frozen=True, eq=False)
class Walk:
    """The steps of a plan in one call: reductions of the inputs, and expansions of the results.

    Attributes:
        plan: the plan.
        shapes: the sizes that the arrays determine.
        masks: for a label, which entries are present.
        scales: for each label the factor of sums.
        precision: of products with constant tensors.
        spread: whether tensor axes or channels are sharded over devices.
    """

    plan: Stages
    shapes: Shapes
    masks: Mapping[str, jax.Array]
    scales: Scales
    precision: lax.PrecisionLike = None
    spread: Spread | None = None

    @property
    def _forms(self) -> dict[str, Form | None]:
        return {label: group.form for label, group in self.plan.signature.groups.items()}

    def _headed(self, step: Step, x: jax.Array, forms: Mapping[str, Form | None], upwards: bool) -> jax.Array:
        label, batch, sizes = step.small.heads[-1].label, len(self.shapes.batch), self.shapes.sizes
        return _apply_head(step, x, batch, forms[label], sizes[label], self.precision, upwards=upwards)

    def reduced(self, inputs: Sequence[jax.Array]) -> Tensors:
        """Return the tensors of all input half diagrams."""
        signature, batch, forms = self.plan.signature, len(self.shapes.batch), self._forms
        down: Tensors = {}
        for t, (term, x) in enumerate(zip(signature.inputs, inputs, strict=True)):
            top = root(acted_labels(signature, term))
            down[t, top] = masked(inward(signature, term, x), top.core, self.masks, batch)
        for step in self.plan.reductions:
            x = down[step.term, step.large]
            with jax.named_scope(step_name(self.plan, step, upwards=False).scope):
                down[step.term, step.small] = (
                    self._headed(step, x, forms, False)
                    if step.operation == "head"
                    else _reduce(step, x, batch, self.scales, forms, self.spread)
                )
        return down

    def expanded(self, parts: Iterable[tuple[tuple[int, HalfDiagram], jax.Array]], dtype: Any) -> list[jax.Array]:
        """Return the outputs, from the tensors of output half diagrams; tensors for the same half are added."""
        plan, shapes, forms = self.plan, self.shapes, self._forms
        signature, batch = plan.signature, len(shapes.batch)
        up: dict[tuple[int, HalfDiagram], list[jax.Array]] = {}
        expansions = Counter((step.term, step.small) for step in plan.expansions)

        def add(key: tuple[int, HalfDiagram], y: jax.Array) -> None:
            """Queue a tensor for an expansion; add it to the last queued tensor if they will be expanded together."""
            waiting = up.setdefault(key, [])
            if waiting and expansions[key] < 2:
                y = waiting.pop() + y
            waiting.append(y)

        for key, y in parts:
            add(key, y)
        for step in plan.expansions:
            key = step.term, step.small
            expansions[key] -= 1
            taken = up[key][:1] if expansions[key] else up[key]  # the last expansion takes all remaining tensors
            up[key] = up[key][len(taken) :]
            if taken:
                with jax.named_scope(step_name(plan, step, upwards=True).scope):
                    y = sum(taken[1:], taken[0])
                    if step.operation == "head":
                        grown = self._headed(step, y, forms, True)
                    else:
                        grown = _expand(step, y, batch, shapes.sizes, forms, self.spread)
                    add((step.term, step.large), grown)
        results = []
        for s, term in enumerate(signature.outputs):
            top = root(acted_labels(signature, term))
            if (s, top) in up:
                (y,) = up[s, top]
                y = masked(y.astype(dtype), top.core, self.masks, batch)
            else:  # no map leads here: the zero map
                sizes = tuple(shapes.sizes[label] for label in top.core)
                y = jnp.zeros((*shapes.batch, *sizes, plan.features[1][s]), dtype)
            results.append(outward(signature, term, y, plan.channels[1][s]))
        return results


def run(
    plan: Plan,
    inputs: Sequence[jax.Array],
    weights: Weights | Layout,
    shapes: Shapes,
    masks: Mapping[str, jax.Array],
    precision: lax.PrecisionLike = None,
    spread: Spread | None = None,
    stage: Stage = inlined,
) -> list[jax.Array]:
    """Run a plan on checked arrays of one dtype; `equikit.plans.apply` is the public function.

    `spread` says whether tensor axes or channels are sharded over devices, so that they must not be folded; `stage`
    calls the expansions, a linear function of the products and biases.
    """
    batch, dtype = len(shapes.batch), jnp.result_type(*inputs)
    walk = Walk(plan, shapes, masks, scales_of(plan, shapes, masks), precision, spread)
    down = walk.reduced(inputs)
    if spread is not None and not isinstance(weights, Layout):
        given = cut(plan, weights)
        mixed = (mix_spread(plan, product, down, given, shapes, precision, spread) for product in plan.products)
        return walk.expanded((part for parts in mixed for part in parts.items()), dtype)

    def expanded(products: list[tuple[jax.Array | None, jax.Array | None]]) -> list[jax.Array]:
        parts = (
            part
            for product, (y, bias) in zip(plan.products, products, strict=True)
            for part in _parted(product, y, bias, plan.features[1], shapes)
        )
        return walk.expanded(parts, dtype)

    layout = weights if isinstance(weights, Layout) else laid_out(plan, weights)
    products = []
    for product, (rows, bias) in zip(plan.products, layout.products, strict=True):
        with jax.named_scope(product_name(plan, product).scope):
            products.append((_multiplied(product, rows, down, batch, precision), bias))
    return stage(expanded, products)
