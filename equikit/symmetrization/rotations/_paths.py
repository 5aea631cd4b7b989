"""Paths of descent over rotations: their ends, the effect of rounding on them, and the lowest end."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from equikit.numerics import rounding
from equikit.symmetrization.engine._action import Action
from equikit.symmetrization.engine._element import Array, Element
from equikit.symmetrization.engine._frame import Frame
from equikit.symmetrization.engine._info import Info, most_doubt, settled
from equikit.symmetrization.engine._method import OnDegenerate
from equikit.symmetrization.engine._sample import CERTAIN, Sample
from equikit.symmetrization.finite._choice import alike, copies, decided, same_results, tie_tolerance, ties
from equikit.symmetrization.finite._score import without_absent

LONGEST = 0.5
"""The largest angle of one step, in radians."""

SLOPES = 4
"""The factor by which derivatives of the starts are less precise than the starts: measured, not a bound."""

NEAR = 0.1
"""Rotations at most this far apart, in the Frobenius norm, count as one minimum."""


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Paths:
    """Several paths of descent, `[paths, *batch, ...]`.

    Attributes:
        starts, turns: the matrices at which paths begin and end.
        begun, blur: the inputs moved by the inverses of the starts, and standard deviations of their entries.
        before, after: energies at both ends.
        off: error bounds of `after`.
        doubt: error bounds of the ends; infinite if a path may end in another minimum.
        gradient: the norm of the last gradient.
        there: which paths count.
    """

    starts: Array
    begun: dict[str, Array]
    blur: dict[str, Array]
    before: Array
    turns: Array
    after: Array
    off: Array
    doubt: Array
    gradient: Array
    there: Array


def followed(
    moved: Callable[[Array], dict[str, Array]],
    energy: Callable[[dict[str, Array]], Array],
    start: Array,
    error: Array,
    noise: dict[str, Array],
    *,
    steps: int,
    rate: float,
    moves: bool,
    there: Array,
) -> Paths:
    """Descend from matrices `[paths, *batch, d, d]`.

    Args:
        moved: a function from matrices to the inputs moved by their inverses.
        energy: a function from moved inputs to energies.
        start: the matrices.
        error: standard deviations of their errors, antisymmetric matrices.
        noise: standard deviations of the entries of the inputs, `[*batch]`.
        steps, rate: the number of steps, and the learning rate.
        moves: whether the matrices act on an output.
        there: which paths count.
    """
    begun, rates = _with_rates(moved, start, error)
    begin, lead = _effect(moves, error, begun, rates), start.ndim - 2
    blur = {name: _largest(change, lead) + noise[name] for name, change in rates.items()}
    turn, error, peak, gradient = _descended(lambda turn: energy(moved(turn)), start, error, steps, rate)
    ended, rates = _with_rates(moved, turn, error)
    after, pull = jax.vjp(energy, ended)
    off = _energy_error(pull(jnp.ones_like(after))[0], rates, noise)
    doubt = CERTAIN * jnp.maximum(_effect(moves, error, ended, rates), SLOPES * begin)
    doubt = jnp.where(CERTAIN * peak > NEAR, jnp.inf, doubt)
    return Paths(start, begun, blur, energy(begun), turn, after, off, doubt, gradient, there)


def _descended(
    energy: Callable[[Array], Array], start: Array, error: Array, steps: int, rate: float
) -> tuple[Array, Array, Array, Array]:
    r"""Descend from matrices g, `[*lead, d, d]`, and propagate the error \(g^{-1} \delta g\) of each.

    Returns:
        The ends, their errors, the largest angles of the errors along the path, and the norms of the last gradients.
    """

    def step(turn: Array) -> tuple[Array, Array]:
        found: tuple[Array, Array] = _stepped(turn, jax.grad(lambda turn: jnp.sum(energy(turn)))(turn), rate)
        return found

    def follow(path: tuple[Array, ...], _: None) -> tuple[tuple[Array, ...], None]:
        turn, error, peak, _norm = path
        (turn, norm), (change, _) = jax.jvp(step, (turn,), (_product(turn, error),))
        return (turn, *_grown(turn, change, peak), norm), None

    angle = _angle(error)
    path: Any = (start, error, angle, jnp.zeros_like(angle))
    if isinstance(start, jax.core.Tracer) and steps:
        path = jax.lax.scan(follow, path, None, length=steps)[0]
    else:  # outside of a compiled program, each call would compile a scan again
        for _ in range(steps):
            path = follow(path, None)[0]
    found: tuple[Array, Array, Array, Array] = path
    return found


@jax.jit
def _stepped(turn: Array, slope: Array, rate: float) -> tuple[Array, Array]:
    """Return the matrices after one step, from the derivatives of the energies by the matrices, and their norms."""
    # The derivatives along g A, for every antisymmetric A with one entry 1 and one entry -1.
    along = _product(jnp.swapaxes(turn, -1, -2), slope)
    along = along - jnp.swapaxes(along, -1, -2)
    norm = _angle(along)
    length = rate * jnp.minimum(1, LONGEST / jnp.maximum(rate * norm, LONGEST))
    half, one = -length[..., None, None] * along / 2, jnp.eye(turn.shape[-1], dtype=turn.dtype)
    # The Cayley transform is exactly a rotation, and equals the exponential to second order.
    return _product(turn, jnp.linalg.solve(one - half, one + half)), norm


@jax.jit
def _grown(turn: Array, change: Array, peak: Array) -> tuple[Array, Array]:
    """Return the errors of matrices after a step, from their changes, and the largest angles so far."""
    d = turn.shape[-1]
    fresh = jnp.asarray(np.fromfunction(lambda i, j: (-1.0) ** (i + j) * np.sign(j - i), (d, d)), turn.dtype)
    error = jax.lax.stop_gradient(_product(jnp.swapaxes(turn, -1, -2), change))
    # Add the rounding error of the step along a fixed direction, which may grow where the error so far shrinks.
    error = (error - jnp.swapaxes(error, -1, -2)) / 2 + rounding(error.dtype) * fresh
    angle = _angle(error)
    return error / jnp.maximum(angle, 1)[..., None, None], jnp.maximum(peak, angle)


def _product(one: Array, two: Array) -> Array:
    return jnp.matmul(one, two, precision=jax.lax.Precision.HIGHEST)


@jax.jit
def _angle(skew: Array) -> Array:
    """Return the norm of the entries above the diagonal of an antisymmetric matrix, with derivative zero at zero."""
    squared = jnp.sum(skew**2, axis=(-2, -1)) / 2
    return jnp.where(squared > 0, jnp.sqrt(jnp.where(squared > 0, squared, 1)), 0)


def _largest(array: Array, lead: int) -> Array:
    return jnp.max(jnp.abs(array), axis=tuple(range(lead, array.ndim)), initial=0)


def noise_of(action: Action, sample: Sample) -> dict[str, Array]:
    """Return the largest standard deviation of the entries of each input, `[*batch]`."""
    errors = without_absent(action, {term.name: sample.error(term.name) for term in action.inputs}, sample.masks)
    return {
        term.name: _largest(errors[term.name], len(action.batch(term, errors[term.name]))) for term in action.inputs
    }


def start_error(starts: Frame, label: str, start: Array) -> Array:
    """Return standard deviations of the starts' errors in the Lie algebra, one antisymmetric matrix each."""
    doubt = 0 if starts.info.doubt is None else starts.info.doubt[None, ..., None, None] / CERTAIN
    turns = jnp.broadcast_to(starts.turns.get(label, doubt), start.shape).astype(start.dtype)
    turns = jnp.minimum(jnp.maximum(turns, jnp.swapaxes(turns, -1, -2)), 1) + rounding(start.dtype)
    return jax.lax.stop_gradient(jnp.triu(turns, 1) - jnp.swapaxes(jnp.triu(turns, 1), -1, -2))


def _with_rates(moved: Callable[[Array], Any], turn: Array, error: Array) -> tuple[dict[str, Array], dict[str, Array]]:
    """Return the inputs moved by the inverses of elements, and their changes due to the errors of the elements."""
    arrays, rates = jax.jvp(moved, (turn,), (_product(jax.lax.stop_gradient(turn), error),))
    return arrays, jax.lax.stop_gradient(rates)


@functools.partial(jax.jit, static_argnums=0)
def _effect(moves: bool, error: Array, arrays: dict[str, Array], rates: dict[str, Array]) -> Array:
    """Return the errors of elements, `[*lead]`: of their entries, or of the moved inputs if no output is moved."""
    lead = error.ndim - 2
    if moves:
        return _largest(error, lead)
    sizes = {name: _largest(array, lead) for name, array in arrays.items()}
    parts = [_largest(rate, lead) / jnp.where(sizes[name] > 0, sizes[name], 1) for name, rate in rates.items()]
    return jax.lax.stop_gradient(functools.reduce(jnp.maximum, parts))


@jax.jit
def _energy_error(slopes: dict[str, Array], rates: dict[str, Array], noise: dict[str, Array]) -> Array:
    """Return the errors of energies, from the errors of their elements and of the inputs, `[*lead]`."""
    total: Array = jnp.zeros(())
    for name, slope in jax.lax.stop_gradient(slopes).items():
        axes = tuple(range(1 + noise[name].ndim, slope.ndim))
        of_element, of_input = jnp.sum(slope * rates[name], axis=axes), jnp.sum(slope**2, axis=axes)
        total = total + jnp.abs(of_element) + jnp.sqrt(of_input) * noise[name]
    return CERTAIN * total


@functools.partial(jax.jit, static_argnums=(0, 1, 2, 3))
def lowest(
    action: Action,
    label: str,
    tolerance: float | None,
    on_degenerate: OnDegenerate,
    paths: Paths,
    starts: Info,
    sample: Sample,
    key: jax.Array | None,
) -> Frame:
    """Return the frame of the lowest end, averaged with ends near to it."""
    paths, twin = _one_way(paths)
    there, turns, values = paths.there, paths.turns, jnp.where(paths.there, -paths.after, -jnp.inf)
    seen = jnp.where(there, jnp.minimum(-paths.before, values), jnp.max(values, axis=0))
    found = ties(values, tolerance, seen, paths.off)
    near = jnp.sqrt(jnp.sum((turns - _at(found.best[None], turns)) ** 2, axis=(-2, -1))) <= NEAR
    # If weights decrease slowly with the energy, rounding errors barely change the mean.
    slack = ties(values, max(tolerance or 0, math.sqrt(rounding(values.dtype))), seen, paths.off).excess
    mean = Element({label: _mean(turns, jnp.where(near & there, jnp.maximum(1 - slack, 0), 0))[None]})

    def same_inputs() -> Array:
        return twin | alike(copies(action, Element({label: turns}), sample.x, {})[0], found.best, NEAR)

    same = same_results(action, mean, sample, found, near, same_inputs)
    doubt = jnp.max(jnp.where(there & (found.tied | jnp.isinf(paths.doubt)), paths.doubt, 0), axis=0)
    finite = jnp.all(jnp.isfinite(paths.after) | ~there, axis=0)
    known = finite & jnp.any(there, axis=0) & ~starts.degenerate
    sure = known & (doubt <= most_doubt(sample.coarsest(action.inputs)))
    frame = decided(on_degenerate, found, near, same, mean, lambda p: Element({label: _at(p, turns)}), sure, key)
    own, best = frame.info, found.best[None]
    gap: Any = own.gap
    info = replace(
        own,
        refused=own.refused | starts.refused,
        gap=jnp.where(finite, gap if starts.gap is None else jnp.minimum(gap, starts.gap), jnp.nan),
        rank=starts.rank,
        doubt=doubt,
        more={
            **starts.more,
            "energy": _at(best, paths.after)[0],
            "start_energy": jnp.min(jnp.where(there, paths.before, jnp.inf), axis=0),
            "gradient": _at(best, paths.gradient)[0],
            "matrix": frame.elements.linear[label][0],
        },
    )
    return replace(frame, weights=settled(frame.weights, info), info=info)


def _one_way(paths: Paths) -> tuple[Paths, Array]:
    """Replace paths that start from the best copy of the input by its path, and return which ones.

    A path depends only on the copy at its start: such paths differ only by rounding.
    """
    best = jnp.argmin(jnp.where(paths.there, paths.after, jnp.inf), axis=0)[None]
    blur = {name: 2 * CERTAIN * deviation for name, deviation in paths.blur.items()}
    twin = alike(paths.begun, best[0], tie_tolerance(None, paths.after.dtype), blur) & paths.there
    way = _product(jnp.swapaxes(_at(best, paths.starts), -1, -2), _at(best, paths.turns))
    joined = replace(
        paths,
        turns=jnp.where(twin[..., None, None], _product(paths.starts, way), paths.turns),
        after=jnp.where(twin, _at(best, paths.after), paths.after),
        off=jnp.where(paths.there & ~twin, paths.off + _at(best, paths.off), 0),
        doubt=jnp.where(twin, _at(best, paths.doubt), paths.doubt),
    )
    return joined, twin


def _at(places: Array, array: Array) -> Array:
    """Return the entries of an array `[paths, *batch, ...]` at positions `[k, *batch]`."""
    return jnp.take_along_axis(array, jnp.expand_dims(places, range(places.ndim, array.ndim)), axis=0)


def _mean(turns: Array, shares: Array) -> Array:
    """Return the weighted mean of nearby rotations as an orthogonal matrix."""
    shares = jax.lax.stop_gradient(shares / jnp.maximum(jnp.sum(shares, axis=0), 1))
    return _orthogonal(jnp.einsum("s...,s...ij->...ij", shares, turns, precision=jax.lax.Precision.HIGHEST))


def _orthogonal(matrix: Array) -> Array:
    """Return the nearest orthogonal matrix to a nearly orthogonal one, by Newton's iteration, differentiably."""
    one = 1.5 * jnp.eye(matrix.shape[-1], dtype=matrix.dtype)
    for _ in range(4):
        matrix = _product(matrix, one - _product(jnp.swapaxes(matrix, -1, -2), matrix) / 2)
    return matrix
