"""Which of several paths to a low energy is taken, where some of them end in one and the same minimum."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import jax
import jax.numpy as jnp

from equikit.symmetrization._element import Array, Element, rounding
from equikit.symmetrization._frame import Frame
from equikit.symmetrization._info import Info, settled
from equikit.symmetrization._method import OnDegenerate
from equikit.symmetrization.canonicalization._choice import alike, tie_tolerance

NEAR = 0.1
"""Rotations no farther apart than this, in the Frobenius norm, are one minimum, reached more or less closely."""


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Minima:
    """The ends of paths over a group of rotations.

    Attributes:
        starts: where they begin, `[paths, *batch, d, d]`.
        begun: the inputs moved by the inverses of the starts.
        before: energies there, `[paths, *batch]`.
        turns: their ends, `[paths, *batch, d, d]`.
        canonical: the inputs moved by the inverses of the ends, where nothing in the output turns.
        after: energies there.
        gradient: the norm of what was left of the gradient, `[paths, *batch]`.
        there: which paths count, `[paths, *batch]`.
    """

    starts: Array
    begun: dict[str, Array]
    before: Array
    turns: Array
    canonical: dict[str, Array] | None
    after: Array
    gradient: Array
    there: Array


@functools.partial(jax.jit, static_argnames=("label", "tolerance", "on_degenerate"))
def merged(
    paths: Minima,
    starts: Info,
    key: jax.Array | None,
    *,
    label: str,
    tolerance: float | None,
    on_degenerate: OnDegenerate,
) -> Frame:
    """The frame of the lowest end, with those near to it averaged; of all that are tied, where this is asked.

    Ends are of equal weight up to half the tolerance above the least energy, and then of less, down to zero, so that
    nothing jumps where the order of two ends changes by rounding.
    """
    energies = jnp.where(paths.there, paths.after, jnp.inf)
    dtype = energies.dtype
    fraction = tie_tolerance(tolerance, dtype)
    least = jnp.min(energies, axis=0)
    best = jnp.argmin(energies, axis=0)
    # A path depends on the copy that it begins with alone: of one copy, all go the way of the best.
    twin = jnp.moveaxis(alike(paths.begun, best, 64 * rounding(dtype)), -1, 0) & paths.there
    energies = jnp.where(twin, least, energies)
    turns = _led_along(paths, best, twin)
    seen = jnp.where(paths.there, jnp.maximum(paths.before, paths.after), -jnp.inf)
    spread = jnp.max(seen, axis=0) - least
    scale = jnp.maximum(spread, jnp.abs(least))
    above = energies - least
    weights = jnp.clip(2 - 2 * above / jnp.where(scale > 0, fraction * scale, 1), 0, 1)
    weights = jnp.where(paths.there, weights, 0)
    weights = jax.lax.stop_gradient(weights)

    chosen = jnp.take_along_axis(turns, best[None, ..., None, None], axis=0)[0]
    near = jnp.sqrt(jnp.sum((turns - chosen) ** 2, axis=(-2, -1))) <= NEAR
    tied = weights > 0
    same = near
    if paths.canonical is not None:
        same = same | twin | jnp.moveaxis(alike(paths.canonical, best, NEAR), -1, 0)
    finite = jnp.all(jnp.isfinite(paths.after) | ~paths.there, axis=0) & jnp.any(paths.there, axis=0)
    undecided = jnp.any(tied & ~same, axis=0)
    others = jnp.where(near, jnp.inf, above)
    gap = jnp.min(others, axis=0) / jnp.where(spread > 0, spread, 1)

    single = _orthogonal(_weighted(turns, jnp.where(near, weights, 0)))
    if on_degenerate == "sample" and key is not None:
        pick = jax.random.categorical(key, jnp.log(weights), axis=0)
        picked = jnp.take_along_axis(turns, pick[None, ..., None, None], axis=0)[0]
        single = jnp.where(undecided[..., None, None], picked, single)
    degenerate = undecided | ~finite
    size = jnp.ones(best.shape, jnp.float32)
    if on_degenerate == "weighted":
        degenerate = ~finite
        use = undecided & finite
        first = jnp.expand_dims(jnp.arange(len(energies)), range(1, energies.ndim)) == 0
        ends = jnp.where(first[..., None, None] & ~use[..., None, None], single, turns)
        shares = jnp.where(use, weights / jnp.maximum(jnp.sum(weights, axis=0), 1), first)
        size = jnp.where(use, jnp.sum(tied, axis=0), 1).astype(size.dtype)
    else:
        ends, shares = single[None], jnp.ones((1, *best.shape), dtype)
    refused = degenerate & (on_degenerate in ("error", "weighted"))
    left = jnp.take_along_axis(paths.gradient, best[None], axis=0)[0]
    info = Info(
        size,
        degenerate | starts.degenerate,
        refused | starts.refused,
        gap if starts.gap is None else jnp.minimum(gap, starts.gap),
        starts.rank,
        jnp.sum(tied & ~near, axis=0),
        more={**starts.more, "energy": least, "gradient": left, "matrix": single},
    )
    return Frame(Element({label: ends}), settled(shares.astype(dtype), info), info)


def _led_along(paths: Minima, best: Array, twin: Array) -> Array:
    """The ends `[paths, *batch, d, d]`, those of twins of the best path by going its way from starts of their own."""
    number = jnp.expand_dims(jnp.arange(len(twin)), range(1, twin.ndim))
    begin, end = (jnp.take_along_axis(m, best[None, ..., None, None], axis=0) for m in (paths.starts, paths.turns))
    way = jnp.matmul(jnp.swapaxes(begin, -1, -2), end, precision=jax.lax.Precision.HIGHEST)
    led = jnp.matmul(paths.starts, way, precision=jax.lax.Precision.HIGHEST)
    return jnp.where((twin & (number != best))[..., None, None], led, paths.turns)


def _weighted(turns: Array, weights: Array) -> Array:
    shares = weights / jnp.maximum(jnp.sum(weights, axis=0), 1)
    return jnp.einsum("s...,s...ij->...ij", shares, turns, precision=jax.lax.Precision.HIGHEST)


def _orthogonal(matrix: Array) -> Array:
    """The nearest orthogonal matrix to one that is nearly so, by Newton's iteration, whose derivatives are finite."""
    one = 1.5 * jnp.eye(matrix.shape[-1], dtype=matrix.dtype)
    for _ in range(4):
        square = jnp.matmul(jnp.swapaxes(matrix, -1, -2), matrix, precision=jax.lax.Precision.HIGHEST)
        matrix = jnp.matmul(matrix, one - square / 2, precision=jax.lax.Precision.HIGHEST)
    return matrix
