"""The mean error over a group: exact where all elements can be listed, otherwise over random elements."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from equikit._progress import progress
from equikit.auditing._action import Elements
from equikit.auditing._bounds import Interval, mean_interval, refuse_few
from equikit.auditing._elements import identity, listed_products, simple
from equikit.auditing._probe import Comparison, Probe, groups_of


@dataclass(frozen=True, slots=True)
class Measurement:
    """Errors over a group.

    Attributes:
        comparisons: the comparisons whose mean is the error.
        interval: bounds on the mean over the group, for the given samples.
        exact: whether every element of the group was used.
    """

    comparisons: tuple[Comparison, ...]
    interval: Interval
    exact: bool

    @property
    def by_sample(self) -> np.ndarray:
        """The mean normalized error of each sample."""
        return np.asarray(np.mean([comparison.by_sample for comparison in self.comparisons], axis=0))

    @property
    def by_term(self) -> dict[str, float]:
        """The mean normalized error of each output term."""
        names = self.comparisons[0].normalized
        return {name: float(np.mean([c.normalized[name][:, 0] for c in self.comparisons])) for name in names}

    @property
    def by_channel(self) -> dict[str, np.ndarray]:
        """The mean normalized error of each channel of each output term, and of each place on axes without a group."""
        names = self.comparisons[0].normalized
        means = {
            name: np.mean(np.concatenate([c.normalized[name] for c in self.comparisons]), axis=0) for name in names
        }
        return {name: mean[1:] if len(mean) > 1 else mean for name, mean in means.items()}

    def column(self, name: str, place: int) -> Measurement:
        """Return the measurement of one column of norms of one term."""
        return replace(self, comparisons=tuple(c.column(name, place) for c in self.comparisons))

    @property
    def error(self) -> float:
        """The mean normalized error."""
        return float(np.mean(self.by_sample))

    @property
    def relative(self) -> float:
        """The mean norm of the difference over the mean norm of g f(x), the mean over terms."""
        parts = []
        for name in self.comparisons[0].differences:
            difference = float(np.sum([c.differences[name][:, 0] for c in self.comparisons]))
            size = float(np.sum([c.moved_last[name][:, 0] for c in self.comparisons]))
            parts.append(0.0 if difference == 0 else difference / size if size > 0 else np.inf)
        return float(np.mean(parts))

    def candidates(self, most: int) -> list[Elements]:
        """Return the elements with the largest errors, the largest first."""
        scored: list[tuple[float, int, int]] = []
        for place, comparison in enumerate(self.comparisons):
            if isinstance(comparison.elements, Sequence):
                scored += [(float(error), place, sample) for sample, error in enumerate(comparison.by_sample)]
            else:
                scored.append((comparison.error, place, 0))
        found = []
        for _, place, sample in sorted(scored, reverse=True)[:most]:
            elements = self.comparisons[place].elements
            found.append(elements[sample] if isinstance(elements, Sequence) else elements)
        return found


def measured(probe: Probe, drawn: Sequence[Comparison], draws: int, confidence: float) -> Measurement:
    """Measure the error over all elements of a small finite group, or over random elements.

    Args:
        probe: the function.
        drawn: comparisons with random elements that have been made.
        draws: the number of random elements, at least; each sample has its own unless the function mixes samples.
        confidence: the confidence of the interval.

    Raises:
        OptionError: if there are too few draws for the confidence.

    Cost: a call of the function for each element of the group, or for every `samples` random elements.
    """
    all_elements = listed_products(groups_of(probe.signature))
    if all_elements is not None:
        with progress("elements", len(all_elements)) as advance:
            comparisons = []
            for element in all_elements:
                comparisons.append(probe.compare(element))
                advance("")
        error = float(np.mean([c.error for c in comparisons]))
        return Measurement(tuple(comparisons), Interval(error, error, elements=len(all_elements)), True)
    each = 1 if probe.mixes else probe.samples
    missing = max(-(-draws // each) - len(drawn), 0)
    refuse_few(each * (len(drawn) + missing), confidence)
    comparisons = list(drawn)
    with progress("random elements", missing) as advance:
        for _ in range(missing):
            comparisons.append(probe.compare(probe.random_elements()))
            advance("")
    error = float(np.mean([c.error for c in comparisons]))
    interval = mean_interval(error, each * len(comparisons), confidence)
    return Measurement(tuple(comparisons), interval, False)


def special_elements(probe: Probe) -> list[dict[str, np.ndarray]]:
    """Return simple elements of each group, with the identity of the others.

    A few random elements of a small group may all be the identity, and reflections may be rare in a group with many
    components; simple elements are in all of them.
    """
    groups = groups_of(probe.signature)
    rest = {label: identity(group) for label, group in groups.items()}
    return [rest | {label: element} for label, group in groups.items() for element in simple(group)]
