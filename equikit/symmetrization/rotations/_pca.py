"""Frames of rotations from the principal axes of the input."""

from __future__ import annotations

import functools
import itertools
import math
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from equikit import _checks
from equikit.numerics import (
    Axes,
    double,
    matmul,
    matmul_error,
    principal_axes,
    rounding,
    rounding_error,
    transposed,
    turning_rates,
    with_derivative,
)
from equikit.symmetrization.engine._action import Action
from equikit.symmetrization.engine._element import Array, Element, detached
from equikit.symmetrization.engine._frame import Frame, with_fallback
from equikit.symmetrization.engine._info import Info, most_doubt, settled
from equikit.symmetrization.engine._method import Framed, OnDegenerate
from equikit.symmetrization.engine._sample import CERTAIN, FLAT, Sample
from equikit.symmetrization.rotations._aligned import MOST
from equikit.symmetrization.rotations._alignment import InPlace
from equikit.symmetrization.rotations._vectors import (
    Points,
    checked_vectors,
    definite_label,
    points_in,
    read_labels,
    reads_all,
    refuse_determinants,
    refuse_tensors,
    weights_in,
)

NEAR = 8
"""The gap, relative to the root of the rounding unit, above which principal axes begin to replace alignments."""

WIDE = 4
"""The factor between this gap and the one at which the principal axes have all the weight."""

SLOPES = 8
"""The factor by which derivatives of axes are less precise than the axes: a measured value, not a bound. In float64, 1
in 64 inputs with gaps from 3e-8 to 3e-7 have force errors above 1e-8 that are not reported."""

STEEP = 2e-4
"""The relative gap at which derivatives of axes contribute forces as large as outputs: measured for a small network
that tells points apart, after `Sort`. For one that does not, half is enough."""

SHARE = "share"


@dataclass(frozen=True)
class PCA(Framed):
    r"""The principal axes of the input with all signs: \(2^d\) elements of O(d), or \(2^{d-1}\) elements of SO(d).

    The matrix X has all vectors of the input in rows, and W their weights, which are one except in `piecewise`. With V
    the eigenvectors of \(C = X^T W X\), the frame is \(\{V\,\mathrm{diag}(s) : s \in \{\pm 1\}^d\}\); for SO(d), its
    elements of determinant one. With `translate=` in `symmetrize`, the centroid is subtracted first, for E(d) and
    SE(d). The frame does not depend on the order of the points.

    It is equivariant if eigenvalues differ. If two are equal, as for a cube or an octahedron, the input itself is
    symmetric, an eigenvector is any vector of a plane, and the average is not even approximately equivariant. The only
    exception is a space of directions in which the input has no extent (collinear points in space, no points): their
    signs average to an equivariant result for outputs with at most one axis of the label. Derivatives of invariants are
    equivariant there too; derivatives of vectors are not, unlike with `QR` and `Alignment`.

    Args:
        label: the axis on which the group acts; by default, the only one bound to O or SO.
        terms: names of the input terms whose vectors are used; all by default.
        tolerance: eigenvalues that differ by less than this, relative to the largest, count as equal. By default an
            input is degenerate if `info.doubt`, the error of the axes due to rounding of the input, exceeds a quarter
            of the root of the rounding unit, 9e-5 in float32. With `translate=`, positions have the rounding error of
            the input, which is large far from the origin. Axes across a thin rod may have larger errors, if these do
            not move its points. Derivatives count too: at gaps below 1e-4 they are eight times less precise than the
            axes, and in float32 wrong across most rods of aspects from 1:10,000 to 1:100,000.
        on_degenerate: what to do with degenerate inputs. `"error"` raises, and gives NaN in a compiled program;
            `"flag"` continues, and reports them in `info`; `"sample"` samples the axes in an eigenspace at random,
            which is equivariant in distribution, and needs a key; `"weighted"` uses the exact average over the
            alignments of `Alignment`, for d = 2 and 3. Alignments replace the axes smoothly as eigenvalues approach
            each other, so that the average is continuous. The backbone is evaluated on them only if an input of the
            batch needs it, but always under a `jax.vmap` of the caller, which computes both branches of a condition.
        differentiable: whether derivatives include the frame. If false, forces are not the gradient of the energy, and
            imprecise derivatives make no input degenerate.

    Raises:
        GroupError: if the label has another group.
        OptionError: if a term has the label twice, with `on_degenerate="weighted"`, which needs points.
        TooLargeError: above d = 14, and for more than 2^14 alignments.
        FrameError: for a degenerate input, with `on_degenerate="error"`; for a non-finite input.

    Cost: O(N d²) for the frame and an eigendecomposition, both to twice the precision of the dtype; \(2^d\) evaluations
    of the backbone, and one for every alignment if alignments are needed.

    Example:
        >>> from equikit.symmetrization import symmetrize
        >>> from equikit import O, S
        >>> import equikit.testing
        >>> sym = symmetrize(jnp.sin, "p x -> p x", p=S, x=O(2), translate="x", how=PCA())
        >>> equikit.testing.assert_equivariant(sym, "p x -> p x", p=S(4), x=O(2), channels=1, key=jax.random.key(0))

    Source:
        Puny et al., Frame averaging, arXiv:2110.03336, section 3.1, except the remark that degenerate inputs are rare.
    """

    label: str | None = None
    terms: tuple[str, ...] | None = None
    tolerance: float | None = None
    on_degenerate: OnDegenerate = "error"
    differentiable: bool = True
    takes_weights: ClassVar[bool] = True

    @property
    def needs_key(self) -> bool:
        """Whether degenerate inputs are sampled at random."""
        return self.on_degenerate == "sample"

    def acts_on(self, action: Action) -> frozenset[str]:
        """The label of the rotations."""
        label = definite_label(self, action, self.label)
        checked_vectors(action, label, self.terms)
        if self.on_degenerate == "weighted":
            refuse_tensors(self, action, label, self.terms)
            refuse_determinants(self, action, label)
        size = action.groups[label].n
        if size is not None:
            _check_size(size)
        return frozenset([label])

    def reads(self, action: Action) -> frozenset[str]:
        """Labels whose groups change lengths. Other groups preserve the matrix C.

        Alignments with points are preserved only by groups that permute the points.
        """
        found = frozenset(label for label, group in action.groups.items() if not group.keeps_norm)
        if self.on_degenerate == "weighted":
            (label,) = self.acts_on(action)
            others = read_labels(action, label, self.terms)
            found |= {other for other in others if action.groups[other].elements_are != "permutations"}
        return found

    def frame(self, action: Action, sample: Sample, key: jax.Array | None) -> Frame:
        """Return the principal axes of all samples, and alignments for those that are nearly degenerate."""
        found = super().frame(action, sample, key)
        if self.on_degenerate != "weighted":
            return found
        share = found.info.more.pop(SHARE)
        others = InPlace(self.label, self.terms, differentiable=self.differentiable)
        return with_fallback(found, share, lambda: others.frame(action, sample, None))

    def _share(self, values: Array, gaps: Array, within: Array, thin: bool) -> Array:
        """Return the weight of alignments: one for nearly equal eigenvalues, decreasing smoothly with the gap.

        Without a tolerance, gaps are compared with their effects. Derivatives of weights and axes have the same size.
        """
        least: Any = self.tolerance
        if least is None:
            least = NEAR * math.sqrt(rounding(values.dtype))
            least = least * (2 * self._slopes(least) - 1)
            gaps = _gaps_by_effect(values, thin, least)
        gap = jnp.min(jnp.where(within, jnp.inf, jax.lax.stop_gradient(gaps)), initial=jnp.inf)
        if self.tolerance == 0:
            return (gap <= 0).astype(values.dtype)
        beyond = jnp.clip((gap / least - 1) / (WIDE - 1), 0, 1)
        return 1 - beyond**2 * (3 - 2 * beyond)

    def _slopes(self, gaps: Any) -> Any:
        """Return the factor by which forces are less precise than axes at relative gaps; SLOPES at small gaps."""
        return jnp.maximum(1, SLOPES * STEEP / (STEEP + gaps)) if self.differentiable else 1

    def of_sample(self, action: Action, sample: Sample, key: jax.Array | None) -> Frame:
        """Return the principal axes of one sample, with all signs."""
        (label,) = self.acts_on(action)
        special = action.groups[label].special
        points = points_in(action, label, self.terms, sample)
        d, dtype = points.vectors.shape[-1], points.vectors.dtype
        _check_size(d)
        weight = weights_in(action, label, self.terms, sample.x, sample.masks)
        found, turns, slopes, extents, flat = _principal(points, weight)
        axes, largest = found.vectors, jnp.max(found.values, initial=0)
        gaps = jnp.diff(found.values) / jnp.where(largest > 0, largest, 1)
        orders = action.output_order(label)
        # The basis between two directions without extent is irrelevant, if no other input has an extent there.
        read = checked_vectors(action, label, self.terms)
        whole = reads_all(action, label, read)
        within = flat[1:] & (orders < 2) & whole
        between = flat[:, None] & flat[None, :] & (orders < 2) & whole
        turns = jnp.where(between, 0, turns)
        thin = orders < 2 and whole
        effects = _effects(turns, extents) if thin else turns
        came = sample.coarsest(read)
        doubt, most = CERTAIN * jnp.max(effects, initial=0) + rounding(dtype), most_doubt(came)
        decisive = CERTAIN * effects * self._slopes(_relative(found.values))
        if self.differentiable:
            # Two standard deviations, since outputs change less than in the worst case.
            decisive = jnp.maximum(decisive, 2 * rounding(came) / math.sqrt(12) * jnp.where(between, 0, slopes))
        doubtful = jnp.diagonal(decisive, 1) > most
        close = doubtful if self.tolerance is None else (gaps <= self.tolerance) & ~within
        imprecise = (self.tolerance is None) & (jnp.maximum(doubt, jnp.max(decisive, initial=0)) > most)
        degenerate = jnp.any(close) | imprecise | ~points.finite
        tail = found.tail
        if self.on_degenerate == "sample" and key is not None:
            turned = _turns_within(key, close, d, dtype)
            axes, tail = axes @ turned, tail @ turned
        signs = jnp.asarray(sign_choices(d), dtype)
        if special:
            # The sign of the last axis makes the determinant one; half of the signs remain.
            signs = signs[::2]
            signs = signs.at[:, -1].set(jnp.sign(jnp.linalg.det(axes)) * jnp.prod(signs, axis=-1)) if d else signs
        count = len(signs)
        matrices, tails = axes[None] * signs[:, None, :], tail[None] * signs[:, None, :]
        weights = jnp.full(count, 1 / count, dtype)
        sizes = jnp.full((), count, jnp.float32)
        refused = degenerate & (self.on_degenerate in ("error", "weighted"))
        element = Element({label: matrices})
        info = Info(
            sizes,
            degenerate,
            refused,
            gap=jnp.min(jnp.where(within, jnp.inf, gaps), initial=jnp.inf),
            rank=jnp.sum(~flat),
            doubt=doubt,
            more={SHARE: self._share(found.values, gaps, within, thin)} if self.on_degenerate == "weighted" else {},
        )
        if not self.differentiable:
            element, weights = detached(element), jax.lax.stop_gradient(weights)
        turns = jnp.broadcast_to(turns, matrices.shape)
        return Frame(element, settled(weights, info), info, tail=Element({label: tails}), turns={label: turns})


def _effects(turns: Array, extents: Array) -> Array:
    """Return the effect of axis angles on the input; a rotation in a plane moves at most the part in it.

    It also bounds output vectors: their components across a thin rod average to about its width.
    """
    largest = jnp.max(extents, initial=0)
    part = jnp.maximum(extents[:, None], extents[None, :]) / jnp.where(largest > 0, largest, 1)
    return jnp.where(turns > 0, jnp.minimum(turns, 1) * part, 0)


def _gaps_by_effect(values: Array, thin: bool, least: Array) -> Array:
    """Return gaps between neighboring eigenvalues relative to the rounding errors of C between the two axes.

    These errors are about the rounding unit times the extent of the input times the extent along the longer axis. If
    `thin`, gaps are relative to the effect of the errors: how far a rotation of the two axes moves points. If both axes
    are so short that a rotation barely moves points, gaps exceed `least`.
    """
    values = jax.lax.stop_gradient(jnp.abs(values))
    extents = jnp.sqrt(values[1:] / jnp.where(values[-1:] > 0, values[-1:], 1))
    can = values[1:] if thin else values[-1:] * extents
    gaps = jnp.abs(jnp.diff(values)) / jnp.where(can > 0, can, 1)
    return gaps + least * most_doubt(values.dtype) / SLOPES / extents if thin else gaps


def _relative(values: Array) -> Array:
    """Return the gaps between all eigenvalues, each over the larger of the two, `[d, d]`."""
    sizes = jax.lax.stop_gradient(jnp.abs(values))
    larger = jnp.maximum(sizes[:, None], sizes[None, :])
    return jnp.abs(sizes[:, None] - sizes[None, :]) / jnp.where(larger > 0, larger, 1)


class _Principal(NamedTuple):
    """The principal axes of points.

    Attributes:
        axes: the axes.
        turns: standard deviations of the errors of their angles, `[d, d]`.
        slopes: factors of rounding errors of outputs in derivatives, from the rotation rates of axes, `[d, d]`.
        extents: the extents of the points along the axes, `[d]`.
        flat: which extents are zero up to errors.
    """

    axes: Axes
    turns: Array
    slopes: Array
    extents: Array
    flat: Array


def _principal(points: Points, weight: Array | None) -> _Principal:
    """Return the principal axes of points, and their errors."""
    d = points.vectors.shape[-1]
    number, errors = double(points.vectors, points.tail), points.errors
    if weight is not None:
        number = jax.tree.map(lambda part: jnp.sqrt(weight)[:, None] * part, number)
        errors = jnp.sqrt(weight)[:, None] * jnp.hypot(errors, rounding_error(points.vectors))
    exact = matmul(transposed(number), number)
    plain = points.vectors if weight is None else weight[:, None] * points.vectors
    plain = jnp.einsum("nd,ne->de", plain, points.vectors, precision=jax.lax.Precision.HIGHEST)
    noise = jnp.sqrt(jnp.sum(errors**2))
    found = principal_axes(with_derivative(exact.high, plain), exact.low, noise)
    axes = jax.lax.stop_gradient(found.vectors)
    exactly = functools.partial(jnp.matmul, precision=jax.lax.Precision.HIGHEST)
    squares, variances = exactly(number.high, axes) ** 2, exactly(errors**2, axes**2)
    extents = jnp.sqrt(jnp.max(squares, axis=0, initial=0))
    flat = extents <= FLAT * jnp.sqrt(jnp.max(variances, axis=0, initial=0))
    both = exactly(squares.T, variances)
    computing = matmul_error(axes.dtype, len(points.vectors)) * jnp.max(found.values, initial=0)
    error = jnp.sqrt(both + both.T) + (found.left + computing) / CERTAIN
    gaps = jnp.abs(found.values[:, None] - found.values[None, :])
    turns = jnp.where(gaps > 0, error / jnp.where(gaps > 0, gaps, 1), jnp.inf)
    turns = jnp.where(jnp.eye(d, dtype=bool), 0, turns)
    longer = jnp.maximum(extents[:, None], extents[None, :])
    # A rotation changes outputs by the share of one point; its rounding errors add up along the longest axis.
    turned = jnp.sqrt(jnp.max(found.values, initial=0)) / jnp.maximum(jnp.sum(jnp.any(number.high != 0, axis=1)), 1)
    slopes = jnp.abs(turning_rates(found.values, noise)) * longer * turned
    return _Principal(found, *jax.lax.stop_gradient((turns, slopes, extents, flat)))


def _check_size(d: int) -> None:
    step = "use ek.frames.QR, which has one element"
    _checks.refuse_if_more("there are too many signs of the axes to list", 2**d, MOST, "signs", step)


def sign_choices(d: int) -> np.ndarray:
    """Return all choices of d signs, `[2^d, d]`; every second row ends in plus and runs through all other signs."""
    return np.array(list(itertools.product((1.0, -1.0), repeat=d))).reshape(2**d, d)


def _turns_within(key: jax.Array, close: Array, d: int, dtype: Any) -> Array:
    """Sample a rotation or reflection uniformly within each group of close neighboring axes, `[d, d]`."""
    group = jnp.concatenate([jnp.zeros(1, jnp.int32), jnp.cumsum(~close)])
    together = group[:, None] == group[None, :]
    q, r = jnp.linalg.qr(jnp.where(together, jax.random.normal(key, (d, d), dtype), 0))
    return q * jnp.where(jnp.diagonal(r) < 0, -1, 1)[None, :]
