"""Weight matching: the permutations of one network that bring its weights closest to those of another."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from equikit.weightspace.alignment._gains import Arrays, Gains, Labels, inner
from equikit.weightspace.alignment._starts import sequential
from equikit.weightspace.specifications._leaves import is_inexact, is_real
from equikit.weightspace.specifications._terms import Element

PARTS = "real and imaginary parts"
"""The label of the last axis of complex tensors, which nothing permutes."""
SMALLEST_GAIN = 1e-7
"""A pass that gains less than this, relative to the norms of the two networks, is the last."""
LARGE = 20
"""Tensors whose largest entry is above two to this power, or below one over it, are scaled to be multiplied."""


@dataclass(frozen=True)
class Matching:
    """What a search has found.

    Attributes:
        element: a permutation for each label, by which the second network is moved; for a label nested in another one,
            a row for each index of that.
        similarity: the inner product of the weights of the first with the moved ones of the second, over the product of
            their norms: one if they are the same.
        passes: how often all labels were visited, in the run that was the best.
        starts: the similarities that the runs came to.
        losses: for the straight-through estimator, those half way between the networks for each permutation that it
            met, that of weight matching first.
    """

    element: Element
    similarity: float
    passes: int = 0
    starts: tuple[float, ...] = ()
    losses: tuple[float, ...] = ()


def match(
    labels: Labels,
    permuted: Sequence[str],
    one: Arrays,
    two: Arrays,
    generator: np.random.Generator,
    restarts: int,
    start: Element | None = None,
    nested: Sequence[tuple[str, str]] = (),
) -> Matching:
    """Search for the permutations with the largest real inner product, from one start or several.

    Integers and booleans are not compared, and labels that no other tensor has get no permutation.

    From a start, one label after another gets the permutation that is best while all others stay, until a pass gains
    nothing. This ends where no single label can be improved. The first start is the one that `sequential` makes, or the
    networks as they are, whichever has the larger inner product: what is found is never worse than either. The next is
    the other of the two, and those after it are random.

    Args:
        labels: for every tensor those of its axes.
        permuted: those that are permuted.
        one, two: the tensors of both networks.
        generator: of the order of labels and of random starts.
        restarts: how many further starts there are.
        start: where to start from in place of all of these.
        nested: pairs of labels, the first of which has a permutation for each index of the second.

    Cost: for every label that is visited a product of matrices, \\(O(n \\cdot \\text{weights})\\), and an assignment,
    \\(O(n^3)\\). A label is not visited again before one that it shares a tensor with has moved.
    """
    labels, one, two = _as_real(labels, one, two)
    permuted = [label for label in permuted if any(label in axes for axes in labels.values())]
    if not permuted:
        return Matching({}, similarity(one, two))
    return matched(labels, permuted, scaled(one), scaled(two), generator, restarts, start, nested)


def _as_real(labels: Labels, one: Arrays, two: Arrays) -> tuple[Labels, Arrays, Arrays]:
    """Tensors without integers and booleans; complex ones get a last axis with their real and imaginary parts.

    The inner product of these real tensors is the real part of the Hermitian one.
    """
    kept = [name for name in labels if is_inexact(one[name]) and is_inexact(two[name])]
    paired = {name for name in kept if not (is_real(one[name]) and is_real(two[name]))}

    def real(arrays: Arrays) -> Arrays:
        return {
            name: jnp.stack([arrays[name].real, arrays[name].imag], axis=-1) if name in paired else arrays[name]
            for name in kept
        }

    return {name: (*labels[name], PARTS) if name in paired else labels[name] for name in kept}, real(one), real(two)


def matched(
    labels: Labels,
    permuted: Sequence[str],
    one: Arrays,
    two: Arrays,
    generator: np.random.Generator,
    restarts: int,
    start: Element | None = None,
    nested: Sequence[tuple[str, str]] = (),
) -> Matching:
    """The same for tensors whose products neither overflow nor vanish."""
    gains = Gains(labels, permuted, one, two, nested)
    norm = float(np.sqrt(inner(one, one) * inner(two, two)))
    runs = [_climbed(gains, *each, norm, generator) for each in _starts(gains, generator, restarts, start)]
    # What nothing permutes is no part of the gains.
    rest = {name for name, axes in labels.items() if not set(axes) & set(permuted)}
    fixed = inner({name: one[name] for name in rest}, {name: two[name] for name in rest})
    reached = tuple((value + fixed) / norm if norm else 1.0 for _, value, _ in runs)
    best = int(np.argmax(reached))
    return Matching(runs[best][0], reached[best], runs[best][2], reached)


Start = tuple[Element, set[str], float]
"""Permutations, labels whose permutation may not be the best while the others stay, and the inner product."""


def _starts(gains: Gains, generator: np.random.Generator, restarts: int, start: Element | None) -> list[Start]:
    every = set(gains.sizes)
    if start is not None:
        given = {label: np.asarray(start[label]) for label in gains.still()}
        return [(given, every, gains.value(given))]
    still = gains.still()
    found, unsure = sequential(gains)
    first = [(found, unsure, gains.value(found)), (still, every, gains.value(still))]
    drawn = [gains.random(generator) for _ in range(restarts - 1)]
    ordered = sorted(first, key=lambda each: -each[2])
    return [*ordered, *((each, every, gains.value(each)) for each in drawn)][: restarts + 1]


def _climbed(
    gains: Gains, start: Element, unsure: set[str], value: float, norm: float, generator: np.random.Generator
) -> tuple[Element, float, int]:
    """The element that is reached, its inner product, and the number of passes."""
    element, waiting, passes, changed = dict(start), set(unsure), 0, False
    while waiting:
        before, passes = value, passes + 1
        for label in generator.permutation(np.array(sorted(gains.sizes), object)):
            if label not in waiting:
                continue
            waiting.discard(label)
            step, gained = gains.best(label, element)
            if gained > 0:
                element, value, changed = {**element, **step}, value + gained, True
                waiting |= gains.neighbors[label]
        if value - before <= SMALLEST_GAIN * norm:
            break
    return element, gains.value(element) if changed else value, passes


def similarity(one: Arrays, two: Arrays) -> float:
    """The inner product over the product of the norms; one where there is nothing to compare."""
    one, two = scaled(one), scaled(two)
    norm = float(np.sqrt(inner(one, one) * inner(two, two)))
    return inner(one, two) / norm if norm else 1.0


def scaled(arrays: Arrays) -> Arrays:
    """All tensors of a network times one power of two that brings the largest entry near one, if it is far from it.

    No permutation is better or worse for it, and no similarity is another; but products of weights of 1e25, or of
    1e-25, are no numbers of float32.
    """
    largest = float(_largest(list(arrays.values()))) if arrays else 0.0
    exponent = math.frexp(largest)[1]
    if not largest or abs(exponent) <= LARGE:
        return arrays
    # In two steps, as one over the largest numbers is none of the same precision.
    half = -exponent // 2
    factors = 2.0**half, 2.0 ** (-exponent - half)
    return {name: jnp.asarray(array) * factors[0] * factors[1] for name, array in arrays.items()}


@jax.jit
def _largest(arrays: list[jax.Array]) -> jax.Array:
    sizes = [jnp.max(jnp.abs(array), initial=0) for array in arrays]
    wide = jnp.result_type(*sizes, jnp.float32)
    return jnp.max(jnp.stack([size.astype(wide) for size in sizes]))
