"""Evaluate a function on arrays of NumPy, and check that its outputs fit the signature."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from equikit._array_checks import name_last_axis
from equikit._errors import EquikitError, EquivarianceError, OptionError
from equikit.auditing._callables import Adapted, adapted
from equikit.auditing._reading import Question, refuse_empty
from equikit.signatures import Signature, Term


@dataclass(frozen=True, slots=True)
class Evaluation:
    """A function whose outputs are checked against its signature at every call.

    Attributes:
        function: the function, called with arrays of NumPy.
        signature: its signature.
        batch: the batch axes of all inputs and outputs.
        sizes: the size of each label.
    """

    function: Adapted
    signature: Signature
    batch: tuple[int, ...]
    sizes: Mapping[str, int]

    def __call__(self, arrays: Mapping[str, np.ndarray], **keywords: Any) -> dict[str, np.ndarray]:
        """Return the output of each term, `[*batch, *axes, channels]`, in its own dtype; one channel if it has none.

        Raises:
            EquivarianceError: if an output is missing or has another shape than its term.
            OptionError: if all outputs are empty.
        """
        y, outputs = self.function(arrays, **keywords), self.signature.outputs
        result = dict(y) if isinstance(y, Mapping) else {outputs[0].name: y}
        for term in outputs:
            wanted = (*self.batch, *(self.sizes[label] for label in term.labels))
            found = {name: getattr(array, "shape", None) for name, array in result.items()}
            shape = found.get(term.name)
            if found.keys() != {t.name for t in outputs} or not shape or shape[:-1] != wanted:
                raise self._misfit(term, wanted, result)
        refuse_empty("output", {name: array.shape for name, array in result.items()})
        return {term.name: result[term.name] for term in outputs}

    def _misfit(self, term: Term, wanted: tuple[int, ...], result: Mapping[str, Any]) -> EquivarianceError:
        """Return the error for an output of a term that has another shape; shapes are those of the function."""
        channels = self.function.channels
        found: dict[str, Any] = {name: getattr(array, "shape", None) for name, array in result.items()}
        shapes = {name: s if s is None or channels else s[:-1] for name, s in found.items()}
        shape, step = shapes.get(term.name), "check the signature, or the function"
        if channels and shape == wanted:
            step = "add an axis of channels to the output, the last one"
        elif not channels and shape is not None and shape[:-1] == wanted != shape:
            step = name_last_axis(term, self.sizes, shape[-1])
        return EquivarianceError(
            "the function does not have the outputs of its signature",
            got={name: type(result[name]) if s is None else list(s) for name, s in shapes.items()},
            expected=f"{term.name!r} with shape [{', '.join(map(str, [*wanted, *['channels'] * channels]))}]",
            step=step,
        )


def refuse_channels(function: Any, question: Question, *, from_text: bool, with_data: bool) -> None:
    """Raise `OptionError` if a function does not fit its signature, but does with arrays that have no channels.

    Args:
        function: the function.
        question: what was asked, with arrays that have channels.
        from_text: whether the signature is one text.
        with_data: whether the arrays are data of the user.
    """
    if not question.channels or _runs(function, question, True) or not _runs(function, question, False):
        return
    kind, data = question.signature, ", and data[..., 0]" * with_data
    if with_data and question.as_dict:
        data = ", and data={name: array[..., 0] for name, array in data.items()}"
    inputs, outputs = ({term.name: " ".join(term.words) for term in side} for side in (kind.inputs, kind.outputs))
    raise OptionError(
        "the function takes arrays without an axis of channels",
        got=", ".join(f"{name!r} of shape {[*array.shape]}" for name, array in question.arrays.items()),
        expected="a function of arrays [*batch, *axes, channels], or channels=False",
        step=f"write channels=False{data}" if from_text else f"write channels=False, with {inputs} and {outputs}{data}",
    )


def refuse_samples(function: Any, question: Question) -> None:
    """Raise `OptionError` if a function of JAX does not fit its signature, but does when mapped over the batch."""
    if not callable(function) or not question.batch or _runs(function, question, question.channels):
        return
    mapped, name = function, "function"
    for _ in question.batch:
        mapped, name = jax.vmap(mapped), f"jax.vmap({name})"
    if _runs(mapped, question, question.channels):
        raise OptionError(
            "the function takes one sample, not a batch",
            got=", ".join(f"{name!r} of shape {_shape(array, question)}" for name, array in question.arrays.items()),
            expected=f"a function of arrays [*batch, *axes{', channels' * question.channels}]",
            step=f"pass {name}",
        )


def refuse_data(function: Any, question: Question, read: Callable[[], Question]) -> None:
    """Raise `OptionError` if a function does not fit its data, but does if the data have no axis of channels.

    Args:
        function: the function.
        question: what was asked, with the last axis of the data as channels.
        read: reads the data without an axis of channels.
    """
    if not callable(function) or _runs(function, question, True):
        return
    try:
        other = read()
    except EquikitError:  # the data do not fit the signature then
        return
    if _runs(function, other, False) or (other.batch and _runs(jax.vmap(function), other, False)):
        raise OptionError(
            "the data have no axis of channels",
            got=", ".join(f"{name!r} of shape {[*array.shape]}" for name, array in question.arrays.items()),
            expected="arrays [*batch, *axes, channels], or channels=False",
            step="write channels=False",
        )


def _shape(array: Any, question: Question) -> list[int]:
    return [*array.shape][: None if question.channels else -1]


def _runs(function: Any, question: Question, channels: bool) -> bool:
    """Whether a function takes arrays with or without channels, and returns outputs that fit the signature."""
    arrays = {name: array if channels else array[..., :1] for name, array in question.arrays.items()}
    try:
        keywords = question.keywords()
        called = adapted(function, arrays, as_dict=question.as_dict, channels=channels, keywords=keywords)
        Evaluation(called, question.signature, question.batch, question.sizes)(arrays, **keywords)
    except Exception:  # whatever the function raises
        return False
    return True
