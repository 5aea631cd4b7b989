"""The rotation that the vectors of a network determine: their means, made orthonormal."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from equikit._errors import ShapeError
from equikit.diagrams import Term
from equikit.groups import SO
from equikit.symmetrization._action import Action
from equikit.symmetrization._element import Array, Element, rounding
from equikit.symmetrization._frame import (
    Frame,
    Framed,
    Info,
    OnDegenerate,
    settled,
    standard_tolerance,
)
from equikit.symmetrization._sample import Sample
from equikit.symmetrization._stabilizer import has_mean
from equikit.symmetrization.canonicalization._gram_schmidt import gram_schmidt
from equikit.symmetrization.canonicalization._network import output_of
from equikit.symmetrization.frames._alignments import alignments
from equikit.symmetrization.frames._vectors import vectors_in

VECTORS, SCALES = " vectors", " scales"
"""Under which names the output of the network joins the inputs; with the space in front no term can have them."""

SIGN = 64
"""How many roundings the part of a vector along the last axis has to be, to decide the sign of that axis."""


def vector_term(label: str, terms: tuple[Term, ...]) -> Term:
    """The term whose axes the vectors of the network have."""
    return next((term for term in terms if term.labels.count(label) == 1), Term(label, (label,)))


def pooled_vectors(
    found: Any,
    action: Action,
    label: str,
    terms: tuple[Term, ...],
    batch: tuple[int, ...],
    x: Mapping[str, Array],
    masks: Mapping[str, Array],
    translation: bool,
) -> dict[str, Array]:
    """The mean `[*batch, d, vectors]` of the vectors that a network returns, and the mean of their lengths.

    Raises:
        ShapeError: if they do not have the axes of their term, or are too few or too many.
    """
    group, term = action.groups[label], vector_term(label, terms)
    vectors = output_of(found, (label, " ".join(term.labels)), f"vectors along {label!r}")
    sizes = {
        name: size
        for other in action.inputs
        for name, size in zip(other.labels, x[other.name].shape[len(batch) :], strict=False)
    }
    d: Any = sizes.get(label, group.n)
    count = max(d - isinstance(group, SO), 0) + translation
    wanted = (*batch, *(sizes.get(name, d) for name in term.labels), count)
    if vectors.shape != wanted:
        axes = [f"{name}={size}" for name, size in zip(term.labels, wanted[len(batch) : -1], strict=True)]
        canceling = vectors.shape == (*batch, d, count)
        raise ShapeError(
            f"the network does not return the vectors of {group}",
            got=f"shape {list(vectors.shape)}",
            expected=f"[{', '.join([*map(str, batch), *axes, f'{count} vectors'])}]"
            + (", the last of which moves the origin" if translation else ""),
            step="return those of every entry: their mean is taken here, where it is seen whether they cancel"
            if canceling
            else "correct the channels that come out of the network",
        )
    place = len(batch) + term.labels.index(label)
    others = tuple(i for i in range(len(batch), vectors.ndim - 1) if i != place)
    there = jnp.ones((1,) * vectors.ndim, bool)
    for axis, name in enumerate(term.labels):
        if name in masks:
            index = [i for i in range(len(batch), vectors.ndim) if i != len(batch) + axis]
            there = there & jnp.expand_dims(masks[name], index)
    vectors = jnp.where(there, vectors, 0)
    largest = jax.lax.stop_gradient(jnp.max(jnp.abs(vectors), axis=tuple(range(len(batch), vectors.ndim)), initial=0))
    largest = jnp.expand_dims(jnp.where(largest > 0, largest, 1), range(len(batch), vectors.ndim))
    scaled = jax.lax.stop_gradient(vectors) / largest  # squares have to fit in the dtype
    lengths = largest * jnp.sqrt(jnp.sum(scaled * scaled, axis=place, keepdims=True))
    ones = jnp.broadcast_to(there, lengths.shape).astype(vectors.dtype)
    number = jnp.maximum(jnp.sum(ones, axis=others), 1)
    scales = jnp.sum(lengths, axis=others) / number
    return {VECTORS: jnp.sum(vectors, axis=others) / number, SCALES: scales[..., 0, :]}


@dataclass(frozen=True)
class GramSchmidt(Framed):
    """The element that the vectors of a network determine, for one sample; they are among its inputs."""

    label: str
    translation: bool
    tolerance: float | None
    on_degenerate: OnDegenerate

    def acts_on(self, action: Action) -> frozenset[str]:
        """The label of the rotations."""
        return frozenset([self.label])

    def of_sample(self, action: Action, sample: Sample, key: jax.Array | None) -> Frame:
        """The orthonormal matrix, and whether what it leaves open makes a difference."""
        x, masks = sample.x, sample.masks
        label, group = self.label, action.groups[self.label]
        vectors, scales, moved = x[VECTORS], x[SCALES], None
        if self.translation:
            vectors, scales, moved = vectors[:, :-1], scales[:-1], vectors[:, -1]
        d, dtype, special = vectors.shape[0], vectors.dtype, isinstance(group, SO)
        metric = None if group.form is None else group.form.signs()
        tolerance = standard_tolerance(self.tolerance, dtype)
        filling = jnp.eye(d, dtype=dtype)
        if self.on_degenerate == "sample" and key is not None:
            filling = jax.random.normal(key, (d, d), dtype)
        basis = gram_schmidt(
            vectors,
            scales,
            filling,
            metric=metric,
            special=special,
            tolerance=tolerance,
            sign_tolerance=SIGN * rounding(dtype) if self.tolerance is None else self.tolerance,
            error=SIGN * rounding(dtype),
        )
        points = vectors_in(action, label, None, x, masks).astype(dtype)
        size = jax.lax.stop_gradient(jnp.max(jnp.abs(points), initial=0))
        scaled = points / jnp.where(size > 0, size, 1)
        outside = jnp.where(basis.settled, 0, jnp.abs(_coordinates(scaled, basis.matrix, metric)))
        # The columns are known to the rounding error times its growth, and so is what lies beside them.
        growth = jnp.maximum(basis.growth, 1)
        within = jnp.max(outside, initial=0) <= jnp.minimum(tolerance, 32 * d * rounding(dtype) * growth)
        orders = action.output_order(label)
        averaged = within & basis.clear & has_mean(group, orders, d - jnp.sum(basis.settled))
        finite = jnp.all(jnp.isfinite(points)) & jnp.all(jnp.isfinite(vectors))
        degenerate = ~((jnp.all(basis.settled) | averaged) & basis.valid & finite)
        matrices, weights = basis.matrix[None], jnp.ones(1, dtype)
        spanned = jnp.diag((basis.settled | ~averaged).astype(dtype))[None]
        if self.on_degenerate == "weighted":
            others, chances, exact = alignments(scaled, special)
            use = degenerate & exact & finite
            matrices = jnp.concatenate([matrices, others])
            weights = jnp.concatenate([jnp.where(use, 0, weights), jnp.where(use, chances, 0)])
            spanned = jnp.concatenate([spanned, jnp.broadcast_to(jnp.eye(d, dtype=dtype), others.shape)])
            degenerate = degenerate & ~use
        refused = degenerate & (self.on_degenerate in ("error", "weighted"))
        info = Info(
            jnp.sum(weights > 0).astype(jnp.float32),
            degenerate,
            refused,
            gap=jnp.min(basis.pivots, initial=jnp.inf),
            rank=jnp.sum(basis.settled),
            more={"matrix": basis.matrix},
        )
        shift = {} if moved is None else {label: jnp.broadcast_to(moved, (len(matrices), d))}
        element = Element({label: matrices}, shift, stabilizer={label: spanned})
        return Frame(element, settled(weights, info), info)


def _coordinates(points: Array, matrix: Array, metric: Any) -> Array:
    """The coordinates of points `[count, d]` in the basis, up to signs."""
    dual = points if metric is None else points * jnp.asarray(metric, points.dtype)
    return jnp.matmul(dual, matrix, precision=jax.lax.Precision.HIGHEST)
