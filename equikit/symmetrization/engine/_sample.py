"""Inputs of a method and their errors; inputs that a frame moved are double words."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from equikit.numerics import Double, double, matmul, minus, rounding, rounding_error, transposed, with_derivative
from equikit.signatures import Term, base
from equikit.symmetrization.engine._action import Action, moved_masks, positions, signed
from equikit.symmetrization.engine._element import Array, Element, along, is_permutation

_DATA = ("x", "masks", "tails", "errors", "turns")

CERTAIN = 4
"""The number of standard deviations that bounds an error."""

FLAT = 2 * CERTAIN
"""A length counts as zero below this many standard deviations of the errors of points."""


@functools.partial(jax.tree_util.register_dataclass, data_fields=_DATA, meta_fields=("given",))
@dataclass(frozen=True)
class Sample:
    """The inputs of a method, `[*batch, *axes, channels]`, by term name.

    Attributes:
        x: the numbers.
        masks: for each label, booleans or weights, `[*batch, n]`.
        tails: low words of numbers that a frame moved, which extend them to twice the precision of their dtype.
        errors: standard deviations of the errors of numbers that a frame moved, shaped like them; the errors are
            independent. Numbers that no frame moved have the rounding errors of their dtype under matrix groups, and no
            errors under permutations.
        turns: for each label, standard deviations of an error that all numbers share: the entries of a matrix δ,
            `[*batch, n, n]`, where 1 + δ was applied to this axis of all terms.
        given: the original dtypes of the numbers, if they differ from the dtypes of the arrays.
    """

    x: dict[str, Array]
    masks: dict[str, Array]
    tails: dict[str, Array] = field(default_factory=dict)
    errors: dict[str, Array] = field(default_factory=dict)
    turns: dict[str, Array] = field(default_factory=dict)
    given: tuple[tuple[str, Any], ...] = ()

    def tail(self, name: str) -> Array:
        """Return the low words of a term's numbers."""
        return self.tails[name] if name in self.tails else jnp.zeros_like(self.x[name])

    def error(self, name: str) -> Array:
        """Return the standard deviation of the error of each number of a term."""
        return self.errors[name] if name in self.errors else rounding_error(self.x[name])

    def dtype(self, name: str) -> Any:
        """Return the original dtype of the numbers of a term."""
        return dict(self.given).get(name, self.x[name].dtype)

    def coarsest(self, terms: Iterable[Term]) -> Any:
        """Return the coarsest dtype of these terms."""
        return max((self.dtype(term.name) for term in terms), key=rounding)

    def with_arrays(
        self, arrays: Mapping[str, Array], errors: Mapping[str, Array] | None = None, dtype: Any = None
    ) -> Sample:
        """Return the sample with replaced or additional arrays, which no frame moved.

        Arrays computed from moved numbers need their errors and the original dtype of these numbers.
        """
        given = tuple((name, dtype) for name in arrays if dtype is not None)
        return Sample(
            {**self.x, **arrays},
            self.masks,
            {name: tail for name, tail in self.tails.items() if name not in arrays},
            {**{name: error for name, error in self.errors.items() if name not in arrays}, **(errors or {})},
            self.turns,
            tuple((name, came) for name, came in self.given if name not in arrays) + given,
        )


def with_other_errors(action: Action, sample: Sample) -> dict[str, Array]:
    """Return the arrays of a sample, with new random errors in arrays that a frame moved.

    The new errors are the same for every sample. The old errors are unknown, so the difference of new and old errors is
    added, which has twice the variance.
    """
    generator, found = np.random.default_rng(0), dict(sample.x)

    def difference(deviation: Array, axes: int) -> Array:
        drawn = generator.normal(scale=math.sqrt(2), size=deviation.shape[deviation.ndim - axes :])
        return deviation * drawn.astype(deviation.dtype)

    turns = {label: difference(deviation, 2) for label, deviation in sorted(sample.turns.items())}
    for term in action.inputs:
        array, error = sample.x[term.name], sample.errors.get(term.name)
        batch = len(action.batch(term, array))
        if error is not None:
            other = difference(jnp.hypot(error, rounding_error(array)), array.ndim - batch)
            found[term.name] = array + other.astype(array.dtype)
        for place, label in enumerate(term.labels, batch):
            if (turn := turns.get(base(label))) is not None:
                turn = jnp.expand_dims(turn, range(batch, array.ndim - 1)).astype(array.dtype)
                moved = jnp.einsum("...ij,...j->...i", turn, jnp.moveaxis(array, place, -1))
                found[term.name] = found[term.name] + jnp.moveaxis(moved, -1, place)
    return found


def moved_back(action: Action, sample: Sample, elements: Element, tail: Element, turns: dict[str, Array]) -> Sample:
    r"""Return the sample with the inverse of every element of a frame applied, in double words.

    An error \(\delta\) of an element \(g (1 + \delta)\) changes the numbers by \(\delta\) times the numbers.

    Args:
        action: how elements act on terms.
        sample: arrays `[*batch, *axes, channels]`.
        elements: `[elements, *batch, ...]`.
        tail: low words of their matrices and shifts.
        turns: for each label, standard deviations of the entries of \(\delta\), `[elements, *batch, n, n]`.

    Returns:
        Arrays `[elements, *batch, *axes, channels]`.
    """
    moved: Sample = _moved_back(action, sample, elements, tail, turns)
    return moved


@functools.partial(jax.jit, static_argnums=0)
def _moved_back(action: Action, sample: Sample, elements: Element, tail: Element, turns: dict[str, Array]) -> Sample:
    run: Any = functools.partial(_of_one, action)
    first = action.inputs[0]
    for _ in action.batch(first, sample.x[first.name]):
        run = jax.vmap(run)
    found: Sample = jax.vmap(run, in_axes=(None, 0, 0, 0))(sample, elements, tail, turns)
    return found


def _of_one(action: Action, sample: Sample, element: Element, tail: Element, turns: dict[str, Array]) -> Sample:
    x, tails, errors = dict(sample.x), dict(sample.tails), dict(sample.errors)
    for term in action.inputs:
        if action.moves(element, term):
            name = term.name
            plain = action.act_inverse(element, term, x[name])
            number, error = _moved(action, term, sample, element, tail)
            x[name] = plain if number is None else with_derivative(number.high, plain.astype(number.high.dtype))
            tails |= {} if number is None else {name: number.low}
            errors |= {} if error is None else {name: error}
    given = tuple((name, sample.dtype(name)) for name in x)
    return Sample(x, moved_masks(element, sample.masks), tails, errors, {**sample.turns, **turns}, given)


def _moved(
    action: Action, term: Term, sample: Sample, element: Element, tail: Element
) -> tuple[Double | None, Array | None]:
    """Return the numbers of a term in double words, if they are real, and their errors, if any."""
    array = sample.x[term.name].astype(jnp.promote_types(sample.x[term.name].dtype, jnp.float32))
    error = sample.errors.get(term.name)
    on_grid = any(set(labels) <= set(term.labels) for labels in element.grid)
    exact = not (jnp.iscomplexobj(array) or on_grid)
    number = Double(jax.lax.stop_gradient(array), sample.tail(term.name)) if exact else None
    translation = action.translation(term)
    if translation is not None and translation in element.shift:
        error = sample.error(term.name)
        if number is not None:
            shift = element.shift[translation], tail.shift[translation]
            number = minus(number, Double(*(positions(part, term, translation, array.ndim) for part in shift)))
    for place, label in enumerate(term.labels):
        by = element.linear.get(base(label))
        if by is not None and is_permutation(by):
            number, error = jax.tree.map(
                lambda part, by=by, place=place: jnp.take(part, by, axis=place), (number, error)
            )
        elif by is not None:
            matrix = action.inverse_on(label, by)
            error = sample.error(term.name) if error is None else error
            error = jnp.sqrt(along(jnp.abs(matrix) ** 2, error**2, place))
            if number is not None:
                low = tail.linear.get(base(label))
                low = jnp.zeros_like(matrix) if low is None else action.inverse_on(label, low)
                number = _along(Double(matrix, low), number, place)
            onto = action.projection_on(label, element)
            if onto is not None:
                error = jnp.sqrt(along(onto**2, error**2, place))
                number = None if number is None else _along(double(onto), number, place)
    number = jax.tree.map(lambda part: signed(part, action.sign(element, term)), number)
    if on_grid:  # interpolation mixes pixels
        error = jnp.full_like(array.real, jnp.max(jnp.abs(sample.error(term.name)), initial=0))
    return number, error


def _along(matrix: Double, number: Double, axis: int) -> Double:
    """Multiply one axis of an array by a matrix."""
    last = jax.tree.map(lambda part: jnp.moveaxis(part, axis, -1), number)
    shape = last.high.shape
    rows = jax.tree.map(lambda part: part.reshape(math.prod(shape[:-1]), shape[-1]), last)
    found = matmul(rows, transposed(matrix))
    return Double(*(jnp.moveaxis(part.reshape(shape), -1, axis) for part in found))
