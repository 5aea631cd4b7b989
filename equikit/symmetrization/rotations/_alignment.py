"""Continuous frames of rotations: alignments with all points, weighted by how well the points determine them."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import jax
import jax.numpy as jnp

from equikit.numerics import rounding
from equikit.symmetrization.engine._action import Action
from equikit.symmetrization.engine._element import Element, detached
from equikit.symmetrization.engine._frame import Frame
from equikit.symmetrization.engine._info import Info, most_doubt, settled
from equikit.symmetrization.engine._method import Framed
from equikit.symmetrization.engine._sample import CERTAIN, Sample
from equikit.symmetrization.engine._stabilizer import has_mean
from equikit.symmetrization.rotations._aligned import all_alignments, check_dimension, drawn_alignments
from equikit.symmetrization.rotations._vectors import (
    checked_vectors,
    definite_label,
    points_in,
    read_labels,
    refuse_determinants,
    refuse_tensors,
    weights_in,
)


@dataclass(frozen=True)
class Alignment(Framed):
    r"""A continuous weighted frame of SO(2), O(2), SO(3) and O(3): alignments with each vector, or with each pair.

    For d = 2, the first axis points at \(x_i\), with weight \(|x_i| / \sum_k |x_k|\). For d = 3, the second points
    along the component \(h_{ij}\) of \(x_j\) orthogonal to it, with weight
    \(\frac{|x_i|}{\sum_k |x_k|} \frac{|h_{ij}|}{\sum_k |h_{ik}|}\). Vectors without direction have zero weight, so that
    the average is continuous where PCA and QR jump: if principal axes change order, or vectors become parallel or
    vanish. Symmetric inputs are not degenerate.

    For d = 3, outputs with k axes of the label are also averaged over k + 1 rotations about the first axis, so that
    they stay continuous and exact as all vectors approach a line. The only input at which outputs with an axis of the
    label may jump is zero, where all vectors vanish; there they are exact, as an average over all rotations.

    Args:
        label: the axis on which the group acts; by default, the only one bound to O or SO.
        terms: names of the input terms whose vectors are used; all by default.
        samples: the number of alignments to sample by their weights, in place of all; needs a key. Derivatives then
            include the elements, but not their probabilities.
        on_degenerate: what to do with degenerate inputs, `"error"` or `"flag"`. An input is degenerate if all vectors
            vanish and the mean is not known for outputs of this order; if unused terms have vectors that the frame does
            not determine; if the rounding of the input is too coarse for alignments (`info.doubt`); or if the input is
            so close to a line, but not on it, that derivatives amplify rounding errors too much (float32: aspects from
            1:5,000).
        differentiable: whether derivatives include elements and weights. If not, they make no input degenerate.

    Raises:
        GroupError: if the label has another group.
        OptionError: if d is neither 2 nor 3, or a term has the label twice.
        TooLargeError: if there are more than 2^14 alignments.

    Cost: one evaluation of the backbone for each alignment: for N vectors, N alignments for d = 2 and (k + 1) N (N - 1)
    for d = 3; twice these numbers for O(d).

    Example:
        >>> import equikit as ek
        >>> sym = ek.symmetrize(jnp.sin, "p x -> p x", p=ek.S, x=ek.SO(3), how=Alignment())
        >>> ek.testing.assert_equivariant(sym, "p x -> p x", p=ek.S(4), x=ek.SO(3), channels=1, key=jax.random.key(0))

    Source:
        Dym, Lawrence and Siegel, Equivariant frames and the impossibility of continuous canonicalization,
        arXiv:2402.16077; the weights that stay continuous on lines, and the rotated copies, are ours.
    """

    label: str | None = None
    terms: tuple[str, ...] | None = None
    samples: int | None = None
    on_degenerate: Literal["error", "flag"] = "error"
    differentiable: bool = True
    policies: ClassVar[tuple[str, ...]] = ("error", "flag")
    takes_weights: ClassVar[bool] = True
    elsewhere: ClassVar[str] = "use ek.frames.PCA, or ek.frames.QR"
    instead: ClassVar[str] = "draw some of them, Alignment(samples=64), or name fewer points by terms="

    @property
    def needs_key(self) -> bool:
        """Whether alignments are sampled at random."""
        return self.samples is not None

    def acts_on(self, action: Action) -> frozenset[str]:
        """The label of the rotations."""
        label = definite_label(self, action, self.label)
        size = action.groups[label].n
        if size is not None:
            check_dimension(size, self.elsewhere)
        refuse_tensors(self, action, label, self.terms)
        refuse_determinants(self, action, label)
        return frozenset([label])

    def reads(self, action: Action) -> frozenset[str]:
        """The labels whose groups do more than permute the vectors."""
        (label,) = self.acts_on(action)
        others = read_labels(action, label, self.terms)
        return frozenset(name for name in others if action.groups[name].elements_are != "permutations")

    def draw(self, action: Action, sample: Sample, key: jax.Array, samples: int) -> Frame:
        """Sample alignments independently, without listing all."""
        return replace(self, samples=samples).frame(action, sample, key)

    def of_sample(self, action: Action, sample: Sample, key: jax.Array | None) -> Frame:
        """Return the alignments of one sample."""
        (label,) = self.acts_on(action)
        group, special = action.groups[label], action.groups[label].special
        points = points_in(action, label, self.terms, sample)
        d, dtype = points.vectors.shape[-1], points.vectors.dtype
        check_dimension(d, self.elsewhere)
        importance = weights_in(action, label, self.terms, sample.x, sample.masks)
        orders = action.output_order(label)
        if self.samples is None:
            found = all_alignments(points, special, orders + 1, importance, self.instead)
        else:
            assert key is not None, "needs_key asks for one"
            found = drawn_alignments(key, points, special, orders + 1, self.samples)
        vanish, doubt = found.span == 0, found.doubt()
        read = checked_vectors(action, label, self.terms)
        degenerate = ~points.finite | (vanish & ~has_mean(group, orders, jnp.asarray(d)))
        came = sample.coarsest(read)
        slopes = CERTAIN * rounding(came) / math.sqrt(12) * found.slope
        degenerate = degenerate | (jnp.maximum(doubt, slopes if self.differentiable else 0) > most_doubt(came))
        whole = checked_vectors(action, label, None) == read
        if not whole:
            degenerate, vanish = degenerate | (found.span < d - 1), jnp.zeros((), bool)
        size = jnp.sum(found.weights > 0).astype(jnp.float32)
        refused = degenerate & (self.on_degenerate == "error")
        info = Info(size, degenerate, refused, rank=found.span, doubt=doubt)
        # Derivatives across a line, or at the origin, are averaged over the rotations that fix the points.
        on_line = whole & (found.span == d - 2) & has_mean(group, orders, jnp.asarray(2)) & (d > 2)
        spanned = jnp.where(vanish, 0, jnp.where(on_line, jnp.eye(d, dtype=dtype)[0], 1))
        stabilizer = {label: jnp.broadcast_to(jnp.diag(spanned), found.matrices.shape)}
        element, weights = Element({label: found.matrices}, stabilizer=stabilizer), found.weights
        if not self.differentiable:
            element, weights = detached(element), jax.lax.stop_gradient(weights)
        drawn = self.samples is not None
        tail, turns = Element({label: found.tail}), {label: found.turns}
        return Frame(element, settled(weights, info), info, drawn, tail, turns)


@dataclass(frozen=True)
class InPlace(Alignment):
    """The alignments that replace another frame if that is degenerate."""

    elsewhere: ClassVar[str] = 'use on_degenerate="sample", or "flag"'
    instead: ClassVar[str] = 'use on_degenerate="sample", or name fewer points by terms='
