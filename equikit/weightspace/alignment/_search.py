"""Search for permutations with the largest gain: starts, ascent from each, and nested labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from equikit.weightspace.alignment._gains import Arrays, Gains, Labels, assigned, inner, inners, products, taken
from equikit.weightspace.specifications._terms import Element

REST = "the rest"
"""The label of axes whose permutation is known."""


SMALLEST_GAIN = 1e-7
"""A pass with a smaller gain, relative to the norms of the two networks, is the last."""


@dataclass(frozen=True)
class Matching:
    """The result of a search.

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
    """Match tensors whose products neither overflow nor underflow."""
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
"""Permutations, labels whose permutation may not be optimal while the others are fixed, and the inner product."""


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
    """Climb from an element; return the final element, its inner product, and the number of passes."""
    element, waiting, passes, changed = dict(start), set(unsure), 0, False
    while waiting:
        before, passes = value, passes + 1
        for label in generator.permutation(np.array(sorted(gains.sizes), object)):
            if label not in waiting:
                continue
            waiting.discard(label)
            step, gained = best(gains, label, element)
            if gained > 0:
                element, value, changed = {**element, **step}, value + gained, True
                waiting |= gains.neighbors[label]
        if value - before <= SMALLEST_GAIN * norm:
            break
    return element, gains.value(element) if changed else value, passes


def best(gains: Gains, label: str, element: Element) -> tuple[Element, float]:
    """Return the permutation with the largest gain, and its additional gain over the current one.

    On two axes of one tensor the maximized gain is a linear approximation; for labels nested in another the search is
    one of the same kind for every pair of indices. The result may then be a loss.
    """
    matrix = gains.matrix(label, element)
    if label in gains.inners:
        found = _joint(gains, label, matrix, {part: _slices(gains, *part, element) for part in gains.folded[label]})
    else:
        found = {label: assigned(matrix)}
    if label in gains.inners or label in gains.twice:
        return found, gains.value({**element, **found}) - gains.value(element)
    columns = np.arange(len(matrix))
    gained = np.sum(matrix[found[label], columns] - matrix[element[label], columns], dtype=np.float64)
    return found, float(gained)


def sequential(gains: Gains) -> tuple[Element, set[str]]:
    """Return permutations of all labels, in an order in which the most is known about each label.

    Of a tensor whose other axes are settled, or permuted by nothing, the slices along a label are compared as they are;
    of others what does not depend on the order of what is not settled: along these axes both are sorted. Where the
    second network is the first one moved, both are compared exactly: what is best for each label is then the
    permutation that was planted, or one that differs from it among indices with the same sorted weights.

    Returns:
        The permutations, and the labels of which not all was known: the permutations of others are the best that there
        are as long as those stay.
    """
    found: Element = {}
    unsure = set()
    shares = _squares(gains)
    while gains.sizes.keys() - found.keys():
        label = max(
            (label for label in gains.sizes if label not in found), key=lambda each: _known(each, shares, found)
        )
        exact = [part for part in gains.parts[label] if _unsettled(gains, part, label, found) == ()]
        matrix = np.array(gains.matrix(label, found, exact))
        for name, place in gains.parts[label]:
            loose = _unsettled(gains, (name, place), label, found)
            if loose:
                unsure.add(label)
                matrix += _of_sorted(gains, name, place, loose, found)
        if label in gains.inners:
            given = {}
            for part in gains.folded[label]:
                loose = _unsettled(gains, part, label, found)
                unsure |= {label} if loose or len(gains.inners[label]) > 1 else set()
                given[part] = _slices(gains, *part, found, loose)
            found |= _joint(gains, label, matrix, given)
        else:
            found[label] = assigned(matrix)
    return found, unsure


def _unsettled(gains: Gains, part: tuple[str, int], label: str, found: Element) -> tuple[int, ...]:
    """The other permuted axes of a tensor whose permutation is unknown."""
    name, place = part
    return tuple(
        axis
        for axis, other in enumerate(gains.labels[name])
        if axis != place
        and (other in gains.sizes or other in gains.inner_sizes)
        and other not in found
        and other not in gains.inners.get(label, ())
    )


def _of_sorted(gains: Gains, name: str, place: int, loose: tuple[int, ...], found: Element) -> np.ndarray:
    """Return inner products of slices along an axis, sorted along axes whose permutation is unknown."""
    rows = []
    places = tuple(
        None if axis in (place, *loose) else found.get(label) for axis, label in enumerate(gains.labels[name])
    )
    for given in (taken(gains.one[name], places, gains.within[name]), gains.two[name]):
        array = np.asarray(given)
        array = array.astype(np.promote_types(array.dtype, np.float32), copy=False)
        kept = [axis for axis in range(array.ndim) if axis != place and axis not in loose]
        array = array.transpose(place, *kept, *loose)
        array = np.sort(array.reshape(*array.shape[: 1 + len(kept)], -1), axis=-1)
        rows.append(array.reshape(len(array), -1))
    return products(*rows)


def _squares(gains: Gains) -> dict[str, tuple[float, list[tuple[set[str], float]]]]:
    """Return for each label the squares of fully known weights, and of others with the labels that they depend on."""
    found, norms = {}, inners(gains.one, gains.one)
    for label in gains.sizes:
        waiting = [
            (
                {other for axis, other in enumerate(gains.labels[name]) if axis != place and other in gains.sizes},
                norms[name],
            )
            for name, place in (*gains.parts[label], *gains.folded[label])
        ]
        found[label] = sum(norms[name] for name, _ in gains.fixed[label]), waiting
    return found


def _known(label: str, shares: dict[str, tuple[float, list[tuple[set[str], float]]]], found: Element) -> float:
    """The share of the squares of a label's weights that can be compared directly."""
    fixed, waiting = shares[label]
    known = fixed + sum(norm for others, norm in waiting if others <= found.keys())
    total = fixed + sum(norm for _, norm in waiting)
    return known / total if total else 0.0


@dataclass(frozen=True)
class _Slices:
    """A tensor of both networks along a label, `[outer, ...]`, and the labels of its other axes."""

    labels: tuple[str, ...]
    one: np.ndarray
    two: np.ndarray


def _slices(gains: Gains, name: str, place: int, element: Element, loose: tuple[int, ...] = ()) -> _Slices:
    """A tensor with labels nested in an axis, in the order of the second network along all other axes.

    Along axes that are not settled both are sorted.
    """
    axes, nested = gains.labels[name], set(gains.inners[gains.labels[name][place]])
    own = tuple(axis for axis, label in enumerate(axes) if axis == place or label in nested)
    places = tuple(None if axis in (*own, *loose) else element.get(label) for axis, label in enumerate(axes))
    arrays = []
    for array in (taken(gains.one[name], places, gains.within[name]), gains.two[name]):
        found = np.asarray(array)
        found = found.astype(np.promote_types(found.dtype, np.float32), copy=False)
        rest = [axis for axis in range(found.ndim) if axis not in (*own, *loose)]
        inner = [axis for axis in own if axis != place]
        found = found.transpose(place, *inner, *rest, *loose)
        shape = found.shape[: 1 + len(inner) + len(rest)]
        found = np.sort(found.reshape(*shape, -1), axis=-1) if loose else found
        arrays.append(found.reshape(*found.shape[: 1 + len(inner)], -1))
    return _Slices((*(axes[axis] for axis in own if axis != place), REST), *arrays)


def _joint(gains: Gains, label: str, matrix: np.ndarray, given: dict[tuple[str, int], _Slices]) -> Element:
    """The permutation of a label together with those of the labels nested in it.

    What index j of the second network gains at place i is found by matching the nested labels of the two: a search of
    the same kind for every pair.
    """
    nested, size = gains.inners[label], gains.sizes[label]
    labels = {f"{name} {place}": each.labels for (name, place), each in given.items()}
    total = np.array(matrix, np.float64)
    found = {name: np.zeros((size, size, gains.inner_sizes[name]), np.intp) for name in nested}
    for i, j in np.ndindex(size, size):
        one, two = (
            {f"{name} {place}": getattr(each, side)[index] for (name, place), each in given.items()}
            for side, index in (("one", i), ("two", j))
        )
        matching = matched(labels, nested, one, two, np.random.default_rng(0), 0)
        squares = [sum(float(np.sum(array.astype(np.float64) ** 2)) for array in side.values()) for side in (one, two)]
        total[i, j] += matching.similarity * float(np.sqrt(squares[0] * squares[1]))
        for name in nested:
            found[name][i, j] = matching.element[name]
    places = assigned(total)
    columns = np.arange(size)
    return {label: places} | {name: found[name][places, columns] for name in nested}
