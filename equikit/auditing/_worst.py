"""Search for the group element at which the error is largest."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from equikit._progress import progress
from equikit.auditing._action import Elements
from equikit.auditing._describe import describe
from equikit.auditing._elements import algebra, exponential, identity, product, same, simple, transposition
from equikit.auditing._measure import Measurement
from equikit.auditing._probe import Probe, groups_of
from equikit.groups import Group

CANDIDATES = 6
"""The number of random elements that are tried on all samples."""

ROUNDS = 6
"""The number of gradient steps, and of passes over transpositions."""

DIRECTIONS = 12
"""The largest number of directions of a gradient; larger Lie algebras take random ones."""

TRIES = 40
"""The largest number of neighbors of a permutation that are tried in one pass."""

STEP = 0.3
"""The length of the first gradient step; one is a rotation by one radian."""

NEARLY = 0.98
"""A simpler element whose error is at least this part of the largest error replaces the worst element."""


@dataclass(frozen=True, slots=True, eq=False)
class WorstElement:
    """The element with the largest error that was found.

    Attributes:
        elements: for each label, the element as an array: a permutation `[n]`, or a matrix `[n, n]`.
        error: its mean normalized error over the samples.
        text: a description.
    """

    elements: Mapping[str, np.ndarray]
    error: float
    text: str

    def __str__(self) -> str:
        return self.text

    def __repr__(self) -> str:
        return f"<{self.text}: {self.error:.2g}>"


def worst_element(
    probe: Probe, measurement: Measurement, tried: Sequence[tuple[Elements, float]], *, search: bool
) -> tuple[WorstElement, list[tuple[Elements, float]]]:
    """Search for the element with the largest mean error over the samples.

    All elements of a small group have been tried. Otherwise the search starts at the worst random elements, and climbs:
    along the gradient of the error in the Lie algebra, by finite differences, since functions need not be
    differentiable; and through transpositions or generators, for permutations. Then it looks for a simpler element
    with nearly the same error, such as a reflection in place of a reflection with a rotation.

    Args:
        probe: the function.
        measurement: the errors over the group.
        tried: elements that were tried on all samples, with their mean errors.
        search: whether to search; errors that rounding explains do not guide a search.

    Returns:
        The worst element, and all elements that were tried on all samples before the search, with their errors.
    """
    groups = groups_of(probe.signature)
    known = list(tried)
    if not measurement.exact:
        known += [(element, probe.error(element)) for element in measurement.candidates(CANDIDATES if search else 1)]
    best, error = max(known, key=lambda pair: pair[1])
    if search and not measurement.exact:
        with progress("search for the worst element", ROUNDS) as advance:
            for _ in range(ROUNDS):
                before = error
                best, error = _climbed(probe, groups, best, error)
                best, error = _exchanged(probe, groups, best, error)
                advance(f"{error:.2g}")
                if error <= 1.001 * before:
                    break
    if search:
        best, error = _simplified(probe, groups, best, error)
    return WorstElement(dict(best), error, describe(groups, best)), known


def _climbed(probe: Probe, groups: Mapping[str, Group], best: Elements, error: float) -> tuple[Elements, float]:
    """Move along the gradient of the error in the Lie algebras of all labels."""
    bases = {label: basis for label, group in groups.items() if (basis := algebra(group))}
    total = sum(map(len, bases.values()))
    if not total:
        return best, error
    norms = {label: _norm(groups[label], best[label]) for label in bases}

    def moved(weights: np.ndarray) -> Elements:
        found, start = dict(best), 0
        for label, basis in bases.items():
            turn = exponential(basis, weights[start : start + len(basis)])
            found[label] = product(groups[label], turn, best[label])
            start += len(basis)
        return found

    def value(weights: np.ndarray) -> float:
        return probe.error(moved(weights))

    directions = np.eye(total)
    if total > DIRECTIONS:
        directions = np.linalg.qr(probe.seeds.normal(size=(total, DIRECTIONS)))[0].T
    gradient = np.zeros(total)
    for direction in directions:
        gradient += direction * (value(0.05 * direction) - value(-0.05 * direction))
    size = float(np.linalg.norm(gradient))
    step, ahead = STEP, gradient / size if size > 0 else gradient
    reached, top = best, error
    while size > 0 and step > 0.01:
        trial = moved(step * ahead)
        # In a group that is not compact the error may grow with the stretch of the element, without a limit.
        near = all(_norm(groups[label], trial[label]) <= 1.01 * norms[label] for label in bases)
        found = probe.error(trial) if near else 0.0
        if found > top:
            reached, top, step = trial, found, 2 * step
        elif top > error:
            break
        else:
            step /= 3
    return reached, top


def _norm(group: Group, element: np.ndarray) -> float:
    return 1.0 if group.keeps_norm else float(np.linalg.norm(group.matrix(element), 2))


def _exchanged(probe: Probe, groups: Mapping[str, Group], best: Elements, error: float) -> tuple[Elements, float]:
    """Multiply by transpositions or generators as long as the error grows."""
    for label, group in groups.items():
        if not group.is_finite:
            continue
        for step in _steps(group, probe.seeds):
            trial = {**best, label: product(group, step, best[label])}
            found = probe.error(trial)
            if found > error:
                best, error = trial, found
    return best, error


def _steps(group: Group, seeds: np.random.Generator) -> Iterator[np.ndarray]:
    n = group.n or 0
    if group.family != "symmetric":
        yield from group.generators()
        return
    pairs = [(i, j) for i in range(n) for j in range(i)]
    for place in seeds.permutation(len(pairs))[:TRIES]:
        yield transposition(n, *pairs[place])


def _simplified(probe: Probe, groups: Mapping[str, Group], best: Elements, error: float) -> tuple[Elements, float]:
    """Replace the element of each label by the identity, or by a simple element, if the error stays nearly the same."""
    least = NEARLY * error
    for label, group in groups.items():
        for simpler in (identity(group), *_simpler(group, best[label])):
            if same(group, simpler, best[label]):
                break
            trial = {**best, label: simpler}
            found = probe.error(trial)
            if found >= least:
                best, error = trial, found
                break
    return best, error


def _simpler(group: Group, element: np.ndarray) -> Iterator[np.ndarray]:
    """Yield simple elements: transpositions that move a point as the element does, reflections, the generators."""
    if group.family == "symmetric":
        moved = np.flatnonzero(element != np.arange(len(element)))
        yield from (transposition(len(element), i, element[i]) for i in moved[:TRIES])
    yield from simple(group)
