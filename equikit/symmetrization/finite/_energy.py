"""Canonical forms by evaluating all elements of a finite group with an encoder."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Unpack

import jax
import jax.numpy as jnp
from flax import nnx

from equikit import _checks
from equikit.groups import Fixed, Group, H, MatrixGroup, S, Z, checked_polygon
from equikit.symmetrization.engine._action import Action
from equikit.symmetrization.engine._element import Array, Element
from equikit.symmetrization.engine._info import Info
from equikit.symmetrization.engine._method import only_label, refuse_unsuited
from equikit.symmetrization.engine._more import required_entries
from equikit.symmetrization.engine._options import checked_axes, option
from equikit.symmetrization.finite._choice import copies, wide
from equikit.symmetrization.finite._listed import elements_on, listed, size_of
from equikit.symmetrization.finite._polygon import turned_labels, turns
from equikit.symmetrization.finite._score import Score, unit, without_absent
from equikit.symmetrization.finite._selection import Selecting, SelectionOptions, everywhere

MOST = 1024
"""The largest order of a group: the encoder evaluates one copy of an input for each element at once."""

STEP = "use a frame of ek.frames, or a smaller group"


def _may_be_finite(group: Group) -> bool:
    return group.is_finite or isinstance(group, MatrixGroup)


class EnergyCanonicalization(Selecting):
    r"""The element of a finite group with the lowest energy of the moved input: \(\mathrm{argmin}_g\, E(g^{-1} x)\).

    The encoder may be any function: it sees the same copies for x and for h x in another order, so that the result is
    equivariant up to rounding. There are two kinds:

    - an *energy*, a number for each input: the copy with the lowest energy is chosen;
    - *vectors*, with `features`: the copy with the vector closest to a learned reference r is chosen, by
      \(\cos(v(g^{-1} x), r)\). `separation_loss` keeps the vectors of the copies apart.

    Derivatives reach the encoder as in `ImageCanonicalization`, with the scores as activations.

    Args:
        encoder: a function of the backbone's inputs, with one batch axis, `[inputs, *axes, channels]`.
        group: `Z(n)` or `D(n)`, which rotates images, or acts on a label that is bound to it if the signature has no
            images; by default the finite group that is bound to `label`.
        label: the axis on which the group acts, for groups that do not rotate images; the only one by default.
        axes: for images, the labels of rows and columns.
        vectors: for images, a label for components of vectors, which rotate with them.
        features: the size of the encoder's vectors; if not given, it returns energies.
        rngs: random keys for the reference vector.
        selection, beta, tolerance, on_degenerate, invariant_to: as in `ImageCanonicalization`.

    Raises:
        SignatureError, GroupError, ShapeError: if the group does not act on the axes of the signature.
        TooLargeError: if it has more than 1024 elements.
        FrameError: for a degenerate input, with `on_degenerate="error"`.

    Cost: one evaluation of the encoder for each element of the group, all at once; one evaluation of the backbone.

    Example:
        >>> import equikit as ek
        >>> from equikit.symmetrization.canonicalization import EnergyCanonicalization
        >>> def energy(x):                                         # low where the signal begins with its largest number
        ...     return -x[:, 0, 0]
        >>> sym = ek.symmetrize(lambda x: jnp.cumsum(x, -2), "t -> t", t=ek.Z(4), how=EnergyCanonicalization(energy))
        >>> sym(jnp.array([1.0, 3.0, 0.0, 2.0])[:, None])[:, 0].tolist()
        [6.0, 3.0, 3.0, 5.0]

    Source:
        Kaba et al., arXiv:2211.06489, section 3.2; for vectors, Panigrahi and Mondal, Improved canonicalization for
        model agnostic equivariance, arXiv:2405.14089.
    """

    def __init__(
        self,
        encoder: Any,
        group: Group | None = None,
        *,
        label: str | None = None,
        axes: tuple[str, str] = ("i", "j"),
        vectors: str | None = None,
        features: int | None = None,
        rngs: nnx.Rngs | None = None,
        **options: Unpack[SelectionOptions],
    ) -> None:
        super().__init__(**options)
        _checks.at_most_one(group=group, label=label)
        self.score = Score(encoder, features, rngs)
        self.asked = self.group = None if group is None else checked_polygon(group)
        self.label = option("label", label)
        self.axes = checked_axes(axes)
        self.vectors = option("vectors", vectors)

    def acts_on(self, action: Action) -> frozenset[str]:
        """The label of the group, or the labels of the images."""
        if (images := self._of_images(action)) is not None:
            return turned_labels(action, images, self.axes, self.vectors)
        label = only_label(self, action, self.label, (S, H, MatrixGroup), _may_be_finite)
        group = action.groups[label]
        step = "use EnergyDescent for O(n) and SO(n)"
        refuse_unsuited(self, action, label, group.is_finite, "a finite group, such as Z, D, S, A or H", step)
        if group.n is not None:
            listed(group, group.n, MOST, STEP)  # raises an error if the group is too large
        return frozenset([label])

    def _of_images(self, action: Action) -> Z | None:
        """Return the group if it rotates images: if both axes are `Fixed`, or no label is bound to it."""
        bound = dict(action.signature.bindings)
        fixed = all(isinstance(bound.get(axis), Fixed) for axis in self.axes)
        return self.group if fixed or self.group not in action.groups.values() else None

    def _activations(
        self, action: Action, x: Mapping[str, Array], masks: Mapping[str, Array]
    ) -> tuple[Array, Element, dict[str, Array]]:
        """Return the scores of all copies of the inputs."""
        first, elements = action.inputs[0], self._elements(action, x)
        batch = action.batch(first, x[first.name])
        every = everywhere(elements, batch)
        moved, seen = copies(action, every, without_absent(action, x, masks), dict(masks))
        scores, vectors = self.score(action, moved, seen, (len(jax.tree.leaves(elements)[0]), *batch))
        more = {} if vectors is None else {"vectors": jnp.moveaxis(vectors, 0, -2)}
        return jnp.moveaxis(scores, 0, -1), elements, more

    def _elements(self, action: Action, x: Mapping[str, Array]) -> Element:
        """Return all elements of the group, `[elements, ...]`."""
        dtype = wide(jnp.zeros(0), x)
        if (images := self._of_images(action)) is not None:
            return turns(images, self.axes, self.vectors, dtype)
        (label,) = self.acts_on(action)
        return elements_on(action, label, size_of(action, label, x), dtype, MOST, STEP)

    def __repr__(self) -> str:
        return f"EnergyCanonicalization({type(self.score.encoder).__name__}, {self.group or self.label or 'by label'})"


def separation_loss(info: Info) -> jax.Array:
    r"""Return the similarity of the vectors of an input's copies: the mean of \(\cos(v_g, v_h)^2\) over \(g \neq h\).

    It is zero if all vectors are orthogonal, which takes at least one feature for each element of the group, and one if
    all vectors are equal, so that copies are indistinguishable. Add it to the loss in training.

    Args:
        info: what `sym(x, with_info=True)` returns with a result, for `EnergyCanonicalization` with `features`.

    Returns:
        The mean over all inputs, a number, summed over several methods; zero for a group of one element.

    Raises:
        OptionError: if the method has no vectors.

    Example:
        >>> import equikit as ek
        >>> from equikit.symmetrization.canonicalization import EnergyCanonicalization
        >>> how = EnergyCanonicalization(lambda x: x[..., 0], features=4, rngs=nnx.Rngs(0))  # copies are their vectors
        >>> sym = ek.symmetrize(jnp.sin, "t -> t", t=ek.Z(4), how=how)
        >>> y, info = sym(jnp.array([[1.0], [0.0], [0.0], [0.0]]), with_info=True)
        >>> float(separation_loss(info))
        0.0

    Source:
        Panigrahi and Mondal, arXiv:2405.14089, with inner products that are not squared.
    """
    how = "EnergyCanonicalization(encoder, features=16, rngs=nnx.Rngs(0))"
    found = required_entries(info, "vectors", how=how)
    loss: jax.Array = sum(map(_overlap, found[1:]), start=_overlap(found[0]))
    return loss


def _overlap(vectors: Array) -> jax.Array:
    """Return the mean squared cosine between distinct vectors `[..., elements, features]`."""
    vectors = unit(vectors)
    count = vectors.shape[-2]
    cosines = jnp.einsum("...gd,...hd->...gh", vectors, vectors, precision=jax.lax.Precision.HIGHEST)
    others = jnp.sum(jnp.where(jnp.eye(count, dtype=bool), 0, cosines**2), axis=(-2, -1))
    loss: jax.Array = jnp.mean(others) / max(count * (count - 1), 1)
    return loss
