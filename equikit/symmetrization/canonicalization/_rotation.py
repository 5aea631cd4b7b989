"""Learned canonicalization for rotations: vectors of an equivariant network, made orthonormal."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from equikit._errors import OptionError, ShapeError, explain
from equikit.diagrams import Term
from equikit.groups import SO, O
from equikit.symmetrization._action import Action
from equikit.symmetrization._element import Array, Element, rounding
from equikit.symmetrization._frame import (
    Frame,
    Framed,
    Info,
    Method,
    OnDegenerate,
    checked_choice,
    checked_on_degenerate,
    only_label,
    settled,
    standard_tolerance,
)
from equikit.symmetrization._modules import held_network
from equikit.symmetrization._stabilizer import has_mean
from equikit.symmetrization.canonicalization._gram_schmidt import gram_schmidt
from equikit.symmetrization.canonicalization._network import called, output_of, wide_inputs
from equikit.symmetrization.frames._alignments import alignments
from equikit.symmetrization.frames._vectors import vectors_in

VECTORS, SCALES = " vectors", " scales"
"""Under which names the output of the network joins the inputs; with the space in front no term can have them."""

SIGN = 64
"""How many roundings the part of a vector along the last axis has to be, to decide the sign of that axis."""


class RotationCanonicalization(Method, nnx.Module):
    r"""One rotation for every input, from the vectors of an equivariant network by Gram-Schmidt: O(d), SO(d), O(p, q).

    The network maps the input to vectors along the axis, d of them for O(d) and d - 1 for SO(d), where the last column
    is the cross product of the others. For points it returns vectors of every point, whose mean is taken here. The
    group element is the matrix with the orthonormal vectors in columns, and the result is exactly equivariant for all
    parameters. It costs one evaluation of the backbone. With an indefinite metric the squares of the vectors decide
    which are directions of time.

    Where vectors are dependent, a column is open. An equivariant network can give no others for collinear or planar
    points: what leaves the input as it is leaves its outputs too. Of two cases the first is exact. Either all vectors
    of the input lie in the span of those that are left (a point, a line, for O(3) a plane): then the backbone sees the
    same whatever fills the open columns, and one evaluation serves for the mean over all of them, which for output
    vectors is their part in that span. It is there for outputs with up to three axes of the label, under SO(d) with
    fewer axes than there are open columns. Or they do not, as for an octahedron, whose points' vectors cancel: such
    inputs are degenerate.

    Args:
        network: equivariant under the groups of all labels that the backbone knows nothing of, and pure. It is called
            with an array `[*batch, *axes, channels]`, a dictionary where there are several terms, and with `mask=`
            where there are masks; and returns `[*batch, *axes, vectors]`, with the axes of the first term that has the
            label once, or a dictionary with such an array under the labels of that term. With `channels=False` it sees
            one channel. `VectorNeurons` is such a network, as is `ek.nn.Network`. Whether it is equivariant,
            `ek.testing.assert_equivariant` tells.
        label: the axis on which the group acts; where it is not given, the only one bound to O or SO.
        terms: names of the input terms that the network sees; all by default.
        translation: whether the network returns one more vector, the last, by which the origin is moved from the
            centroid; for labels that `translate=` of `symmetrize` names.
        tolerance: pivots below this count as zero: how far a vector is from the span of those before it, relative to
            the mean length of the points' vectors. The error of the element is the rounding error over the pivot, and
            at most over the product of all pivots. By default the root of the rounding error; 64 times the rounding
            error for the last of d vectors, which only decides a sign, and for all at least 64 times what the pivots
            before have made of it. With an indefinite metric all pivots but that one are squared.
        on_degenerate: what to do with degenerate inputs. `"error"` raises, and in a compiled program gives
            not-a-numbers; `"flag"` goes on, and says so in `info`; `"sample"` fills the open columns at random, which
            is equivariant in distribution, and needs a key; `"weighted"` uses an exact average over alignments with the
            points themselves, for d = 2 and 3, as `ek.frames.PCA` does, at the same cost. In training on many inputs
            that are not symmetric, `"flag"` is of use: for O(d) the sign of the last column changes somewhere, and one
            input in thousands comes so near to it that rounding decides.

    Raises:
        OptionError: if the network or an option does not fit.
        GroupError: if the label has another group.
        ShapeError, DTypeError: if the network returns something else.
        FrameError: for a degenerate input, with `on_degenerate="error"`.

    Cost: one call of the network; one evaluation of the backbone, with `"weighted"` those of all alignments.

    Example:
        >>> import equikit as ek, equikit.testing
        >>> from equikit.symmetrization.canonicalization import RotationCanonicalization, VectorNeurons
        >>> network = VectorNeurons({"p x": 1}, 3, layers=1, p=ek.S, x=ek.O(3), rngs=nnx.Rngs(0))
        >>> how = RotationCanonicalization(network)
        >>> sym = ek.symmetrize(jnp.sin, "p x -> p x", p=ek.S, x=ek.O(3), translate="x", how=how)
        >>> equikit.testing.assert_equivariant(
        ...     jax.jit(sym), "p x -> p x", p=ek.S(5), x=ek.O(3), channels=1, key=jax.random.key(0), tolerance=1e-4)

    Source:
        Kaba et al., Equivariance with learned canonicalization functions, arXiv:2211.06489, section 3.1.
    """

    def __init__(
        self,
        network: Callable[..., Any],
        label: str | None = None,
        *,
        terms: tuple[str, ...] | None = None,
        translation: bool = False,
        tolerance: float | None = None,
        on_degenerate: OnDegenerate = "error",
    ) -> None:
        checked_on_degenerate(on_degenerate)
        checked_choice("translation", translation, (True, False))
        self.network = held_network(
            network, step="pass what takes the input of symmetrize and returns scores or vectors"
        )
        self.label = label
        self.terms = None if terms is None else tuple(terms)
        self.translation = translation
        self.tolerance = tolerance
        self.on_degenerate = on_degenerate

    def __str__(self) -> str:
        return f"RotationCanonicalization({type(self.network).__name__}(...), on_degenerate={self.on_degenerate!r})"

    @property
    def needs_key(self) -> bool:
        """Whether degenerate inputs are drawn at random."""
        return bool(self.on_degenerate == "sample")

    def acts_on(self, action: Action) -> frozenset[str]:
        """The label of the rotations."""
        return frozenset([rotated_label(self, action, self.label, self.on_degenerate, self.translation)])

    def reads(self, action: Action) -> frozenset[str]:
        """Nothing: the network is invariant under all other groups."""
        return frozenset()

    def frame(self, action: Action, x: Mapping[str, Array], masks: Mapping[str, Array], key: jax.Array | None) -> Frame:
        """One element for every input."""
        (label,) = self.acts_on(action)
        terms = action.named(self.terms)
        found = called(self.network, terms, wide_inputs(action, terms, x), masks)
        batch = action.batch(action.inputs[0], x[action.inputs[0].name])
        pooled = pooled_vectors(found, action, label, terms, batch, x, masks, self.translation)
        method = GramSchmidt(label, self.translation, self.tolerance, self.on_degenerate)
        return method.frame(action, {**x, **pooled}, masks, key)


def rotated_label(
    method: object, action: Action, label: str | None, on_degenerate: OnDegenerate, translation: bool
) -> str:
    """The label of the rotations, after checks that the options fit its group."""
    found = only_label(method, action, label, (O,))
    name = type(method).__name__
    if action.groups[found].form is not None and on_degenerate in ("sample", "weighted"):
        raise OptionError(
            explain(
                f"{name} has no average over what is left open under {action.groups[found]}",
                got=f"on_degenerate={on_degenerate!r}",
                expected='"error" or "flag": boosts have no uniform distribution',
                step='write on_degenerate="flag"',
            )
        )
    if translation and not any(action.translation(term) == found for term in action.inputs):
        raise OptionError(
            explain(
                f"{name} moves the origin of what holds no positions",
                got=f"translation=True, {action.signature}, translated terms {dict(action.translated)}",
                expected=f"positions along {found!r}",
                step=f'pass translate="{found}" to symmetrize, or leave translation out',
            )
        )
    return found


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
        cancelling = vectors.shape == (*batch, d, count)
        raise ShapeError(
            explain(
                f"the network does not return the vectors of {group}",
                got=f"shape {list(vectors.shape)}",
                expected=f"[{', '.join([*map(str, batch), *axes, f'{count} vectors'])}]"
                + (", the last of which moves the origin" if translation else ""),
                step="return those of every entry: their mean is taken here, where it is seen whether they cancel"
                if cancelling
                else "correct the channels that come out of the network",
            )
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

    def of_sample(
        self, action: Action, x: Mapping[str, Array], masks: Mapping[str, Array], key: jax.Array | None
    ) -> Frame:
        """The orthonormal matrix, and whether what it leaves open makes a difference."""
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
        element = Element({label: matrices}, shift, stabilizer={label: spanned} if orders else {})
        return Frame(element, settled(weights, info), info)


def _coordinates(points: Array, matrix: Array, metric: Any) -> Array:
    """The coordinates of points `[count, d]` in the basis, up to signs."""
    dual = points if metric is None else points * jnp.asarray(metric, points.dtype)
    return jnp.matmul(dual, matrix, precision=jax.lax.Precision.HIGHEST)
