"""Running a plan in JAX.

No gather, no scatter, and no array above the size of the largest input or output is formed; weights are laid out by
slices. (For groups without diagrams they are looked up, and fill a matrix.) The operations on single arrays are in
`_arrays.py`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from equikit.diagrams import HalfDiagram, Signature, Term
from equikit.groups import Form
from equikit.plans._arrays import diagonal, embed, levi_civita, signed, symplectic_diagonal
from equikit.plans._check import Shapes
from equikit.plans._ir import Plan, Product, Step
from equikit.plans._lower import root
from equikit.plans._spread import Spread, masked_diagonal, mix_spread
from equikit.plans._whole import folded, invariant_tensors, unfolded

Tensors = dict[tuple[int, HalfDiagram], jax.Array]
Weights = Mapping[tuple[int | None, int], jax.Array]
"""For each pair (input term, output term) an array [diagrams, features in, features out]; for the bias (None, output
term) an array [diagrams, features out]."""


def matmul(x: jax.Array, matrix: jax.Array, precision: lax.PrecisionLike) -> jax.Array:
    """Multiply the last axis by a matrix, all other axes as one: a single contracted axis in the backward pass too."""
    flat = x.reshape(math.prod(x.shape[:-1]), x.shape[-1])
    return jnp.matmul(flat, matrix, precision=precision).reshape(*x.shape[:-1], matrix.shape[1])


def _inward(signature: Signature, term: Term, x: jax.Array) -> jax.Array:
    """Bring a tensor to the layout of its root node: acted axes sorted by label, plain axes folded into channels."""
    start = x.ndim - 1 - len(term.labels)
    acted, plain = signature.acted(term), signature.plain(term)
    order = sorted(acted, key=lambda i: (term.labels[i], i))
    x = x.transpose(*range(start), *(start + i for i in order), *(start + i for i in plain), x.ndim - 1)
    return x.reshape(*x.shape[: start + len(acted)], math.prod(x.shape[start + len(acted) :]))


def _outward(signature: Signature, term: Term, x: jax.Array, channels: int) -> jax.Array:
    """The inverse of `_inward`."""
    acted, plain = signature.acted(term), signature.plain(term)
    start = x.ndim - 1 - len(acted)
    order = [*sorted(acted, key=lambda i: (term.labels[i], i)), *plain]
    sizes = signature.sizes
    folded = [sizes[term.labels[i]] for i in plain]
    x = x.reshape(*x.shape[:-1], *folded, channels)
    return x.transpose(*range(start), *(start + int(i) for i in np.argsort(order)), x.ndim - 1)


def _masked(x: jax.Array, core: tuple[str, ...], masks: Mapping[str, jax.Array], batch: int) -> jax.Array:
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
) -> jax.Array:
    label, axis = step.large.core[step.axes[0]], batch + step.axes[0]
    form, n = forms[label], sizes[label]
    if step.operation == "diagonal":
        if form is not None and form.kind == "symplectic":
            return embed(signed(x, axis, form.matrix(n).sum(axis=1)), axis, batch + step.axes[1], n // 2)
        return embed(x, axis, batch + step.axes[1])
    shape = (*x.shape[:axis], n, *x.shape[axis:])
    grown = jnp.broadcast_to(jnp.expand_dims(x, axis), shape)
    return signed(grown, axis, form.signs()) if form is not None and form.kind == "metric" else grown


def _grid(weights: jax.Array, segments: tuple[tuple[int, int], ...]) -> jax.Array:
    """Cut the diagram axis into the pieces of a matrix, with zeros where a pair of halves is not allowed."""
    pieces = [
        jnp.zeros((count, *weights.shape[1:]), weights.dtype) if start < 0 else weights[start : start + count]
        for start, count in segments
    ]
    return pieces[0] if len(pieces) == 1 else jnp.concatenate(pieces)


def _joined(parts: list[jax.Array], axis: int) -> jax.Array:
    return parts[0] if len(parts) == 1 else jnp.concatenate(parts, axis)


def _matrices(plan: Plan, product: Product, weights: Weights) -> tuple[jax.Array | None, jax.Array | None]:
    """The matrix of a product, rows (wires in, halves, features) by columns (wires out, halves, features); its bias.

    Axes of groups without diagrams stand before the features, in rows and in columns.
    """
    features_in, features_out = plan.features
    segments = {(block.source, block.target): block.segments for block in product.blocks}
    dtype = jnp.result_type(*weights.values())
    copies_in, copies_out = len(product.wires_in), len(product.wires_out)
    tensors = invariant_tensors(plan.signature, product.tensors)
    choices, above, below = tensors.shape

    def part(t: int, s: int) -> jax.Array:
        bottoms, tops, f, g = len(product.inputs[t]), len(product.outputs[s]), features_in[t], features_out[s]
        if (t, s) not in segments:
            return jnp.zeros((copies_in, bottoms * below * f, copies_out, tops * above * g), dtype)
        grid = _grid(weights[t, s], segments[t, s])
        if product.tensors:
            grid = grid.reshape(bottoms, tops, copies_out, copies_in, choices, f, g)
            grid = tensors.spread(grid, 4).transpose(3, 0, 5, 6, 2, 1, 4, 7)
            return grid.reshape(copies_in, bottoms * below * f, copies_out, tops * above * g)
        grid = grid.reshape(bottoms, tops, copies_out, copies_in, f, g).transpose(3, 0, 4, 2, 1, 5)
        return grid.reshape(copies_in, bottoms * f, copies_out, tops * g)

    targets = [s for s, tops in enumerate(product.outputs) if tops]
    sources = [t for t, bottoms in enumerate(product.inputs) if bottoms]
    matrix = None
    if sources:
        whole = _joined([_joined([part(t, s) for s in targets], 3) for t in sources], 1)
        matrix = whole.reshape(whole.shape[0] * whole.shape[1], whole.shape[2] * whole.shape[3])
    if not any(source is None for source, _ in segments):
        return matrix, None
    rows = []
    for s in targets:
        tops, g = len(product.outputs[s]), features_out[s]
        if (None, s) not in segments:
            rows.append(jnp.zeros((tops * above * g,), dtype))
            continue
        grid = _grid(weights[None, s], segments[None, s])
        if product.tensors:
            grid = tensors.spread(grid.reshape(tops, choices, g), 1)
        rows.append(grid.reshape(tops * above * g))
    return matrix, _joined(rows, 0)


def _wired(x: jax.Array, wiring: tuple[int, ...], batch: int) -> jax.Array:
    """Permute the wires of a core: axis j goes to place `wiring[j]`; axes of heads stay behind them."""
    last = range(batch + len(wiring), x.ndim)
    return x.transpose(*range(batch), *(batch + int(j) for j in np.argsort(wiring)), *last)


def _mix(
    plan: Plan, product: Product, tensors: Tensors, weights: Weights, shapes: Shapes, precision: lax.PrecisionLike
) -> jax.Array:
    """The matrix product of one core: [*batch, *core, all features out]."""
    matrix, bias = _matrices(plan, product, weights)
    batch = len(shapes.batch)
    if matrix is None:
        assert bias is not None
        core = tuple(shapes.sizes[label] for label in product.core)
        return jnp.broadcast_to(bias, (*shapes.batch, *core, *bias.shape))
    x = _joined(
        [folded(tensors[t, half], half, batch) for t, halves in enumerate(product.inputs) for half in halves], -1
    )
    if len(product.wires_in) > 1:
        x = jnp.concatenate([_wired(x, wiring, batch) for wiring in product.wires_in], -1)
    y = matmul(x, matrix, precision)
    if len(product.wires_out) > 1:
        width = y.shape[-1] // len(product.wires_out)
        parts = [
            _wired(y[..., i * width : (i + 1) * width], wiring, batch) for i, wiring in enumerate(product.wires_out)
        ]
        y = sum(parts[1:], parts[0])
    return y if bias is None else y + bias


def run(
    plan: Plan,
    inputs: Sequence[jax.Array],
    weights: Weights,
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
        down[t, top] = _masked(_inward(signature, term, x), top.core, masks, batch)
    for step in plan.reductions:
        x = down[step.term, step.large]
        down[step.term, step.small] = (
            headed(step, x, False) if step.operation == "head" else _reduce(step, x, batch, scales, forms, spread)
        )
    up: Tensors = {}
    for product in plan.products:
        if spread is not None:
            up |= mix_spread(plan, product, down, weights, shapes, precision, spread)
            continue
        y, start = _mix(plan, product, down, weights, shapes, precision), 0
        entries = math.prod(shapes.sizes[kind.label] ** kind.above for kind in product.tensors)
        for s, halves in enumerate(product.outputs):
            width = plan.features[1][s] * entries
            for half in halves:
                up[s, half] = unfolded(y[..., start : start + width], half, batch, shapes.sizes)
                start += width
    for step in plan.expansions:
        y = up[step.term, step.small]
        grown = headed(step, y, True) if step.operation == "head" else _expand(step, y, batch, shapes.sizes, forms)
        key = step.term, step.large
        up[key] = up[key] + grown if key in up else grown
    results = []
    for s, term in enumerate(signature.outputs):
        top = root(tuple(term.labels[i] for i in signature.acted(term)))
        if (s, top) in up:
            y = _masked(up[s, top], top.core, masks, batch)
        else:  # no map leads here: the zero map
            sizes = tuple(shapes.sizes[label] for label in top.core)
            y = jnp.zeros((*shapes.batch, *sizes, plan.features[1][s]), jnp.result_type(*inputs))
        results.append(_outward(signature, term, y, plan.channels[1][s]))
    return results
