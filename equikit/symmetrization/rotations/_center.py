"""The centroid, which moves with translations."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import jax
import jax.numpy as jnp

from equikit import _checks
from equikit._masks import present
from equikit.numerics import Double, double, power_of_two, scaled, total, two_sum, with_derivative
from equikit.signatures import Term
from equikit.symmetrization.engine._action import Action
from equikit.symmetrization.engine._element import Array, Element
from equikit.symmetrization.engine._frame import Frame
from equikit.symmetrization.engine._info import Info, most_doubt
from equikit.symmetrization.engine._method import Framed
from equikit.symmetrization.engine._sample import CERTAIN, FLAT, Sample
from equikit.symmetrization.rotations._vectors import refuse_untranslated


@dataclass(frozen=True)
class Center(Framed):
    r"""The translation that moves the centroid to the origin: one element, for the group of translations.

    `symmetrize(..., translate="x")` puts it first. The centroid includes all positions in the input: all points and
    channels of the translated terms, except absent points, with weights in `piecewise`. Without points it is zero. It
    is computed in double words, so that a point cloud keeps its shape. `info.doubt` is the error of positions over
    their distance from the centroid: far from the origin it is large, and the input is marked as degenerate, but not
    refused.

    Args:
        label: the label along which entries are positions.

    Cost: two sums over the input.

    Example:
        >>> from equikit.symmetrization import symmetrize
        >>> from equikit import S, O
        >>> spread = symmetrize(
        ...     lambda x: x**2, "p x -> p x", p=S, x=O(2), translate="x", channels=False, how=[])
        >>> spread(jnp.array([[0.0, 1.0], [2.0, 1.0]])).tolist()     # the squares of ±1, with the centroid put back
        [[2.0, 1.0], [2.0, 1.0]]

    Source:
        Puny et al., Frame averaging, arXiv:2110.03336, section 3.1.
    """

    label: str
    takes_weights: ClassVar[bool] = True

    def __post_init__(self) -> None:
        _checks.text("label", self.label)

    def acts_on(self, action: Action) -> frozenset[str]:
        """No labels: positions are shifted, without a linear action."""
        refuse_untranslated(action, self.label)
        return frozenset()

    def reads(self, action: Action) -> frozenset[str]:
        """No labels: a centroid rotates with the points, and does not depend on their order."""
        return frozenset()

    def of_sample(self, action: Action, sample: Sample, key: jax.Array | None) -> Frame:
        """Return the centroid of one sample, in double words."""
        terms = [term for term in action.inputs if action.translation(term) == self.label]
        arrays = [self._positions(term, sample.x[term.name]) for term in terms]
        weights = [
            self._positions(term, jnp.broadcast_to(present(term.labels, sample.masks, array.ndim), array.shape))
            for term, array in ((term, sample.x[term.name]) for term in terms)
        ]
        rows, weight = jnp.concatenate(arrays), jnp.concatenate(weights)[:, :1]
        weight = weight.astype(jnp.zeros((), rows.dtype).real.dtype)
        kept = jnp.where(weight != 0, rows, 0)
        count = jnp.sum(weight, axis=0)
        count = jnp.where(count > 0, count, 1)
        exact = _mean(kept, weight, count)
        plain = jnp.sum(kept * weight, axis=0) / count
        centroid = with_derivative(exact.high, plain)
        far = jnp.max(jnp.abs(jax.lax.stop_gradient(jnp.where(weight != 0, kept - centroid, 0))), initial=0)
        errors = [self._positions(term, sample.error(term.name)) for term in terms]
        error = jnp.max(jnp.where(weight != 0, jnp.concatenate(errors), 0), initial=0)
        apart = far > FLAT * error  # or all positions are equal up to rounding
        doubt = jnp.where(apart, CERTAIN * error / jnp.where(apart, far, 1), 0)
        no, one = jnp.zeros((), bool), jnp.ones((), jnp.float32)
        info = Info(one, doubt > most_doubt(sample.coarsest(terms)), no, doubt=doubt)
        shift, tail = ({self.label: part[None]} for part in (centroid, exact.low))
        return Frame(Element(shift=shift), jnp.ones(1, weight.dtype), info, tail=Element(shift=tail))

    def _positions(self, term: Term, array: Array) -> Array:
        """Return the positions of a term in rows, `[count, d]`."""
        rows = jnp.moveaxis(array, term.labels.index(self.label), -1)
        rows = rows.reshape(math.prod(rows.shape[:-1]), rows.shape[-1])
        return rows if rows.dtype == bool else rows.astype(jnp.promote_types(rows.dtype, jnp.float32))


def _mean(rows: Array, weight: Array, heavy: Array) -> Double:
    """Return the weighted mean of rows, `[count, d]`; `heavy` is the sum of the weights."""
    if jnp.iscomplexobj(rows):
        return Double(*map(jax.lax.complex, _mean(rows.real, weight, heavy), _mean(rows.imag, weight, heavy)))
    scale = power_of_two(jnp.max(jnp.abs(rows), initial=0))
    high = total(double(weight * (rows / scale)), axis=0).high / heavy
    left = jax.tree.map(lambda part: weight * part, two_sum(rows / scale, -high[None]))
    return scaled(two_sum(high, total(left, axis=0).high / heavy), scale)
