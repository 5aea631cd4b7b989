"""Parts of a point cloud: many small parts at first, which merge if their points vote for the same position."""

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

    The first partition is by position: a mixture of Gaussian clusters of equal width around points that are far from
    each other. Then, for each voting function, every point votes for a position, and the mixture is fitted to the
    votes: parts whose points vote for the same position merge. Votes are computed in the frames of the current parts,
    by a function from `piecewise`. A function that is equivariant to motions of small parts is also equivariant to
    motions of larger parts that contain them, so that only the partition can be wrong: it is right if no small part
    crosses a border, and the votes of different parts stay apart.

    Weights are invariant to motions of the whole cloud and to the order of the points, unless several points are the
    farthest from all others up to rounding.

    Args:
        parts: the number of parts of the first partition, including empty parts.
        widths: the width of the clusters, for the first partition and after each vote: the standard deviation of the
            positions in a cluster.
        merge: the distance below which clusters merge, one number for all widths or one for each; by default the width.
        votes: functions or modules, called as `vote(x, parts=weights)`, that return positions of the shape of x.
        steps: the number of fits of the clusters, before and after merging.
        threshold: the fraction of all points below which a cluster is dropped.
        points: the label of the points, whose mask is used.
        term: the name of the input with the positions, if there are several inputs.
        channels: whether this input has an axis of channels, whose mean is the position.

    Raises:
        OptionError: if the number of widths is not the number of votes plus one, or a width is not positive.

    Cost: O(p parts + parts³) operations for each width and each step.

    Example:
        >>> import equikit as ek
        >>> from equikit.symmetrization import FineToCoarse
        >>> x = jnp.array([[0.0, 0], [0.1, 0], [9, 0], [9, 0.1]])
        >>> weights = FineToCoarse(4, [0.5], channels=False)(x)
        >>> bool((weights[0] == weights[1]).all()), bool(jnp.sum(weights[0] * weights[2]) < 1e-6)
        (True, True)

    Source:
        Atzmon et al., Approximately piecewise E(3) equivariant point networks, arXiv:2402.08529, section 3.3; here
        derivatives include the steps of the mixture, and its start is not random.
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
            mask: for each label, booleans `[*batch, n]`, true for present entries.

        Returns:
            `[*batch, p, parts]`, which sum to one over the parts.

        Raises:
            ShapeError: if there are no points and axes of space, or votes have another shape.
            DTypeError: if positions are not real floating-point numbers.
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
