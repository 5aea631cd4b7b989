"""The parts of an input: weights of points, inputs of each part, and recombined outputs."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp

from equikit import _checks
from equikit._errors import OptionError
from equikit.symmetrization.engine._action import Action
from equikit.symmetrization.engine._element import Array
from equikit.symmetrization.engine._info import Info
from equikit.symmetrization.engine.backbones._backbone import Call


@dataclass(frozen=True)
class PartsCall(Call):
    """A call of the backbone for all parts, which are an additional, first batch axis.

    Attributes:
        of_part: the call for one part.
        points: the label of the points, whose masks are weights.
        tell: the information that the backbone gets by keyword.
        masked: the labels with masks, which the backbone always gets.
    """

    of_part: Call
    points: str
    tell: tuple[str, ...]
    masked: frozenset[str]

    @classmethod
    def of(cls, call: Call, points: str, tell: tuple[str, ...], count: int, masked: frozenset[str]) -> PartsCall:
        """Return the call for a number of parts."""
        return cls(
            **{**vars(call), "batch": (count, *call.batch)}, of_part=call, points=points, tell=tell, masked=masked
        )

    def __call__(self, x: dict[str, Array], masks: dict[str, Array], key: jax.Array | None) -> dict[str, Array]:
        """Evaluate the backbone on the points of each part, `[parts, *batch, *axes, channels]`."""
        keys = None if key is None else jax.random.split(key, self.batch[0])
        found: dict[str, Array] = jax.vmap(self._of_part)(x, masks, keys)
        return found

    def _of_part(self, x: dict[str, Array], masks: dict[str, Array], key: jax.Array | None) -> dict[str, Array]:
        weights = masks[self.points]
        seen, there = _drawn_in(self.action, self.points, len(self.of_part.batch), x, weights)
        told = {label: masks[label] for label in self.masked}
        if told or "mask" in self.tell:
            told[self.points] = there
        more = {"weights": weights} if "weights" in self.tell else {}
        return replace(self.of_part, told=more)(seen, told, key)


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def _drawn_in(
    action: Action, points: str, batch: int, x: Mapping[str, Array], weights: Array
) -> tuple[dict[str, Array], Array]:
    """Multiply inputs by the weights of their points, zero at weight zero; also return where weights are nonzero."""
    seen = dict(x)
    for term in action.inputs:
        for place, label in enumerate(term.labels):
            if label == points:
                spread = _spread(weights, seen[term.name], batch + place)
                seen[term.name] = jnp.where(spread != 0, seen[term.name], 0) * spread
    return seen, weights != 0


def _spread(weights: Array, array: Array, axis: int) -> Array:
    """Return weights `[*batch, n]` in a shape that broadcasts to an array whose `axis` counts the same points."""
    others = [i for i in range(weights.ndim - 1, array.ndim) if i != axis]
    return jnp.expand_dims(weights, others).astype(jnp.zeros((), array.dtype).real.dtype)


@functools.partial(jax.jit, static_argnums=1)
def per_part(
    arrays: Mapping[str, Array], points: str, masks: Mapping[str, Array], weights: Array
) -> tuple[dict[str, Array], dict[str, Array]]:
    """Return the inputs and masks of all parts, with an additional first batch axis; weights mask the points."""

    def several(array: Array) -> Array:
        return jnp.broadcast_to(array[None], (weights.shape[-1], *array.shape))

    x = {name: several(array) for name, array in arrays.items()}
    return x, {label: several(array) for label, array in masks.items()} | {points: jnp.moveaxis(weights, -1, 0)}


@jax.jit
def excused(info: Info, weights: Array) -> Info:
    """Return diagnostics in which parts without points are never degenerate; weights `[*batch, n, k]`."""
    there = jnp.moveaxis(jnp.any(weights != 0, axis=-2), -1, 0)
    return replace(info, degenerate=info.degenerate & there, refused=info.refused & there)


@functools.partial(jax.jit, static_argnums=(0, 1), static_argnames="squared")
def together(
    action: Action, points: str, y: Mapping[str, Array], weights: Array, *, squared: bool = False
) -> dict[str, Array]:
    """Sum outputs `[parts, *batch, *axes, channels]` by the weights of their points; or take root sums of squares.

    At a point without weight, a part may have any value, including NaN; finite values are used in derivatives.
    """
    parts, found = jnp.moveaxis(weights, -1, 0), {}
    for term in action.signature.outputs:
        array = y[term.name]
        spread = _spread(parts, array, parts.ndim - 1 + term.labels.index(points))
        known = jnp.where((spread == 0) & ~jnp.isfinite(array), 0, array) * spread
        found[term.name] = jnp.sqrt(jnp.sum(known**2, axis=0)) if squared else jnp.sum(known, axis=0)
    return found


def checked_weights(given: Any, shape: tuple[int, ...], there: Array | None) -> jax.Array:
    """Return the weights of points, `[*batch, points, parts]`, after checks of shape and dtype.

    Raises:
        ShapeError, DTypeError: if they do not have this shape, or are not floating-point numbers.
        OptionError: outside of compiled programs, if a weight of a present point is negative or not finite.
    """
    step = "pass jax.nn.one_hot(part_of_each_point, number_of_parts)"
    _checks.array("the weights of the parts", given, (*shape, "parts"), step=step)
    _checks.some("parts", range(given.shape[-1]), got=f"shape {list(given.shape)}", step=step)
    weights = jnp.asarray(given)
    count, first = _wrong(weights, there)
    if not isinstance(count, jax.core.Tracer) and count:
        raise OptionError(
            "some weights of the parts are negative or not finite",
            got=f"{int(count)} of {weights.size}, the first is {float(first):.3g}",
            expected="numbers of zero or more",
            step="take jax.nn.softmax of scores over the parts, the last axis",
        )
    return weights


@jax.jit
def _wrong(weights: Array, there: Array | None) -> tuple[Array, Array]:
    """Count the invalid weights, and return the first."""
    wrong = ~(jnp.isfinite(weights) & (weights >= 0))
    wrong = wrong if there is None else wrong & there[..., None]
    return jnp.sum(wrong), jnp.append(weights.ravel(), 0)[jnp.argmax(jnp.append(wrong.ravel(), True))]


@functools.partial(jax.jit, static_argnums=(2, 3))
def settled_weights(weights: Array, there: Array | None, threshold: float, hard: bool) -> Array:
    """Normalize weights to sum one at each point, without weights below a threshold; all-zero weights stay zero.

    Weights of absent points are zero. Negative weights become NaN, because a compiled program cannot raise an error.
    Hard weights are zeros and ones, with the derivatives of the soft weights.
    """
    weights = weights.astype(jnp.promote_types(weights.dtype, jnp.float32))
    weights = jnp.where(weights >= 0, weights, jnp.nan)
    if there is not None:
        weights = jnp.where(there[..., None], weights, 0)
    weights = _in_proportion(weights)
    weights = _in_proportion(jnp.where(weights < threshold, 0, weights))
    if hard:
        chosen = jax.nn.one_hot(jnp.argmax(weights, axis=-1), weights.shape[-1], dtype=weights.dtype)
        chosen = jnp.where(jnp.sum(weights, axis=-1, keepdims=True) == 0, 0, chosen)
        # The difference in parentheses is exactly zero, so that zeros stay zeros.
        weights = chosen + (weights - jax.lax.stop_gradient(weights))
    return weights


def _in_proportion(weights: Array) -> Array:
    largest = jnp.max(weights, axis=-1, keepdims=True, initial=0)
    # Scale weights so that their sums and reciprocals neither overflow nor underflow.
    _, exponent = jnp.frexp(jax.lax.stop_gradient(largest))
    weights = jnp.ldexp(weights, -exponent)
    total = jnp.sum(weights, axis=-1, keepdims=True)
    return weights / jnp.where(total == 0, 1, total)
