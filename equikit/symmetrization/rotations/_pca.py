"""Frames of rotations from the principal axes of the input."""

from __future__ import annotations

import functools
import itertools
import math
from dataclasses import dataclass
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from equikit._errors import TooLargeError
from equikit.groups import SO, S
from equikit.numerics import (
    Axes,
    double,
    matmul,
    matmul_error,
    principal_axes,
    rounding,
    rounding_error,
    transposed,
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
    refuse_tensors,
    weights_in,
)

NEAR = 8
"""The gap, over the root of the rounding error, from which on alignments give way to principal axes."""

WIDE = 4
"""How many times as large the gap is where they have given way."""

SHARE = "share"


@dataclass(frozen=True)
class PCA(Framed):
    r"""The principal axes of the input with all signs: \(2^d\) elements of O(d), \(2^{d-1}\) of SO(d).

    With V the eigenvectors of \(C = X^T W X\), X all vectors of the input in rows and W their weights, which are one
    but in `piecewise`, the frame is \(\{V\,\mathrm{diag}(s) : s \in \{\pm 1\}^d\}\), for SO(d) those of
    determinant one. With `translate=` in `symmetrize` the centroid is taken away first, for E(d) and SE(d). It does not
    depend on the order of the points.

    It is a frame where eigenvalues differ. Where two are equal, as for a cube or an octahedron, the input is symmetric
    itself, an eigenvector is any vector of a plane, and the average is not equivariant: not even nearly. The one
    exception are directions in which the input has no extent (collinear points in space, no points): their signs
    average to what is equivariant, for outputs with at most one axis of the label.

    Args:
        label: the axis on which the group acts; where it is not given, the only one bound to O or SO.
        terms: names of the input terms whose vectors count; all by default.
        tolerance: eigenvalues that differ by less than this, relative to the largest, count as equal. By default the
            input decides: it is degenerate where `info.doubt`, the error that rounding the input makes in the axes, is
            more than a quarter of the root of the rounding error, 9e-5 in float32. With `translate=` positions are
            rounded as they come: far from the origin their error is large. Across a thin rod axes may be off by more,
            as long as this does not move its points.
        on_degenerate: what to do then. `"error"` raises, and in a compiled program gives NaN; `"flag"` goes on, and
            says so in `info`; `"sample"` draws the axes in an eigenspace at random, which is equivariant in
            distribution, and needs a key; `"weighted"` uses the exact average over the alignments of `Alignment`, for
            d = 2 and 3. They take over smoothly as eigenvalues approach each other, so that the average is continuous.
            The backbone is evaluated on them only if an input of the batch needs it, but always where the caller maps
            the whole by `jax.vmap`: then both branches of a condition are computed.
        differentiable: whether derivatives go through the frame. Without, forces are not the gradient of the energy.

    Raises:
        GroupError: if the label has another group.
        OptionError: if a term has the label twice, with `on_degenerate="weighted"`: it is made of no points.
        TooLargeError: above d = 14, and for more than 2^14 alignments.
        FrameError: for a degenerate input, with `on_degenerate="error"`; for one that is not finite.

    Cost: of the frame O(N d²) and an eigendecomposition, both to twice the precision of the dtype; \(2^d\) evaluations
    of the backbone, and those of all alignments where they are needed.

    Example:
        >>> from equikit.symmetrization import symmetrize
        >>> from equikit import O, S
        >>> import equikit.testing
        >>> sym = symmetrize(jnp.sin, "p x -> p x", p=S, x=O(2), translate="x", how=PCA())
        >>> equikit.testing.assert_equivariant(sym, "p x -> p x", p=S(4), x=O(2), channels=1, key=jax.random.key(0))

    Source:
        Puny et al., Frame averaging, arXiv:2110.03336, section 3.1; not the remark that degenerate inputs are rare.
    """

    label: str | None = None
    terms: tuple[str, ...] | None = None
    tolerance: float | None = None
    on_degenerate: OnDegenerate = "error"
    differentiable: bool = True
    takes_weights: ClassVar[bool] = True

    @property
    def needs_key(self) -> bool:
        """Whether degenerate inputs are drawn at random."""
        return self.on_degenerate == "sample"

    def acts_on(self, action: Action) -> frozenset[str]:
        """The label of the rotations."""
        label = definite_label(self, action, self.label, "{} has no principal axes")
        checked_vectors(action, label, self.terms)
        if self.on_degenerate == "weighted":
            refuse_tensors(self, action, label, self.terms)
        size = action.groups[label].n
        if size is not None:
            _check_size(size)
        return frozenset([label])

    def reads(self, action: Action) -> frozenset[str]:
        """Labels whose groups change lengths: all others leave the matrix C as it is, but not alignments with points.

        Those are left by groups that do no more than to permute the points.
        """
        found = frozenset(label for label, group in action.groups.items() if not group.keeps_norm)
        if self.on_degenerate == "weighted":
            (label,) = self.acts_on(action)
            others = read_labels(action, label, self.terms)
            found |= {other for other in others if not isinstance(action.groups[other], S)}
        return found

    def frame(self, action: Action, sample: Sample, key: jax.Array | None) -> Frame:
        """The principal axes of all samples, and alignments for those that are nearly degenerate."""
        found = super().frame(action, sample, key)
        if self.on_degenerate != "weighted":
            return found
        share = found.info.more.pop(SHARE)
        others = InPlace(self.label, self.terms, differentiable=self.differentiable)
        return with_fallback(found, share, lambda: others.frame(action, sample, None))

    def _share(self, values: Array, gaps: Array, within: Array) -> Array:
        """The part of alignments in the average: all where axes are nearly equal, and smoothly less as they differ.

        Without a tolerance gaps are compared with what they can do: errors of the matrix C between two axes are about
        the rounding error times the product of the extent of the input and that along the longer one.
        """
        if self.tolerance is None:
            values = jnp.abs(values)
            can = jnp.sqrt(jnp.max(values, initial=0) * values[1:])
            gaps, least = jnp.diff(values) / jnp.where(can > 0, can, 1), NEAR * math.sqrt(rounding(values.dtype))
        else:
            least = self.tolerance
        gap = jnp.min(jnp.where(within, jnp.inf, jax.lax.stop_gradient(gaps)), initial=jnp.inf)
        beyond = jnp.clip((gap / least - 1) / (WIDE - 1), 0, 1) if least else (gap > 0).astype(values.dtype)
        return 1 - beyond**2 * (3 - 2 * beyond)

    def of_sample(self, action: Action, sample: Sample, key: jax.Array | None) -> Frame:
        """The principal axes of one sample, with all signs."""
        (label,) = self.acts_on(action)
        special = isinstance(action.groups[label], SO)
        points = points_in(action, label, self.terms, sample)
        d, dtype = points.vectors.shape[-1], points.vectors.dtype
        _check_size(d)
        weight = weights_in(action, label, self.terms, sample.x, sample.masks)
        found, turns, extents, flat = _axes(points, weight)
        axes, largest = found.vectors, jnp.max(found.values, initial=0)
        gaps = jnp.diff(found.values) / jnp.where(largest > 0, largest, 1)
        orders = action.output_order(label)
        # Between two directions without extent the basis makes no difference, if no other input has any there.
        read = checked_vectors(action, label, self.terms)
        whole = checked_vectors(action, label, None) == read
        within = flat[1:] & (orders < 2) & whole
        between = flat[:, None] & flat[None, :] & (orders < 2) & whole
        turns = jnp.where(between, 0, turns)
        effects = _effects(turns, extents) if orders < 2 and whole else turns
        doubt, most = CERTAIN * jnp.max(effects, initial=0) + rounding(dtype), most_doubt(sample.coarsest(read))
        doubtful = CERTAIN * jnp.diagonal(effects, 1) > most
        close = doubtful if self.tolerance is None else (gaps <= self.tolerance) & ~within
        degenerate = jnp.any(close) | ((self.tolerance is None) & (doubt > most)) | ~points.finite
        tail = found.tail
        if self.on_degenerate == "sample" and key is not None:
            turned = _turns_within(key, close, d, dtype)
            axes, tail = axes @ turned, tail @ turned
        signs = jnp.asarray(sign_choices(d), dtype)
        if special:
            # The last axis follows from the others, so that the determinant is one; half of the signs are left.
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
            more={SHARE: self._share(found.values, gaps, within)} if self.on_degenerate == "weighted" else {},
        )
        if not self.differentiable:
            element, weights = detached(element), jax.lax.stop_gradient(weights)
        turns = jnp.broadcast_to(turns, matrices.shape)
        return Frame(element, settled(weights, info), info, tail=Element({label: tails}), turns={label: turns})


def _effects(turns: Array, extents: Array) -> Array:
    """Angles by what they do: as parts of the input, of which a turn in a plane moves no more than it has there.

    So it is with vectors in the output: those across a thin rod are averages over both signs, and as thin as it is.
    """
    largest = jnp.max(extents, initial=0)
    part = jnp.maximum(extents[:, None], extents[None, :]) / jnp.where(largest > 0, largest, 1)
    return jnp.where(turns > 0, turns * part, 0)


def _axes(points: Points, weight: Array | None) -> tuple[Axes, Array, Array, Array]:
    """The principal axes; standard deviations of the angles that they are off by, `[d, d]`; extents; which are none."""
    d = points.vectors.shape[-1]
    number, errors = double(points.vectors, points.tail), points.errors
    if weight is not None:
        number = jax.tree.map(lambda part: jnp.sqrt(weight)[:, None] * part, number)
        errors = jnp.sqrt(weight)[:, None] * jnp.hypot(errors, rounding_error(points.vectors))
    exact = matmul(transposed(number), number)
    plain = points.vectors if weight is None else weight[:, None] * points.vectors
    plain = jnp.einsum("nd,ne->de", plain, points.vectors, precision=jax.lax.Precision.HIGHEST)
    found = principal_axes(with_derivative(exact.high, plain), exact.low, jnp.sqrt(jnp.sum(errors**2)))
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
    return found, jnp.where(jnp.eye(d, dtype=bool), 0, jax.lax.stop_gradient(turns)), extents, flat


def _check_size(d: int) -> None:
    if 2**d > MOST:
        raise TooLargeError(
            "there are too many signs of the axes to list",
            got=f"2^{d} of {d} axes",
            expected=f"at most {MOST}",
            step="use ek.frames.QR, which has one element",
        )


def sign_choices(d: int) -> np.ndarray:
    """All choices of d signs, `[2^d, d]`; every second one, of those that end in plus, goes through all others."""
    return np.array(list(itertools.product((1.0, -1.0), repeat=d))).reshape(2**d, d)


def _turns_within(key: jax.Array, close: Array, d: int, dtype: Any) -> Array:
    """A rotation or reflection, drawn uniformly within each group of neighboring axes that are close, `[d, d]`."""
    group = jnp.concatenate([jnp.zeros(1, jnp.int32), jnp.cumsum(~close)])
    together = group[:, None] == group[None, :]
    q, r = jnp.linalg.qr(jnp.where(together, jax.random.normal(key, (d, d), dtype), 0))
    return q * jnp.where(jnp.diagonal(r) < 0, -1, 1)[None, :]
