"""The average over the whole group: exact for finite groups, by sampling for the others."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp

from equikit import _checks
from equikit.groups import Group, Z, checked_polygon
from equikit.symmetrization.engine._action import Action
from equikit.symmetrization.engine._element import Array, Element
from equikit.symmetrization.engine._frame import Frame
from equikit.symmetrization.engine._info import Info, settled
from equikit.symmetrization.engine._method import Framed, only_label, refuse_unsuited
from equikit.symmetrization.engine._sample import Sample
from equikit.symmetrization.finite._haar import draw_element, refuse_noncompact
from equikit.symmetrization.finite._listed import elements_on, size_of
from equikit.symmetrization.finite._polygon import turned_labels, turns
from equikit.symmetrization.permutations._numbers import all_finite


@dataclass(frozen=True)
class GroupAverage(Framed):
    r"""All elements of a finite group, or samples of a compact group, with equal weights.

    \(x \mapsto \frac{1}{|G|} \sum_g g f(g^{-1} x)\), exact for every input, degenerate or not, since the elements
    do not depend on it. Finite groups are S(n), A(n), Z(n), D(n), H(n) and `MatrixGroup`s with generators only, which
    generate the list. O, SO, U and Bistochastic have infinitely many elements: with `samples=`, elements are sampled
    from the Haar distribution, the result is equivariant in expectation, and its standard error is in `info`.
    Noncompact groups, such as O(1, 3), have no uniform distribution and no average.

    With `axes=`, the elements rotate images instead: `GroupAverage(axes=("i", "j"), group=ek.D(4))` averages over the
    quarter turns of the pixel grid and its reflections. Quarter and half turns are exact; for other angles, as in Z(8),
    pixels are interpolated, with zeros outside the image: the result is only approximately equivariant.

    Args:
        label: the axis on which the group acts; by default, the only one with a group.
        group: with `axes`, `Z(n)` for rotations by multiples of 360/n degrees, `D(n)` to include reflections.
        axes: the labels of the rows and columns of pixels, bound to `Fixed`.
        samples: the number of random elements for each input, in place of all; needs a key.
        max_size: the largest number of listed elements.

    Raises:
        GroupError: if the group is not compact, or is infinite without `samples=`.
        TooLargeError: if the group has more than `max_size` elements.
        OptionError: if `axes` and `group` do not go together.
        SignatureError: if `axes` are not the axes of images.
        ShapeError: if a non-square image is rotated by quarter turns.
        FrameError: for an input with NaN or infinity; in a compiled program its output is NaN.

    Cost: one evaluation of the backbone for each element.

    Example:
        >>> import equikit as ek
        >>> first = lambda x: x[..., 0] + x[..., 0] * x[..., 1]                       # knows nothing of the symmetry
        >>> sym = ek.symmetrize(first, "z -> ", z=ek.Z(4), channels=False, how=GroupAverage())
        >>> float(sym(jnp.array([1.0, 2.0, 3.0, 4.0]))), sym.frame(jnp.ones(4)).size    # 10/4 + (2 + 6 + 12 + 4)/4
        (8.5, 4)

    Source:
        Yarotsky, Universal approximations of invariant maps by neural networks, arXiv:1804.10306, section 2, on the
        average over a group.
    """

    label: str | None = None
    group: Group | None = None
    axes: tuple[str, str] | None = None
    samples: int | None = None
    max_size: int = 5040

    def __post_init__(self) -> None:
        super().__post_init__()
        _checks.together(axes=self.axes, group=self.group)
        _checks.at_most_one(label=self.label, axes=self.axes)
        if self.group is not None:
            checked_polygon(self.group)

    @property
    def needs_key(self) -> bool:
        """Whether elements are sampled at random."""
        return self.samples is not None

    def acts_on(self, action: Action) -> frozenset[str]:
        """The label of the group, or the two axes of images."""
        if self.axes is not None:
            assert isinstance(self.group, Z), "axes come with such a group"
            return turned_labels(action, self.group, self.axes)
        label = only_label(self, action, self.label, (Group,))
        group = action.groups[label]
        if not group.is_finite:
            refuse_noncompact(group)
            step = "write GroupAverage(samples=64), and call with key=; or use a frame, as ek.frames.PCA()"
            refuse_unsuited(self, action, label, self.samples is not None, "a finite group, or samples=", step)
        return frozenset([label])

    def reads(self, action: Action) -> frozenset[str]:
        """No labels: the elements do not depend on the input."""
        return frozenset()

    def draw(self, action: Action, sample: Sample, key: jax.Array, samples: int) -> Frame:
        """Sample elements independently, without listing all."""
        return replace(self, samples=samples).frame(action, sample, key)

    def of_sample(self, action: Action, sample: Sample, key: jax.Array | None) -> Frame:
        """Return all elements, or random samples."""
        x = sample.x
        real = jnp.promote_types(jnp.float32, jnp.zeros((), jnp.result_type(*x.values())).real.dtype)
        element = self._elements(action, x, real, key)
        count = jax.tree.leaves(element)[0].shape[0]
        refused, size = ~all_finite(list(x.values())), jnp.full((), count, jnp.float32)
        info = Info(size, refused, refused)
        weights = settled(jnp.full(count, 1 / count, real), info)
        return Frame(element, weights, info, drawn=self.samples is not None)

    def _elements(self, action: Action, x: Mapping[str, Array], real: Any, key: jax.Array | None) -> Element:
        if self.axes is not None and isinstance(self.group, Z):
            return self._some(turns(self.group, self.axes, None, real), key)
        (label,) = self.acts_on(action)
        group, n = action.groups[label], size_of(action, label, x)
        if self.samples is None or not group.has_haar:
            step = "draw some of them, samples=64, or allow more, max_size="
            return self._some(elements_on(action, label, n, real, self.max_size, step), key)
        assert key is not None, "needs_key asks for one"
        dtype = jnp.promote_types(real, jnp.complex64) if group.is_complex else real
        keys = jax.random.split(key, self.samples)
        return Element({label: jax.vmap(lambda key: draw_element(group, key, n, dtype))(keys)})

    def _some(self, elements: Element, key: jax.Array | None) -> Element:
        """Return all elements, or some random samples."""
        if self.samples is None:
            return elements
        assert key is not None, "needs_key asks for one"
        picks = jax.random.randint(key, (self.samples,), 0, len(jax.tree.leaves(elements)[0]))
        found: Element = jax.tree.map(lambda array: array[picks], elements)
        return found
