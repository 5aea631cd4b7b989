"""Search for permutations with the largest gain: starts, coordinate ascent from each start, and nested labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from equikit.weightspace.alignment._gains import Arrays, Gains, Labels, assigned, inner, inners, products, taken
from equikit.weightspace.specifications._terms import Element

REST = "the rest"
"""The label of the flattened remaining axes, which are not permuted."""


SMALLEST_GAIN = 1e-7
"""The ascent stops after a pass whose gain is smaller than this, relative to the product of both networks' norms."""


@dataclass(frozen=True)
class Matching:
    """The result of a search.

    Attributes:
        element: the permutations of the second network, by label; a nested label has one row for each index of its
            outer label.
        similarity: the cosine similarity of the first network's weights and the permuted second network's weights: one
            if they are equal, and zero if only one of them is zero.
        passes: the number of passes over all labels in the best run.
        starts: the final similarity of each run.
        losses: only for the straight-through estimator: the loss at the midpoint between the networks for each
            permutation that it visits, starting with the result of weight matching.
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
    """Match tensors that were scaled so that their products neither overflow nor underflow."""
    gains = Gains(labels, permuted, one, two, nested)
    squares = inner(one, one), inner(two, two)
    norm = float(np.sqrt(squares[0] * squares[1]))
    runs = [_climbed(gains, *each, norm, generator) for each in _starts(gains, generator, restarts, start)]
    # The gains do not contain tensors without a permuted label.
    rest = {name for name, axes in labels.items() if not set(axes) & set(permuted)}
    fixed = inner({name: one[name] for name in rest}, {name: two[name] for name in rest})
    reached = tuple(cosine(value + fixed, *squares) for _, value, _ in runs)
    best = int(np.argmax(reached))
    return Matching(runs[best][0], reached[best], runs[best][2], reached)


def cosine(product: float, one: float, two: float) -> float:
    """Return the cosine similarity for an inner product and two squared norms: of zeros alone 1, of one zero 0."""
    norm = float(np.sqrt(one * two))
    return product / norm if norm else float(one == two)


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
    """Run the coordinate ascent from a start; return the final element, its inner product, and the number of passes."""
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
    """Return the permutation with the largest gain, and the improvement over the current permutation.

    If the label is on two axes of one tensor, the maximized gain is a linear approximation. If it has nested labels,
    each pair of indices is matched by an approximate search. In both cases the improvement may be negative.
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
    """Match one label at a time: the label with the largest share of weights that can be compared directly.

    If all other axes of a tensor are matched or not permuted, its slices along the label are compared directly.
    Otherwise both networks are sorted along the unmatched axes, which makes the comparison independent of their order.
    If the second network is a permuted copy of the first, both comparisons are exact: the result for each label is the
    planted permutation, or differs from it only among indices with equal sorted weights.

    Returns:
        The permutations, and the labels for which some weights were sorted. The permutation of every other label is
        optimal while the permutations of all other labels are fixed.
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
    """Return the other permuted axes of a tensor that are not matched yet."""
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
    """Return the inner products between slices along an axis, sorted along the unmatched axes `loose`."""
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
    """Return for each label the squared norm of its fixed tensors, and of its other tensors with their other labels."""
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
    """Return the share of the squared norm of a label's weights that can be compared directly."""
    fixed, waiting = shares[label]
    known = fixed + sum(norm for others, norm in waiting if others <= found.keys())
    total = fixed + sum(norm for _, norm in waiting)
    return known / total if total else 0.0


@dataclass(frozen=True)
class _Slices:
    """The slices of a tensor of both networks along an outer label, `[outer, ...]`, and the labels of other axes."""

    labels: tuple[str, ...]
    one: np.ndarray
    two: np.ndarray


def _slices(gains: Gains, name: str, place: int, element: Element, loose: tuple[int, ...] = ()) -> _Slices:
    """Return the slices of a tensor along an outer label, with all other axes in the order of the second network.

    Both networks are sorted along the unmatched axes `loose`.
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
    """Match a label together with the labels nested in it.

    The gain of moving index j of the second network to position i is the result of a search for the permutations of
    the nested labels between the two slices, for every pair (i, j).
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
