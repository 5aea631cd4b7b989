"""Reductions, expansions and heads on arrays; the order of axes inside a plan, and the scales of means."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from equikit._array_checks import Shapes
from equikit.groups import Form
from equikit.plans._ir import Stages, Step
from equikit.plans.execution._arrays import (
    broadcast,
    cut_diagonal,
    diagonal,
    embed,
    levi_civita,
    masked_diagonal,
    masked_embed,
    signed,
    symplectic_diagonal,
    symplectic_signs,
    wide,
)
from equikit.plans.sharding._spread import Spread
from equikit.signatures import Signature, Term

Scales = Mapping[str, jax.Array | float]
"""For each label the factor that makes a sum a mean: a number, or one for each batch entry."""

Platform = Literal["cpu", "gpu", "tpu"]
"""What a part of a program is traced for; other platforms than CPUs and TPUs use the form for GPUs."""

LEAST_MASKED = 16
"""Diagonals of shorter axes are strided slices on every platform: masked sums over axes of size three take more bytes
in the gradient compiled for a GPU."""


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


def apply_head(
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


def _rematerialized(function: Callable[[jax.Array], jax.Array]) -> Callable[[jax.Array], jax.Array]:
    """Let the backward pass compute a mask again; otherwise JAX keeps it, as large as the array, on every platform."""
    recomputed: Callable[[jax.Array], jax.Array] = jax.checkpoint(function, prevent_cse=False)
    return recomputed


def _same(x: jax.Array) -> jax.Array:
    return x


def _held_on_gpus(x: jax.Array) -> jax.Array:
    """Keep sums in memory on GPUs, where XLA would compute their sum from the whole tensor again."""
    found: jax.Array = lax.platform_dependent(x, cpu=_same, tpu=_same, default=lax.optimization_barrier)
    return found


@functools.lru_cache(maxsize=256)
def _diagonal_on(
    first: int, second: int, plain: Callable[..., jax.Array], held: bool
) -> Callable[[jax.Array], jax.Array]:
    """Return `plain` for CPUs, and `masked_diagonal` for other platforms; cached, so that JAX traces it once.

    On a CPU a strided slice reads the entries of the diagonal and nothing else. On a GPU a masked sum is computed in
    one pass over the array with other sums. On a TPU the folded axes of a strided slice are a copy of the array.
    `held` says whether the diagonal is in memory anyway.
    """
    strided = functools.partial(plain, first=first, second=second)
    masked = _rematerialized(functools.partial(masked_diagonal, first=first, second=second))

    def chosen(x: jax.Array) -> jax.Array:
        found: jax.Array = lax.platform_dependent(x, cpu=strided, default=masked)
        return _held_on_gpus(found) if held else found

    return chosen


@functools.lru_cache(maxsize=256)
def _masked_embed(first: int, second: int, half: bool) -> Callable[[jax.Array], jax.Array]:
    """Return `masked_embed` with half of the size as shift, or without; cached, so that JAX traces it once."""
    return _rematerialized(lambda x: masked_embed(x, first, second, x.shape[first] // 2 if half else 0))


def reduce(
    step: Step,
    x: jax.Array,
    batch: int,
    scales: Mapping[str, jax.Array | float],
    forms: Mapping[str, Form | None],
    spread: Spread | None,
    by_platform: bool = False,
    held: bool = False,
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
        if by_platform and not turned and x.shape[axis] >= LEAST_MASKED:
            return _diagonal_on(axis, batch + step.axes[1], plain, held)(x)
        return (symplectic_diagonal if turned else plain)(x, axis, batch + step.axes[1])
    scale = scales.get(label)
    if form is not None and form.kind == "metric":
        x = signed(x, axis, form.signs())
    if held and scale is None:  # a scale between two sums keeps them apart
        x = _held_on_gpus(x)
    # Accumulate in float32: in half precision the sum can overflow although the mean, or a part of the sum, does not.
    total = jnp.sum(x, axis=axis, dtype=wide(x.dtype))
    return total if scale is None else scaled(total, scale, batch).astype(x.dtype)


def scaled(x: jax.Array, scale: jax.Array | float, batch: int) -> jax.Array:
    """Multiply by a number, or by one number for each batch entry, in the dtype of x."""
    if isinstance(scale, jax.Array):
        scale = scale.astype(x.dtype).reshape(*scale.shape, *(1,) * (x.ndim - batch))
    return x * scale


def expand(
    step: Step,
    x: jax.Array,
    batch: int,
    sizes: Mapping[str, int],
    forms: Mapping[str, Form | None],
    spread: Spread | None,
    platform: Platform = "cpu",
    held: bool = False,
) -> jax.Array:
    label, axis = step.large.core[step.axes[0]], batch + step.axes[0]
    form, n = forms[label], sizes[label]
    if step.operation == "diagonal":
        turned = form is not None and form.kind == "symplectic"
        x = symplectic_signs(x, axis) if turned else x
        if platform == "tpu":
            return _masked_embed(axis, batch + step.axes[1], turned)(x)
        return (embed if spread is None else masked_embed)(x, axis, batch + step.axes[1], n // 2 if turned else 0)
    if held:
        x = lax.optimization_barrier(x)  # XLA adds a broadcast of an array in memory in the kernel of the product
    shape = (*x.shape[:axis], n, *x.shape[axis:])
    grown = broadcast(jnp.expand_dims(x, axis), shape)
    return signed(grown, axis, form.signs()) if form is not None and form.kind == "metric" else grown
