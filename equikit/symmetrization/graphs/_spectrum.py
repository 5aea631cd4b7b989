"""Coordinates of nodes in the spectrum of a graph, independent of node order and of the bases of eigenspaces."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from equikit.numerics import eigh, rounding
from equikit.symmetrization.engine._element import Array

BACKWARD = 16
"""Error of an eigendecomposition, in rounding units of the largest eigenvalue."""


def spectral_keys(weights: Array, tolerance: float) -> tuple[Array, Array, Array, Array]:
    r"""Return the diagonals of the projectors onto the eigenspaces of the Laplacian, by ascending eigenvalue.

    The number of eigenspaces depends on the graph, so every matrix has n keys, and unused keys are zero. The error of a
    projector is the rounding error over the gap to the next eigenvalue, and is added to the tolerance of its keys.

    Args:
        weights: symmetric matrices `[matrices, n, n]`.
        tolerance: eigenvalues joined by gaps up to this, relative to the largest, count as equal.

    Returns:
        Keys `[matrices * n, n]`; their tolerances `[matrices * n]`; the smallest gap between two eigenspaces over the
        largest eigenvalue, infinite if there is only one; and the smallest distance of a gap from the tolerance.
    """
    count = weights.shape[-1]
    degrees = jnp.sum(weights, axis=-1)

    def of_one(weights: Array, degrees: Array) -> tuple[Array, Array, Array, Array]:
        values, vectors = eigh(jnp.diag(degrees) - weights)
        largest = jnp.max(jnp.abs(values), initial=0)
        gaps = (values[1:] - values[:-1]) / jnp.where(largest > 0, largest, 1)
        apart = gaps > tolerance
        group = jnp.concatenate([jnp.zeros(min(count, 1), jnp.int32), jnp.cumsum(apart, dtype=jnp.int32)])
        keys = jax.ops.segment_sum((vectors**2).T, group, count)
        between = jnp.where(apart, gaps, jnp.inf)
        beyond = jnp.full(min(count, 1), jnp.inf, gaps.dtype)
        nearest = jnp.minimum(jnp.concatenate([beyond, between]), jnp.concatenate([between, beyond]))
        nearest = jax.ops.segment_min(nearest, group, count)
        tolerances = tolerance + BACKWARD * rounding(values.dtype) / nearest
        margin = jnp.min(jnp.abs(gaps - tolerance), initial=jnp.inf)
        return keys, tolerances, jnp.min(between, initial=jnp.inf), margin

    keys, tolerances, gaps, margins = jax.vmap(of_one)(weights, degrees)
    return keys.reshape(-1, count), tolerances.reshape(-1), jnp.min(gaps), jnp.min(margins)
