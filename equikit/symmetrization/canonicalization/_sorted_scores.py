"""The frame of sorted scores: what ties, what a tie means, and the orders that are listed."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import jax
import jax.numpy as jnp

from equikit.symmetrization._action import Action
from equikit.symmetrization._element import Array, Element, rounding
from equikit.symmetrization._frame import Frame
from equikit.symmetrization._info import Info, settled, standard_tolerance
from equikit.symmetrization._masks import present
from equikit.symmetrization._method import Framed, OnDegenerate
from equikit.symmetrization._sample import Sample
from equikit.symmetrization.canonicalization._assignment import ASSIGNMENT, soft_permutation, straight_through
from equikit.symmetrization.frames import _ties

SCORES = " scores of entries"
"""Under which name the scores join the inputs; with the space in front no term can have it."""

EQUAL = 64
"""Scores tie where they differ by less than this many roundings of the largest."""


@dataclass(frozen=True)
class SortedScores(Framed):
    """The orders of the entries of one sample by their scores, which are among its inputs.

    Attributes:
        label: the axis that is sorted.
        rounds, tolerance, max_size, on_degenerate: as for `PermutationCanonicalization`.
        temperature: of the soft permutation; without one, elements are integers.
    """

    label: str
    rounds: int
    tolerance: float | None
    max_size: int
    on_degenerate: OnDegenerate
    temperature: float | None = None

    def acts_on(self, action: Action) -> frozenset[str]:
        """The label of the permutations."""
        return frozenset([self.label])

    def of_sample(self, action: Action, sample: Sample, key: jax.Array | None) -> Frame:
        """The orders of one sample; absent entries come last."""
        x, masks = sample.x, sample.masks
        label, there = self.label, masks.get(self.label)
        scores = x[SCORES] if there is None else jnp.where(there, x[SCORES], 0)
        count, largest = scores.shape[0], jnp.max(jnp.abs(scores), initial=0)
        order, blocks, finite = self._ordered(action, x, scores, largest, there)
        tied = jnp.diff(blocks) == 0
        alike = self._alike(action, x, masks, order) & tied
        orders = action.output_order(label)
        if orders > 1:  # the mean over ties of what has two axes is no mean over blocks
            alike = jnp.zeros_like(alike)
        undecided = jax.ops.segment_max((tied & ~alike).astype(jnp.int32), blocks[:-1], max(count, 1)) > 0
        listed, averaged = tied & undecided[blocks[:-1]], tied & ~undecided[blocks[:-1]]
        numbers = _numbers(listed, count)
        size = _ties.log_size(numbers)
        enough = jnp.log(self.max_size + 0.5) >= size
        weights = jnp.log(jnp.arange(self.max_size) + 0.5) < size
        weights = weights / jnp.maximum(jnp.sum(weights), 1)
        listing = jnp.arange(count)[None].repeat(self.max_size, axis=0)
        if count and (self.max_size > 1 or self.on_degenerate == "sample"):
            listing = _ties.listed(numbers, self.max_size)
        if self.on_degenerate == "sample" and key is not None:
            draws = jax.vmap(_ties.drawn, (0, None))(jax.random.split(key, self.max_size), numbers)
            listing = jnp.where(enough, listing, draws)
            weights = jnp.where(enough, weights, 1 / self.max_size)
        elements, more = order[listing], {"log_size": size}
        if self.temperature is not None:
            soft = soft_permutation(x[SCORES], there, self.temperature, self.rounds)
            elements, more = jax.vmap(straight_through, (0, None))(elements, soft), {**more, ASSIGNMENT: soft}
        stabilizer = _numbers(averaged, count)[None].repeat(self.max_size, axis=0)
        degenerate = ~(enough & finite)
        ranked = jnp.diff(jnp.sort(scores)) / jnp.where(largest > 0, largest, 1)
        info = Info(
            jnp.exp(size),
            degenerate,
            degenerate & (self.on_degenerate == "error"),
            gap=jnp.min(jnp.where(ranked > self._tolerance(scores), ranked, jnp.inf), initial=jnp.inf),
            ties=jnp.sum(tied),
            more=more,
        )
        element = Element({label: elements}, stabilizer={label: stabilizer} if orders == 1 else {})
        return Frame(element, settled(weights, info), info)

    def _tolerance(self, scores: Array) -> float:
        return EQUAL * rounding(scores.dtype) if self.tolerance is None else self.tolerance

    def _ordered(
        self, action: Action, x: Mapping[str, Array], scores: Array, largest: Array, there: Array | None
    ) -> tuple[Array, Array, Array]:
        """The order by scores, then by the numbers of the entries; the block of each place; whether all is finite."""
        scores = jax.lax.stop_gradient(scores)
        keys = [_ties.ranks(scores[:, None], self._tolerance(scores) * largest)]
        finite = jnp.all(jnp.isfinite(scores))
        for term in action.inputs:
            if term.labels.count(self.label) == 1:
                numbers = _real(jax.lax.stop_gradient(x[term.name]))
                numbers = jnp.moveaxis(numbers, term.labels.index(self.label), 0)
                numbers = numbers.reshape(len(scores), math.prod(numbers.shape[1:]))
                if there is not None:
                    numbers = jnp.where(there[:, None], numbers, 0)
                step = standard_tolerance(None, numbers.dtype) * jnp.max(jnp.abs(numbers), initial=0)
                keys.append(_ties.ranks(numbers, step))
                finite = finite & jnp.all(jnp.isfinite(numbers))
        if there is not None:
            keys.insert(0, (~there[:, None]).astype(jnp.int32))
        order, blocks = _ties.lexicographic(jnp.concatenate(keys, axis=1))
        if there is not None:  # absent entries are no ties
            blocks = _numbers((jnp.diff(blocks) == 0) & there[order[1:]], len(scores))
        return order, blocks, finite

    def _alike(self, action: Action, x: Mapping[str, Array], masks: Mapping[str, Array], order: Array) -> Array:
        """Whether exchanging neighbors, tied in all their own numbers, leaves all inputs as they are, `[n - 1]`."""
        label = self.label
        pairs = [term for term in action.inputs if term.labels.count(label) > 1]
        count = max(len(order) - 1, 0)
        if not pairs or not count:
            return jnp.ones(count, bool)
        arrays, sorting = {}, Element({label: order})
        for term in pairs:
            array = jax.lax.stop_gradient(x[term.name])
            array = jnp.where(present(term, masks, array.ndim), array, 0)
            arrays[term.name] = action.act_inverse(sorting, term, array)

        def unchanged(place: Array) -> Array:
            swap = jnp.arange(len(order)).at[place].set(place + 1).at[place + 1].set(place)
            same = jnp.ones((), bool)
            for term in pairs:
                array = arrays[term.name]
                beside = jnp.abs(action.act_inverse(Element({label: swap}), term, array) - array)
                step = standard_tolerance(None, _real(array).dtype) * jnp.max(jnp.abs(array), initial=0)
                same = same & jnp.all(beside <= step)
            return same

        found: Array = jax.lax.map(unchanged, jnp.arange(count))
        return found


def _numbers(joined: Array, count: int) -> Array:
    """The number of the block of each place, `[n]`, where a place is in one block with the next or not, `[n - 1]`."""
    return jnp.concatenate([jnp.zeros(min(count, 1), jnp.int32), jnp.cumsum(~joined, dtype=jnp.int32)])


def _real(array: Array) -> Array:
    """Real numbers in float32 or more, complex ones as pairs."""
    if jnp.iscomplexobj(array):
        array = jnp.stack([array.real, array.imag], axis=-1)
    return array.astype(jnp.promote_types(array.dtype, jnp.float32))
