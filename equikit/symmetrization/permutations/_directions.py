"""Continuous frames of permutations: the entries sorted along many directions."""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

import jax
import jax.numpy as jnp
import numpy as np

from equikit import _checks
from equikit.numerics import power_of_two, rounding, with_derivative
from equikit.signatures import base
from equikit.symmetrization.engine._action import Action
from equikit.symmetrization.engine._element import Array, Element
from equikit.symmetrization.engine._frame import Frame
from equikit.symmetrization.engine._info import Info, settled
from equikit.symmetrization.engine._method import Framed, permuted_label
from equikit.symmetrization.engine._sample import Sample
from equikit.symmetrization.engine._stabilizer import orbit_mean
from equikit.symmetrization.permutations._numbers import compared_terms
from equikit.symmetrization.rotations._vectors import numbers_in, read_labels

MOST = 2**14
"""The most directions that are listed for one input."""

EQUAL = 64
"""Entries whose numbers differ by less than this many rounding units of the largest count as equal."""

NOTHING = 8
"""Gaps below this many rounding units of the largest number count as zero."""


@dataclass(frozen=True)
class Directions(Framed):
    r"""A continuous weighted frame of S(n): the entries sorted along each of many fixed directions.

    With \(x_i \in \mathbb{R}^d\) all numbers of entry i, the k-th element sorts \(\langle a_k, x_i \rangle\), with a
    weight that is proportional to the smallest gap between neighbors in this order. Where two entries pass each other
    along \(a_k\) the order jumps, but its weight has gone to zero: the average is continuous where the entries are
    distinct, while `Sort` jumps, and so does every frame without weights. The directions are fixed, and any d of them
    are linearly independent; then those along which a given pair of entries is tied are d - 1 at most, and of
    \(\frac{n(n-1)}{2}(d-1) + 1\) one at least ties none: the weights never vanish all.

    Entries that are equal count once, and outputs with one axis of the label are averaged over them: this is exact, but
    the average is not continuous there. As two entries approach each other, which directions have the weight depends on
    the line on which they do, and for d > 1 and three entries or more the average has no limit.

    Derivatives are the mean over the orders of equal entries, and over the gaps that are smallest together, as those of
    symmetric points are.

    Args:
        label: the axis that is sorted; where it is not given, the only one bound to S.
        terms: names of the input terms that are compared; all that have the label once by default.
        number: how many directions, in place of as many as are always enough.
        samples: how many directions are drawn at random, with equal weights, in place of the fixed ones; needs a key.
            The result is continuous, and permutes with the input, in expectation.
        on_degenerate: what to do where all weights vanish (with fewer directions than are always enough), or where
            entries are equal but outputs have more axes, or terms that are not compared tell them apart: `"error"` or
            `"flag"`.
        differentiable: whether derivatives go through the weights.

    Raises:
        GroupError: if the label has another group.
        OptionError: if no term has the label once.
        TooLargeError: if there are more than 2^14 directions.

    Cost: one evaluation of the backbone for each direction, and a sort.

    Example:
        >>> import equikit as ek
        >>> sym = ek.symmetrize(
        ...     lambda x: jnp.cumsum(x, -2), "p -> p", p=ek.S, how=Directions())
        >>> ek.testing.assert_equivariant(sym, "p -> p", p=ek.S(4), channels=2, key=jax.random.key(0))

    Source:
        Dym, Lawrence and Siegel, Equivariant frames and the impossibility of continuous canonicalization,
        arXiv:2402.16077; directions in general position are a globally separated collection.
    """

    label: str | None = None
    terms: tuple[str, ...] | None = None
    number: int | None = None
    samples: int | None = None
    on_degenerate: Literal["error", "flag"] = "error"
    differentiable: bool = True
    policies: ClassVar[tuple[str, ...]] = ("error", "flag")

    def __post_init__(self) -> None:
        super().__post_init__()
        _checks.at_most_one(number=self.number, samples=self.samples)

    @property
    def needs_key(self) -> bool:
        """Whether directions are sampled at random."""
        return self.samples is not None

    def acts_on(self, action: Action) -> frozenset[str]:
        """The label of the permutations."""
        label = permuted_label(self, action, self.label)
        compared_terms(action, label, self.terms)
        return frozenset([label])

    def reads(self, action: Action) -> frozenset[str]:
        """The other labels of the terms that are compared."""
        (label,) = self.acts_on(action)
        return read_labels(action, label, compared_terms(action, label, self.terms))

    def draw(self, action: Action, sample: Sample, key: jax.Array, samples: int) -> Frame:
        """Return orders along directions sampled by their weights, or along as many random directions."""
        if self.samples is None:
            return super().draw(action, sample, key, samples)
        return replace(self, samples=samples).frame(action, sample, key)

    def of_sample(self, action: Action, sample: Sample, key: jax.Array | None) -> Frame:
        """Return the orders of one sample along all directions; absent entries come last."""
        x, masks = sample.x, sample.masks
        (label,) = self.acts_on(action)
        compared = compared_terms(action, label, self.terms)
        rows = numbers_in(action, label, compared, x, masks)
        there = masks.get(label, jnp.ones(len(rows), bool))
        finite = jnp.all(jnp.isfinite(rows))
        rows = _spread(jnp.where(finite, rows, 0), there)
        blocks = _equal(jax.lax.stop_gradient(rows), there)
        rows = orbit_mean(rows, blocks, (0,))
        count, d = rows.shape
        directions = self._directions(count, d, rows.dtype, key)
        orders, gaps = jax.vmap(lambda direction: _sorted(rows, blocks, there, direction))(directions)
        weights, known = _weights(gaps)
        if self.samples is not None:
            weights, known = jnp.full_like(weights, 1 / len(weights)), jnp.ones((), bool)
        ties = jnp.sum(blocks != jnp.arange(len(rows)))
        axes = action.output_order(label)
        whole = all(term.name in compared for term in action.inputs if label in map(base, term.labels))
        degenerate = ~(finite & known)
        if axes > 1 or not whole:
            degenerate = degenerate | (ties > 0)
        info = Info(
            jnp.sum(weights > 0).astype(jnp.float32),
            degenerate,
            degenerate & (self.on_degenerate == "error"),
            gap=jnp.max(gaps),
            ties=ties,
        )
        element = Element({label: orders}, stabilizer={label: blocks[orders]} if axes < 2 else {})
        weights = weights if self.differentiable else jax.lax.stop_gradient(weights)
        return Frame(element, settled(weights, info), info, drawn=self.samples is not None)

    def _directions(self, count: int, d: int, dtype: Any, key: jax.Array | None) -> Array:
        if self.samples is not None:
            assert key is not None, "needs_key asks for one"
            drawn = jax.random.normal(key, (self.samples, d), dtype)
            return drawn / jnp.maximum(jnp.linalg.norm(drawn, axis=1, keepdims=True), rounding(dtype))
        enough = count * (count - 1) // 2 * max(d - 1, 0) + 1
        number = enough if self.number is None else self.number
        step = "draw some at random, Directions(samples=64), or take fewer, number=64"
        _checks.refuse_if_more("there are too many directions to sort along", number, MOST, "directions", step)
        return jnp.asarray(general_directions(number, d), dtype)


@functools.lru_cache(maxsize=64)
def general_directions(number: int, d: int) -> np.ndarray:
    """Return fixed unit vectors `[number, d]`, any d of which are linearly independent (with probability one)."""
    drawn = np.random.default_rng(0).normal(size=(number, d))
    found: np.ndarray = drawn / np.maximum(np.linalg.norm(drawn, axis=1, keepdims=True), 1e-300)
    found.setflags(write=False)
    return found


def _spread(rows: Array, there: Array) -> Array:
    """Center and scale entries, because far from the origin gaps would be lost to rounding."""
    fixed = jax.lax.stop_gradient(jnp.where(there[:, None], rows, jnp.nan))
    middle = jnp.nanmax(fixed, axis=0, initial=-jnp.inf) / 2 + jnp.nanmin(fixed, axis=0, initial=jnp.inf) / 2
    rows = jnp.where(there[:, None], rows - jnp.where(jnp.isfinite(middle), middle, 0), 0)
    return rows / power_of_two(jnp.max(jnp.abs(rows), initial=0))


def _equal(rows: Array, there: Array) -> Array:
    """Return for every entry the first equal one, `[n]`; absent entries equal only themselves."""
    count = len(rows)
    if not count:
        return jnp.zeros(0, int)
    apart = jnp.max(jnp.abs(rows[:, None] - rows[None]), axis=-1, initial=0)
    equal = (apart <= EQUAL * rounding(rows.dtype)) & there[:, None] & there[None]
    return jnp.argmax(equal | jnp.eye(count, dtype=bool), axis=1)


def _sorted(rows: Array, blocks: Array, there: Array, direction: Array) -> tuple[Array, Array]:
    """Return the order along a direction, and the smallest gap between unequal entries; infinite without any."""
    numbers = jnp.matmul(rows, direction, precision="highest")
    order = jnp.lexsort((blocks, jax.lax.stop_gradient(numbers), ~there))
    sorted_numbers, sorted_blocks = numbers[order], blocks[order]
    counts = (sorted_blocks[1:] != sorted_blocks[:-1]) & there[order][1:]
    # The largest number is about one; a difference below its rounding is no gap.
    error = NOTHING * rounding(rows.dtype)
    return order, _smallest(jnp.where(counts, jnp.maximum(jnp.diff(sorted_numbers) - error, 0), jnp.inf), error)


def _smallest(gaps: Array, error: float) -> Array:
    """Return the smallest gap, with the mean of the derivatives of gaps that equal it up to an error.

    Symmetric points have equal gaps, and rounding decides which of these is the smallest.
    """
    least = jnp.min(gaps, initial=jnp.inf)
    equal = (gaps <= least + error) & jnp.isfinite(gaps)
    return with_derivative(least, jnp.sum(jnp.where(equal, gaps, 0)) / jnp.maximum(jnp.sum(equal), 1))


def _weights(gaps: Array) -> tuple[Array, Array]:
    """Return normalized gaps, and whether their sum is positive; equal weights if there is nothing to sort."""
    alone = jnp.isinf(gaps)
    gaps = jnp.where(alone, 1, gaps)
    total = jnp.sum(gaps)
    known = total > 0
    return jnp.where(known, gaps / jnp.where(known, total, 1), 1 / len(gaps)), known
