"""One activation for each element of a finite group: which is the largest, which are tied, and what is taken."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp

from equikit.symmetrization._action import Action, act
from equikit.symmetrization._element import Array, Element, is_permutation, permutation_matrix, rounding
from equikit.symmetrization._frame import Frame
from equikit.symmetrization._info import Info, settled
from equikit.symmetrization._method import OnDegenerate


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Activations:
    """What an element is chosen by.

    Attributes:
        values: `[*batch, elements]`, the largest of which is taken.
        elements: the elements of the group, `[elements, ...]`.
        canonical: the inputs moved by the inverse of each, `[elements, *batch, *axes, channels]`, where it does not
            matter which of two elements with the same canonical input is taken; `None` where it does.
        more: other quantities for `info`.
    """

    values: Array
    elements: Element
    canonical: dict[str, Array] | None
    more: dict[str, Array] = field(default_factory=dict)


@dataclass(frozen=True)
class Choice:
    """How the largest activation is taken: a value, so that programs are compiled once for it."""

    differentiable: bool
    beta: float
    tolerance: float | None
    on_degenerate: OnDegenerate


def wide(values: Array, x: Mapping[str, Array]) -> Any:
    """The dtype of the elements: real, no less than float32, that of the activations and of the inputs."""
    return jnp.result_type(jnp.float32, values.dtype, *(array.real.dtype for array in x.values()))


@functools.partial(jax.jit, static_argnums=(0, 3))
def chosen(how: Choice, given: Activations, key: jax.Array | None, dtype: Any) -> Frame:
    """The frame of the element with the largest activation, or of all that are tied; its matrices have the dtype."""
    activations, found = given.values, ties(given.values, how.tolerance)
    same: Array = jnp.zeros(activations.shape, bool)
    if given.canonical is not None:
        same = alike(given.canonical, found.best, 64 * rounding(activations.dtype))
    finite = jnp.all(jnp.isfinite(activations), axis=-1)
    undecided = jnp.any(found.tied & ~same, axis=-1) & (found.count > 1)
    degenerate = undecided | ~finite
    pick, count = found.best, activations.shape[-1]
    if how.on_degenerate == "sample" and key is not None:
        other = jax.random.categorical(key, jnp.where(found.tied, 0.0, -jnp.inf))
        pick = jnp.where(found.count > 1, other, pick)
    slope = _slope(how.beta * activations, dtype) if how.differentiable else None
    size = jnp.ones(pick.shape, jnp.float32)
    if how.on_degenerate == "weighted":
        degenerate, use = ~finite, undecided & finite
        single = jax.nn.one_hot(pick, count, dtype=dtype)
        equal = found.tied.astype(dtype) / jnp.maximum(found.count, 1).astype(dtype)[..., None]
        weights = jnp.moveaxis(jnp.where(use[..., None], equal, single), -1, 0)
        size = jnp.where(use, found.count, 1).astype(size.dtype)
        picks = jnp.broadcast_to(jnp.expand_dims(jnp.arange(count), range(1, pick.ndim + 1)), weights.shape)
    else:
        weights, picks = jnp.ones((1, *pick.shape), dtype), pick[None]
    refused = degenerate & (how.on_degenerate in ("error", "weighted"))
    info = Info(size, degenerate, refused, found.gap, ties=jnp.maximum(found.count - 1, 0))
    return Frame(picked(given.elements, picks, slope), settled(weights, info), info)


@functools.partial(jax.jit, static_argnums=(0, 3, 4))
def drawn(how: Choice, given: Activations, key: jax.Array, samples: int, dtype: Any) -> Frame:
    """Elements drawn with probabilities softmax(beta activations), by Gumbel noise, through which derivatives go."""
    activations = given.values
    noisy = how.beta * activations.astype(dtype) + jax.random.gumbel(key, (samples, *activations.shape), dtype)
    elements = picked(given.elements, jnp.argmax(noisy, axis=-1), _slope(noisy, dtype))
    degenerate = ~jnp.all(jnp.isfinite(activations), axis=-1)
    info = Info(jnp.full(degenerate.shape, samples, jnp.float32), degenerate, degenerate)
    weights = jnp.full((samples, *degenerate.shape), 1 / samples, dtype)
    return Frame(elements, settled(weights, info), info, drawn=True)


def _slope(logits: Array, dtype: Any) -> Array:
    """The softmax less itself: zero, exactly, but with its derivatives."""
    soft = jax.nn.softmax(logits.astype(dtype), axis=-1)
    return soft - jax.lax.stop_gradient(soft)


@dataclass(frozen=True)
class Ties:
    """The largest activation, and how far it is from the others.

    Attributes:
        best: its index, `[*batch]`.
        tied: which activations cannot be told from it, `[*batch, elements]`.
        count: how many these are, itself included, `[*batch]`.
        gap: the difference of the two largest, relative to that of the largest and the smallest, `[*batch]`.
    """

    best: Array
    tied: Array
    count: Array
    gap: Array


def tie_tolerance(tolerance: float | None, dtype: Any) -> float:
    """The relative difference up to which rounding may decide: 64 roundings, in half precision the root of one."""
    return min(64 * rounding(dtype), math.sqrt(rounding(dtype))) if tolerance is None else tolerance


def ties(activations: Array, tolerance: float | None) -> Ties:
    """Which activations `[*batch, elements]` are the largest up to the tolerance.

    It is relative to the spread of the activations, or to their size where that is more; by default as many roundings
    of the dtype that the activations come in.
    """
    fraction = tie_tolerance(tolerance, activations.dtype)
    activations = activations.astype(jnp.promote_types(activations.dtype, jnp.float32))
    top = jnp.max(activations, axis=-1, keepdims=True)
    spread = top - jnp.min(activations, axis=-1, keepdims=True)
    scale = jnp.maximum(spread, jnp.max(jnp.abs(activations), axis=-1, keepdims=True))
    tied = top - activations <= fraction * scale
    below = (top - activations) / jnp.where(spread > 0, spread, 1)
    if activations.shape[-1] > 1:
        gap = jnp.sort(below, axis=-1)[..., 1]
    else:
        gap = jnp.full(activations.shape[:-1], jnp.inf, activations.dtype)
    return Ties(jnp.argmax(activations, axis=-1), tied, jnp.sum(tied, axis=-1), gap)


def picked(elements: Element, picks: Array, slope: Array | None) -> Element:
    r"""The elements `[*picks, ...]` at given places of a list, with derivatives where they have a slope.

    Args:
        elements: all elements, `[elements, ...]`.
        picks: places, integers `[..., *batch]`.
        slope: zeros `[*batch, elements]` with derivatives, those of soft weights \(s_g\): the matrices that are picked
            get the derivatives of \(\sum_g s_g g\). Permutations become matrices.
    """

    def one(array: Array, permutes: bool) -> Array:
        if slope is None:
            return array[picks]
        if permutes:
            array = permutation_matrix(array, slope.dtype)
        array = array.astype(jnp.promote_types(array.dtype, slope.dtype))
        rates = jnp.einsum("...g,gij->...ij", slope.astype(array.dtype), array, precision=jax.lax.Precision.HIGHEST)
        return array[picks] + rates

    linear = {label: one(by, is_permutation(by)) for label, by in elements.linear.items()}
    return Element(linear, grid={labels: one(turn, False) for labels, turn in elements.grid.items()})


@functools.partial(jax.jit, static_argnums=0)
def canonical(action: Action, elements: Element, x: dict[str, Array]) -> dict[str, Array]:
    r"""The inputs moved by the inverses of listed elements: \(g^{-1} x\), `[elements, *batch, *axes, channels]`."""
    first = action.inputs[0]
    batch = action.batch(first, x[first.name])

    def one(element: Element) -> dict[str, Array]:
        spread = jax.tree.map(lambda a: jnp.broadcast_to(a, (*batch, *a.shape)), element)
        return act(action, spread, action.inputs, x, batch=len(batch), backwards=True)

    return jax.vmap(one)(elements)


def alike(moved: Mapping[str, Array], best: Array, fraction: float) -> Array:
    """Which of the moved inputs `[elements, *batch, ...]` are that of one element, up to a fraction of their largest
    entry: booleans `[*batch, elements]`."""
    found: Array = jnp.ones((), bool)
    for array in moved.values():
        entries = math.prod(array.shape[best.ndim + 1 :])
        flat = jnp.moveaxis(array.reshape(*array.shape[: best.ndim + 1], entries), 0, best.ndim)
        chosen = jnp.take_along_axis(flat, best[..., None, None], axis=best.ndim)
        largest = jnp.max(jnp.abs(flat), axis=(-2, -1), initial=0)[..., None]
        found = found & (jnp.max(jnp.abs(flat - chosen), axis=-1, initial=0) <= fraction * largest)
    return found


def outputs_move(action: Action, elements: Element) -> bool:
    """Whether the elements do anything to an output, so that it matters which of two is taken."""
    return any(action.moves(elements, term) for term in action.signature.outputs)
