"""Alignments with points whose weights are continuous on all inputs, listed and drawn at random."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from equikit._errors import OptionError, TooLargeError
from equikit.symmetrization._element import Array, rounding
from equikit.symmetrization.frames._alignments import MOST


class Aligned(NamedTuple):
    """Matrices `[elements, d, d]` with the axes in columns, weights `[elements]` of sum one, and the dimension that the
    points span, no more than d - 1."""

    matrices: Array
    weights: Array
    span: Array


def listed(points: Array, special: bool, copies: int) -> Aligned:
    r"""All alignments with one point (d = 2) or with two (d = 3).

    The first axis points at \(x_i\), the second to the part \(h_{ij}\) of \(x_j\) beside it, the third is their cross
    product; for O(d) each is listed with its mirror image. The weight is \(|x_i| / \sum_k |x_k|\), for d = 3 times
    \(|h_{ij}| / \sum_k |h_{ik}|\): a rotation turns every alignment and leaves its weight.

    As the points come to lie on a line, the first axis keeps its weight, but where the second one goes depends on how
    they do. Copies turned about the first axis by equal angles make averages of tensors with fewer axes than there are
    copies the same for every second axis: they are continuous there too, and exact on the line, where it is arbitrary.

    Args:
        points: `[count, d]`, in float32 or more, no larger than one.
        special: for SO(d), not O(d).
        copies: how many turned copies of each are listed, for d = 3.

    Cost: count elements for d = 2, copies count (count - 1) for d = 3, twice as many for O(d).
    """
    points = _some(points)
    count, d = points.shape
    pairs = count if d == 2 else max(count * (count - 1), 1) * copies
    elements = pairs * (1 if special else 2)
    if elements > MOST:
        raise TooLargeError(
            "there are too many alignments to list",
            got=f"{elements} of {count} points in {d} dimensions",
            expected=f"at most {MOST}",
            step="draw some of them, Alignment(samples=64), or name fewer points by terms=",
        )
    chances, span = _first_chances(points)
    if d == 2:
        weights, matrices = chances, _plane(points)
    else:
        one, two = np.nonzero(~np.eye(count, dtype=bool)) if count > 1 else np.zeros((2, 1), int)
        rows, span = _second_chances(_heights(points[one], points[two]).reshape(count, -1), span)
        angles = jnp.asarray(2 * np.pi * np.arange(copies) / copies, points.dtype)
        turned = jax.vmap(lambda angle: _space(points[one], points[two], angle))(angles)
        matrices, weights = turned.reshape(-1, d, d), jnp.tile((chances[:, None] * rows).ravel() / copies, copies)
    if not special:
        mirrored = matrices.at[:, :, -1].multiply(-1)
        matrices, weights = jnp.concatenate([matrices, mirrored]), jnp.concatenate([weights, weights]) / 2
    return Aligned(matrices, weights, span)


def drawn(key: jax.Array, points: Array, special: bool, copies: int, samples: int) -> Aligned:
    """Alignments drawn independently with the probabilities that are the weights of those `listed`.

    Cost: O(count) for each.
    """
    points = _some(points)
    d = points.shape[-1]
    keys = jax.random.split(key, 4)
    chances, span = _first_chances(points)
    fixed = jax.lax.stop_gradient(points)
    one = jax.random.categorical(keys[0], jnp.log(jax.lax.stop_gradient(chances)), shape=(samples,))
    if d == 2:
        matrices = _plane(points[one])
    else:
        rows, span = _second_chances(
            jax.vmap(lambda x: _heights(jnp.broadcast_to(x, fixed.shape), fixed))(fixed[one]), span
        )
        two = jax.random.categorical(keys[1], jnp.log(rows))
        turn = jax.random.randint(keys[2], (samples,), 0, copies) * (2 * np.pi / copies)
        matrices = _space(points[one], points[two], turn.astype(points.dtype))
    if not special:
        matrices = matrices.at[:, :, -1].multiply(jax.random.rademacher(keys[3], (samples, 1), points.dtype))
    return Aligned(matrices, jnp.full(samples, 1 / samples, points.dtype), span)


def check_dimension(d: int) -> None:
    """Raise `OptionError` but for two and three dimensions."""
    if d not in (2, 3):
        raise OptionError(
            "alignments with points are for two and three dimensions",
            got=f"d = {d}",
            expected="d = 2 or 3",
            step="use ek.frames.PCA, or ek.frames.QR",
        )


def _some(points: Array) -> Array:
    """The points, or the origin where there are none."""
    return points if len(points) else jnp.zeros((1, points.shape[-1]), points.dtype)


def _first_chances(points: Array) -> tuple[Array, Array]:
    """The weights of points as first ones, by their lengths, equal where all are zero; and whether there is one."""
    rows, span = _second_chances(unit(points)[1][None], jnp.zeros((), int))
    return rows[0], jnp.minimum(span, 1)


def _second_chances(rows: Array, span: Array) -> tuple[Array, Array]:
    """Rows over their sums, all entries equal where it is zero; the points span a plane where it is not."""
    total = jnp.sum(rows, axis=1, keepdims=True)
    safe = total > 0
    shares = jnp.where(safe, rows / jnp.where(safe, total, 1), 1 / rows.shape[1])
    return shares, jnp.where(jnp.any(safe), 2, span)


def _heights(first: Array, second: Array) -> Array:
    """How far second points lie from the lines through first ones, `[count]`; rounding errors count as zero."""
    axis, length = unit(first)
    _, height = unit(_beside(axis, second))
    # What is left of a parallel point are rounding errors, and its direction means nothing.
    return jnp.where((height > 32 * rounding(first.dtype)) & (length > 0), height, 0)


def _plane(points: Array) -> Array:
    axis = _axis(points)
    return jnp.stack([axis, jnp.stack([-axis[:, 1], axis[:, 0]], -1)], -1)


def _space(first: Array, second: Array, angle: Array) -> Array:
    """The alignments with two points each, turned about the first axis; an axis without a direction is arbitrary."""
    axis = _axis(first)
    far = jax.nn.one_hot(jnp.argmin(jnp.abs(axis), axis=-1), 3, dtype=axis.dtype)
    settled = _heights(first, second) > 0
    beside, _ = unit(_beside(axis, jnp.where(settled[:, None], second, far)))
    across = jnp.cross(axis, beside)
    cosine, sine = jnp.cos(angle)[..., None], jnp.sin(angle)[..., None]
    return jnp.stack([axis, cosine * beside + sine * across, cosine * across - sine * beside], -1)


def _axis(points: Array) -> Array:
    axis, length = unit(points)
    return jnp.where((length > 0)[:, None], axis, jnp.eye(points.shape[-1], dtype=points.dtype)[0])


def _beside(axis: Array, points: Array) -> Array:
    for _ in range(2):  # the first subtraction leaves rounding errors of the size of the point
        points = points - jnp.sum(points * axis, -1, keepdims=True) * axis
    return points


def unit(vectors: Array) -> tuple[Array, Array]:
    """Vectors over their lengths, and the lengths; zero vectors stay zero, with derivative zero."""
    squared = jnp.sum(vectors * vectors, -1)
    safe = squared > 0
    lengths = jnp.where(safe, jnp.sqrt(jnp.where(safe, squared, 1)), 0)
    return vectors / jnp.where(safe, lengths, 1)[:, None], lengths
