"""Canonical forms by gradient descent over a group of rotations."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Unpack

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.typing import ArrayLike

from equikit._errors import OptionError, ShapeError
from equikit.groups import SO
from equikit.symmetrization._action import Action
from equikit.symmetrization._element import Array, Element, rounding
from equikit.symmetrization._frame import Frame, in_one_list
from equikit.symmetrization._info import Info, most_doubt, settled
from equikit.symmetrization._method import Method, OnDegenerate
from equikit.symmetrization._options import option
from equikit.symmetrization._sample import CERTAIN, Sample
from equikit.symmetrization.canonicalization._choice import (
    alike,
    copies,
    decided,
    same_results,
    tie_tolerance,
    ties,
    wide,
)
from equikit.symmetrization.canonicalization._score import Score, without_absent
from equikit.symmetrization.canonicalization._selection import Choosing, TieOptions
from equikit.symmetrization.frames import PCA
from equikit.symmetrization.frames._vectors import definite_label

LONGEST = 0.5
"""The largest angle of one step, in radians."""

SLOPES = 4
"""By how much the derivatives of the starts are less precise than the starts, whose average would be better."""

NEAR = 0.1
"""Rotations no farther apart than this, in the Frobenius norm, are one minimum, reached more or less closely."""


class EnergyDescent(Choosing):
    r"""The rotation with the least energy, \(\mathrm{argmin}_g\, E(g^{-1} x)\), by descent over SO(d) or O(d).

    There are several starts, and a step from each is \(g \leftarrow g \exp(-\eta \xi)\), where \(\xi\) in the Lie
    algebra is the gradient of \(E(\exp(-\xi) g^{-1} x)\) at zero. It depends on the canonical form \(g^{-1} x\) alone,
    so that paths turn with the input as their starts do: **the result is as equivariant as the starts are**.

    - With the elements of a frame as starts (`PCA`, the default) it is equivariant to rounding, for any encoder,
      converged or not; with `steps=0` it is the element of the frame that the encoder likes best. Each step multiplies
      rounding errors, by \(|1 - \eta c|\) along a direction of curvature c, and paths near a saddle or with steps too
      long may part. The errors of the starts are carried along each path, as one direction and to first order:
      `info.doubt` is what they are at the end, and infinite where a path may have gone elsewhere. An input is
      degenerate where it is too large, and energies are tied that these errors may have put in their order. For a sum
      of tanh of five points that is one cloud in a thousand with 10 steps of rate 0.1, one in 25 with 20 of rate
      0.3, and one in twelve with 50: keep \(\eta c\) below one, and steps few. Kinks of the encoder are not seen.
    - With given matrices as starts it is equivariant only where all paths to the least energy arrive, for the input and
      for the turned input; what is left of the gradient is in `info.more["gradient"]`.

    Starts that give the same copy of the input to its errors, which a symmetry of its own has, are one path: descent
    would make much of their rounding errors. Paths that end in one minimum, within 0.1 of each other, are averaged,
    with weights that fall with the energy: which of them is the lowest is for rounding to decide. Where paths end
    elsewhere with energies as low, the input is degenerate.

    Args:
        encoder: a function of what the backbone is called with, with one batch axis, `[inputs, *axes, channels]`, to
            energies `[inputs]`; with `features` to vectors, whose energy is minus the cosine to a learned reference.
        label: the axis of the rotations; the only one bound to O or SO by default.
        starts: a method whose frames have the starts of every input, or matrices `[starts, d, d]`.
        steps: how many steps are taken.
        learning_rate: \(\eta\), for energies whose curvature is about one; steps turn by no more than half a radian.
        features, rngs: as for `EnergyCanonicalization`.
        tolerance: energies within this of the least are tied, relative to the spread of all that are seen, or to its
            size where that is more; by default 64 roundings.
        on_degenerate: what to do with ties, unless they give the backbone the same input and nothing in its output
            turns: `"error"`, `"flag"`, `"sample"`, or `"weighted"`, which averages over all of them, exactly, and
            evaluates the backbone for every start if an input of the batch has ties, as in `ImageCanonicalization`.
            What rounding has parted no average joins: such inputs are refused by `"weighted"` too.
        differentiable: whether derivatives go through the descent, to the encoder and to the input.
        invariant_to: other labels whose groups leave the energy as it is, such as that of the points.

    Raises:
        GroupError: if the label has another group.
        FrameError: for a degenerate input, with `on_degenerate="error"`; for one that is not finite.

    Cost: `steps` gradients of the encoder for every start, each with its derivative along one direction, all starts at
    once; one evaluation of the backbone.

    Example:
        >>> import equikit as ek
        >>> from equikit.symmetrization.canonicalization import EnergyDescent
        >>> def energy(x):                                                  # `[inputs, points, 2, 1]`: far to the right
        ...     return -jnp.sum(jnp.tanh(x[:, :, 0, 0]), axis=1)
        >>> sym = ek.symmetrize(
        ...     lambda x: x[..., 0, :, :], "p x -> x", p=ek.Fixed(4), x=ek.SO(2), how=EnergyDescent(energy))
        >>> x = jax.random.normal(jax.random.key(0), (4, 2, 1))
        >>> turn = jnp.array([[0.6, -0.8], [0.8, 0.6]])
        >>> bool(jnp.allclose(sym(turn @ x), turn @ sym(x), atol=1e-4))
        True

    Source:
        Kaba et al., arXiv:2211.06489, section 3.2, who descend from one start.
    """

    def __init__(
        self,
        encoder: Any,
        label: str | None = None,
        *,
        starts: Method | ArrayLike | None = None,
        steps: int = 10,
        learning_rate: float = 0.1,
        features: int | None = None,
        rngs: nnx.Rngs | None = None,
        differentiable: bool = True,
        **options: Unpack[TieOptions],
    ) -> None:
        super().__init__(**options)
        self.score = Score(encoder, features, rngs)
        self.label = option("label", label)
        self.starts: Any = _checked_starts(PCA(label) if starts is None else starts)
        self.reflects = not isinstance(starts, Method | None) and bool(np.any(np.linalg.det(np.asarray(starts)) < 0))
        self.steps = option("steps", steps)
        self.learning_rate = option("learning_rate", learning_rate)
        self.differentiable = option("differentiable", differentiable)

    @property
    def needs_key(self) -> bool:
        """Whether ties, or starts, are drawn at random."""
        return super().needs_key or (isinstance(self.starts, Method) and self.starts.needs_key)

    def acts_on(self, action: Action) -> frozenset[str]:
        """The label of the rotations."""
        label = definite_label(self, action, self.label, "descent is over rotations, not over {}")
        group = action.groups[label]
        if isinstance(self.starts, Method):
            if self.starts.acts_on(action) != {label}:
                raise OptionError(
                    f"the starts are no elements of the group of {label!r}",
                    got=f"starts={self.starts!r}, which act on {sorted(self.starts.acts_on(action))}",
                    expected=f"a method for {label!r} alone",
                    step=f'write starts=ek.frames.PCA("{label}")',
                )
        elif group.n not in (None, self.starts.shape[-1]):
            raise ShapeError(
                f"the starts have not the size of {group}",
                got=f"shape {list(self.starts.shape)}",
                expected=f"[starts, {group.n}, {group.n}]",
                step="draw them with group.random_element",
            )
        if self.reflects and isinstance(group, SO):
            raise OptionError(
                f"some starts are no elements of {group}",
                got="matrices of determinant -1",
                expected="rotations, of determinant 1",
                step=f"draw them with {group}.random_element, or bind {label}=ek.O",
            )
        return frozenset([label])

    def reads(self, action: Action) -> frozenset[str]:
        """All labels that it does not act on, but those that its encoder is invariant to, and those of the starts."""
        starts = self.starts.reads(action) if isinstance(self.starts, Method) else frozenset()
        return starts | super().reads(action)

    def frame(self, action: Action, sample: Sample, key: jax.Array | None) -> Frame:
        """Where the paths with the least energy end."""
        (label,) = self.acts_on(action)
        x, masks = without_absent(action, sample.x, sample.masks), sample.masks
        dtype = wide(jnp.zeros(0), x)
        starts = self._starts(action, label, sample, key, dtype)
        start = starts.elements.linear[label].astype(dtype)
        start = start if self.differentiable else jax.lax.stop_gradient(start)
        lead, noise, moves = start.shape[:-2], _noise(action, sample), action.output_order(label) > 0
        seen = {name: jnp.broadcast_to(mask, (*lead, mask.shape[-1])) for name, mask in masks.items()}

        def moved(turn: Array) -> dict[str, Array]:
            arrays: dict[str, Array] = copies(action, Element({label: turn}), x, {})[0]
            return arrays

        def energy(arrays: dict[str, Array]) -> Array:
            return -self.score(action, arrays, seen, lead)[0].astype(dtype)

        error = _start_error(starts, label, start)
        begun, rates = _with_rates(moved, start, error)
        blur = {name: _largest(rate, len(lead)) + noise[name] for name, rate in rates.items()}
        begin, before = _effect(moves, error, begun, rates), energy(begun)
        turn, error, peak, gradient = _descended(
            lambda turn: energy(moved(turn)), start, error, self.steps, self.learning_rate
        )
        ended, rates = _with_rates(moved, turn, error)
        after, pull = jax.vjp(energy, ended)
        off = _energy_error(pull(jnp.ones_like(after))[0], rates, noise)
        begin = begin * (SLOPES if self.differentiable else 1)
        doubt = CERTAIN * jnp.maximum(_effect(moves, error, ended, rates), begin)
        doubt = jnp.where(CERTAIN * peak > NEAR, jnp.inf, doubt)
        paths = Paths(start, begun, blur, before, turn, after, off, doubt, gradient, starts.weights > 0)
        paths = paths if self.differentiable else jax.lax.stop_gradient(paths)
        found: Frame = _lowest(action, label, self.tolerance, self.on_degenerate, paths, starts.info, sample, key)
        return found

    def _starts(self, action: Action, label: str, sample: Sample, key: jax.Array | None, dtype: Any) -> Frame:
        if isinstance(self.starts, Method):
            return in_one_list(self.starts.frame(action, sample, key))
        first = action.inputs[0]
        batch = action.batch(first, sample.x[first.name])
        count, d = self.starts.shape[:2]
        places = jnp.expand_dims(jnp.asarray(self.starts, dtype), range(1, len(batch) + 1))
        largest = [_largest(array, len(batch)) for array in sample.x.values()]
        bad = ~jnp.isfinite(functools.reduce(jnp.maximum, largest))
        weights = jnp.full((count, *batch), 1 / count, dtype)
        turns = jnp.broadcast_to(places, (count, *batch, d, d))
        return Frame(Element({label: turns}), weights, Info(jnp.ones(batch, jnp.float32), bad, bad))

    def __repr__(self) -> str:
        starts = repr(self.starts) if isinstance(self.starts, Method) else f"{len(self.starts)} matrices"
        return f"EnergyDescent({type(self.score.encoder).__name__}, starts={starts}, steps={self.steps})"


def _descended(
    energy: Callable[[Array], Array], start: Array, error: Array, steps: int, rate: float
) -> tuple[Array, Array, Array, Array]:
    r"""Descend from matrices g, `[*lead, d, d]`, and carry the error \(g^{-1} \delta g\) of each along.

    Returns:
        The ends, their errors, the largest angles that these had on the way, and the norms of the last gradients.
    """
    d = start.shape[-1]
    one = jnp.eye(d, dtype=start.dtype)
    fresh = jnp.asarray(np.fromfunction(lambda i, j: (-1.0) ** (i + j) * np.sign(j - i), (d, d)), start.dtype)

    def step(turn: Array) -> tuple[Array, Array]:
        slope = jax.grad(lambda turn: jnp.sum(energy(turn)))(turn)
        # The derivative along g A, for every A with entries 1 and -1 at two places.
        along = _product(jnp.swapaxes(turn, -1, -2), slope)
        along = along - jnp.swapaxes(along, -1, -2)
        norm = _angle(along)
        length = rate * jnp.minimum(1, LONGEST / jnp.maximum(rate * norm, LONGEST))
        half = -length[..., None, None] * along / 2
        # The Cayley transform: a rotation, exactly, and the exponential to second order.
        return _product(turn, jnp.linalg.solve(one - half, one + half)), norm

    def follow(path: tuple[Array, ...], _: None) -> tuple[tuple[Array, ...], None]:
        turn, error, peak, _norm = path
        (turn, norm), (change, _) = jax.jvp(step, (turn,), (_product(turn, error),))
        error = jax.lax.stop_gradient(_product(jnp.swapaxes(turn, -1, -2), change))
        # The rounding of a step comes in along a direction that may grow where the error so far shrinks.
        error = (error - jnp.swapaxes(error, -1, -2)) / 2 + rounding(error.dtype) * fresh
        angle = _angle(error)
        return (turn, error / jnp.maximum(angle, 1)[..., None, None], jnp.maximum(peak, angle), norm), None

    angle = _angle(error)
    path: Any = (start, error, angle, jnp.zeros_like(angle))
    if isinstance(start, jax.core.Tracer) and steps:
        path = jax.lax.scan(follow, path, None, length=steps)[0]
    else:  # outside of a compiled program a scan would be compiled anew in each call
        for _ in range(steps):
            path = follow(path, None)[0]
    found: tuple[Array, Array, Array, Array] = path
    return found


def _product(one: Array, two: Array) -> Array:
    return jnp.matmul(one, two, precision=jax.lax.Precision.HIGHEST)


def _angle(skew: Array) -> Array:
    """The angle of an antisymmetric matrix, the norm of the entries above its diagonal; derivative zero at zero."""
    squared = jnp.sum(skew**2, axis=(-2, -1)) / 2
    return jnp.where(squared > 0, jnp.sqrt(jnp.where(squared > 0, squared, 1)), 0)


def _largest(array: Array, lead: int) -> Array:
    return jnp.max(jnp.abs(array), axis=tuple(range(lead, array.ndim)), initial=0)


def _noise(action: Action, sample: Sample) -> dict[str, Array]:
    """The largest standard deviation of the entries of each input, `[*batch]`."""
    errors = without_absent(action, {term.name: sample.error(term.name) for term in action.inputs}, sample.masks)
    return {
        term.name: _largest(errors[term.name], len(action.batch(term, errors[term.name]))) for term in action.inputs
    }


def _start_error(starts: Frame, label: str, start: Array) -> Array:
    """Standard deviations of the errors of the starts in the Lie algebra, as one antisymmetric matrix for each."""
    doubt = 0 if starts.info.doubt is None else starts.info.doubt[None, ..., None, None] / CERTAIN
    turns = jnp.broadcast_to(starts.turns.get(label, doubt), start.shape).astype(start.dtype)
    turns = jnp.minimum(jnp.maximum(turns, jnp.swapaxes(turns, -1, -2)), 1) + rounding(start.dtype)
    return jax.lax.stop_gradient(jnp.triu(turns, 1) - jnp.swapaxes(jnp.triu(turns, 1), -1, -2))


def _with_rates(moved: Callable[[Array], Any], turn: Array, error: Array) -> tuple[dict[str, Array], dict[str, Array]]:
    """The inputs moved by the inverses of elements, and how the errors of these change them."""
    arrays, rates = jax.jvp(moved, (turn,), (_product(jax.lax.stop_gradient(turn), error),))
    return arrays, jax.lax.stop_gradient(rates)


def _effect(moves: bool, error: Array, arrays: dict[str, Array], rates: dict[str, Array]) -> Array:
    """How far elements are off, `[*lead]`: their entries, or the moved inputs where they do nothing to an output."""
    lead = error.ndim - 2
    if moves:
        return _largest(error, lead)
    sizes = {name: _largest(array, lead) for name, array in arrays.items()}
    parts = [_largest(rate, lead) / jnp.where(sizes[name] > 0, sizes[name], 1) for name, rate in rates.items()]
    return jax.lax.stop_gradient(functools.reduce(jnp.maximum, parts))


def _energy_error(slopes: dict[str, Array], rates: dict[str, Array], noise: dict[str, Array]) -> Array:
    """How far energies may be off, by the errors of their elements and those of the inputs, `[*lead]`."""
    total: Array = jnp.zeros(())
    for name, slope in jax.lax.stop_gradient(slopes).items():
        axes = tuple(range(1 + noise[name].ndim, slope.ndim))
        of_element, of_input = jnp.sum(slope * rates[name], axis=axes), jnp.sum(slope**2, axis=axes)
        total = total + jnp.abs(of_element) + jnp.sqrt(of_input) * noise[name]
    return CERTAIN * total


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Paths:
    """Several paths of descent, `[paths, *batch, ...]`.

    Attributes:
        starts, turns: the matrices where they begin and end.
        begun, blur: the inputs moved by the inverses of the starts, and standard deviations of their entries.
        before, after: energies at both ends.
        off: how far `after` may be off.
        doubt: how far the ends may be off; infinite where a path may end in another minimum.
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


@functools.partial(jax.jit, static_argnums=(0, 1, 2, 3))
def _lowest(
    action: Action,
    label: str,
    tolerance: float | None,
    on_degenerate: OnDegenerate,
    paths: Paths,
    starts: Info,
    sample: Sample,
    key: jax.Array | None,
) -> Frame:
    """The frame of the lowest end, with those near to it averaged."""
    paths, twin = _one_way(paths)
    there, turns, values = paths.there, paths.turns, jnp.where(paths.there, -paths.after, -jnp.inf)
    seen = jnp.where(there, jnp.minimum(-paths.before, values), jnp.max(values, axis=0))
    found = ties(values, tolerance, seen, paths.off)
    near = jnp.sqrt(jnp.sum((turns - _at(found.best[None], turns)) ** 2, axis=(-2, -1))) <= NEAR
    # Few roundings change a mean little whose weights fall slowly with the energy.
    slack = ties(values, max(tolerance or 0, math.sqrt(rounding(values.dtype))), seen, paths.off).excess
    lowest = Element({label: _mean(turns, jnp.where(near & there, jnp.maximum(1 - slack, 0), 0))[None]})

    def same_inputs() -> Array:
        return twin | alike(copies(action, Element({label: turns}), sample.x, {})[0], found.best, NEAR)

    same = same_results(action, lowest, sample.masks, found, near, same_inputs)
    doubt = jnp.max(jnp.where(there & (found.tied | jnp.isinf(paths.doubt)), paths.doubt, 0), axis=0)
    known = jnp.all(jnp.isfinite(paths.after) | ~there, axis=0) & jnp.any(there, axis=0) & ~starts.degenerate
    sure = known & (doubt <= most_doubt(sample.coarsest(action.inputs)))
    frame = decided(on_degenerate, found, near, same, lowest, lambda p: Element({label: _at(p, turns)}), sure, key)
    own, best = frame.info, found.best[None]
    info = replace(
        own,
        refused=own.refused | starts.refused,
        gap=own.gap if starts.gap is None or own.gap is None else jnp.minimum(own.gap, starts.gap),
        rank=starts.rank,
        doubt=doubt,
        more={
            **starts.more,
            "energy": _at(best, paths.after)[0],
            "gradient": _at(best, paths.gradient)[0],
            "matrix": frame.elements.linear[label][0],
        },
    )
    return replace(frame, weights=settled(frame.weights, info), info=info)


def _one_way(paths: Paths) -> tuple[Paths, Array]:
    """The paths, of which those that begin with the copy of the best go its way; and which these are.

    A path depends only on the copy that it begins with: rounding alone makes several of one.
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
    """The entries of an array `[paths, *batch, ...]` at places `[k, *batch]`."""
    return jnp.take_along_axis(array, jnp.expand_dims(places, range(places.ndim, array.ndim)), axis=0)


def _mean(turns: Array, shares: Array) -> Array:
    """The weighted mean of matrices that are near to each other, an orthogonal matrix."""
    shares = jax.lax.stop_gradient(shares / jnp.maximum(jnp.sum(shares, axis=0), 1))
    return _orthogonal(jnp.einsum("s...,s...ij->...ij", shares, turns, precision=jax.lax.Precision.HIGHEST))


def _orthogonal(matrix: Array) -> Array:
    """The nearest orthogonal matrix to one that is nearly so, by Newton's iteration, whose derivatives are finite."""
    one = 1.5 * jnp.eye(matrix.shape[-1], dtype=matrix.dtype)
    for _ in range(4):
        matrix = _product(matrix, one - _product(jnp.swapaxes(matrix, -1, -2), matrix) / 2)
    return matrix


def _checked_starts(starts: object) -> Any:
    if isinstance(starts, Method):
        return starts
    is_key = isinstance(starts, jax.Array) and jnp.issubdtype(starts.dtype, jax.dtypes.prng_key)
    array = np.asarray(None if is_key else starts)
    d = array.shape[-1] if array.ndim == 3 else 0
    square = array.ndim == 3 and array.shape[0] > 0 and array.shape[1] == d and array.dtype.kind in "fi"
    if not square or not np.allclose(array @ np.swapaxes(array, -1, -2), np.eye(d), atol=1e-5):
        raise OptionError(
            "the starts are no rotations",
            got=f"{array.dtype} of shape {list(array.shape)}",
            expected="a method, such as ek.frames.PCA(), or orthogonal matrices [starts, d, d]",
            step="leave starts= out",
        )
    return nnx.data(jnp.asarray(array, float))
