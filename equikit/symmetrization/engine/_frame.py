"""Frames, which are weighted group elements for every input: sampling, products and fallbacks."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import jax
import jax.numpy as jnp

from equikit.symmetrization.engine._element import Array, Element, compose, is_permutation
from equikit.symmetrization.engine._info import Info, of_both, of_products, of_some, settled

_DATA = ("elements", "weights", "info", "tail", "turns", "fallback")


@functools.partial(jax.tree_util.register_dataclass, data_fields=_DATA, meta_fields=("drawn",))
@dataclass(frozen=True)
class Frame:
    r"""A probability measure \(\sum_g w_g\,\delta_g\) on the group for every input: elements g and weights \(w_g\).

    Attributes:
        elements: group elements, `[elements, *batch, ...]`.
        weights: `[elements, *batch]`, which sum to one over the elements.
        info: gap, rank, ties and size, and whether the input is degenerate, `[*batch]` each.
        drawn: whether the elements are independent samples, so that the average has a standard error.
        tail: low words of matrices and shifts, for later methods.
        turns: for each label, standard deviations of the errors of the entries of \(g^{-1} \delta g\),
            `[elements, *batch, n, n]`.
        fallback: more elements, whose weights are zero for most inputs. The backbone is evaluated on them only if some
            weight in the batch is nonzero.
    """

    elements: Element
    weights: Array
    info: Info
    drawn: bool = False
    tail: Element = field(default_factory=Element)
    turns: dict[str, Array] = field(default_factory=dict)
    fallback: Frame | None = None

    @property
    def size(self) -> int:
        """The number of listed elements, including elements of weight zero."""
        return int(self.weights.shape[0])


def in_one_list(frame: Frame) -> Frame:
    """Return one list of the elements of a frame, then the elements of its fallback."""
    one, two = frame, frame.fallback
    if two is None:
        return frame
    kept = [_with_stabilizer(one.elements, two.elements), _with_stabilizer(two.elements, one.elements)]
    parts = [(elements, part.weights, part.tail, part.turns) for elements, part in zip(kept, (one, two), strict=True)]
    elements, weights, tail, turns = jax.tree.map(lambda *arrays: jnp.concatenate(arrays), *parts)
    return Frame(elements, weights, one.info, one.drawn, tail, turns)


def _with_stabilizer(elements: Element, others: Element) -> Element:
    """Add a trivial stabilizer for every label for which other elements have a stabilizer."""
    found = dict(elements.stabilizer)
    for label in others.stabilizer.keys() - found.keys():
        linear, kept = elements.linear[label], others.stabilizer[label]
        batch = linear.shape[: linear.ndim - (1 if is_permutation(linear) else 2)]
        entry = kept.shape[len(batch) :]
        one = jnp.arange(math.prod(entry)).reshape(entry) if is_permutation(kept) else jnp.eye(entry[-1])
        found[label] = jnp.broadcast_to(one.astype(kept.dtype), (*batch, *entry))
    return replace(elements, stabilizer=found)


def with_fallback(frame: Frame, share: Array, fallback: Callable[[], Frame]) -> Frame:
    """Return a frame that shares its weight with a fallback, which is computed only if an input of the batch needs it.

    Args:
        frame: the frame.
        share: the weight of the fallback, `[*batch]`, between zero and one.
        fallback: a function that computes the fallback. It always runs under a `vmap` of the caller.
    """
    other = only_if(jnp.any(share > 0), fallback)
    its_own = of_some(other.info, share > 0)
    info = of_both(of_some(frame.info, share < 1), its_own)
    mine = jnp.where(share < 1, (1 - share) * frame.weights, 0)
    weights = jnp.where(share > 0, share * other.weights, 0)
    other = replace(other, weights=weights, info=its_own)
    return replace(frame, weights=settled(mine, info), info=info, fallback=other)


def only_if(needed: Array, compute: Callable[[], Any]) -> Any:
    """Return the result of a function if it is needed, otherwise zeros."""

    def zeros() -> Any:
        return jax.tree.map(lambda of: jnp.zeros(of.shape, of.dtype), jax.eval_shape(compute))

    if isinstance(needed, jax.core.Tracer):
        return jax.lax.cond(needed, compute, zeros)
    return compute() if needed else zeros()


def drawn(frame: Frame, key: jax.Array, samples: int) -> Frame:
    """Sample elements of a frame independently, with their weights as probabilities."""
    frame = in_one_list(frame)
    chances = jnp.log(frame.weights)
    picks = jax.random.categorical(key, chances, axis=0, shape=(samples, *frame.weights.shape[1:]))

    def picked(array: Array) -> Array:
        index = jnp.expand_dims(picks, range(picks.ndim, array.ndim))
        if not jnp.issubdtype(array.dtype, jnp.inexact):
            return jnp.take_along_axis(array, index, axis=0)
        # Sum over the elements, since the derivative of indexing would be a slow scatter.
        return sum((jnp.where(index == i, array[i], 0) for i in range(frame.size)), jnp.zeros((), array.dtype))

    weights = jnp.where(jnp.any(jnp.isnan(frame.weights), axis=0), jnp.nan, jnp.full(picks.shape, 1 / samples))
    info = replace(frame.info, exact=None)
    elements, tail, turns = jax.tree.map(picked, (frame.elements, frame.tail, frame.turns))
    return Frame(elements, weights.astype(frame.weights.dtype), info, True, tail, turns)


def as_draws(frame: Frame) -> Frame:
    """Combine several frames of one element each, `[1, samples, *batch]`, into one frame of independent samples."""
    info, weights = frame.info, frame.weights[0] / frame.weights.shape[1]
    worst = {name: getattr(info, name) for name in ("size", "rank", "ties", "doubt")}
    several = {name: None if entry is None else jnp.max(entry, axis=0) for name, entry in worst.items()}
    gap = None if info.gap is None else jnp.min(info.gap, axis=0)
    degenerate, refused = jnp.any(info.degenerate, axis=0), jnp.any(info.refused, axis=0)
    found = Info(degenerate=degenerate, refused=refused, gap=gap, more=info.more, **several)  # type: ignore[arg-type]
    elements, tail, turns = jax.tree.map(lambda array: array[0], (frame.elements, frame.tail, frame.turns))
    return Frame(elements, settled(weights, found), found, True, tail, turns)


def then(one: Frame, later: Callable[[Frame], Frame]) -> Frame:
    """Multiply the elements of a frame by elements of a later frame of the input moved by their inverses.

    Args:
        one: the frame.
        later: computes the later frame, `[later, one, *batch]`, for the inputs moved by the elements of a frame.
    """
    two = later(one)
    if two.fallback is not None and one.size > 1:
        two = in_one_list(two)
    found = joined(one, two)
    if two.fallback is not None:
        found = replace(found, fallback=joined(one, two.fallback))
    if one.fallback is None:
        return found
    fallback = one.fallback
    other = only_if(jnp.any(fallback.weights != 0), lambda: joined(fallback, in_one_list(later(fallback))))
    info = of_both(found.info, other.info)
    found = replace(in_one_list(found), weights=settled(in_one_list(found).weights, info), info=info, fallback=other)
    return found


def joined(one: Frame, two: Frame) -> Frame:
    """Multiply each element of the first frame by the elements of its own later frame, `[two, one, *batch]`."""
    count = one.size * two.size

    def flat(array: Array) -> Array:
        return jnp.moveaxis(array, 0, 1).reshape(count, *array.shape[2:])

    first = jax.tree.map(lambda array: jnp.repeat(array, two.size, axis=0), one.elements)
    # If the first element has weight zero, a refusal by the second frame has no effect.
    weights = flat(jnp.where(one.weights == 0, 0, one.weights * two.weights))
    used = one.weights != 0
    exact = _exact(one) & jnp.all(_exact(two) | ~used, axis=0)
    info = replace(of_products(one.info, two.info, used), exact=exact)
    return Frame(compose(first, jax.tree.map(flat, two.elements)), weights, info, one.drawn or two.drawn)


def _exact(frame: Frame) -> Array:
    given = frame.info.exact
    return jnp.full(frame.info.degenerate.shape, not frame.drawn) if given is None else given
