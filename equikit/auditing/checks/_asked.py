"""Read the question of a check, and measure its error from recordings."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from equikit import _checks, _keywords
from equikit.auditing._action import wide
from equikit.auditing._callables import Adapted, Framework, adapted, is_torch
from equikit.auditing._evaluation import Evaluation
from equikit.auditing._reading import Question, read_question, seeds_of
from equikit.auditing.checks._estimate import MARGIN, Estimate
from equikit.auditing.modules._experiment import Experiment
from equikit.auditing.modules._locate import Make, Study, study
from equikit.auditing.modules.recording._calls import arrays_in, map_arrays
from equikit.auditing.modules.recording._roots import kind_of
from equikit.nn import Features


def asked_about(
    function: Callable[..., Any],
    signature: str | Features,
    outputs: str | Features | None,
    data: Any,
    *,
    key: Any,
    groups: Mapping[str, object] | None,
    bindings: Mapping[str, object],
    call: _keywords.Call,
    mask_of: Callable[[Question], Any] | None = None,
) -> Study:
    """Return the study of a function with data.

    Args:
        function, signature, outputs, data, key, groups, bindings, call: as for `audit`.
        mask_of: makes the mask of the function from what was read, if it takes one.
    """
    seeds = seeds_of(key)
    question = read_question(
        signature,
        outputs,
        data,
        channels=None,
        batch=(),
        seeds=seeds,
        groups=groups,
        bindings=bindings,
        call=call,
    )
    if mask_of is None:
        called = adapted(function, question.arrays, as_dict=question.as_dict)
    else:
        called = _with_mask(function, question.arrays, mask_of(question), question.as_dict)
    return study(Evaluation(called, question.signature, question.batch, question.sizes), question.arrays, seeds)


def _with_mask(function: Callable[..., Any], arrays: Mapping[str, Any], mask: Any, as_dict: bool) -> Adapted:
    """Find the framework of a function that takes a mask."""
    frameworks: dict[str | None, Framework] = {"torch": "torch", "nnx": "jax", "equinox": "jax"}
    known = frameworks.get(kind_of(function))

    def trial(given: Any) -> Any:
        one = next(arrays_in(given))
        like = torch_tensor if is_torch(one) else jnp.asarray if isinstance(one, jax.Array) else np.asarray
        return function(given, mask=map_arrays(like, mask))

    found = adapted(function if known else trial, arrays, as_dict=as_dict, framework=known)
    return replace(found, function=function)


def torch_tensor(array: np.ndarray) -> Any:
    """Return an array as a tensor of PyTorch."""
    return _checks.package("torch", "torch").as_tensor(array)


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
