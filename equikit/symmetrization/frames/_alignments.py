"""Rotations that align the axes with points of the input, weighted by how well the points determine them."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np

from equikit._errors import OptionError, TooLargeError
from equikit.symmetrization._element import Array, rounding

MOST = 2**14
"""The most alignments that are listed for one input."""


def alignments(points: Array, special: bool, importance: Array | None = None) -> tuple[Array, Array, Array]:
    r"""All alignments with one point (d = 2) or with two (d = 3), and their weights.

    The first axis points at \(x_i\), the second to the part of \(x_j\) beside it, the third is their cross product. The
    weight is \(|x_i|\), or \(|x_i \times x_j|\): continuous, and zero where the points determine nothing. A rotation
    turns every alignment and leaves its weight, so that the weighted set is equivariant for every input, symmetric or
    not; permuting points permutes it. For O(d) each is listed with its mirror image.

    Args:
        points: `[count, d]`, in float32 or more, no larger than one.
        special: for SO(d), not O(d).
        importance: numbers `[count]` that multiply the weights, once for each of the points.

    Returns:
        Matrices `[elements, d, d]` with the axes in columns, weights `[elements]` of sum one, and whether any alignment
        has a weight; where none has, the weights are zero.

    Cost: count elements for d = 2, count (count - 1) for d = 3, twice as many for O(d).
    """
    count, d = points.shape
    if d not in (2, 3):
        raise OptionError(
            "alignments with points are for two and three dimensions",
            got=f"d = {d}",
            expected="d = 2 or 3",
            step='use on_degenerate="sample", or "flag"',
        )
    elements = (count if d == 2 else count * (count - 1)) * (1 if special else 2)
    if elements > MOST:
        raise TooLargeError(
            "there are too many alignments to list",
            got=f"{elements} of {count} points in {d} dimensions",
            expected=f"at most {MOST}",
            step='use on_degenerate="sample", or name fewer points by terms=',
        )
    if d == 2:
        first, weights = _unit(points)
        weights = weights if importance is None else weights * importance
        columns = [first, jnp.stack([-first[:, 1], first[:, 0]], -1)]
    else:
        one, two = np.nonzero(~np.eye(count, dtype=bool))
        first, length = _unit(points[one])
        beside = points[two] - jnp.sum(points[two] * first, -1, keepdims=True) * first
        # Once more: the first subtraction leaves rounding errors of the size of the point.
        beside = beside - jnp.sum(beside * first, -1, keepdims=True) * first
        second, height = _unit(beside)
        weights = length * height * (1 if importance is None else importance[one] * importance[two])
        # What is left of a parallel point are rounding errors, and its direction means nothing.
        weights = jnp.where(height > 32 * rounding(points.dtype), weights, 0)
        columns = [first, second, jnp.cross(first, second)]
    matrices = jnp.stack(columns, -1)
    if not special:
        mirrored = matrices.at[:, :, -1].multiply(-1)
        matrices, weights = jnp.concatenate([matrices, mirrored]), jnp.concatenate([weights, weights])
    total = jnp.sum(weights)
    exact = total > 0
    identity = jnp.eye(d, dtype=points.dtype)
    matrices = jnp.where((weights > 0)[:, None, None], matrices, identity)
    return matrices, weights / jnp.where(exact, total, 1), exact


def _unit(vectors: Array) -> tuple[Array, Array]:
    """Vectors over their lengths, and the lengths; zero vectors stay zero, with derivative zero."""
    squared = jnp.sum(vectors * vectors, -1)
    safe = squared > 0
    lengths = jnp.where(safe, jnp.sqrt(jnp.where(safe, squared, 1)), 0)
    return vectors / jnp.where(safe, lengths, 1)[:, None], lengths
