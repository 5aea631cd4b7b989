"""Learned canonicalization for rotations: the orthonormalized vectors of an equivariant network."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
from flax import nnx

from equikit import _checks
from equikit.groups import O
from equikit.symmetrization.engine._action import Action
from equikit.symmetrization.engine._frame import Frame
from equikit.symmetrization.engine._method import Method, OnDegenerate, only_label, refuse_unsuited
from equikit.symmetrization.engine._options import option
from equikit.symmetrization.engine._sample import Sample
from equikit.symmetrization.engine.backbones._modules import held_network
from equikit.symmetrization.engine.backbones._network import called, wide_inputs
from equikit.symmetrization.rotations._pooled_vectors import GramSchmidt, pooled_vectors
from equikit.symmetrization.rotations._vectors import refuse_determinants, refuse_untranslated


class RotationCanonicalization(Method, nnx.Module):
    r"""One rotation per input, from the vectors of an equivariant network by Gram-Schmidt: O(d), SO(d), O(p, q).

    The network maps the input to vectors along the axis, d of them for O(d) and d - 1 for SO(d), where the last column
    is the cross product of the others. For points it returns vectors of every point, which are averaged here. The group
    element is the matrix with the orthonormal vectors in columns, and the result is exactly equivariant for all
    parameters. With an indefinite metric, the squares of the vectors decide which directions are time-like.

    If vectors are dependent, a column is open. For collinear or planar points, an equivariant network cannot return
    independent vectors, since elements that fix the input fix its outputs too. If all vectors of the input lie in the
    span of the other columns (a point, a line, for O(3) a plane), the backbone sees the same input for all choices of
    the open columns, and one evaluation gives the exact mean over all of them: for output vectors, their component in
    this span. This covers outputs with up to three axes of the label, under SO(d) with fewer axes than open columns. A
    displacement across the span has no first-order effect: at a kink, the derivative is the mean of the one-sided
    derivatives. Otherwise, as for an octahedron, where vectors of points cancel, inputs are degenerate.

    Args:
        network: a pure function, equivariant under the groups of all labels. It is called with an array
            `[*batch, *axes, channels]`, or a dictionary if there are several terms, and with `mask=` if there are
            masks. It returns `[*batch, *axes, vectors]`, with the axes of the first term that has the label once, or a
            dictionary with such an array under the labels of that term. With `channels=False` it sees one channel.
            `VectorNeurons` and `ek.nn.Network` are such networks. `ek.testing.assert_equivariant` tests equivariance.
        label: the axis on which the group acts; by default, the only one bound to O or SO.
        terms: names of the input terms that the network sees; all by default.
        translation: whether the network returns one more vector, the last, which shifts the origin from the centroid;
            for labels named by `translate=` in `symmetrize`.
        tolerance: pivots below this count as zero: the distance of a vector from the span of the vectors before it,
            relative to the mean length of the points' vectors; with an indefinite metric its square, over the largest
            root mean square of the products of one vector. By default `info.doubt` decides, which allows for eight
            rounding errors of the vectors: an input is degenerate if one makes the element imprecise.
        on_degenerate: what to do with degenerate inputs. `"error"` raises, and gives NaN in a compiled program;
            `"flag"` continues, and reports them in `info`; `"sample"` fills the open columns at random, which is
            equivariant in distribution, and needs a key; `"weighted"` uses an exact average over alignments with the
            points themselves, for d = 2 and 3, as `ek.frames.PCA` does, at the same cost. Use `"flag"` for training on
            many inputs that are not symmetric: for O(d), the sign of the last column changes somewhere, and rounding
            decides it for one input in thousands.

    Raises:
        OptionError: if the network or an option does not fit.
        GroupError: if the label has another group.
        ShapeError, DTypeError: if the network's output has the wrong form.
        FrameError: for a degenerate input, with `on_degenerate="error"`.

    Cost: one call of the network; one evaluation of the backbone, and with `"weighted"` one for every alignment if an
    input of the batch is degenerate.

    Example:
        >>> import equikit as ek, equikit.testing, jax, jax.numpy as jnp
        >>> from equikit.symmetrization.canonicalization import RotationCanonicalization, VectorNeurons
        >>> network = VectorNeurons({"p x": 1}, 2, layers=1, p=ek.S, x=ek.O(2), rngs=nnx.Rngs(0))
        >>> how = RotationCanonicalization(network)
        >>> sym = ek.symmetrize(jnp.sin, "p x -> p x", p=ek.S, x=ek.O(2), translate="x", how=how)
        >>> equikit.testing.assert_equivariant(
        ...     jax.jit(sym), "p x -> p x", p=ek.S(5), x=ek.O(2), channels=1, key=jax.random.key(0), tolerance=1e-4)

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
        self.network = held_network(
            network, step="pass what takes the input of symmetrize and returns scores or vectors"
        )
        self.label = option("label", label)
        self.terms = option("terms", terms)
        self.translation = option("translation", translation)
        self.tolerance = option("tolerance", tolerance)
        self.on_degenerate = _checks.choice("on_degenerate", on_degenerate, self.policies)

    def __str__(self) -> str:
        return f"RotationCanonicalization({type(self.network).__name__}(...), on_degenerate={self.on_degenerate!r})"

    @property
    def needs_key(self) -> bool:
        """Whether degenerate inputs are sampled at random."""
        return bool(self.on_degenerate == "sample")

    def acts_on(self, action: Action) -> frozenset[str]:
        """The label of the rotations."""
        return frozenset([rotated_label(self, action, self.label, self.on_degenerate, self.translation)])

    def reads(self, action: Action) -> frozenset[str]:
        """No labels: the network is invariant under all other groups."""
        return frozenset()

    def frame(self, action: Action, sample: Sample, key: jax.Array | None) -> Frame:
        """Return one element for every input."""
        x, masks = sample.x, sample.masks
        (label,) = self.acts_on(action)
        terms = action.named(self.terms)
        found = called(self.network, terms, wide_inputs(action, terms, x), masks)
        batch = action.batch(action.inputs[0], x[action.inputs[0].name])
        pooled = pooled_vectors(found, action, label, terms, batch, x, masks, self.translation)
        method = GramSchmidt(label, self.translation, self.tolerance, self.on_degenerate)
        return method.frame(action, sample.with_arrays(pooled), key)


def rotated_label(
    method: object, action: Action, label: str | None, on_degenerate: OnDegenerate, translation: bool
) -> str:
    """Return the label of the rotations, after a check that the options suit its group."""
    found = only_label(method, action, label, (O,))
    averaged = on_degenerate in ("sample", "weighted")  # boosts have no uniform distribution
    suits = action.groups[found].form is None or not averaged
    expected = f'O(d) or SO(d) with on_degenerate="{on_degenerate}"'
    refuse_unsuited(method, action, found, suits, expected, 'write on_degenerate="flag"')
    if on_degenerate == "weighted":
        refuse_determinants(method, action, found)
    if translation:
        refuse_untranslated(action, found)
    return found
