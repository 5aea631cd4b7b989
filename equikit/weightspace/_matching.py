"""Weight matching: the permutations of one network that bring its weights closest to those of another."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from scipy.optimize import linear_sum_assignment

from equikit.weightspace._terms import Element

Arrays = dict[str, jax.Array]
Labels = dict[str, tuple[str, ...]]
"""For every tensor the labels of its axes."""

SMALLEST_GAIN = 1e-7
"""A pass that gains less than this, relative to the norms of the two networks, is the last."""


@dataclass(frozen=True)
class Matching:
    """What a search has found.

    Attributes:
        element: a permutation for each label, by which the second network is moved.
        similarity: the inner product of the weights of the first with the moved ones of the second, over the product of
            their norms: one if they are the same.
        passes: how often all labels were visited, in the run that was the best.
        starts: the similarities that the runs came to.
    """

    element: Element
    similarity: float
    passes: int
    starts: tuple[float, ...]


@partial(jax.jit, static_argnums=(0, 1))
def gains(labels: tuple[tuple[str, tuple[str, ...]], ...], label: str, one: Arrays, two: Arrays) -> jax.Array:
    """The matrix of what is gained where index j of the second network takes place i, `[n, n]`.

    Exact for tensors that have the label once; for those with two such axes the sum of both, each with the other axis
    as it is.
    """
    total: jax.Array | None = None
    for name, axes in labels:
        for place, other in enumerate(axes):
            if other == label:
                first, second = (jnp.moveaxis(array[name], place, 0) for array in (one, two))
                rows = [array.reshape(array.shape[0], -1).astype(jnp.float32) for array in (first, second)]
                found = jnp.matmul(rows[0], rows[1].T, precision=jax.lax.Precision.HIGHEST)
                total = found if total is None else total + found
    assert total is not None, "every label is that of some tensor"
    return total


@partial(jax.jit, static_argnums=0)
def moved(labels: tuple[tuple[str, tuple[str, ...]], ...], element: dict[str, jax.Array], two: Arrays) -> Arrays:
    """Tensors after an element: entry i of a label goes to place p[i]."""
    found = {}
    for name, axes in labels:
        array = two[name]
        for place, label in enumerate(axes):
            if label in element:
                array = jnp.take(array, jnp.argsort(element[label]), axis=place)
        found[name] = array
    return found


@jax.jit
def inner(one: Arrays, two: Arrays) -> jax.Array:
    """The inner product of all tensors."""
    return sum((jnp.vdot(one[name], two[name], precision=jax.lax.Precision.HIGHEST) for name in one), jnp.zeros(()))


@partial(jax.jit, static_argnums=(0, 1))
def _profiles(labels: tuple[tuple[str, tuple[str, ...]], ...], label: str, arrays: Arrays) -> jax.Array:
    """What every index of a label has whatever permutes the others: its weights in ascending order, `[n, weights]`."""
    found = []
    for name, axes in labels:
        for place, other in enumerate(axes):
            if other == label:
                array = jnp.moveaxis(arrays[name], place, 0)
                found.append(jnp.sort(array.reshape(array.shape[0], -1), axis=1))
    return jnp.concatenate(found, axis=1)


def assigned(gain: jax.Array) -> np.ndarray:
    """The permutation with the largest gain: index j of the second network goes to place p[j]."""
    rows, columns = linear_sum_assignment(np.asarray(gain), maximize=True)
    place = np.empty(len(rows), np.intp)
    place[columns] = rows
    return place


def match(
    labels: Labels, permuted: Sequence[str], one: Arrays, two: Arrays, generator: np.random.Generator, restarts: int
) -> Matching:
    """Search from several starts: the networks as they are, profiles of their neurons, and random permutations.

    From a start, one label after another gets the permutation that is best while all others stay, until a pass gains
    nothing. This ends where no single label can be improved; a network whose neurons are known by nothing but others
    that are permuted too, as those within residual blocks, needs another start.
    """
    kept = tuple(sorted((name, axes) for name, axes in labels.items() if set(axes) & set(permuted)))
    one, two = ({name: arrays[name] for name, _ in kept} for arrays in (one, two))
    norm = float(np.sqrt(float(inner(one, one)) * float(inner(two, two)))) or 1.0
    best: Matching | None = None
    reached: list[float] = []
    for start in _starts(kept, permuted, one, two, generator, restarts):
        element, value, passes = _climbed(kept, permuted, one, two, start, norm, generator)
        reached.append(value / norm)
        if best is None or reached[-1] > best.similarity:
            best = Matching(element, reached[-1], passes, ())
    assert best is not None, "there is one start at least"
    return Matching(best.element, best.similarity, best.passes, tuple(reached))


def _starts(
    labels: tuple[tuple[str, tuple[str, ...]], ...],
    permuted: Sequence[str],
    one: Arrays,
    two: Arrays,
    generator: np.random.Generator,
    restarts: int,
) -> Iterable[Element]:
    sizes = {label: one[name].shape[axes.index(label)] for name, axes in labels for label in axes if label in permuted}
    yield {label: np.arange(size) for label, size in sizes.items()}
    if restarts:
        found = {}
        for label in permuted:
            first, second = (_profiles(labels, label, arrays) for arrays in (one, two))
            squares = jnp.sum(second**2, axis=1)
            found[label] = assigned(2 * first @ second.T - squares[None, :])
        yield found
    for _ in range(restarts - 1):
        yield {label: generator.permutation(size) for label, size in sizes.items()}


def _climbed(
    labels: tuple[tuple[str, tuple[str, ...]], ...],
    permuted: Sequence[str],
    one: Arrays,
    two: Arrays,
    start: Element,
    norm: float,
    generator: np.random.Generator,
) -> tuple[Element, float, int]:
    element, current = dict(start), moved(labels, dict(start), two)
    value, passes = float(inner(one, current)), 0
    twice = {label for label in permuted for _, axes in labels if axes.count(label) > 1}
    while True:
        before, passes = value, passes + 1
        for label in generator.permutation(np.array(permuted, object)):
            gain = gains(labels, label, one, current)
            step = assigned(gain)
            if np.array_equal(step, np.arange(len(step))):
                continue
            after = moved(labels, {label: step}, current)
            found = float(inner(one, after))
            # On two axes of one tensor the gain is that of a linear approximation, and may be a loss.
            if label not in twice or found > value:
                element[label], current, value = step[element[label]], after, found
        if value - before <= SMALLEST_GAIN * norm:
            return element, value, passes
