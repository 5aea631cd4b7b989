"""Minimal frames of rotations, Lorentz transformations and unitary matrices: one element, by Gram-Schmidt."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from equikit.groups import Group, O, U
from equikit.numerics import rounding
from equikit.symmetrization.engine._action import Action
from equikit.symmetrization.engine._element import Array, Element, detached
from equikit.symmetrization.engine._frame import Frame
from equikit.symmetrization.engine._info import Info, most_doubt, settled
from equikit.symmetrization.engine._method import Framed, only_label
from equikit.symmetrization.engine._sample import CERTAIN, Sample
from equikit.symmetrization.rotations._gram_schmidt import Basis, gram_schmidt
from equikit.symmetrization.rotations._light_like import FREE, NULL, PARTNER, SPANNED
from equikit.symmetrization.rotations._vectors import checked_vectors, points_in, read_labels, reads_all, refuse_tensors


@dataclass(frozen=True)
class QR(Framed):
    r"""A minimal frame: one element, whose columns are the orthonormal basis of the first independent vectors.

    Gram-Schmidt with the metric η maps the vectors of the input in their order, \(x_1, x_2, \dots\), to columns with
    \(\langle u_i, u_j \rangle = \pm\delta_{ij}\), columns of positive square first, and \(g = (u_1 \dots u_d)\) is in
    the group. The triangular factor \(g^{-1} x\) depends only on the products \(\langle x_i, x_j \rangle\) (for SO,
    also on the orientation). Groups are O(d), SO(d), O(p, q), SO(p, q) and U(d), with the Hermitian product. The order
    of the vectors matters: methods for labels that permute them must come before, such as `GroupAverage`, or `Sort` by
    numbers that are not vectors.

    If the input does not span the space, the last columns are open: elements that rotate only these fix the input. All
    such elements share one evaluation, and outputs are averaged over them in closed form. The average is exact for
    outputs with one axis of the label, whose components across the span vanish, and for outputs with up to three axes
    for O, O(p, q) and U; for SO with m open columns, with fewer than m axes. A displacement across the span has no
    first-order effect. At a kink (an energy that depends on the distance of an atom from the plane of all others), the
    derivative is the mean of the one-sided derivatives.

    With an indefinite metric, the next vector is the first whose square is nearly the largest, so that errors do not
    grow. All comparisons are between invariants, so that boosted observers make the same decisions; if a comparison is
    closer than its error, the input is degenerate. Light-like vectors are supported: two of them are added. If the
    product vanishes on a direction of the span, as for a single light-like vector, the element is not unique, but
    outputs without an axis of the label are exact, and outputs with one axis are projected onto the span, and exactly
    equivariant: at the canonical form, the Euclidean projection replaces an average over a group that has none. If
    several vectors have components along this direction, such as two parallel light-like vectors, outputs depend on
    their ratio, whose derivative is not equivariant: such inputs are degenerate, except with `differentiable=False`.
    More than one such direction, which O(p, q) has for p, q > 1, is also degenerate.

    Args:
        label: the axis on which the group acts; by default, the only one bound to O, SO or U.
        terms: names of the input terms whose vectors are used; all by default.
        tolerance: vectors count as independent above this relative pivot: the length of the remainder over the longest
            length, or for an indefinite metric its square over the largest root mean square of the products of one
            vector. Inputs are degenerate if `info.gap`, the smallest pivot (for an indefinite metric over Euclidean
            lengths, which boosts increase), does not exceed it. By default `info.doubt` decides, which follows from the
            errors of the input: all remainders above rounding errors count, but with a definite metric, vectors with a
            remainder of at least 1/256 come first (more in dtypes of few bits).
        on_degenerate: what to do if rounding decides what spans the space or which vector comes next, if the element is
            too imprecise, or if the mean is not known for outputs of this order: `"error"` raises, and gives NaN in a
            compiled program; `"flag"` continues, and reports the input in `info`.
        differentiable: whether derivatives include the frame. If false, derivatives make no input degenerate.

    Raises:
        GroupError: if the label has another group.
        OptionError: if a term has the label twice: both axes are rotated, so that it does not consist of vectors.
        FrameError: for a degenerate input, with `on_degenerate="error"`.

    Cost: O(N d²) for the frame of N vectors, in double words; one evaluation of the backbone.

    Example:
        >>> import equikit as ek
        >>> sym = ek.symmetrize(jnp.sin, "p x -> p x", p=ek.Fixed(4), x=ek.Lorentz, how=QR())
        >>> ek.testing.assert_equivariant(
        ...     sym, "p x -> p x", p=ek.Fixed(4), x=ek.Lorentz, channels=1, samples=1, key=jax.random.key(0),
        ...     tolerance=1e-3)

    Source:
        Lin et al., Equivariance via minimal frame averaging, arXiv:2406.07598, sections 4.2 and 4.3, except light-like
        directions and open columns.
    """

    label: str | None = None
    terms: tuple[str, ...] | None = None
    tolerance: float | None = None
    on_degenerate: Literal["error", "flag"] = "error"
    differentiable: bool = True
    policies: ClassVar[tuple[str, ...]] = ("error", "flag")

    def acts_on(self, action: Action) -> frozenset[str]:
        """The label of the matrices."""
        label = only_label(self, action, self.label, (O, U))
        refuse_tensors(self, action, label, self.terms)
        return frozenset([label])

    def reads(self, action: Action) -> frozenset[str]:
        """All other labels of the terms with the vectors, since their groups change the order of vectors."""
        (label,) = self.acts_on(action)
        return read_labels(action, label, self.terms)

    def of_sample(self, action: Action, sample: Sample, key: jax.Array | None) -> Frame:
        """Return the orthonormal basis of one sample, and its projection onto the span."""
        (label,) = self.acts_on(action)
        group = action.groups[label]
        read = checked_vectors(action, label, self.terms)
        points, dtype = points_in(action, label, self.terms, sample), sample.coarsest(read)
        d = points.vectors.shape[-1]
        metric = np.ones(d, np.int64) if group.form is None else group.form.signs()
        most = most_doubt(dtype)
        enough = enough_for(dtype) if self.tolerance is None else self.tolerance
        basis = gram_schmidt(points, metric, enough, self.tolerance)
        placed = placed_basis(basis, group, d)
        free, projection = placed.free, placed.projection
        whole = jnp.sum(basis.signs > 0) == int(np.sum(metric > 0))
        orders = action.output_order(label)
        odd = any(label in action.signature.odd(term) for term in action.signature.outputs)
        light = jnp.sum(basis.kinds == NULL)
        # The partners of two light-like directions are not unique, even if no column is open.
        of_light = ((free == 0) | ((orders < 2) & ~(basis.parallel & self.differentiable))) & (light < 2)
        exact = jnp.where(light > 0, of_light & ((free == 0) | (not odd)), action.has_mean(label, free))
        doubt = doubt_of(basis)
        imprecise = doubt > most if self.tolerance is None else basis.gap <= self.tolerance
        degenerate = ~(exact & whole & points.finite) | basis.doubtful | imprecise
        if not reads_all(action, label, read):  # other terms may have components across the span
            degenerate = degenerate | (free > 0)
            projection = jnp.eye(d, dtype=projection.dtype)
        known = CERTAIN * jnp.max(jnp.tril(basis.turns, -1), axis=0, initial=0) <= most
        info = Info(
            jnp.ones((), jnp.float32),
            degenerate,
            degenerate & (self.on_degenerate == "error"),
            gap=basis.gap,
            rank=jnp.sum(((basis.kinds == SPANNED) | (basis.kinds == NULL)) & known),
            doubt=doubt,
        )
        element = Element({label: placed.matrix[None]}, stabilizer={label: projection[None]})
        element = element if self.differentiable else detached(element)
        tail, turns = Element({label: placed.tail[None]}), {label: placed.turns[None]}
        return Frame(element, settled(jnp.ones(1, projection.dtype), info), info, tail=tail, turns=turns)


def enough_for(dtype: Any) -> float:
    """Return the fraction of the longest length that is enough to be chosen first; equal in float32 and float64.

    It keeps the doubt at half of the value that makes an input degenerate, also in dtypes of few bits.
    """
    return max(2.0**-8, CERTAIN * rounding(dtype) / most_doubt(dtype) / 2)


def doubt_of(basis: Basis) -> Array:
    """Bound the error of a basis, as the largest error of its entries; a quarter is added since it is a maximum."""
    found = 1.25 * CERTAIN * jnp.max(basis.turns, initial=0) + jnp.max(basis.stored, initial=0)
    return jnp.where(basis.doubtful, jnp.inf, found)


class Placed(NamedTuple):
    """The matrix with columns of positive square first, and its low words; the projection onto the span at the
    canonical form; the number of open columns, and which they are; and the errors of the other columns, `[d, d]`."""

    matrix: Array
    tail: Array
    projection: Array
    free: Array
    open: Array
    turns: Array


def placed_basis(basis: Basis, group: Group, d: int) -> Placed:
    """Return a basis as a matrix in the group, of determinant one for SO."""
    order = jnp.argsort(basis.signs < 0, stable=True)
    kinds, matrix, tail = basis.kinds[order], basis.vectors[order].T, basis.tail[order].T
    turns = basis.turns[order][:, order]
    free = jnp.sum(kinds == FREE)
    if group.special and d:
        # Flip the sign of the last vector, which is an open column if there is one.
        turn = jnp.where(jnp.linalg.det(jax.lax.stop_gradient(matrix)) < 0, -1, 1)
        turn = jnp.where(order == d - 1, turn, 1)
        matrix, tail = matrix * turn, tail * turn
        free = jnp.where((free == 1) & ~jnp.any(kinds == NULL), 0, free)
    real = basis.signs.dtype
    light = ((kinds == NULL) | (kinds == PARTNER)).astype(real)
    projection = jnp.diag((kinds == SPANNED).astype(real)) + jnp.outer(light, light) / 2
    projection = jnp.where(free == 0, jnp.eye(d, dtype=real), projection)
    kept = (kinds != FREE) | (free == 0)  # components along the other columns are projected away
    return Placed(matrix, tail, projection, free, ~kept, jnp.where(kept[:, None] & kept[None, :], turns, 0))
