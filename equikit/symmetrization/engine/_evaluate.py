"""The weighted mean of a backbone over a frame: all elements at once, or a few at a time."""

from __future__ import annotations

import functools
import math
import weakref
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.extend.core import jaxprs_in_params

from equikit._masks import masked
from equikit.plans import Choice, run_choice
from equikit.symmetrization.engine._action import Action, act, moved_masks
from equikit.symmetrization.engine._element import Array, Element
from equikit.symmetrization.engine._frame import Frame, only_if
from equikit.symmetrization.engine.backbones._backbone import Call
from equikit.symmetrization.engine.backbones._foreign import is_initializing

CACHE = {"cpu": 2**22, "gpu": 2**28, "tpu": 2**28}
"""The most bytes of a backbone's largest array, by platform; elements are evaluated in chunks that stay below it.

Values for accelerators are guesses.
"""

FEW = 16
"""The largest number of elements that are added one by one, and of unrolled steps of a loop with convolutions."""

Chunk = tuple[Element, Array, jax.Array | None]
"""Elements, their weights, and a key for each."""

Sums = tuple[dict[str, Array], dict[str, Array], dict[str, Array]]
"""For each output the weighted sum; for sampled elements also the sum of squared distances from the mean of these
elements, and the sum of their weights. Sums of plain squares would lose precision if the deviation is small relative to
the mean."""


def mean_over(
    call: Call,
    frame: Frame,
    x: dict[str, Array],
    masks: dict[str, Array],
    key: jax.Array | None,
    *,
    chunk_size: int | None,
    remat: bool,
) -> tuple[dict[str, Array], dict[str, Array]]:
    r"""Compute \(\sum_g w_g\, g f(g^{-1} x)\), and its standard error if the elements are samples.

    Everything except the backbone runs as compiled programs, even if the caller does not use `jit`: executed operation
    by operation, it would take longer than the backbone. Only the caller compiles the backbone, whose parameters may
    change.
    """
    if is_initializing(call.backbone):
        call(x, masks, key)  # outside of transformations, so that its parameters are not traced
    over = functools.partial(_sums_over, call, x, masks, key, chunk_size, remat)
    sums: Sums = over(frame)
    if (fallback := frame.fallback) is not None:
        sums = _together(sums, only_if(jnp.any(fallback.weights != 0), lambda: over(fallback)))
    return sums[0], _standard_errors(sums[1], frame) if frame.drawn else {}


def _sums_over(
    call: Call,
    x: dict[str, Array],
    masks: dict[str, Array],
    key: jax.Array | None,
    chunk_size: int | None,
    remat: bool,
    frame: Frame,
) -> Sums:
    chunk: Chunk = (frame.elements, frame.weights, None if key is None else jax.random.split(key, frame.size))

    def some(elements: Element, weights: Array, keys: jax.Array | None) -> Sums:
        moved, seen = _moved(call.action, elements, x, masks)
        constant = {name: array for name, array in x.items() if name not in moved}
        fixed = {label: mask for label, mask in masks.items() if label not in seen}

        def one(moved: dict[str, Array], seen: dict[str, Array], key: jax.Array | None) -> dict[str, Array]:
            arrays, present = {**constant, **moved}, {**fixed, **seen}
            return call({name: arrays[name] for name in x}, {label: present[label] for label in masks}, key)

        # Map over a single element too, so that a backbone with state is rejected for every chunk size.
        y = jax.vmap(one, axis_size=weights.shape[0])(moved, seen, keys)
        sums: Sums = _summed(call.action, len(call.batch), frame.drawn, elements, weights, y)
        return sums

    run: Callable[..., Sums] = jax.checkpoint(some) if remat else some
    made = _made(call, x, masks, key) if frame.size > 1 else Made()
    pace = _pace(made, frame.size, chunk_size, _platform((chunk, x, masks)))
    found: Sums = run_choice(pace, lambda pace: functools.partial(_in_chunks, run, frame.size, pace), *chunk)
    return found


@functools.partial(jax.jit, static_argnums=0)
def _moved(
    action: Action, elements: Element, x: Mapping[str, Array], masks: Mapping[str, Array]
) -> tuple[dict[str, Array], dict[str, Array]]:
    """Apply the inverse of each element to the inputs and masks that it moves, `[elements, *batch, ...]`."""
    first = action.inputs[0]
    batch = len(action.batch(first, x[first.name]))
    terms = tuple(term for term in action.inputs if action.moves(elements, term))
    permuted = {label: mask for label, mask in masks.items() if label in elements.linear}

    def one(element: Element) -> tuple[dict[str, Array], dict[str, Array]]:
        arrays = act(action, element, terms, x, batch=batch, backwards=True)
        if element.shift:  # a shift moves absent points too
            seen = moved_masks(element, masks)
            for term in terms:
                arrays[term.name] = masked(arrays[term.name], term.labels, seen, batch)
        return arrays, moved_masks(element, permuted)

    return jax.vmap(one)(elements)


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def _summed(action: Action, batch: int, drawn: bool, elements: Element, weights: Array, y: Mapping[str, Array]) -> Sums:
    """Move the outputs by their elements and add them up by their weights."""
    moved = jax.vmap(lambda element, y: act(action, element, action.signature.outputs, y, batch=batch))(elements, y)
    sums, squares, shares = {}, {}, {}
    for name, array in moved.items():
        wide = array.astype(jnp.promote_types(array.dtype, jnp.float32))
        share = jnp.expand_dims(weights, range(batch + 1, array.ndim)).astype(wide.real.dtype)
        # Values with weight zero are arbitrary, possibly NaN.
        wide = jnp.where(share == 0, 0, wide)
        sums[name] = _added(wide * share)
        if drawn:
            shares[name] = _added(share)
            squares[name] = _added(jnp.abs(wide - _over(sums[name], shares[name])) ** 2 * share)
    return sums, squares, shares


def _over(total: Array, share: Array) -> Array:
    return total / jnp.where(share == 0, 1, share)


@jax.jit
def _together(one: Sums, two: Sums) -> Sums:
    """Combine two sums over elements; squared distances are then from the mean of all."""
    sums, squares, shares = jax.tree.map(jnp.add, one, two)
    for name in squares:
        apart = _over(one[0][name], one[2][name]) - _over(two[0][name], two[2][name])
        squares[name] = squares[name] + jnp.abs(apart) ** 2 * _over(one[2][name] * two[2][name], shares[name])
    return sums, squares, shares


def _added(terms: Array) -> Array:
    """Sum over the first axis; few entries are added one by one, which XLA vectorizes on CPUs, unlike a sum."""
    if not 0 < terms.shape[0] <= FEW:
        return jnp.sum(terms, axis=0)
    return functools.reduce(jnp.add, [terms[i] for i in range(terms.shape[0])])


def _standard_errors(squares: Mapping[str, Array], frame: Frame) -> dict[str, Array]:
    """Return the standard error of a mean of independent samples; NaN for a single sample."""
    count, exact = frame.size, frame.info.exact
    found = {}
    for name, variance in squares.items():
        error = jnp.sqrt(variance / (count - 1)) if count > 1 else jnp.full_like(variance, jnp.nan)
        if exact is not None:
            error = jnp.where(jnp.expand_dims(exact, range(exact.ndim, error.ndim)), 0, error)
        found[name] = error
    return found


def _in_chunks(
    run: Callable[..., Sums], count: int, pace: Pace, elements: Element, weights: Array, keys: jax.Array | None
) -> Sums:
    """Sum over chunks of elements, with a scan in a traced program and a loop otherwise."""
    size = pace.size
    if size >= count:
        return run(elements, weights, keys)
    chunks = math.ceil(count / size)
    # The last chunk is padded with copies of the first element, with weight zero.
    fill = chunks * size - count
    elements, keys = jax.tree.map(lambda a: jnp.concatenate([a, jnp.repeat(a[:1], fill, axis=0)]), (elements, keys))
    weights = jnp.concatenate([weights, jnp.zeros((fill, *weights.shape[1:]), weights.dtype)])
    stacked = jax.tree.map(lambda a: a.reshape(chunks, size, *a.shape[1:]), (elements, weights, keys))

    def at(number: int) -> Any:
        return jax.tree.map(lambda a: a[number], stacked)

    total = run(*at(0))
    if not any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves((stacked, total))):
        for number in range(1, chunks):
            total = _together(total, run(*at(number)))
        return total

    def step(total: Sums, chunk: Chunk) -> tuple[Sums, None]:
        return _together(total, run(*chunk)), None

    return lax.scan(step, total, jax.tree.map(lambda a: a[1:], stacked), unroll=pace.unroll)[0]


@dataclass(frozen=True)
class Made:
    """Properties of the arrays in a backbone's computation for one element.

    Attributes:
        largest: the bytes of the largest array.
        convolutions: whether the computation contains convolutions.
    """

    largest: int = 1
    convolutions: bool = False


_KNOWN: dict[int, tuple[weakref.ref[Any], dict[Any, Made]]] = {}
"""Properties by id of a live backbone and shapes of arguments. Tracing takes most of the time of a call
without `jit`. The values only set the chunk size, so they need not be updated when the backbone changes."""


def _made(call: Call, x: dict[str, Array], masks: dict[str, Array], key: jax.Array | None) -> Made:
    """Trace the backbone; for concrete arguments, only once for each set of shapes and dtypes."""
    known, shapes = _known(call.backbone), _shapes((x, masks, key, call.arguments, call.keywords, call.told))
    if known is None or shapes is None:
        return _traced(call, x, masks, key)
    name = (call.as_mapping, call.key_argument, call.batched, *shapes)
    if name not in known:
        known[name] = _traced(call, x, masks, key)
    return known[name]


def _traced(call: Call, x: dict[str, Array], masks: dict[str, Array], key: jax.Array | None) -> Made:
    # One element under a vmap, as in the evaluation: a backbone that changes its state is rejected here.
    alone = jax.tree.map(lambda a: a[None], (x, masks, key))
    return _of_program(jax.make_jaxpr(jax.vmap(call))(*alone).jaxpr)


def _known(backbone: object) -> dict[Any, Made] | None:
    """Return the cache of this backbone; `None` for objects that do not support weak references."""
    place = id(backbone)
    if place not in _KNOWN:
        try:
            _KNOWN[place] = weakref.ref(backbone, lambda _: _KNOWN.pop(place, None)), {}
        except TypeError:
            return None
    return _KNOWN[place][1]


def _shapes(arguments: Any) -> tuple[Any, ...] | None:
    """Return hashable shapes and dtypes of arguments; `None` if one is traced, or neither an array nor a number."""
    leaves, structure = jax.tree.flatten(arguments)
    found = []
    for leaf in leaves:
        if isinstance(leaf, jax.core.Tracer) or not isinstance(leaf, jax.Array | np.ndarray | int | float | str):
            return None
        found.append((leaf.shape, leaf.dtype) if isinstance(leaf, jax.Array | np.ndarray) else leaf)
    return (structure, *found)


class Pace(NamedTuple):
    """The number of elements evaluated at once, and of unrolled steps of the loop over chunks."""

    size: int
    unroll: int


def _pace(made: Made, count: int, chunk_size: int | None, platform: str | None) -> Choice[Pace]:
    """Choose the pace on each platform, or on one, so that the backbone's largest array fits in the cache."""

    def on(platform: str) -> Pace:
        most = CACHE.get(platform, CACHE["gpu"]) // max(made.largest, 1)
        # On CPUs, XLA runs convolutions inside loops with generic single-core code: gradients take 20 times as long.
        slow = made.convolutions and platform == "cpu"
        return Pace(min(count, max(1, most if chunk_size is None else chunk_size)), FEW if slow else 1)

    chosen = Choice(*map(on, Choice._fields)) if platform is None else Choice.everywhere(on(platform))
    # Without a loop nothing is unrolled, so that equal paces share one program.
    return Choice(*(pace if pace.size < count else Pace(count, 1) for pace in chosen))


def _platform(operands: Any) -> str | None:
    """Return the platform of concrete arrays; `None` in a traced program, which may be lowered for any platform."""
    arrays = [leaf for leaf in jax.tree.leaves(operands) if isinstance(leaf, jax.Array)]
    if any(isinstance(array, jax.core.Tracer) for array in arrays):
        return None
    platform: str = next(iter(arrays[0].devices())).platform
    return platform


def _of_program(jaxpr: Any) -> Made:
    """Return the properties of the arrays in a program, including its inner programs."""
    largest, convolutions = 1, False
    for equation in jaxpr.eqns:
        for variable in equation.outvars:
            shape, dtype = getattr(variable.aval, "shape", ()), getattr(variable.aval, "dtype", None)
            if dtype is not None and all(isinstance(size, int) for size in shape):
                largest = max(largest, math.prod(shape) * dtype.itemsize)
        convolutions |= equation.primitive is lax.conv_general_dilated_p
        for inner in map(_of_program, jaxprs_in_params(equation.params)):
            largest, convolutions = max(largest, inner.largest), convolutions | inner.convolutions
    return Made(largest, convolutions)
