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
"""The largest number of directions listed for one input."""

EQUAL = 64
"""Entries whose numbers differ by less than this many rounding units of the largest count as equal."""

NOTHING = 8
"""The rounding error of gaps, in rounding units of the largest number."""


@dataclass(frozen=True)
class Directions(Framed):
    r"""A continuous weighted frame of S(n): the entries sorted along each of many fixed directions.

    Let \(x_i \in \mathbb{R}^d\) be all numbers of entry i. The k-th element sorts \(\langle a_k, x_i \rangle\), with a
    weight proportional to the smallest gap between neighbors in this order. If two entries pass each other along
    \(a_k\), the order jumps, but at weight zero: the average is continuous if entries are distinct, unlike `Sort` and
    every frame without weights. The directions are fixed, and any d of them are linearly independent; so at most d - 1
    directions tie a given pair of entries, and at least one of \(\frac{n(n-1)}{2}(d-1) + 1\) directions ties no pair:
    the weights never all vanish.

    Equal entries count once, and outputs with one axis of the label are averaged over them. This is exact, but the
    average is not continuous there: as two entries approach each other, the weights of directions depend on the line
    along which they do, and for d > 1 and at least three entries the average has no limit.

    Derivatives are averaged over the orders of equal entries, and over several equal smallest gaps, as in symmetric
    point sets.

    Args:
        label: the axis that is sorted; by default, the only one bound to S.
        terms: names of the input terms that are compared; by default, all that have the label once.
        number: the number of directions, in place of the number that is always sufficient.
        samples: the number of random directions, with equal weights, in place of the fixed directions; needs a key. The
            result is continuous and equivariant in expectation.
        on_degenerate: what to do if all weights vanish (with fewer directions than are always sufficient), or if
            entries are equal but outputs have more axes or terms that are not compared distinguish them: `"error"` or
            `"flag"`.
        differentiable: whether derivatives include the weights.

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
        """Return orders along directions sampled by their weights, or along random directions."""
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
    """Return fixed unit vectors `[number, d]`; any d of them are linearly independent (with probability one)."""
    drawn = np.random.default_rng(0).normal(size=(number, d))
    found: np.ndarray = drawn / np.maximum(np.linalg.norm(drawn, axis=1, keepdims=True), 1e-300)
    found.setflags(write=False)
    return found


def _spread(rows: Array, there: Array) -> Array:
    """Center and scale entries, because rounding would remove gaps far from the origin."""
    fixed = jax.lax.stop_gradient(jnp.where(there[:, None], rows, jnp.nan))
    middle = jnp.nanmax(fixed, axis=0, initial=-jnp.inf) / 2 + jnp.nanmin(fixed, axis=0, initial=jnp.inf) / 2
    rows = jnp.where(there[:, None], rows - jnp.where(jnp.isfinite(middle), middle, 0), 0)
    return rows / power_of_two(jnp.max(jnp.abs(rows), initial=0))


def _equal(rows: Array, there: Array) -> Array:
    """Return the first equal entry for every entry, `[n]`; absent entries equal only themselves."""
    count = len(rows)
    if not count:
        return jnp.zeros(0, int)
    apart = jnp.max(jnp.abs(rows[:, None] - rows[None]), axis=-1, initial=0)
    equal = (apart <= EQUAL * rounding(rows.dtype)) & there[:, None] & there[None]
    return jnp.argmax(equal | jnp.eye(count, dtype=bool), axis=1)


def _sorted(rows: Array, blocks: Array, there: Array, direction: Array) -> tuple[Array, Array]:
    """Return the order along a direction, and the smallest gap between unequal entries (infinite if none)."""
    numbers = jnp.matmul(rows, direction, precision="highest")
    order = jnp.lexsort((blocks, jax.lax.stop_gradient(numbers), ~there))
    sorted_numbers, sorted_blocks = numbers[order], blocks[order]
    counts = (sorted_blocks[1:] != sorted_blocks[:-1]) & there[order][1:]
    # The largest number is about one; differences below its rounding error count as zero.
    error = NOTHING * rounding(rows.dtype)
    return order, _smallest(jnp.where(counts, jnp.maximum(jnp.diff(sorted_numbers) - error, 0), jnp.inf), error)


def _smallest(gaps: Array, error: float) -> Array:
    """Return the smallest gap, with the mean of the derivatives of all gaps that equal it up to `error`.

    Symmetric points have equal gaps, and rounding decides which one is the smallest.
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
