"""Read the question of a check, and measure its error from recordings."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from equikit import _checks, _keywords
from equikit._errors import EquikitError
from equikit.auditing._action import wide
from equikit.auditing._callables import Adapted, adapted, raised
from equikit.auditing._evaluation import Evaluation, refuse_samples
from equikit.auditing._reading import Question, read_question, seeds_of
from equikit.auditing.checks._estimate import MARGIN, Estimate
from equikit.auditing.modules._experiment import Experiment
from equikit.auditing.modules._locate import Make, Study, study
from equikit.nn import Features


def asked_about(
    function: Callable[..., Any],
    signature: str | Features | Mapping[str, str],
    outputs: str | Features | Mapping[str, str] | None,
    data: Any,
    *,
    channels: bool,
    key: Any,
    groups: Mapping[str, object] | None,
    bindings: Mapping[str, object],
    call: _keywords.Call,
    mask_of: Callable[[Question], Any] | None = None,
) -> Study:
    """Return the study of a function with data.

    Args:
        function, signature, outputs, data, channels, key, groups, bindings, call: as for `audit`.
        mask_of: makes the mask of the function from what was read, if it takes one.

    Raises:
        OptionError: if the function raises an exception.
        EquivarianceError: if outputs do not have the shapes of the signature.
    """
    seeds = seeds_of(key)
    question = read_question(
        signature,
        outputs,
        data,
        channels=_checks.flag("channels", channels),
        batch=(),
        seeds=seeds,
        groups=groups,
        bindings=bindings,
        call=call,
    )
    keywords = {} if mask_of is None else {"mask": mask_of(question)}
    try:
        called = asked_function(function, question, keywords)
        evaluation = Evaluation(called, question.signature, question.batch, question.sizes)
        evaluation(question.arrays, **keywords)  # refuses outputs that do not fit
    except Exception as error:  # whatever the function raises
        refuse_samples(function, question)
        raise raised(error, question.channels) from error
    return study(evaluation, question.arrays, seeds)


def asked_function(function: Callable[..., Any], question: Question, keywords: Any = None) -> Adapted:
    """Find the framework of the function of a question, as `read_function` does."""
    options: Any = {"as_dict": question.as_dict, "channels": question.channels}
    return read_function(function, question.arrays, keywords=keywords, **options)


def read_function(
    function: Callable[..., Any],
    arrays: Mapping[str, Any],
    *,
    as_dict: bool,
    keywords: Any = None,
    channels: bool = True,
) -> Adapted:
    """Find the framework of a function, or raise `OptionError` if it raises an exception."""
    try:
        return adapted(function, arrays, as_dict=as_dict, keywords=keywords, channels=channels)
    except EquikitError:
        raise
    except Exception as error:  # whatever the function raises
        raise raised(error, channels) from error


def estimated(asked: Study, make: Make, label: str) -> Estimate:
    """Measure the error of one change of the input; if rounding does not explain it, look for the module at fault."""
    experiment = asked.experiment(make)
    outputs = [a for one in (experiment.base, *experiment.changes[label].recordings) for a in one.calls[-1].outputs]
    _checks.finite("the outputs", *map(wide, outputs), step="look at the function on these data")
    error, rounding = _errors(experiment, label)
    passed = error <= MARGIN * rounding
    return Estimate(error, rounding, None if passed else asked.report(make))


def _errors(experiment: Experiment, label: str) -> tuple[float, float]:
    """Return the mean normalized error over terms, samples and changes, and that which rounding explains."""
    change, last = experiment.changes[label], len(experiment.base.calls) - 1
    errors, allowed = [], []
    for place, name in enumerate(sorted(change.wanted[0])):
        for recording, wanted in zip(change.recordings, change.wanted, strict=True):
            given = np.asarray(recording.calls[-1].outputs[place]).astype(wanted[name].dtype)
            given = given[tuple(map(slice, wanted[name].shape))]
            both = float(np.linalg.norm(given) + np.linalg.norm(wanted[name])) or 1.0
            errors.append(float(np.linalg.norm(given - wanted[name])) / both)
            noise = experiment.noise("calls", last, "outputs", place, given)
            allowed.append(noise * np.sqrt(given.size) / both)
    return float(np.mean(errors)), float(np.mean(allowed))
