"""Choice of the best of a finite list of candidates, and treatment of ties."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp

from equikit.numerics import rounding
from equikit.symmetrization.engine._action import Action, act, moved_masks
from equikit.symmetrization.engine._element import Array, Element
from equikit.symmetrization.engine._frame import Frame, only_if, with_fallback
from equikit.symmetrization.engine._info import Info, settled
from equikit.symmetrization.engine._method import OnDegenerate
from equikit.symmetrization.engine._sample import Sample


def wide(values: Array, x: Mapping[str, Array]) -> Any:
    """Return the dtype of the elements: real, at least float32, the activations' and the inputs' dtype."""
    return jnp.result_type(jnp.float32, values.dtype, *(array.real.dtype for array in x.values()))


def finite_inputs(sample: Sample, batch: int) -> Array:
    """Whether all entries of the inputs are finite, `[*batch]`."""
    each = [jnp.all(jnp.isfinite(a), axis=tuple(range(batch, a.ndim))) for a in sample.x.values()]
    return functools.reduce(jnp.logical_and, each)


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Ties:
    """The best candidate, and the margins of the others.

    Attributes:
        best: its index, `[*batch]`.
        behind: the difference of each value from the best one, relative to the spread, `[candidates, *batch]`.
        excess: the same difference relative to the tolerance: up to one, a candidate is tied with the best.
    """

    best: Array
    behind: Array
    excess: Array

    @property
    def tied(self) -> Array:
        """Which candidates are tied with the best one, `[candidates, *batch]`."""
        return self.excess <= 1


def tie_tolerance(tolerance: float | None, dtype: Any) -> float:
    """Return the relative difference that rounding may cause: 64 rounding units, in half precision the root of one."""
    return min(64 * rounding(dtype), math.sqrt(rounding(dtype))) if tolerance is None else tolerance


def ties(values: Array, tolerance: float | None, seen: Array | None = None, errors: Array | float = 0) -> Ties:
    """Find the candidates whose values are the largest up to the tolerance.

    Args:
        values: `[candidates, *batch]`.
        tolerance: relative to the spread of the values, or to their size if that is larger; by default some rounding
            units of their dtype.
        seen: the values that define spread and size; by default `values`.
        errors: error bounds of the differences from the best value, `[candidates, *batch]`.
    """
    fraction = tie_tolerance(tolerance, values.dtype)
    values = values.astype(jnp.promote_types(values.dtype, jnp.float32))
    seen = values if seen is None else seen
    top = jnp.max(values, axis=0)
    spread = top - jnp.min(seen, axis=0)
    width = fraction * jnp.maximum(spread, jnp.max(jnp.abs(seen), axis=0)) + errors
    behind = top - values
    excess = jnp.where(width > 0, behind / jnp.where(width > 0, width, 1), jnp.where(behind > 0, jnp.inf, behind))
    return Ties(jnp.argmax(values, axis=0), behind / jnp.where(spread > 0, spread, 1), jax.lax.stop_gradient(excess))


def decided(
    on_degenerate: OnDegenerate,
    found: Ties,
    near: Array,
    same: Array,
    best: Element,
    take: Callable[[Array], Element],
    sure: Array,
    key: jax.Array | None,
) -> Frame:
    """Return the frame of the best candidate, with all tied ones as its fallback if requested.

    Args:
        on_degenerate: what to do if tied candidates do not give the same result.
        found: which candidates are tied.
        near: the candidates that the element `best` represents, `[candidates, *batch]`.
        same: the candidates that give the same result as the best.
        best: the element of the best candidate, `[1, *batch, ...]`.
        take: a function from indices `[k, *batch]` to the elements of these candidates.
        sure: whether all values are known, `[*batch]`.
        key: a key for random choices.
    """
    others = found.tied & ~near
    count = jnp.sum(others, axis=0)
    undecided = jnp.any(others & ~same, axis=0) & sure
    if on_degenerate == "sample" and key is not None:
        other = take(jax.random.categorical(key, jnp.where(found.tied, 0.0, -jnp.inf), axis=0)[None])

        def either(one: Array, two: Array) -> Array:
            return jnp.where(jnp.expand_dims(count > 0, (0, *range(count.ndim + 1, one.ndim))), one, two)

        best = jax.tree.map(either, other, best)
    gap = jnp.min(jnp.where(near, jnp.inf, found.behind), axis=0)
    degenerate = ~sure if on_degenerate == "weighted" else undecided | ~sure
    refused = degenerate & (on_degenerate in ("error", "weighted"))
    info = Info(jnp.ones(count.shape, jnp.float32), degenerate, refused, gap, ties=count)
    dtype = found.behind.dtype
    frame = Frame(best, settled(jnp.ones((1, *count.shape), dtype), info), info)
    if on_degenerate != "weighted":
        return frame

    def all_tied() -> Frame:
        size = jnp.sum(found.tied, axis=0).astype(dtype)
        every = jnp.broadcast_to(jnp.expand_dims(jnp.arange(len(near)), range(1, near.ndim)), near.shape)
        return Frame(take(every), found.tied / jnp.maximum(size, 1), replace(info, size=size.astype(jnp.float32)))

    return with_fallback(frame, undecided.astype(dtype), all_tied)


def same_results(
    action: Action,
    elements: Element,
    sample: Sample,
    found: Ties,
    near: Array,
    same_inputs: Callable[[], Array],
) -> Array:
    """Return the tied candidates that give the same result as the best, `[candidates, *batch]`.

    If elements move an entry of an output, these are only the candidates near the best; otherwise all candidates that
    give the backbone the same input, which are computed only if candidates are tied.
    """
    shapes = [(term.labels, sample.x[term.name].shape[found.best.ndim :]) for term in action.inputs]
    none = {label for labels, shape in shapes for label, size in zip(labels, shape, strict=False) if not size}
    outputs, masks = action.signature.outputs, sample.masks
    moved = [term for term in outputs if action.moves(elements, term) and none.isdisjoint(term.labels)]
    if moved and not masks:
        return near
    empty: Array = jnp.ones((), bool)
    for term in moved:
        absent = [~jnp.any(masks[label], axis=-1) for label in term.labels if label in masks]
        empty = empty & functools.reduce(jnp.logical_or, absent, jnp.zeros((), bool))
    needed = jnp.any(empty & jnp.any(found.tied & ~near, axis=0))
    return near | (only_if(needed, same_inputs) & empty)


@functools.partial(jax.jit, static_argnums=0)
def copies(
    action: Action, elements: Element, x: dict[str, Array], masks: dict[str, Array]
) -> tuple[dict[str, Array], dict[str, Array]]:
    r"""Return inputs and masks moved by the inverses of elements, \(g^{-1} x\), `[elements, *batch, ...]`."""
    first = action.inputs[0]
    batch = len(action.batch(first, x[first.name]))

    def one(element: Element) -> tuple[dict[str, Array], dict[str, Array]]:
        return act(action, element, action.inputs, x, batch=batch, backwards=True), moved_masks(element, masks)

    return jax.vmap(one)(elements)


def alike(moved: Mapping[str, Array], best: Array, fraction: float, blur: Mapping[str, Array] | None = None) -> Array:
    """Return which copies of inputs, `[candidates, *batch, ...]`, equal the best one: booleans `[candidates, *batch]`.

    Entries may differ by a fraction of the largest one, and by the blur `[candidates, *batch]` of their input.
    """
    same: Array = jnp.ones((), bool)
    for name, array in moved.items():
        flat = 1.0 * array.reshape(*array.shape[: best.ndim + 1], math.prod(array.shape[best.ndim + 1 :]))
        chosen = jnp.take_along_axis(flat, best[None, ..., None], axis=0)
        most = fraction * jnp.max(jnp.abs(flat), axis=(0, -1), initial=0) + (0 if blur is None else blur[name])
        same = same & (jnp.max(jnp.abs(flat - chosen), axis=-1, initial=0) <= most)
    return same
