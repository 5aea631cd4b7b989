"""A start for the search: labels matched one after another, each by what those before it have settled."""

from __future__ import annotations

import numpy as np

from equikit.weightspace.alignment._blocks import joint, slices
from equikit.weightspace.alignment._gains import Gains, assigned, inners, products, taken
from equikit.weightspace.specifications._terms import Element


def sequential(gains: Gains) -> tuple[Element, set[str]]:
    """Permutations of all labels, in an order in which as much as possible is known of each.

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
                given[part] = slices(gains, *part, found, loose)
            found |= joint(gains, label, matrix, given)
        else:
            found[label] = assigned(matrix)
    return found, unsure


def _unsettled(gains: Gains, part: tuple[str, int], label: str, found: Element) -> tuple[int, ...]:
    """The other axes of a tensor that are permuted, by what is not known yet."""
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
    """Inner products of slices along an axis, sorted along those that are not settled."""
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
    """For each label the squares of weights of which all is known, and of others with the labels they wait for."""
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
    """The share of the squares of a label's weights that can be compared as they are."""
    fixed, waiting = shares[label]
    known = fixed + sum(norm for others, norm in waiting if others <= found.keys())
    total = fixed + sum(norm for _, norm in waiting)
    return known / total if total else 0.0
