"""The weighted mean of a backbone over a frame: all elements at once, or a few at a time."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.extend.core import jaxprs_in_params

from equikit.symmetrization._action import Action, act, moved_masks
from equikit.symmetrization._backbone import Call
from equikit.symmetrization._element import Array, Element
from equikit.symmetrization._frame import Frame

CACHE = {"cpu": 2**20, "gpu": 2**28, "tpu": 2**28}
"""Bytes up to which the largest array of a backbone may grow, for a platform: beyond, elements go one after another.

For accelerators they are guesses.
"""


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
    r"""\(\sum_g w_g\, g f(g^{-1} x)\), and its standard error where the elements were drawn at random."""
    batch, count = len(call.batch), frame.size
    keys = None if key is None else jax.random.split(key, count)

    def one(element: Element, weight: Array, key: jax.Array | None) -> tuple[dict[str, Array], dict[str, Array]]:
        y = evaluated(call, element, x, masks, key)
        weighted, squares = {}, {}
        for name, array in y.items():
            wide = jnp.promote_types(array.dtype, jnp.float32)
            share = jnp.expand_dims(weight, range(batch, array.ndim)).astype(jnp.zeros((), wide).real.dtype)
            # What has no weight may be anything, not-a-number included.
            weighted[name] = jnp.where(share == 0, 0, array.astype(wide)) * share
            if frame.drawn:
                squares[name] = jnp.abs(jnp.where(share == 0, 0, array.astype(wide))) ** 2 * share
        return weighted, squares

    def some(elements: Element, weights: Array, keys: jax.Array | None) -> Any:
        return jax.tree.map(lambda array: jnp.sum(array, axis=0), jax.vmap(one)(elements, weights, keys))

    if remat:
        some = jax.checkpoint(some)
    size = min(_chunk_size(one, frame, keys) if chunk_size is None else chunk_size, max(count, 1))
    if size >= count:
        sums, squares = some(frame.elements, frame.weights, keys)
    else:
        sums, squares = _in_chunks(some, (frame.elements, frame.weights, keys), count, size)
    errors = {}
    if frame.drawn:
        for name, total in sums.items():
            variance = jnp.maximum(squares[name] - jnp.abs(total) ** 2, 0) * count / max(count - 1, 1)
            errors[name] = jnp.sqrt(variance / count) if count > 1 else jnp.full_like(variance, jnp.nan)
    return sums, errors


def evaluated(
    call: Call, element: Element, x: dict[str, Array], masks: dict[str, Array], key: jax.Array | None
) -> dict[str, Array]:
    r"""\(g f(g^{-1} x)\) for one element to each sample."""
    action: Action = call.action
    moved = act(action, element, action.inputs, x, batch=len(call.batch), backwards=True)
    moved = _without_absent(action, moved, masks, element, call)
    seen = moved_masks(element, masks)
    y = call(moved, seen, key)
    y = act(action, element, action.signature.outputs, y, batch=len(call.batch))
    return y


def _without_absent(
    action: Action, arrays: dict[str, Array], masks: Mapping[str, Array], element: Element, call: Call
) -> dict[str, Array]:
    """Set absent entries to zero: a translation has moved them too."""
    if not masks or not element.shift:
        return arrays
    seen, batch = moved_masks(element, masks), len(call.batch)
    for term in action.inputs:
        array = arrays[term.name]
        for place, label in enumerate(term.labels):
            if label in seen:
                others = [i for i in range(batch, array.ndim) if i != batch + place]
                array = jnp.where(jnp.expand_dims(seen[label], others), array, 0)
        arrays = arrays | {term.name: array}
    return arrays


def _in_chunks(some: Any, arguments: Any, count: int, size: int) -> Any:
    """Sum over chunks of elements: by a scan in a traced program, else one compiled by nobody, in a loop."""
    chunks = math.ceil(count / size)
    elements, weights, keys = arguments
    # Elements that fill up the last chunk repeat the first one, with weight zero.
    fill = chunks * size - count
    padded = jax.tree.map(lambda a: jnp.concatenate([a, jnp.repeat(a[:1], fill, axis=0)]), (elements, keys))
    weights = jnp.concatenate([weights, jnp.zeros((fill, *weights.shape[1:]), weights.dtype)])
    stacked = jax.tree.map(lambda a: a.reshape(chunks, size, *a.shape[1:]), (padded[0], weights, padded[1]))
    first = some(*jax.tree.map(lambda a: a[0], stacked))
    rest = jax.tree.map(lambda a: a[1:], stacked)
    if not any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves((stacked, first))):
        for i in range(chunks - 1):
            first = jax.tree.map(jnp.add, first, some(*jax.tree.map(lambda a, i=i: a[i], rest)))
        return first

    def step(total: Any, chunk: Any) -> tuple[Any, None]:
        return jax.tree.map(jnp.add, total, some(*chunk)), None

    return lax.scan(step, first, rest)[0]


def _chunk_size(one: Any, frame: Frame, keys: jax.Array | None) -> int:
    """As many elements at once as keep the largest array of one evaluation in the cache."""
    if frame.size <= 1:
        return 1
    first = jax.tree.map(
        lambda array: jax.ShapeDtypeStruct(array.shape[1:], array.dtype), (frame.elements, frame.weights, keys)
    )
    largest = _largest(jax.make_jaxpr(one)(*first).jaxpr)
    budget = CACHE.get(jax.default_backend(), CACHE["gpu"])
    return max(1, min(frame.size, budget // max(largest, 1)))


def _largest(jaxpr: Any) -> int:
    """The bytes of the largest array that a program makes, in its inner programs too."""
    found = 0
    for equation in jaxpr.eqns:
        for variable in equation.outvars:
            shape, dtype = getattr(variable.aval, "shape", ()), getattr(variable.aval, "dtype", None)
            if dtype is not None and all(isinstance(size, int) for size in shape):
                found = max(found, math.prod(shape) * dtype.itemsize)
        for inner in jaxprs_in_params(equation.params):
            found = max(found, _largest(inner))
    return found
