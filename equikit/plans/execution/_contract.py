"""Run the plan of multilinear maps in JAX: contractions; `_execute.py` runs the steps around them.

There is no gather, no scatter, and no outer product: no array is larger than an input, the output, or the largest
intermediate result of the best contraction order. (For groups without diagrams weights are looked up.)
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from equikit._array_checks import Shapes
from equikit.diagrams import HalfDiagram, parity, permutation_sign, refuse_if_large
from equikit.groups import Form, Group
from equikit.plans._ir import Contraction, LeviCivita, MultilinearPlan, Use
from equikit.plans.compilation._contractions import Letters, equation, invariant_sums
from equikit.plans.compilation._tensors import CONSTANT_BYTES
from equikit.plans.costs._cost import contraction_name
from equikit.plans.execution._arrays import alike, broadcast, joined, signed, wide, widened
from equikit.plans.execution._execute import Tensors, Walk
from equikit.plans.execution._steps import scaled, scales_of
from equikit.plans.execution._whole import settled_tensors
from equikit.signatures import Exchange


def symmetrized(x: jax.Array, exchanges: Sequence[Exchange]) -> jax.Array:
    """Return the symmetric or antisymmetric part of a tensor `[batch, *axes, channels]`."""
    dtype, x = x.dtype, x.astype(wide(x.dtype)) if exchanges else x
    for exchange in exchanges:
        own = [1 + i for i in exchange.members]
        total: jax.Array | None = None
        for order in itertools.permutations(range(len(own))):
            axes = [*range(x.ndim)]
            for axis, i in zip(own, order, strict=True):
                axes[axis] = own[i]
            turned = x.transpose(axes)
            if exchange.sign < 0 and parity(order) < 0:
                turned = -turned
            total = turned if total is None else total + turned
        assert total is not None
        x = total / math.factorial(len(own))
    return x.astype(dtype)


def _with_form(x: jax.Array, axis: int, form: Form) -> jax.Array:
    """Multiply an axis by the form of its label."""
    if form.kind == "metric":
        return signed(x, axis, form.signs())
    upper, lower = jnp.split(x, 2, axis)
    return jnp.concatenate([lower, -upper], axis)


def lowered(x: jax.Array, half: HalfDiagram, axes: Sequence[int], groups: Mapping[str, Group]) -> jax.Array:
    """Multiply some axes of the tensor of a half diagram by the forms of their labels."""
    for axis in axes:
        form = groups[half.core[axis]].form
        assert form is not None
        x = _with_form(x, 1 + axis, form)
    return x


def _levi_civita(head: LeviCivita, form: Form | None, n: int, dtype: jnp.dtype) -> jax.Array:
    """Return the Levi-Civita tensor, with the legs of the bottom row lowered by the metric."""
    count = len(head.letters)
    refuse_if_large("the Levi-Civita tensor", n**count, CONSTANT_BYTES)
    grid = np.indices((n,) * count, sparse=True)
    tensor = np.array(permutation_sign(list(grid), head.legs))
    if form is not None:
        for leg in head.lowered:
            tensor = tensor * form.signs()[grid[leg]]
    return jnp.asarray(np.broadcast_to(tensor, (n,) * count).astype(np.float32), dtype)


def _cut_out(weights: jax.Array, elements: Sequence[int]) -> jax.Array:
    """Select the weights of some basis elements; each run of consecutive elements is one slice."""
    pieces, start = [], 0
    while start < len(elements):
        stop = start + 1
        while stop < len(elements) and elements[stop] == elements[stop - 1] + 1:
            stop += 1
        pieces.append(weights[elements[start] : elements[start] + stop - start])
        start = stop
    return joined(pieces, 0)


def _rows_of(weights: jax.Array, uses: Sequence[Use]) -> jax.Array:
    """Return the weights of some uses, each with its coefficient."""
    rows = _cut_out(weights, [use.element for use in uses])
    factors = np.array([use.coefficient for use in uses], np.float32)
    if (factors == 1).all():
        return rows
    return rows * jnp.asarray(factors, rows.dtype).reshape(-1, *(1,) * (rows.ndim - 1))


def einsum_of(
    operands: Sequence[tuple[jax.Array, Letters]],
    result: Letters,
    order: Sequence[tuple[int, int, Letters]],
    precision: lax.PrecisionLike,
) -> jax.Array:
    """Compute the einsum of some operands, pairwise."""
    if len(operands) == 1:
        ((array, letters),) = operands
        return jnp.einsum(array, letters, result, precision=precision, **widened(array))
    left = [*operands]
    for i, j, made in order:
        (x, first), (y, second) = left[i], left[j]
        x, y = alike(x, y)
        z = jnp.einsum(x, first, y, second, made, precision=precision, **widened(x))
        left = [*left[:i], *left[i + 1 : j], *left[j + 1 :], (z, made)]
    return left[0][0]


def constants_of(
    plan: MultilinearPlan, contraction: Contraction, weights: jax.Array, sizes: Mapping[str, int]
) -> list[jax.Array]:
    """Return the operands of a contraction that are not inputs, in the order of its equation."""
    forms = {label: group.form for label, group in plan.signature.groups.items()}
    found = [_levi_civita(head, forms[head.label], sizes[head.label], weights.dtype) for head in contraction.heads]
    if contraction.held:
        elements, sums = invariant_sums(plan, contraction)
        tensors, kernel = settled_tensors(sums[:, :, None]), _cut_out(weights, elements)
        axes = [sizes[contraction.labels[letter]] for letter in contraction.held]
        if tensors.dense is None:
            return [*found, tensors.spread(kernel, 0).reshape(*axes, *weights.shape[1:])]
        return [*found, jnp.asarray(sums, weights.dtype).reshape(len(sums), *axes), kernel]
    return found if plan.mode == "channelwise" else [*found, _rows_of(weights, contraction.uses)]


def _mix(
    walk: Walk, plan: MultilinearPlan, contraction: Contraction, tensors: Tensors, weights: jax.Array
) -> Iterator[tuple[tuple[int, HalfDiagram], jax.Array]]:
    """Compute one contraction: a tensor for every use."""
    shapes, groups = walk.shapes, plan.signature.groups
    arrays = [
        lowered(tensors[t, half], half, axes, groups)
        for t, (half, axes) in enumerate(zip(contraction.halves, contraction.lowered, strict=True))
    ]
    arrays += constants_of(plan, contraction, weights, shapes.sizes)
    plain = equation(plan, contraction, shapes.sizes, *shapes.batch)
    operands = [*zip(arrays, plain.operands, strict=True)]
    with jax.named_scope(contraction_name(contraction, len(operands)).scope):
        y = einsum_of(operands, plain.result, plain.order, walk.precision)
    for label in contraction.averaged if walk.scales else ():
        y = scaled(y, walk.scales[label], 1)
    apart = not contraction.held and plan.mode == "full"
    for i, use in enumerate(contraction.uses[: 1 if contraction.held else None]):
        part = lax.index_in_dim(y, i, y.ndim - 2, keepdims=False) if apart else y
        if not contraction.held and not apart:
            weight = lax.index_in_dim(weights, use.element, keepdims=False) * use.coefficient
            part = y * broadcast(weight.astype(y.dtype), y.shape)
        yield (0, use.half), part.transpose(0, *(1 + axis for axis in use.axes), part.ndim - 1)


def run_contractions(
    plan: MultilinearPlan,
    inputs: Sequence[jax.Array],
    weights: jax.Array,
    shapes: Shapes,
    masks: Mapping[str, jax.Array],
    precision: lax.PrecisionLike = None,
) -> jax.Array:
    """Run a plan on checked arrays of one dtype; `equikit.plans.apply_multilinear` is the public function.

    Args:
        plan: the plan.
        inputs: arrays `[batch, *axes, channels]`, with one batch axis.
        weights: `[basis, *features in, features out]`, or `[basis, channels]` in mode `"channelwise"`.
        shapes: the batch axes and the size of every label.
        masks: for a label, booleans `[batch, n]`.
        precision: of the products.

    Returns:
        `[batch, *axes, channels]`.
    """
    walk = Walk(plan, shapes, masks, scales_of(plan, shapes, masks), precision)
    arrays = [symmetrized(x, own.exchanges) for x, own in zip(inputs, plan.space.operands, strict=True)]
    down = walk.reduced(arrays)
    parts = (part for contraction in plan.products for part in _mix(walk, plan, contraction, down, weights))
    (y,) = walk.expanded(parts, wide(weights.dtype))
    return symmetrized(y, plan.space.target.exchanges).astype(weights.dtype)
