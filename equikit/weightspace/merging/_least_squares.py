"""Fit the layers of a merged network to what the networks compute that it was made from."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from equikit._progress import progress
from equikit.weightspace.merging._combine import combined
from equikit.weightspace.merging._repair import corrected
from equikit.weightspace.merging._statistics import Place, arrays_at, moments_at, places_of
from equikit.weightspace.merging._widen import Wide, widened
from equikit.weightspace.specifications._specification import Specification
from equikit.weightspace.specifications._terms import Indexed, Leaf, Symbol

STEPS = 100
"""The largest number of steps of conjugate gradients for one layer."""


def fitted(
    spec: Specification,
    apply: Callable[..., Any],
    params: Any,
    trees: Sequence[Any],
    batches: Sequence[tuple[Any, ...]],
    wide: Wide,
    shares: Sequence[float],
    ridge: float,
) -> Any:
    """Fit kernel and bias of each product by least squares, with the inputs that it has in the merged network.

    Running averages become those of the merged network, in the order of the program too.
    """
    places = [
        place
        for place in places_of(apply, trees[0], batches[0])
        if not any(isinstance(axis, Indexed) for axis in spec.leaves[place.first].axes)
    ]
    biased = {place.first for place in places if place.kind == "layer"}
    layers = [
        place for place in places if place.kind == "layer" or (place.kind == "product" and place.first not in biased)
    ]
    goals = _goals(spec, apply, layers, trees, batches, wide, shares)
    leaves, structure = jax.tree.flatten(params)
    # A product may have a wide label that is not of its kernel, if the data have it.
    now = jax.eval_shape(partial(_values, apply, layers), params, batches[0])
    fits = {place: one.shape == goal.shape for place, one, goal in zip(layers, now, goals[0], strict=True)}
    places = [place for place in places if place.kind == "norm" or fits.get(place)]
    with progress("least squares", len(places)) as advance:
        for place in places:
            if place.kind == "norm":
                (found,) = moments_at(apply, [place])(jax.tree.unflatten(structure, leaves), batches)
                leaves[place.first], leaves[place.second] = corrected(place, leaves, found, (), ())
                advance("running averages")
                continue
            its = [goal[layers.index(place)] for goal in goals]
            solution, error = _solved(apply, place, structure, leaves, batches, its, ridge)
            for number, one in solution.items():
                leaves[number] = one
            advance(f"mean squared difference {float(error):.2g}")
    return jax.tree.unflatten(structure, leaves)


def _goals(
    spec: Specification,
    apply: Callable[..., Any],
    places: Sequence[Place],
    trees: Sequence[Any],
    batches: Sequence[tuple[Any, ...]],
    wide: Wide,
    shares: Sequence[float],
) -> list[list[np.ndarray]]:
    """Return, by batch and place, the mean of what the networks have there, with wide labels."""
    found = []
    for inputs in batches:
        seen = [_read(apply, tuple(places), tree, inputs) for tree in trees]
        found.append([_goal(spec, place, its, wide, shares) for place, *its in zip(places, *seen, strict=True)])
    return found


def _goal(spec: Specification, place: Place, arrays: Sequence[Any], wide: Wide, shares: Sequence[float]) -> np.ndarray:
    own = tuple(spec.leaves[place.first].axes[axis] for axis in place.axes)
    data = np.shape(arrays[0])[: np.ndim(arrays[0]) - len(own)]
    axes = (*(Symbol(f"data {number}", size) for number, size in enumerate(data)), *own)
    goal = widened(Leaf("goal", axes), arrays, (None,) * len(axes), wide, shares)
    return np.asarray(combined(arrays, "mean", shares)) if goal is None else goal


@partial(jax.jit, static_argnums=(0, 1, 2))  # networks of one shape share the program
def _solved(
    apply: Callable[..., Any],
    place: Place,
    structure: Any,
    leaves: Sequence[Any],
    batches: Sequence[tuple[Any, ...]],
    goals: Sequence[Any],
    ridge: float,
) -> tuple[dict[int, Any], jax.Array]:
    """Return kernel and bias of one layer by number, and the mean squared difference that is left."""

    def at(inputs: Any) -> Callable[[dict[int, Any]], Any]:
        def value(pair: dict[int, Any]) -> Any:
            mine = [pair.get(number, leaf) for number, leaf in enumerate(leaves)]
            return _values(apply, [place], jax.tree.unflatten(structure, mine), inputs)[0]

        return value

    pair = {number: leaves[number] for number in (place.first, place.second)}
    # The value is affine in kernel and bias: its derivative is the matrix of the least squares.
    parts = [jax.linearize(at(inputs), pair) for inputs in batches]
    back = [jax.linear_transpose(along, pair) for _, along in parts]
    rows = sum(math.prod(goal.shape[: goal.ndim - len(place.axes)]) for goal in goals)

    def total(trees: Sequence[Any]) -> Any:
        return jax.tree.map(lambda *each: sum(each[1:], each[0]) / rows, *trees)

    def normal(change: Any) -> Any:
        squares = total([to(along(change))[0] for (_, along), to in zip(parts, back, strict=True)])
        return jax.tree.map(lambda one, own: one + (ridge * own).astype(one.dtype), squares, change)

    left = [goal.astype(value.dtype) - value for goal, (value, _) in zip(goals, parts, strict=True)]
    slope = total([to(rest)[0] for to, rest in zip(back, left, strict=True)])
    change, _ = jax.scipy.sparse.linalg.cg(normal, slope, maxiter=STEPS, tol=1e-5)
    rest = [one - along(change) for one, (_, along) in zip(left, parts, strict=True)]
    error = sum(jnp.sum(one**2) for one in rest) / sum(one.size for one in rest)
    return jax.tree.map(jnp.add, pair, change), jnp.asarray(error)


@partial(jax.jit, static_argnums=(0, 1))
def _read(apply: Callable[..., Any], places: tuple[Place, ...], params: Any, inputs: tuple[Any, ...]) -> list[Any]:
    return _values(apply, places, params, inputs)


def _values(
    apply: Callable[..., Any], places: Sequence[Place], params: Any, inputs: tuple[Any, ...]
) -> list[jax.Array]:
    """Return the array at each place with its axes of data first, which a convolution may have elsewhere."""
    found = arrays_at(apply, places, params, inputs)
    return [jnp.moveaxis(array, data, range(len(data))) for array, data in found]
