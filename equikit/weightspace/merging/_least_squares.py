"""Fit the layers of a merged network to what the networks compute that it was made from."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from equikit import _checks
from equikit._errors import OptionError
from equikit._progress import progress
from equikit.weightspace.merging._combine import combined
from equikit.weightspace.merging._repair import corrected
from equikit.weightspace.merging._statistics import Place, arrays_at, moments_at, places_of
from equikit.weightspace.merging._widen import Wide, widened
from equikit.weightspace.specifications._leaves import is_real, named_leaves
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

    Running averages are computed for the merged network, in the order of the program too. Half precision is computed in
    float32, because sums over the data would overflow, and rounded once.
    """
    dtypes = [leaf.dtype for leaf in jax.tree.leaves(params)]
    halves = any(_single(leaf) is not leaf for leaf in jax.tree.leaves([params, batches[0]]))
    params, trees, batches = jax.tree.map(_single, (params, [*trees], [*batches]))
    if halves:
        _refuse_half_alone(apply, params, batches[0])
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
    names = [*named_leaves(params)]
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
            solution, error, curvature = _solved(apply, place, structure, leaves, batches, its, ridge)
            step = "choose smaller weights and inputs, or float64"
            _checks.finite(f"least-squares sums for {names[place.first]!r}", curvature, step=step)
            for number, one in solution.items():
                leaves[number] = one
            advance(f"mean squared difference {float(error):.2g}")
    for number, (name, dtype) in enumerate(zip(names, dtypes, strict=True)):
        leaves[number] = leaves[number].astype(dtype)
        step = "choose a larger ridge, or smaller weights and inputs"
        _checks.finite(f"weights {name!r} after least squares", leaves[number], step=step)
    return jax.tree.unflatten(structure, leaves)


def _single(leaf: Any) -> Any:
    """Return an array in float32 if it has half precision, or as it is."""
    wider = is_real(leaf) and jnp.promote_types(leaf.dtype, jnp.float32) != leaf.dtype
    return jnp.asarray(leaf, jnp.float32) if wider else leaf


def _refuse_half_alone(apply: Callable[..., Any], params: Any, inputs: tuple[Any, ...]) -> None:
    try:
        jax.eval_shape(apply, params, *inputs)
    except Exception as error:  # any library may refuse another dtype, with any error
        raise OptionError(
            "ridge= computes in float32, and the program fails there",
            got=f"{type(error).__name__}: {str(error).splitlines()[0]:.100}",
            expected="a program that takes the dtypes of its arrays from the parameters and inputs",
            step="in apply, write x.dtype in place of a fixed dtype; or leave ridge= out",
        ) from error


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
) -> tuple[dict[int, Any], jax.Array, jax.Array]:
    """Return kernel and bias of one layer by number, the mean squared difference that is left, and the curvature."""

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
    # Squares of very large slopes overflow; then the solver would return its start without a report.
    largest = jnp.max(jnp.stack([jnp.max(jnp.abs(own), initial=0) for own in slope.values()]))
    size = jnp.where(largest > 0, largest, 1)
    slope = jax.tree.map(lambda own: own / size.astype(own.dtype), slope)
    curvature = sum(jnp.sum(slope[number] * own) for number, own in normal(slope).items())
    change, _ = jax.scipy.sparse.linalg.cg(normal, slope, maxiter=STEPS, tol=1e-5)
    change = jax.tree.map(lambda own: own * size.astype(own.dtype), change)
    rest = [one - along(change) for one, (_, along) in zip(left, parts, strict=True)]
    error = sum(jnp.sum(one**2) for one in rest) / sum(one.size for one in rest)
    return jax.tree.map(jnp.add, pair, change), jnp.asarray(error), jnp.asarray(curvature)


@partial(jax.jit, static_argnums=(0, 1))
def _read(apply: Callable[..., Any], places: tuple[Place, ...], params: Any, inputs: tuple[Any, ...]) -> list[Any]:
    return _values(apply, places, params, inputs)


def _values(
    apply: Callable[..., Any], places: Sequence[Place], params: Any, inputs: tuple[Any, ...]
) -> list[jax.Array]:
    """Return the array at each place with its axes of data first, which a convolution may have elsewhere."""
    found = arrays_at(apply, places, params, inputs)
    return [jnp.moveaxis(array, data, range(len(data))) for array, data in found]
