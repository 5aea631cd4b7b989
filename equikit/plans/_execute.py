"""Running a plan in JAX.

No gather, no scatter, and no array above the size of the largest input or output is formed; weights are laid out by
slices. (For groups without diagrams they are looked up, and fill a matrix.) The operations on single arrays are in
`_arrays.py`.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from equikit.diagrams import HalfDiagram, Signature, Term
from equikit.groups import Form
from equikit.plans._arrays import (
    broadcast,
    diagonal,
    embed,
    levi_civita,
    rewired,
    signed,
    symplectic_diagonal,
    symplectic_signs,
)
from equikit.plans._check import Shapes
from equikit.plans._ir import Plan, Product, Step
from equikit.plans._lattice import root
from equikit.plans._layout import Layout, Weights, joined, laid_out
from equikit.plans._spread import Spread, masked_diagonal, masked_embed, mix_spread
from equikit.plans._whole import folded, unfolded

Tensors = dict[tuple[int, HalfDiagram], jax.Array]


def matmul(x: jax.Array, matrix: jax.Array, precision: lax.PrecisionLike) -> jax.Array:
    """Multiply the last axis by a matrix, all other axes as one: a single contracted axis in the backward pass too.

    What is kept for the backward pass is x as it came, and not a second array that is x with other axes.
    """

    def product(x: jax.Array, matrix: jax.Array) -> jax.Array:
        flat = x.reshape(math.prod(x.shape[:-1]), x.shape[-1])
        return jnp.matmul(flat, matrix, precision=precision).reshape(*x.shape[:-1], matrix.shape[1])

    y: jax.Array = jax.checkpoint(product, prevent_cse=False)(x, matrix)
    return y


def _axis_order(term: Term, acted: Sequence[int], by_label: bool) -> list[int]:
    return sorted(acted, key=lambda i: (term.labels[i], i)) if by_label else list(acted)


def inward(signature: Signature, term: Term, x: jax.Array, by_label: bool = True) -> jax.Array:
    """Acted axes first, sorted by label as in a root node unless told otherwise; plain axes folded into channels."""
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


def masked(x: jax.Array, core: Sequence[str], masks: Mapping[str, jax.Array], batch: int) -> jax.Array:
    """Set entries outside the masks to zero, whatever they hold."""
    keep: jax.Array | None = None
    for axis, label in enumerate(core):
        if label in masks:
            shape = list(x.shape[:batch]) + [1] * (x.ndim - batch)
            shape[batch + axis] = x.shape[batch + axis]
            one = masks[label].reshape(shape)
            keep = one if keep is None else keep & one
    return x if keep is None else jnp.where(keep, x, jnp.zeros((), x.dtype))


def _scales(plan: Plan, shapes: Shapes, masks: Mapping[str, jax.Array]) -> dict[str, jax.Array | float]:
    """For each label what a sum is multiplied by to make it a mean; an empty mean is zero."""
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
    """Between a tensor whose legs are axes like others, and one that has the axes of the head last.

    Where the head is applied in this row, the legs of this row are contracted with the Levi-Civita tensor and leave
    axes for the legs of the other row (upwards the other way round); where it is not, axes change places only.
    """
    head = step.small.heads[-1]
    count = len(step.large.core)
    wired = [i for i, block in enumerate(step.large.wires) if block in step.small.propagating] if head.wired else []
    wired = [i for i in wired if step.large.core[i] == head.label]
    rest = [i for i in range(count) if i not in step.axes and i not in wired]
    if not upwards:
        x = x.transpose(*range(batch), *(batch + i for i in (*rest, *wired, *step.axes)), x.ndim - 1)
    else:  # all but the axes of the head stand as below, without its legs
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
        return (symplectic_diagonal if turned else diagonal)(x, axis, batch + step.axes[1])
    scale = scales.get(label)
    if form is not None and form.kind == "metric":
        x = signed(x, axis, form.signs())
    if scale is None:
        return jnp.sum(x, axis=axis)
    # In half precision the sum need not fit where the mean does.
    total = jnp.sum(x, axis=axis, dtype=jnp.promote_types(x.dtype, jnp.float32))
    if isinstance(scale, jax.Array):
        scale = scale.astype(total.dtype).reshape(*scale.shape, *(1,) * (total.ndim - batch))
    return (total * scale).astype(x.dtype)


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


def _mix(
    plan: Plan,
    product: Product,
    matrix: jax.Array | None,
    bias: jax.Array | None,
    tensors: Tensors,
    shapes: Shapes,
    precision: lax.PrecisionLike,
) -> Tensors:
    """The matrix product of one core: a tensor for every output half."""
    batch = len(shapes.batch)
    if matrix is None:
        assert bias is not None
        core = tuple(shapes.sizes[label] for label in product.core)
        y = broadcast(bias, (*shapes.batch, *core, *bias.shape))
    else:
        halves_in = [(t, half) for t, halves in enumerate(product.inputs) for half in halves]
        x = joined([folded(tensors[key], key[1], batch) for key in halves_in], -1)
        if product.permutes_in:
            x = jnp.concatenate([rewired(x, wiring, batch) for wiring in product.wires_in], -1)
        y = matmul(x, matrix, precision)
        if product.permutes_out:
            width = y.shape[-1] // len(product.wires_out)
            parts = [y[..., i * width : (i + 1) * width] for i in range(len(product.wires_out))]
            wired = [rewired(part, wiring, batch) for part, wiring in zip(parts, product.wires_out, strict=True)]
            y = sum(wired[1:], wired[0])
        if bias is not None:
            y = y + broadcast(bias, y.shape)
    entries = math.prod(shapes.sizes[kind.label] ** kind.above for kind in product.tensors)
    found: Tensors = {}
    start = 0
    for s, halves in enumerate(product.outputs):
        width = plan.features[1][s] * entries
        for half in halves:
            found[s, half] = unfolded(y[..., start : start + width], half, batch, shapes.sizes)
            start += width
    return found


def run(
    plan: Plan,
    inputs: Sequence[jax.Array],
    weights: Weights | Layout,
    shapes: Shapes,
    masks: Mapping[str, jax.Array],
    precision: lax.PrecisionLike = None,
    spread: Spread | None = None,
) -> list[jax.Array]:
    """Run a plan on checked arrays of one dtype; `equikit.plans.apply` is the public way.

    `spread` says whether tensor axes or channels are spread over devices, so that they are not to be folded.
    """
    signature, batch = plan.signature, len(shapes.batch)
    scales = _scales(plan, shapes, masks)
    forms = {label: group.form for label, group in signature.groups.items()}

    def headed(step: Step, x: jax.Array, upwards: bool) -> jax.Array:
        label = step.small.heads[-1].label
        return _apply_head(step, x, batch, forms[label], shapes.sizes[label], precision, upwards=upwards)

    down: Tensors = {}
    for t, (term, x) in enumerate(zip(signature.inputs, inputs, strict=True)):
        top = root(tuple(term.labels[i] for i in signature.acted(term)))
        down[t, top] = masked(inward(signature, term, x), top.core, masks, batch)
    for step in plan.reductions:
        x = down[step.term, step.large]
        down[step.term, step.small] = (
            headed(step, x, False) if step.operation == "head" else _reduce(step, x, batch, scales, forms, spread)
        )
    found: list[Tensors] = []
    if spread is not None and not isinstance(weights, Layout):
        for product in plan.products:
            found.append(mix_spread(plan, product, down, weights, shapes, precision, spread))
    else:
        layout = weights if isinstance(weights, Layout) else laid_out(plan, weights)
        for product, (matrix, bias) in zip(plan.products, layout.products, strict=True):
            found.append(_mix(plan, product, matrix, bias, down, shapes, precision))
    up: dict[tuple[int, HalfDiagram], list[jax.Array]] = {}
    for tensors in found:
        for key, y in tensors.items():
            up.setdefault(key, []).append(y)
    to_come = Counter((step.term, step.small) for step in plan.expansions)
    for step in plan.expansions:
        key = step.term, step.small
        to_come[key] -= 1
        taken = up[key][:1] if to_come[key] else up[key]  # the last expansion of a tensor takes all that is left
        up[key] = up[key][len(taken) :]
        if not taken:
            continue
        y = sum(taken[1:], taken[0])
        grown = (
            headed(step, y, True) if step.operation == "head" else _expand(step, y, batch, shapes.sizes, forms, spread)
        )
        up.setdefault((step.term, step.large), []).append(grown)
    results = []
    for s, term in enumerate(signature.outputs):
        top = root(tuple(term.labels[i] for i in signature.acted(term)))
        if (s, top) in up:
            y = sum(up[s, top][1:], up[s, top][0])
            y = masked(y, top.core, masks, batch)
        else:  # no map leads here: the zero map
            sizes = tuple(shapes.sizes[label] for label in top.core)
            y = jnp.zeros((*shapes.batch, *sizes, plan.features[1][s]), jnp.result_type(*inputs))
        results.append(outward(signature, term, y, plan.channels[1][s]))
    return results
