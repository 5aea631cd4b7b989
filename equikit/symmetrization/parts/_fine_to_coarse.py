"""Parts of a point cloud: many small ones first, then fewer, when the points of several vote for one position."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from equikit import _checks
from equikit._array_checks import mapping
from equikit._errors import OptionError
from equikit.symmetrization.engine._element import Array
from equikit.symmetrization.engine._options import option
from equikit.symmetrization.engine.backbones._modules import checked_callable, mask_keyword
from equikit.symmetrization.parts._mixture import clustered


class FineToCoarse(nnx.Module):
    r"""Weights of points in parts that start small and are merged: the argument `parts` of `piecewise`.

    The first partition is by place: a mixture of Gaussian clusters of one width around points that are far from each
    other. Then, as often as there are functions that vote, every point names a place, and the mixture is fitted to
    these: parts whose points vote for one place become one. A vote is made in the frames of the parts that there are
    so far, by what `piecewise` returns. A function that is equivariant to motions of small parts is so to those of
    larger ones that hold them whole, so that what the motions of the true parts can spoil is the partition alone: it is
    right where none of the small parts reaches over a border, and the votes of different parts stay apart.

    Weights do not change with motions of the whole, nor with the order of the points, but where several points are the
    farthest from all others to rounding.

    Args:
        parts: the number of parts of the first partition, some of which may remain empty.
        widths: the width of the clusters, for the first partition and after each vote: the standard deviation of the
            places that belong to one.
        merge: the distance below which two clusters are one, a number for each width or one for all; by default the
            width.
        votes: functions or modules that are called as `vote(x, parts=weights)`, and return places of the shape of x.
        steps: how often clusters are fitted, before and after merging.
        threshold: the part of all points below which a cluster is dropped.
        points: the label of the points, whose mask counts.
        term: the name of the input with the places, where there are several.
        channels: whether it has an axis of channels, whose mean is the place.

    Raises:
        OptionError: if the widths are not one more than the votes, or not positive.

    Cost: for each width O(p parts + parts³) operations for each of the steps.

    Example:
        >>> import equikit as ek
        >>> from equikit.symmetrization import FineToCoarse
        >>> x = jnp.array([[0.0, 0], [0.1, 0], [9, 0], [9, 0.1]])
        >>> weights = FineToCoarse(4, [0.5], channels=False)(x)
        >>> bool((weights[0] == weights[1]).all()), bool(jnp.sum(weights[0] * weights[2]) < 1e-6)
        (True, True)

    Source:
        Atzmon et al., Approximately piecewise E(3) equivariant point networks, arXiv:2402.08529, section 3.3; here
        derivatives go through the steps of the mixture, and where it starts is not drawn at random.
    """

    def __init__(
        self,
        parts: int,
        widths: Sequence[float],
        *,
        merge: float | Sequence[float] | None = None,
        votes: Sequence[Callable[..., Any]] = (),
        steps: int = 4,
        threshold: float = 1e-4,
        points: str = "p",
        term: str | None = None,
        channels: bool = True,
    ) -> None:
        self.parts = option("parts", parts)
        self.widths = _checks.numbers("widths", widths, above=0)
        distances = [merge] * len(self.widths) if isinstance(merge, int | float) else merge
        self.merge = self.widths if distances is None else _checks.numbers("merge", distances, above=0)
        given = votes if isinstance(votes, list | tuple) else [votes]
        step = "write votes=[piecewise(...)]"
        self.votes = nnx.List(
            checked_callable("a vote", vote, "functions of x and parts=", step, keywords=("parts",)) for vote in given
        )
        if len(self.widths) != len(self.votes) + 1 or len(self.merge) != len(self.widths):
            raise OptionError(
                "the widths are not one more than the votes",
                got=f"{len(self.widths)} widths, {len(self.merge)} distances, {len(self.votes)} votes",
                expected="one width for the first partition, and one after each vote",
                step="write widths=[0.5, 0.3] for one vote",
            )
        self.steps = _checks.count("steps", steps, least=1, example=4)
        self.threshold = _checks.number("threshold", threshold, least=0, below=1, example=1e-4, traced=False)
        self.points = _checks.text("points", points, example="p")
        self.term = option("term", term)
        self.channels = _checks.flag("channels", channels)

    def __call__(self, x: Any, *, mask: Mapping[str, Array] | None = None) -> jax.Array:
        """Return the weights.

        Args:
            x: the input, `[*batch, p, d, channels]`, or a dictionary that holds it.
            mask: for a label, booleans `[*batch, n]`: which entries are there.

        Returns:
            `[*batch, p, parts]`, which sum to one over the parts.

        Raises:
            ShapeError: if there are no points and axes of space, or votes have another shape.
            DTypeError: if places are not real numbers in floating point.
        """
        there = mapping("mask", {} if mask is None else mask).get(self.points)
        places = self._places(x)
        weights = self._clustered(0, places, there)
        for number, vote in enumerate(self.votes, 1):
            votes = self._places(vote(x, parts=weights, **mask_keyword("a vote", vote, mask or {}, "parts")))
            _checks.array("votes", votes, places.shape, step='vote with piecewise(..., "p x -> p x", translate="x")')
            weights = self._clustered(number, votes, there)
        return weights

    def _clustered(self, number: int, places: Array, there: Array | None) -> jax.Array:
        options = self.parts, self.widths[number], self.merge[number], self.steps, self.threshold
        weights: jax.Array = _weights(places, there, options)
        return weights

    def _places(self, x: Any) -> Array:
        """Return the positions of the points, `[*batch, p, d]`, in float32 or wider."""
        array = x
        if isinstance(x, Mapping):
            name = self.term if self.term is not None or len(x) != 1 else next(iter(x))
            _checks.choice("term", name, sorted(map(str, x)))
            array = x[name]
        axes = ("*batch", "p", "d", *["channels"] * self.channels)
        array = jnp.asarray(_checks.array(self.term or "x", array, axes, step="pass the positions of points in space"))
        array = array.astype(jnp.promote_types(array.dtype, jnp.float32))
        return jnp.mean(array, axis=-1) if self.channels else array


@functools.partial(jax.jit, static_argnums=2)
def _weights(places: Array, there: Array | None, options: tuple[int, float, float, int, float]) -> Array:
    """Return the weights of all samples, `[*batch, p, parts]`, by one compiled program."""
    parts, width, distance, steps, threshold = options

    def one(places: Array, there: Array) -> Array:
        return clustered(places, there, parts=parts, width=width, distance=distance, steps=steps, threshold=threshold)

    if not places.shape[-2]:
        return jnp.zeros((*places.shape[:-1], parts), places.dtype)
    there = jnp.ones(places.shape[:-1], bool) if there is None else there
    for _ in range(places.ndim - 2):
        one = jax.vmap(one)
    weights: Array = one(places, there)
    return weights
