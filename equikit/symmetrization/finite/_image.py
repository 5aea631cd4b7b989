"""Canonical forms of images: a network estimates the rotation of each image, and the backbone sees upright images."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Unpack

import jax.numpy as jnp

from equikit import _checks
from equikit.groups import Z, checked_polygon
from equikit.signatures import Term
from equikit.symmetrization.engine._action import Action
from equikit.symmetrization.engine._element import Array, Element
from equikit.symmetrization.engine._options import checked_axes, option
from equikit.symmetrization.engine.backbones._modules import held_network
from equikit.symmetrization.finite._choice import wide
from equikit.symmetrization.finite._polygon import images, turned_labels, turns
from equikit.symmetrization.finite._score import without_absent
from equikit.symmetrization.finite._selection import Selecting, SelectionOptions


class ImageCanonicalization(Selecting):
    r"""The rotation or reflection of an image with the largest activation of a network, for C_n or D_n on a grid.

    \(y = g f(g^{-1} x)\) with \(g = \mathrm{argmax}_g\, a_g(x)\). It is equivariant if the activations are,
    \(a_g(h x) = a_{h^{-1} g}(x)\), for any backbone f. For n = 1, 2 and 4, equivariance is exact: elements exchange
    pixels, so that f sees the same image. For other n, pixels are interpolated and corners are lost: an image of
    28 × 28 pixels with strokes of four pixels, rotated by 45 degrees and back, changes by 7 % of its norm (4 % for
    strokes of five pixels, 13 % for two), and so does the image that f sees, for a perfect network.

    With `selection="straight-through"`, the network gets derivatives: the element has the largest activation, and the
    derivatives of the matrix \(\sum_g s_g g\) with \(s = \mathrm{softmax}(\beta a)\), with its transpose as inverse.

    Args:
        network: a function of images `[images, i, j, channels]` to activations `[images, elements]`, such as
            `nn.GroupConvolution`; further axes of an image come before its channels. Elements are rotations by
            multiples of 2π/n, then rotations after a reflection of the columns.
        group: `Z(n)` or `D(n)`, as rotations and reflections of the pixel plane.
        axes: the labels of rows and columns, bound to `Fixed`.
        vectors: a label bound to O(2) or SO(2) for components (row, column) of vectors, which also rotate.
        term: the name of the input term that the network sees; by default the first image.
        selection: `"straight-through"`, `"argmax"` without derivatives, or `"gumbel"`, which samples with probability
            \(\mathrm{softmax}(\beta a)\) in training, and needs a key. After `eval()` of the module, all use argmax.
        beta: the inverse temperature of the softmax.
        tolerance: activations this close to the largest are tied, relative to their spread, or to their size if it is
            larger; by default 64 rounding units.
        on_degenerate: what to do with ties, as in symmetric images, unless all choices give f the same image and no
            output is rotated: `"error"`; `"flag"`, which takes the first; `"sample"`, which takes one at random, and
            needs a key; `"weighted"`, which averages over all tied elements, exactly. The backbone is then evaluated
            for each element of the group if an input of the batch has ties, but always under a `jax.vmap` of the
            caller, which computes both branches of a condition.
        invariant_to: other labels whose groups do not change the activations.

    Raises:
        SignatureError, GroupError: if the signature does not have the axes, or the group does not rotate them.
        ShapeError: if non-square images are rotated by quarter turns, or the network's output has the wrong shape.
        FrameError: for a degenerate input, with `on_degenerate="error"`.

    Cost: one evaluation of the network, and of the backbone.

    Example:
        >>> import equikit as ek, jax
        >>> from flax import nnx
        >>> from equikit.symmetrization.canonicalization import ImageCanonicalization
        >>> network = ek.nn.GroupConvolution(1, ek.Z(4), rngs=nnx.Rngs(0))
        >>> sym = ek.symmetrize(
        ...     lambda x: x[..., 0, 0, :], "i j -> ", i=ek.Fixed(9), j=ek.Fixed(9),   # the corner of the image
        ...     how=ImageCanonicalization(network, ek.Z(4)))
        >>> x = jax.random.normal(jax.random.key(0), (9, 9, 1))
        >>> bool(sym(x) == sym(jnp.rot90(x)))
        True

    Source:
        Kaba et al., Equivariance with learned canonicalization functions, arXiv:2211.06489, sections 3 and 4, except
        that symmetric inputs, such as blank images, are handled too.
    """

    def __init__(
        self,
        network: Any,
        group: Z,
        axes: tuple[str, str] = ("i", "j"),
        *,
        vectors: str | None = None,
        term: str | None = None,
        **options: Unpack[SelectionOptions],
    ) -> None:
        super().__init__(**options)
        self.network = held_network(network, step="pass what you would call with an array")
        self.group = checked_polygon(group)
        self.axes = checked_axes(axes)
        self.vectors = option("vectors", vectors)
        self.term = option("term", term)

    def acts_on(self, action: Action) -> frozenset[str]:
        """The labels of rows and columns, and of the vectors that rotate with them."""
        found = turned_labels(action, self.group, self.axes, self.vectors)
        self._seen(action)
        return found

    def _seen(self, action: Action) -> Term:
        """Return the term that the network sees."""
        fitting = images(action, self.axes)
        if self.term is not None:
            _checks.choice("term", self.term, [term.name for term in fitting])
        return next(term for term in fitting if self.term in (None, term.name))

    def _activations(
        self, action: Action, x: Mapping[str, Array], masks: Mapping[str, Array]
    ) -> tuple[Array, Element, dict[str, Array]]:
        """Return the network's activations of all elements."""
        term = self._seen(action)
        array = without_absent(action, x, masks)[term.name]
        batch = action.batch(term, array)
        places = [len(batch) + term.labels.index(label) for label in self.axes]
        array = jnp.moveaxis(array, places, (len(batch), len(batch) + 1))
        seen = array.reshape(math.prod(batch), *array.shape[len(batch) :], *[1] * (not action.channels))
        count = len(self.group.plane_matrices())
        step = f"return one activation for each of the {count} elements of {self.group}, as GroupConvolution does"
        found = _checks.array(
            f"activations of images {list(seen.shape)}", self.network(seen), (len(seen), count), step=step
        )
        values = found.reshape(*batch, count)
        return values, turns(self.group, self.axes, self.vectors, wide(values, x)), {}

    def __repr__(self) -> str:
        return f"ImageCanonicalization({type(self.network).__name__}, {self.group})"
