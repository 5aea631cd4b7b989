"""The rotation determined by the vectors of a network: their means, orthonormalized."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from equikit._errors import ShapeError
from equikit.numerics import power_of_two, rounding
from equikit.signatures import Term
from equikit.symmetrization.engine._action import Action
from equikit.symmetrization.engine._element import Array, Element
from equikit.symmetrization.engine._frame import Frame, with_fallback
from equikit.symmetrization.engine._info import Info, most_doubt, settled, standard_tolerance
from equikit.symmetrization.engine._method import Framed, OnDegenerate
from equikit.symmetrization.engine._sample import Sample
from equikit.symmetrization.engine.backbones._network import output_of
from equikit.symmetrization.rotations._alignment import InPlace
from equikit.symmetrization.rotations._gram_schmidt import gram_schmidt
from equikit.symmetrization.rotations._light_like import NOTHING, NULL
from equikit.symmetrization.rotations._qr import doubt_of, enough_for, placed_basis
from equikit.symmetrization.rotations._vectors import Points, checked_vectors, reads_all, vectors_in

VECTORS, SCALES = " vectors", " scales"
"""The names of the network's output among the inputs; the leading space makes them different from all terms."""

USUAL, MOST = 2, 8
"""The error of a network's output in rounding units: decisions assume the first number, and the doubt the second. An
input is degenerate if one rounding unit makes the element imprecise."""

_EXACT = jax.lax.Precision.HIGHEST


def vector_term(label: str, terms: tuple[Term, ...]) -> Term:
    """Return the term whose axes the vectors of the network have."""
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
    """Return the mean `[*batch, d, vectors]` of a network's vectors, and the mean of their lengths.

    Raises:
        ShapeError: if the vectors do not have the axes of their term, or there are too few or too many.
    """
    group, term = action.groups[label], vector_term(label, terms)
    vectors = output_of(found, (label, " ".join(term.labels)), f"vectors along {label!r}")
    sizes = {
        name: size
        for other in action.inputs
        for name, size in zip(other.labels, x[other.name].shape[len(batch) :], strict=False)
    }
    d: Any = sizes.get(label, group.n)
    count = max(d - group.special, 0) + translation
    wanted = (*batch, *(sizes.get(name, d) for name in term.labels), count)
    if vectors.shape != wanted:
        axes = [f"{name}={size}" for name, size in zip(term.labels, wanted[len(batch) : -1], strict=True)]
        canceling = vectors.shape == (*batch, d, count)
        raise ShapeError(
            f"the network does not return the vectors of {group}",
            got=f"shape {list(vectors.shape)}",
            expected=f"[{', '.join([*map(str, batch), *axes, f'{count} vectors'])}]"
            + ("; the last one moves the origin" if translation else ""),
            step="return the vectors of every entry; their mean is computed here, which detects vectors that cancel"
            if canceling
            else "correct the number of output channels of the network",
        )
    mean, scales = _means(
        vectors, {name: masks[name] for name in term.labels if name in masks}, label, term, len(batch)
    )
    return {VECTORS: mean, SCALES: scales}


@functools.partial(jax.jit, static_argnums=(2, 3, 4))
def _means(vectors: Array, masks: Mapping[str, Array], label: str, term: Term, batch: int) -> tuple[Array, Array]:
    """Return the mean of the vectors of all entries, and the mean of their lengths."""
    place = batch + term.labels.index(label)
    others = tuple(i for i in range(batch, vectors.ndim - 1) if i != place)
    there = jnp.ones((1,) * vectors.ndim, bool)
    for axis, name in enumerate(term.labels):
        if name in masks:
            index = [i for i in range(batch, vectors.ndim) if i != batch + axis]
            there = there & jnp.expand_dims(masks[name], index)
    vectors = jnp.where(there, vectors, 0)
    largest = jax.lax.stop_gradient(jnp.max(jnp.abs(vectors), axis=tuple(range(batch, vectors.ndim)), initial=0))
    largest = jnp.expand_dims(jnp.where(largest > 0, largest, 1), range(batch, vectors.ndim))
    scaled = jax.lax.stop_gradient(vectors) / largest  # so that squares do not overflow
    lengths = largest * jnp.sqrt(jnp.sum(scaled * scaled, axis=place, keepdims=True))
    ones = jnp.broadcast_to(there, lengths.shape).astype(vectors.dtype)
    number = jnp.maximum(jnp.sum(ones, axis=others), 1)
    scales = jnp.sum(lengths, axis=others) / number
    return jnp.sum(vectors, axis=others) / number, scales[..., 0, :]


@dataclass(frozen=True)
class GramSchmidt(Framed):
    """The element determined by the vectors of a network, which are among the inputs of a sample."""

    label: str
    translation: bool
    tolerance: float | None
    on_degenerate: OnDegenerate

    def acts_on(self, action: Action) -> frozenset[str]:
        """The label of the rotations."""
        return frozenset([self.label])

    def frame(self, action: Action, sample: Sample, key: jax.Array | None) -> Frame:
        """Return the matrices of all samples, and alignments with the points for degenerate samples."""
        found = super().frame(action, sample, key)
        if self.on_degenerate != "weighted":
            return found

        def others() -> Frame:
            frame = InPlace(self.label).frame(action, sample, None)
            size = frame.weights.shape
            shift = {name: jnp.broadcast_to(a[0], (*size, a.shape[-1])) for name, a in found.elements.shift.items()}
            tail = replace(frame.tail, shift=jax.tree.map(jnp.zeros_like, shift))
            return replace(frame, elements=replace(frame.elements, shift=shift), tail=tail)

        return with_fallback(found, found.info.degenerate.astype(found.weights.dtype), others)

    def of_sample(self, action: Action, sample: Sample, key: jax.Array | None) -> Frame:
        """Return the orthonormal matrix, and whether its undetermined part matters."""
        x, masks = sample.x, sample.masks
        label, group = self.label, action.groups[self.label]
        vectors, scales, moved = x[VECTORS], x[SCALES], None
        if self.translation:
            vectors, scales, moved = vectors[:, :-1], scales[:-1], vectors[:, -1]
        special, dtype = group.special, vectors.dtype
        # For an indefinite metric, all vectors share one scale: boosts change lengths, and products are compared.
        common = scales if group.form is None else power_of_two(jnp.max(scales, initial=0))
        rows = (vectors / jnp.where(common > 0, common, 1)).T
        finite = jnp.all(jnp.isfinite(rows))
        rows = jnp.where(finite, rows, 0).astype(jnp.promote_types(dtype, jnp.float32))
        d, most = rows.shape[1], most_doubt(dtype)
        lengths = (scales / jnp.where(common > 0, common, 1)).astype(rows.dtype)
        error = jnp.where(rows == 0, 0, USUAL * rounding(dtype) / np.sqrt(12) * lengths[:, None])
        metric = np.ones(d, np.int64) if group.form is None else group.form.signs()
        basis = gram_schmidt(
            Points(rows, jnp.zeros_like(rows), error.astype(rows.dtype), jnp.ones(()), finite),
            metric,
            enough_for(dtype) if self.tolerance is None else self.tolerance,
            self.tolerance,
            size=1.0,
        )
        placed = placed_basis(basis, group, d)
        matrix, tail = placed.matrix, placed.tail
        if self.on_degenerate == "sample" and key is not None:
            turned = _turned(key, placed.open, special, rows.dtype)
            matrix, tail = jnp.matmul(matrix, turned, precision=_EXACT), jnp.matmul(tail, turned, precision=_EXACT)
        points = vectors_in(action, label, None, x, masks).astype(rows.dtype)
        size = jax.lax.stop_gradient(jnp.max(jnp.abs(points), initial=0))
        scaled = points / jnp.where(size > 0, size, 1)
        outside = jnp.where(placed.open, jnp.abs(jnp.matmul(scaled * metric, matrix, precision=_EXACT)), 0)
        # Open columns have the errors of the other columns, and so have components along them.
        noise = NOTHING * (jnp.max(basis.turns, initial=0) + rounding(dtype))
        within = jnp.max(outside, initial=0) <= jnp.minimum(standard_tolerance(self.tolerance, dtype), noise)
        within = within & reads_all(action, label, checked_vectors(action, label, None))
        averaged = within & action.has_mean(label, placed.free)
        settled_all = placed.free == 0
        doubt = doubt_of(basis) * (MOST / USUAL)
        imprecise = doubt > MOST * most if self.tolerance is None else basis.gap <= self.tolerance
        whole = (jnp.sum(basis.signs > 0) == int(np.sum(metric > 0))) & ~jnp.any(basis.kinds == NULL)
        finite = finite & jnp.all(jnp.isfinite(points))
        degenerate = ~((settled_all | averaged) & whole & finite) | basis.doubtful | imprecise
        spanned = jnp.where(averaged, placed.projection, jnp.eye(d, dtype=rows.dtype))[None]
        refused = degenerate & (self.on_degenerate in ("error", "weighted"))
        info = Info(
            jnp.ones((), jnp.float32),
            degenerate,
            refused,
            gap=jnp.where(finite, basis.gap, jnp.nan),
            rank=jnp.sum(~placed.open),
            doubt=doubt,
            more={"matrix": matrix},
        )
        shift = {} if moved is None else {label: moved[None]}
        element = Element({label: matrix[None]}, shift, stabilizer={label: spanned})
        tails = Element({label: tail[None]}, {name: jnp.zeros_like(array) for name, array in shift.items()})
        turns = {label: placed.turns[None] * (MOST / USUAL)}
        return Frame(element, settled(jnp.ones(1, rows.dtype), info), info, tail=tails, turns=turns)


def _turned(key: jax.Array, which: Array, special: bool, dtype: Any) -> Array:
    """Return a matrix that rotates some columns among themselves, sampled uniformly, `[d, d]`."""
    d = len(which)
    q, r = jnp.linalg.qr(jnp.where(which[:, None] & which[None, :], jax.random.normal(key, (d, d), dtype), jnp.eye(d)))
    q = q * jnp.where(jnp.diagonal(r) < 0, -1, 1)
    if special:
        last = jnp.arange(d) == d - 1 - jnp.argmax(which[::-1])
        q = q * jnp.where(last & (jnp.linalg.det(q) < 0), -1, 1)
    return q.astype(dtype)
