"""Alignments with points whose weights are continuous on all inputs, listed and sampled."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from equikit import _checks
from equikit.numerics import Double, double, matmul, minus, rounding, transposed, with_derivative
from equikit.symmetrization.engine._element import Array
from equikit.symmetrization.engine._sample import CERTAIN, FLAT
from equikit.symmetrization.rotations._vectors import Points

MOST = 2**14
"""The largest number of alignments listed for one input."""


class Aligned(NamedTuple):
    """Alignments with points.

    Attributes:
        matrices: `[elements, d, d]`, with the axes in columns.
        tail: the low words of the matrices.
        turns: standard deviations of their errors, `[elements, d, d]`.
        effects: how far these errors move points, relative to the largest point, `[elements]`: a rotation about the
            axis of a thin rod moves little, also of output vectors, which are averages over rotated copies.
        weights: `[elements]`, which sum to one.
        span: the dimension that the points span, at most d - 1.
        slope: for d = 3, the rate at which weights and second axes change as points move: one over the sum of the
            heights. It multiplies rounding errors of outputs in derivatives.
    """

    matrices: Array
    tail: Array
    turns: Array
    effects: Array
    weights: Array
    span: Array
    slope: Array

    def doubt(self) -> Array:
        """Return the weighted mean of the error bounds."""
        return CERTAIN * jnp.sum(jnp.where(self.weights > 0, self.weights * self.effects, 0))


def all_alignments(given: Points, special: bool, copies: int, importance: Array | None, step: str) -> Aligned:
    r"""Return all alignments with one point (d = 2) or with two (d = 3).

    The first axis points at \(x_i\), the second along the component \(h_{ij}\) of \(x_j\) orthogonal to it, and the
    third is their cross product; for O(d), each alignment is listed with its mirror image. The weight is
    \(|x_i| / \sum_k |x_k|\), for d = 3 times \(|h_{ij}| / \sum_k |h_{ik}|\): a rotation moves every alignment and keeps
    its weight. Lengths within rounding errors of the points count as zero.

    As points approach a line, the first axis keeps its weight, but the limit of the second axis depends on their path.
    Copies rotated about the first axis by equal angles make averages independent of the second axis for tensors with
    fewer axes than copies: averages are continuous there too, and exact on the line, where this axis is arbitrary.

    Args:
        given: the points.
        special: for SO(d), not O(d).
        copies: the number of rotated copies of each alignment, for d = 3.
        importance: numbers `[count]` that multiply the weights, once for each point of an alignment.
        step: the advice in the error if there are too many.

    Cost: count elements for d = 2, copies count (count - 1) elements for d = 3; twice these numbers for O(d).
    """
    points, importance = _some(given, importance)
    count, d = points.place.shape
    pairs = count if d == 2 else max(count * (count - 1), 1) * copies
    elements = pairs * (1 if special else 2)
    _checks.refuse_if_more("there are too many alignments to list", elements, MOST, f"for {count} points", step)
    chances, span = _first_chances(points, importance)
    if d == 2:
        weights, slope = chances, jnp.zeros_like(chances[0])
        found = jax.vmap(_plane)(points)
    else:
        one, two = np.nonzero(~np.eye(count, dtype=bool)) if count > 1 else np.zeros((2, 1), int)
        first, second = (jax.tree.map(lambda part, at=at: part[at], points) for at in (one, two))
        heights = jax.vmap(_height)(first, second) * importance[two]
        heights = heights.reshape(count, -1)
        rows, span = _shares(heights, span)
        slope = _slope(chances, heights)
        angles = jnp.asarray(2 * np.pi * np.arange(copies) / copies, chances.dtype)
        found = jax.vmap(jax.vmap(_space, in_axes=(0, 0, None)), in_axes=(None, None, 0))(first, second, angles)
        found = jax.tree.map(lambda part: part.reshape(-1, *part.shape[2:]), found)
        weights = jnp.tile((chances[:, None] * rows).ravel() / copies, copies)
    if not special:
        found = jax.tree.map(lambda part, sign: jnp.concatenate([part, part * sign]), found, _mirrors(d))
        weights = jnp.concatenate([weights, weights]) / 2
    return Aligned(*found, weights, span, slope)


def drawn_alignments(key: jax.Array, given: Points, special: bool, copies: int, samples: int) -> Aligned:
    """Sample alignments independently, with their weights as probabilities.

    Cost: O(count) for each sample.
    """
    points, importance = _some(given, None)
    d = points.place.shape[-1]
    keys = jax.random.split(key, 4)
    chances, span = _first_chances(points, importance)
    one = jax.random.categorical(keys[0], jnp.log(jax.lax.stop_gradient(chances)), shape=(samples,))
    first, slope = jax.tree.map(lambda part: part[one], points), jnp.zeros_like(chances[0])
    if d == 2:
        found = jax.vmap(_plane)(first)
    else:
        heights = jax.vmap(jax.vmap(_height, in_axes=(None, 0)), in_axes=(0, None))(first, points)
        rows, span = _shares(jax.lax.stop_gradient(heights), span)
        slope = _slope(jnp.full(samples, 1 / samples, chances.dtype), heights)
        two = jax.random.categorical(keys[1], jnp.log(rows))
        turn = jax.random.randint(keys[2], (samples,), 0, copies) * (2 * np.pi / copies)
        second = jax.tree.map(lambda part: part[two], points)
        found = jax.vmap(_space)(first, second, turn.astype(chances.dtype))
    if not special:
        signs = jax.random.rademacher(keys[3], (samples, 1), chances.dtype)
        matrix, tail = (part.at[:, :, -1].multiply(signs) for part in found[:2])
        found = _Matrix(matrix, tail, found.turns, found.effects)
    return Aligned(*found, jnp.full(samples, 1 / samples, chances.dtype), span, slope)


def check_dimension(d: int, step: str) -> None:
    """Raise `OptionError` unless there are two or three dimensions."""
    _checks.count("the dimension of alignments with points", d, least=2, most=3, step=step)


class _Point(NamedTuple):
    """A point: its position, the low word, and the standard deviations of its errors."""

    place: Array
    tail: Array
    errors: Array

    def error(self) -> Array:
        """Return the standard deviation of the error of the whole vector."""
        return jnp.sqrt(jnp.sum(self.errors**2))


class _Matrix(NamedTuple):
    """A matrix, its low word, and the standard deviations of its errors."""

    matrix: Array
    tail: Array
    turns: Array
    effects: Array


def _some(points: Points, importance: Array | None) -> tuple[_Point, Array]:
    """Return the points with their importance, or the origin if there are none."""
    found = _Point(points.vectors, points.tail, points.errors)
    if not len(points.vectors):
        found = jax.tree.map(lambda part: jnp.zeros((1, part.shape[-1]), part.dtype), found)
    ones = jnp.ones(len(found.place), found.place.dtype)
    return found, ones if importance is None or not len(points.vectors) else importance


def _mirrors(d: int) -> _Matrix:
    """Apply a mirror image to a matrix, its low word and its errors."""
    sign = np.ones((d, d))
    sign[:, -1] = -1
    return _Matrix(sign, sign, np.ones((d, d)), np.ones(()))


def _first_chances(points: _Point, importance: Array) -> tuple[Array, Array]:
    """Return the weights of first points by length, equal if all lengths are zero; and the span, 1 if any is not."""
    lengths = unit(points.place)[1]
    known = lengths > FLAT * jax.vmap(_Point.error)(points)
    rows, span = _shares((jnp.where(known, lengths, 0) * importance)[None], jnp.zeros((), int))
    return rows[0], jnp.minimum(span, 1)


def _shares(rows: Array, span: Array) -> tuple[Array, Array]:
    """Normalize rows by their sums, with equal entries for zero sums; a positive sum means that points span a plane."""
    total = jnp.sum(rows, axis=1, keepdims=True)
    safe = total > 0
    shares = jnp.where(safe, rows / jnp.where(safe, total, 1), 1 / rows.shape[1])
    return shares, jnp.where(jnp.any(safe), 2, span)


def _slope(chances: Array, heights: Array) -> Array:
    """Return the mean inverse sum of each row of heights; it is zero on a line, where weights are constant."""
    return jnp.sum(chances * _over(jnp.ones_like(chances), jnp.sum(heights, axis=1)))


def _height(first: _Point, second: _Point) -> Array:
    """Return the distance of a second point from the line of the first; rounding errors count as zero."""
    axis, length = unit(first.place)
    _, height = unit(_beside(axis, second.place))
    error = _height_error(first, second)
    return jnp.where((height > FLAT * error) & (length > FLAT * first.error()), height, 0)


def _height_error(first: _Point, second: _Point) -> Array:
    """Return the standard deviation of the error of a height, from the second point and from the line there."""
    lengths = [jax.lax.stop_gradient(unit(point.place)[1]) for point in (first, second)]
    far = lengths[1] / jnp.where(lengths[0] > 0, lengths[0], 1)
    computing = rounding(first.place.dtype) * lengths[1]
    return jnp.sqrt(second.error() ** 2 + (far * first.error()) ** 2 + computing**2)


def _plane(point: _Point) -> _Matrix:
    axis = _axis(point.place)
    matrix = jnp.stack([axis, jnp.stack([-axis[1], axis[0]])], -1)
    tail = _tail(matrix, Double(point.place[:, None], point.tail[:, None]))
    off = _over(point.error(), unit(point.place)[1])
    return _Matrix(matrix, tail, _skew([off], 2), jax.lax.stop_gradient(off))


def _space(first: _Point, second: _Point, angle: Array) -> _Matrix:
    """Return the alignment with two points, rotated about the first axis; an undetermined axis is arbitrary."""
    axis, length = unit(first.place)
    axis = _axis(first.place)
    far = jax.nn.one_hot(jnp.argmin(jnp.abs(axis)), 3, dtype=axis.dtype)
    height = _height(first, second)
    beside, _ = unit(_beside(axis, jnp.where(height > 0, second.place, far)))
    matrix = jnp.stack([axis, beside, jnp.cross(axis, beside)], -1)
    columns = Double(*(jnp.stack(parts, -1) for parts in ((first.place, second.place), (first.tail, second.tail))))
    tail = jnp.where(height > 0, _tail(matrix, columns), 0)
    cosine, sine, one, no = jnp.cos(angle), jnp.sin(angle), jnp.ones(()), jnp.zeros(())
    turn = jnp.stack([jnp.stack([one, no, no]), jnp.stack([no, cosine, -sine]), jnp.stack([no, sine, cosine])])
    turn = turn.astype(axis.dtype)
    exact = matmul(Double(jax.lax.stop_gradient(matrix), tail), double(turn))
    matrix = with_derivative(exact.high, jnp.matmul(matrix, turn, precision=jax.lax.Precision.HIGHEST))
    off, across = _over(first.error(), length), _over(_height_error(first, second), height)
    turns = _skew([off, jnp.where(height > 0, across, 0)], 3)
    # The largest entry of a point is about one.
    return _Matrix(matrix, exact.low, turns, jnp.maximum(turns[0, 1], turns[1, 2] * jax.lax.stop_gradient(height)))


def _tail(matrix: Array, points: Double) -> Array:
    """Return the low word of a matrix whose first axes are orthonormalized points in columns."""
    fixed = double(matrix)
    d = matrix.shape[-1]
    seen = matmul(transposed(fixed), Double(*map(jax.lax.stop_gradient, points))).high
    skew = minus(double(jnp.eye(d, dtype=matrix.dtype)), matmul(transposed(fixed), fixed)).high / 2
    turns = jnp.zeros((d, d), matrix.dtype)
    for column in range(seen.shape[1]):
        for row in range(column + 1, d):
            left = seen[row, column] - sum(turns[row, k] * seen[k, column] for k in range(column))
            turns = turns.at[row, column].set(_over(left, seen[column, column]))
    return jnp.matmul(fixed.high, turns - turns.T + skew, precision=jax.lax.Precision.HIGHEST)


def _skew(errors: list[Array], d: int) -> Array:
    """Return the errors of axes, each rotated toward all later ones, as entries of a matrix."""
    found = jnp.zeros((d, d), errors[0].dtype)
    for axis, error in enumerate(errors):
        found = found.at[axis, axis + 1 :].set(error).at[axis + 1 :, axis].set(error)
    return jax.lax.stop_gradient(found)


def _over(one: Array, two: Array) -> Array:
    return jnp.where(two != 0, one / jnp.where(two != 0, two, 1), 0)


def _axis(point: Array) -> Array:
    axis, length = unit(point)
    return jnp.where(length > 0, axis, jnp.eye(point.shape[-1], dtype=point.dtype)[0])


def _beside(axis: Array, point: Array) -> Array:
    for _ in range(2):  # the first subtraction leaves rounding errors of the size of the point
        point = point - jnp.sum(point * axis, -1, keepdims=True) * axis
    return point


def unit(vectors: Array) -> tuple[Array, Array]:
    """Normalize vectors and return their lengths; zero vectors stay zero, with derivative zero."""
    squared = jnp.sum(vectors * vectors, -1)
    safe = squared > 0
    lengths = jnp.where(safe, jnp.sqrt(jnp.where(safe, squared, 1)), 0)
    return vectors / jnp.where(safe, lengths, 1)[..., None], lengths
