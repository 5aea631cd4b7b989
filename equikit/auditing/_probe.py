r"""Compare f(g x) with g f(x), and with what rounding explains.

The group acts in double precision; g x is then rounded to the dtype of the function's inputs. Three roundings therefore
separate f(g x) from g f(x) for a function that is equivariant in exact arithmetic: of g x, of the steps of f, and of
its outputs. The first two are measured together, as the change of f when an input g x moves by a spacing of the
coarser dtype of inputs and outputs; the change includes the rounding of all steps, since other numbers are rounded. The
third is half a spacing of the output.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from equikit._errors import EquikitError, EquivarianceError
from equikit.auditing._action import Elements, act, act_each, stretch, wide
from equikit.auditing._callables import raised
from equikit.auditing._evaluation import Evaluation
from equikit.auditing._reading import Masks
from equikit.auditing._rounding import epsilon, perturbed, smallest
from equikit.signatures import Signature, Term

MEAN, WORST = 2.0, 32.0
"""Rounding explains an error up to these factors: its mean over samples, and the error of each sample."""

SCALARS = 16
"""The number of changes under rounding that are averaged, at least: one could be small by chance."""

NOISY = 0.1
"""A sample has no part in the mean if rounding explains a normalized error above this."""

RARE, FEW = 0.02, 8
"""This share of the errors of a single channel may exceed the factor, or one of at least so many.

Where large numbers cancel, a small channel jumps when another number is rounded up, at few samples.
"""

TINY = 1e-300

SAME = 0.03
"""The largest normalized difference of two calls with the same input, in any precision."""

SETTLED = 1e3
"""Channels count less in the defect where they are not so many times as large as their change under rounding."""

Norms = Mapping[str, np.ndarray]
"""Numbers of each output term, `[samples, 1 + channels]`: of all channels together, then of each channel.

A fault in a channel that is small beside others is too small for the norm of all channels. If there is only one
channel, there is one column.
"""


@dataclass(frozen=True, slots=True)
class Comparison:
    """The two outputs f(g x) and g f(x) of all samples, for one element or one for each sample.

    Attributes:
        differences: the norm of f(g x) - g f(x).
        moved_first: the norm of f(g x).
        moved_last: the norm of g f(x).
        stretches: the factor by which the elements stretch the term, `[samples, 1]`; one for groups that keep norms.
        changes: the norm of the change of f(g x) under rounding, or nothing if it was not measured.
        elements: the element, or the list of elements of the samples.
    """

    differences: Norms
    moved_first: Norms
    moved_last: Norms
    stretches: Norms
    changes: Norms
    elements: Elements | Sequence[Elements]

    @property
    def normalized(self) -> Norms:
        """The norm of the difference over the sum of the norms of both sides, in [0, 1]; zero where both are zero."""
        return {name: _ratio(d, self.moved_first[name] + self.moved_last[name]) for name, d in self.differences.items()}

    @property
    def by_sample(self) -> np.ndarray:
        """The normalized error of each sample, of all channels together, the mean over the terms."""
        return np.mean([errors[:, 0] for errors in self.normalized.values()], axis=0)

    def column(self, name: str, place: int) -> Comparison:
        """Return the comparison of one column of norms of one term."""
        here = slice(place, place + 1)
        parts = (self.differences, self.moved_first, self.moved_last)
        differences, first, last = ({name: part[name][:, here]} for part in parts)
        return Comparison(differences, first, last, {name: self.stretches[name]}, {}, self.elements)

    @property
    def error(self) -> float:
        """The mean normalized error."""
        return float(np.mean(self.by_sample))


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        return np.where(part == 0, 0.0, part / whole)


def norms(kind: Signature, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return the norms of each sample of each output, of all channels together and then of each channel."""
    found = {}
    for term in kind.outputs:
        each = _lengths(by_channel(kind, term, arrays[term.name]))
        found[term.name] = each if each.shape[1] == 1 else np.concatenate([_lengths(each[..., None]), each], axis=1)
    return found


def by_channel(kind: Signature, term: Term, array: np.ndarray) -> np.ndarray:
    """Return an array as `[samples, entries, channels]`; axes on which no group acts count as channels."""
    acted = [1 + place for place in kind.acted(term)]
    first = np.moveaxis(array, acted, range(1, 1 + len(acted)))
    entries = math.prod(first.shape[1 : 1 + len(acted)])
    return first.reshape(len(array), entries, math.prod(first.shape[1 + len(acted) :]))


def _lengths(arrays: np.ndarray) -> np.ndarray:
    """Return norms along the second axis; entries are scaled, so that no square leaves float64."""
    largest = np.max(np.abs(arrays), axis=1, initial=0.0)
    scale = np.where(largest > 0, largest, 1.0)
    lengths: np.ndarray = scale * np.linalg.norm(arrays / scale[:, None], axis=1)
    return lengths


@dataclass(frozen=True, slots=True)
class Probe:
    """A function, its inputs, its outputs there, and how much they change under rounding.

    Attributes:
        evaluation: the function.
        x: an array for each input term in double precision, `[samples, *axes, channels]`, rounded to the function's
            dtype.
        y: an array for each output term, in double precision.
        dtypes: the dtype of each output.
        precision: the coarsest dtype among inputs and outputs.
        noise: the root mean square of the change under rounding, for each term and sample.
        mixes: whether an output depends on other samples; then all samples are moved by the same element.
        seeds: the source of random elements.
        only: the term and the column of the norms that are compared; by default all are.
        masks: the masks of the samples, which move with the inputs, if the function takes masks.
    """

    evaluation: Evaluation
    x: Mapping[str, np.ndarray]
    y: Mapping[str, np.ndarray]
    dtypes: Mapping[str, Any]
    precision: Any
    noise: Norms
    mixes: bool
    seeds: np.random.Generator
    only: tuple[str, int] | None = None
    masks: Masks | None = None

    @property
    def signature(self) -> Signature:
        """The signature of the function."""
        return self.evaluation.signature

    @property
    def samples(self) -> int:
        """The number of samples."""
        return len(next(iter(self.x.values())))

    @property
    def keeps_norms(self) -> bool:
        """Whether all groups keep norms, so that no element enlarges rounding errors."""
        return all(group.keeps_norm for group in self.signature.groups.values())

    def random_elements(self) -> Elements | list[Elements]:
        """Draw an element for each sample, or one for all samples if the function mixes them."""
        if self.mixes:
            return random_element(self.signature, self.seeds)
        return [random_element(self.signature, self.seeds) for _ in range(self.samples)]

    def compare(self, elements: Elements | Sequence[Elements], *, rounding: bool = False) -> Comparison:
        """Move the inputs of all samples by one element, or by one for each sample, and compare the outputs.

        Args:
            elements: an element for each label, or a list of these for each sample.
            rounding: whether to measure the change under rounding at the moved inputs; always done if an element may
                stretch vectors.

        Cost: one call of the function, two with `rounding`.
        """
        several = not isinstance(elements, Mapping)
        move: Any = act_each if several else act
        kind, terms = self.signature, self.signature.outputs
        moved = {term.name: move(kind, term, elements, self.x[term.name]) for term in kind.inputs}
        first = self._evaluated(moved, elements)
        last = {term.name: move(kind, term, elements, self.y[term.name]) for term in terms}
        each: list[Elements] = list(elements) if several else [elements] * self.samples  # type: ignore[arg-type, list-item]
        one = self.keeps_norms
        factors = {t.name: np.array([[1.0 if one else stretch(kind, t, g)] for g in each]) for t in terms}
        changes: Norms = {}
        if rounding or not one:
            near = {name: perturbed(self._rounded(a), self.precision, self.seeds) for name, a in moved.items()}
            again = self._evaluated(near, elements)
            changes = norms(kind, {name: again[name] - first[name] for name in first})
        differences = norms(kind, {name: first[name] - last[name] for name in first})
        found = Comparison(differences, norms(kind, first), norms(kind, last), factors, changes, elements)
        return found if self.only is None else found.column(*self.only)

    def allowed(self, comparison: Comparison) -> Norms:
        """Return the normalized error that rounding explains, as norms."""
        found, lengths = {}, norms(self.signature, self.y)
        for name, first in comparison.moved_first.items():
            last, factor = comparison.moved_last[name], comparison.stretches[name]
            noise, half = self.noise[name], epsilon(self.dtypes[name]) / 2
            here = noise if self.keeps_norms else np.maximum(comparison.changes[name], noise)
            least = smallest(self.dtypes[name]) * math.sqrt(self.y[name][0].size)
            errors = here + factor * noise + half * (first + factor * lengths[name]) + least
            found[name] = np.where(first + last > 0, np.minimum(_ratio(errors, first + last), 1.0), 0.0)
        return found

    def explains(self, *comparisons: Comparison) -> bool:
        """Whether rounding explains the errors of these comparisons."""
        return not self.unexplained(*comparisons)

    def unexplained(self, *comparisons: Comparison) -> list[tuple[str, int]]:
        """Return the terms and columns of norms whose errors rounding does not explain."""
        found = []
        for name in self.y:
            errors = np.concatenate([c.normalized[name] for c in comparisons])
            allowed = np.concatenate([self.allowed(c)[name] for c in comparisons])
            clear = allowed < NOISY
            # Conditions that hold, so that NaN never passes.
            usual = errors <= WORST * allowed
            usual[:, 1:] |= np.sum(~usual[:, 1:], axis=0) <= max(len(errors) >= FEW, RARE * len(errors))
            clear[:, 1:] &= errors[:, 1:] <= WORST * allowed[:, 1:]
            means = np.sum(errors * clear, axis=0) <= MEAN * np.sum(allowed * clear, axis=0)
            found += [(name, int(place)) for place in np.flatnonzero(~(np.all(usual, axis=0) & means))]
        return found

    def error(self, elements: Elements) -> float:
        """Return the mean normalized error of one element."""
        return self.compare(elements).error

    def keeps(self, elements: Elements) -> bool:
        """Whether the function commutes with an element, up to rounding."""
        return self.explains(self.compare(elements))

    def defect(self, elements: Elements) -> np.ndarray:
        """Return f(g x) - g f(x) over the norm of f(x), of all terms and samples in one vector; zero where f(x) is.

        Each channel is divided by its own norm, unless rounding errors are large there.
        """
        kind = self.signature
        moved = {term.name: act(kind, term, elements, self.x[term.name]) for term in kind.inputs}
        first, own, parts = self._evaluated(moved, elements), norms(kind, self.y), []
        for term in kind.outputs:
            difference = by_channel(kind, term, first[term.name] - act(kind, term, elements, self.y[term.name]))
            size = own[term.name] + SETTLED * self.noise[term.name]
            size = size[:, None, size.shape[1] - difference.shape[2] :]
            parts.append(np.where(size > 0, difference / np.maximum(size, TINY), 0).ravel())
        whole: np.ndarray = np.concatenate(parts)
        return np.concatenate([whole.real, whole.imag]) if np.iscomplexobj(whole) else whole

    def _rounded(self, array: np.ndarray) -> np.ndarray:
        return wide(self.evaluation.function.rounded(array))

    def _evaluated(
        self, arrays: Mapping[str, np.ndarray], elements: Elements | Sequence[Elements]
    ) -> dict[str, np.ndarray]:
        masks = None if self.masks is None else self.masks.moved(self.signature, elements)
        return evaluated(self.evaluation, arrays, masks, moved=True)[0]


def random_element(signature: Signature, seeds: np.random.Generator) -> Elements:
    """Draw an element of each group."""
    return {label: group.random_element(seeds) for label, group in groups_of(signature).items()}


def groups_of(signature: Signature) -> dict[str, Any]:
    """Return the group of each label without a star."""
    bound = dict(signature.bindings)
    return {label: bound[label] for label in bound if label in signature.groups or f"{label}*" in signature.groups}


def evaluated(
    evaluation: Evaluation, arrays: Mapping[str, np.ndarray], masks: Masks | None = None, *, moved: bool = False
) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Return the outputs of all samples in double precision, and their dtypes.

    Args:
        evaluation: the function.
        arrays: an array for each input, `[samples, *axes, channels]`.
        masks: the masks of the samples, `[samples, n]`, if the function takes masks.
        moved: whether a group element has moved the inputs, for the error.

    Raises:
        OptionError: if the function raises an exception.
        EquivarianceError: if outputs do not fit the signature, or are not finite.
    """
    batch = evaluation.batch
    shaped = {name: array.reshape(*batch, *array.shape[1:]) for name, array in arrays.items()}
    try:
        outputs = evaluation(shaped, **({} if masks is None else masks.shaped(batch).keywords()))
    except EquikitError:
        raise
    except Exception as error:  # whatever the function raises
        raise raised(error, evaluation.function.channels) from error
    samples = math.prod(batch)
    flat = {name: wide(array).reshape(samples, *array.shape[len(batch) :]) for name, array in outputs.items()}
    for name, array in flat.items():
        wrong = np.flatnonzero(~np.all(np.isfinite(array.reshape(samples, -1)), axis=1))
        if len(wrong):
            raise EquivarianceError(
                "the function returns numbers that are not finite",
                got=f"NaN or infinity in {name!r} for sample {wrong[0]}"
                + (" moved by a group element" if moved else ""),
                expected="finite numbers for all samples and group elements",
                step=f"look at the function on sample {wrong[0]}, or leave this sample out",
            )
    return flat, {name: array.dtype for name, array in outputs.items()}


def probed(
    evaluation: Evaluation, arrays: Mapping[str, Any], seeds: np.random.Generator, masks: Masks | None = None
) -> tuple[Probe, list[Comparison]]:
    """Evaluate a function at its inputs, and measure how much it changes under rounding.

    Returns:
        The probe, and the comparisons with random elements that it took, which are independent draws.

    Raises:
        EquivarianceError: if two calls with the same input differ by more than rounding.

    Cost: three calls, and two for each comparison: three comparisons, more if there are few samples.
    """
    skip, samples = len(evaluation.batch), math.prod(evaluation.batch)
    x = {
        name: wide(evaluation.function.rounded(array)).reshape(samples, *array.shape[skip:])
        for name, array in arrays.items()
    }
    masks = None if masks is None else masks.shaped((samples,))
    y, dtypes = evaluated(evaluation, x, masks)
    again, _ = evaluated(evaluation, x, masks)
    dtype = evaluation.function.dtype
    coarsest = max([dtype, *dtypes.values()], key=epsilon)
    _refuse_state(evaluation.signature, y, again, epsilon(coarsest))
    mixes = samples > 1 and _mixes(evaluation, x, masks, y, epsilon(coarsest))
    blank = {name: np.zeros_like(lengths) for name, lengths in norms(evaluation.signature, y).items()}
    probe = Probe(evaluation, x, y, dtypes, coarsest, blank, mixes, seeds, masks=masks)
    count = max(3, -(-SCALARS // samples))
    drawn = [probe.compare(probe.random_elements(), rounding=True) for _ in range(count)]
    own, noise = norms(evaluation.signature, y), {}
    lengths = _lengths(np.concatenate([a.reshape(samples, -1, 1) for a in x.values()], axis=1))
    size = np.minimum(lengths / (float(np.median(lengths)) or 1.0), 1.0)
    for name in y:
        changes = [c.changes[name] / np.maximum(c.stretches[name], 1) for c in drawn]
        mean = _lengths(np.stack(changes, axis=1)) / math.sqrt(count)
        # By chance, a few changes may all be small; then the changes of other samples count.
        usual = _usual(mean)
        share = _usual(np.where(own[name] > 0, mean / np.maximum(own[name], TINY), 0.0))
        # Where large numbers cancel, outputs are small and rounding errors are not, unless the input is small too.
        floor = np.where(own[name] > WORST * usual, np.maximum(share * own[name], usual * size**2), usual * size)
        noise[name] = np.maximum(mean, floor)
    return replace(probe, noise=noise), drawn


def _mixes(
    evaluation: Evaluation, x: Mapping[str, np.ndarray], masks: Masks | None, y: Mapping[str, np.ndarray], eps: float
) -> bool:
    """Whether outputs of other samples change with the first sample."""
    changed = {name: np.concatenate([a[:1] + a[1:2], a[1:]]) for name, a in x.items()}
    other, _ = evaluated(evaluation, changed, masks)
    kind = evaluation.signature
    own, changes = (norms(kind, {n: a[n][1:] - b * y[n][1:] for n in y}) for a, b in ((y, 0), (other, 1)))
    return any(np.any(_ratio(change, own[name]) > eps) for name, change in changes.items())


def _usual(values: np.ndarray) -> np.ndarray:
    """Return the median of the positive numbers of each column, zero if there are none.

    In half precision, or where a channel is zero at most samples, most changes may be zero.
    """
    positive = np.ma.masked_less_equal(values, 0)
    return np.asarray(np.ma.filled(np.ma.median(positive, axis=0), 0.0))


def _refuse_state(kind: Signature, y: Mapping[str, np.ndarray], again: Mapping[str, np.ndarray], eps: float) -> None:
    """Raise `EquivarianceError` if a second call with the same inputs differs by more than rounding."""
    own, other = norms(kind, y), norms(kind, again)
    differences = norms(kind, {name: again[name] - y[name] for name in again})
    largest = max(float(np.max(_ratio(differences[n], own[n] + other[n])[:, 0])) for n in own)
    if largest > min(64 * eps, SAME):
        raise EquivarianceError(
            "two calls of the function with the same input differ",
            got=f"normalized difference {largest:.2g}",
            expected="the same output, up to rounding",
            step="switch dropout off, and give the function its random keys",
        )
