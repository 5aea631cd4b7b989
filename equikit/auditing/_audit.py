"""Audit a function: error, worst element, kept subgroup, first module at fault."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import jax
import numpy as np
from jax.typing import DTypeLike

from equikit import _checks, _keywords
from equikit._errors import EquikitError, OptionError
from equikit.auditing._action import act
from equikit.auditing._callables import Adapted, adapted, raised
from equikit.auditing._describe import describe
from equikit.auditing._evaluation import Evaluation, refuse_channels, refuse_data, refuse_samples
from equikit.auditing._measure import Measurement, measured, special_elements
from equikit.auditing._probe import Comparison, Probe, groups_of, probed, random_element
from equikit.auditing._reading import MOST_DRAWS, Question, read_masks, read_question, seeds_of
from equikit.auditing._worst import worst_element
from equikit.auditing.modules import located, study
from equikit.auditing.reports._report import Report
from equikit.auditing.subgroups import kept
from equikit.nn import Features
from equikit.plans import Channels

SHOWN = 40
"""The number of elements in the report."""

FIXED = 5
"""Random elements that are tried on data that no element may move."""


def audit(
    function: Callable[..., Any],
    signature: str | Features | Mapping[str, str],
    outputs: str | Features | Mapping[str, str] | None = None,
    /,
    *,
    data: Any = None,
    channels: Channels | bool | None = None,
    batch: Sequence[int] = (16,),
    key: jax.Array | None = None,
    mask: Any = False,
    draws: int = 256,
    confidence: float = 0.95,
    dtype: DTypeLike | None = None,
    at: Mapping[str, str] | None = None,
    groups: Mapping[str, object] | None = None,
    **bindings: object,
) -> Report:
    r"""Measure how well a function commutes with a group, and where it fails.

    The normalized error is \(\lVert f(gx) - g f(x) \rVert / (\lVert f(gx) \rVert + \lVert g f(x) \rVert)\). It is exact
    for groups of up to 200 elements, and otherwise a mean over random elements with a confidence interval. It is
    compared with the error that rounding explains in the dtype of the function: the change of f when rounding errors
    are added to its input, and the rounding of its output. Each channel is also compared by itself, so that a fault in
    a small channel is found although the norm of all channels does not show it. On GPUs and TPUs, matrix products of
    float32 arrays are less precise than float32, unless the function runs under
    `jax.default_matmul_precision("highest")`; an audit finds that error too.

    Args:
        function: any function or module of JAX, NumPy or PyTorch. It takes an array `[*batch, *axes, channels]`, or a
            dictionary of arrays if there are several inputs or they are given as a dictionary.
        signature, outputs: as for `equikit.nn.Linear`; channels of outputs are not needed.
        data: an array, or a dictionary with an array for each input. By default Gaussian inputs are drawn.
        channels: the number of channels of the inputs, if there are no data. `False` for a function whose inputs and
            outputs have no axis of channels: they are `[*batch, *axes]`, and dictionaries map names to labels only.
        batch: batch axes of the inputs, if there are no data; `()` for a function of one sample.
        key: a JAX random key; by default always the same.
        mask: for a function that also takes `mask=`, a dictionary from labels to Boolean arrays `[*batch, n]` that are
            true for present entries: the masks of the data, or `True` for random ones of every label whose group
            permutes entries. If there is only one such label, the mask of the data may be an array; the function then
            gets an array. Group elements move the masks with the data.
        draws: the number of random elements, at least. Each sample is moved by its own elements.
        confidence: the confidence of the interval of the error.
        dtype: dtype of the inputs; by default the dtype of the data.
        at: terms of the activations of modules, such as `{"blocks.1": "p x"}`, which help to find the first broken one.
        groups: the group of each label, as a dictionary; labels may also be given as keywords. A free group takes its
            size from the data.
        **bindings: labels with their groups.

    Returns:
        The report.

    Raises:
        OptionError: if the function raises an exception, there are no data or entries, no element moves the data, no
            group permutes entries that could be masked, or there are too few draws for the confidence, or over 10^6.
        TooLargeError: if random inputs have more than 2^27 entries.
        ShapeError, DTypeError: if the data or masks do not fit the signature.
        GroupError: if a group is free and no data tell its size.
        EquivarianceError: if outputs do not have the shapes of the signature or are not finite, or if two calls with
            the same input differ.
        MissingPackageError: for a module of PyTorch where PyTorch is not installed.

    Cost: about 20 calls of the function for large groups and 16 samples, up to 200 for groups of 200 elements; if
        there is an error, some hundred more for the worst element and the subgroup.

    Example:
        >>> import equikit as ek, numpy as np
        >>> report = ek.audit(lambda x: x * (x[:, :, :1] > 0), "p x -> p x", p=ek.S(4), x=ek.O(2), channels=1)
        >>> report.passed, str(report.kept)
        (False, 'S(4) × at least Z(2), generated by the reflection of x along (0, 1)')

        A function of points `[n, 3]`, without an axis of channels:

        >>> def centered(points):
        ...     return points - points.mean(axis=0)
        >>> ek.audit(centered, "p x -> p x", p=ek.S(5), x=ek.O(3), channels=False, batch=()).passed
        True

    Source:
        The normalized error: Kim et al., Regularizing towards soft equivariance under mixed symmetries,
        arXiv:2306.00356.
    """
    draws = _checks.count("draws", draws, least=1, most=MOST_DRAWS, example=256)
    confidence = _checks.number("confidence", confidence, above=0, below=1, example=0.95, traced=False)
    seeds = seeds_of(key)
    call = _keywords.call_of(audit)

    def read(channels: Channels | bool | None) -> Question:
        options: Any = {"batch": batch, "seeds": seeds, "groups": groups, "bindings": bindings, "call": call}
        question = read_question(signature, outputs, data, channels=channels, **options)
        return replace(question, masks=read_masks(mask, question, seeds))

    question = read(channels)
    try:
        called = _called(function, question, dtype)
        evaluation = Evaluation(called, question.signature, question.batch, question.sizes)
        probe, drawn = probed(evaluation, question.arrays, seeds, question.masks)
    except EquikitError:
        refuse_channels(function, question, from_text=isinstance(signature, str), with_data=data is not None)
        refuse_samples(function, question)
        if data is not None and question.channels:
            refuse_data(function, question, lambda: read(False))
        raise
    _refuse_fixed(probe)
    measurement = measured(probe, drawn, draws, confidence)
    special = [] if measurement.exact else [probe.compare(element) for element in special_elements(probe)]
    faults = [*probe.unexplained(*measurement.comparisons), *(fault for c in special for fault in probe.unexplained(c))]
    passed = not faults
    report = _report(probe, measurement, special, faults)
    if at is None and (passed or called.framework == "numpy"):
        return report
    asked = study(evaluation, question.arrays, seeds, question.masks)
    modules = located(asked, at=at, elements=report.worst_element.elements)
    return replace(report, first_broken=modules.first_broken, modules=modules)


def _called(function: Any, question: Question, dtype: DTypeLike | None) -> Adapted:
    try:
        return adapted(
            function,
            question.arrays,
            as_dict=question.as_dict,
            dtype=dtype,
            keywords=question.keywords(),
            channels=question.channels,
        )
    except EquikitError:
        raise
    except Exception as error:  # whatever the function raises
        raise raised(error, question.channels) from error


def _refuse_fixed(probe: Probe) -> None:
    """Raise `OptionError` if elements that move other inputs leave all samples as they are."""
    kind, random = probe.signature, np.random.default_rng(0)
    others = {name: random.normal(size=array.shape).astype(array.dtype) for name, array in probe.x.items()}
    elements = [random_element(kind, random) for _ in range(FIXED)]

    def moved(arrays: Mapping[str, np.ndarray]) -> bool:
        terms = [(term, arrays[term.name]) for term in kind.inputs]
        return any(not np.array_equal(act(kind, term, g, array), array) for g in elements for term, array in terms)

    if moved(others) and not moved(probe.x):
        raise OptionError(
            "the data do not show whether the function is equivariant",
            got="samples that no group element moves, such as zeros",
            expected="samples that the groups move",
            step="give data that vary along the axes of the groups",
        )


def _report(
    probe: Probe, measurement: Measurement, special: Sequence[Comparison], faults: Sequence[tuple[str, int]]
) -> Report:
    groups = groups_of(probe.signature)
    seen, found, simple = probe, measurement, list(special)
    if faults and all(place for _, place in faults):  # the norms of all channels together do not show them
        place = max(faults, key=lambda fault: float(np.mean(measurement.column(*fault).by_sample)))
        seen, found = replace(probe, only=place), measurement.column(*place)
        simple = [comparison.column(*place) for comparison in special]
    tried = [(c.elements, c.error) for c in (*found.comparisons, *simple) if isinstance(c.elements, Mapping)]
    worst, tried = worst_element(seen, found, tried, search=bool(faults))
    allowed = [value[:, 0] for c in measurement.comparisons for value in probe.allowed(c).values()]
    shown = sorted(((describe(groups, g), e) for g, e in tried), key=lambda pair: -pair[1])
    shown = [(worst.text, worst.error), *(pair for pair in shown if pair[0] != worst.text)]
    largest = [c.normalized.values() for c in (*measurement.comparisons, *special, probe.compare(worst.elements))]
    bound = ", ".join(f"{label}={group}" for label, group in groups.items())
    return Report(
        signature=f"{probe.signature}; {bound}" if bound else str(probe.signature),
        framework=probe.evaluation.function.framework,
        precision=str(np.dtype(probe.precision)),
        samples=probe.samples,
        error=measurement.error,
        interval=measurement.interval,
        relative=measurement.relative,
        worst=max(float(np.max(value[:, 0])) for values in largest for value in values),
        worst_element=worst,
        rounding=float(np.mean(allowed)),
        passed=not faults,
        kept=kept(probe, passed=not faults),
        first_broken=None,
        by_sample=measurement.by_sample,
        by_term=measurement.by_term,
        by_channel=measurement.by_channel,
        by_element=tuple(shown[:SHOWN]),
        mixes=probe.mixes,
        groups=groups,
    )
