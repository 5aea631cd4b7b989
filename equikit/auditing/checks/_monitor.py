"""Follow the equivariance error of a model while it is trained."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from html import escape
from typing import Any

import jax
import numpy as np
from flax import nnx

from equikit import _checks, _keywords
from equikit.auditing._evaluation import Evaluation
from equikit.auditing._probe import probed
from equikit.auditing._reading import read_question, seeds_of
from equikit.auditing.checks._asked import asked_function
from equikit.nn import Features

COLOR, QUIET = "#1579bb", "#888888"
WIDTH, HEIGHT, LEFT, BOTTOM = 480, 220, 56, 36


@dataclass(frozen=True, slots=True)
class Entry:
    """One measurement during training.

    Attributes:
        step: the number of the epoch or step.
        error: the mean normalized error over samples and random elements, from 0 to 1.
        rounding: the mean normalized error that rounding explains.
        training, validation: the measures that `ek.train.fit` reports; NaN if there are none.
    """

    step: int
    error: float
    rounding: float
    training: float = math.nan
    validation: float = math.nan


class Monitor:
    """Measure the equivariance error of a model every few epochs.

    A monitor is a callback of `ek.train.fit`, and is called as `monitor(step, model=model)` in other training loops,
    with a module or a function of any framework. All measurements use the same data and the same random elements.

    Args:
        signature, outputs: as for `audit`.
        data: an array, or a dictionary with an array for each input.
        channels: whether arrays have an axis of channels, the last one; otherwise they are `[*batch, *axes]`.
        every: the number of epochs or steps between measurements.
        log: called with each entry, such as `print`.
        key: a JAX random key; by default always the same.
        groups: the group of each label, as a dictionary; labels may also be given as keywords. A free group takes its
            size from the data.
        **bindings: labels with their groups.

    Attributes:
        history: the entries so far.

    Raises:
        OptionError, ShapeError, GroupError: as `audit`.

    Cost: about ten calls of the model for each entry; a Flax module is compiled once.

    Example:
        >>> import equikit as ek, numpy as np
        >>> monitor = Monitor("p -> p", data=np.ones((4, 5, 2)), every=10, p=ek.S)
        >>> for step in range(30):
        ...     monitor(step, model=lambda x, step=step: x + step * np.arange(5.0)[:, None])
        >>> [(entry.step, entry.error > entry.rounding) for entry in monitor.history]
        [(0, False), (10, True), (20, True)]

        A model of points `[n, 3]`, without an axis of channels:

        >>> clouds = np.random.default_rng(0).normal(size=(4, 5, 3))
        >>> monitor = Monitor("p x -> p x", data=clouds, channels=False, p=ek.S, x=ek.O(3))
        >>> monitor(0, model=lambda x: x * np.array([1, 1, 2]))
        >>> monitor.history[0].error > 0.1
        True
    """

    def __init__(
        self,
        signature: str | Features | Mapping[str, str],
        outputs: str | Features | Mapping[str, str] | None = None,
        /,
        *,
        data: Any,
        channels: bool = True,
        every: int = 1,
        log: Callable[[Entry], Any] | None = None,
        key: jax.Array | None = None,
        groups: Mapping[str, object] | None = None,
        **bindings: object,
    ) -> None:
        self.every = _checks.count("every", every, least=1, example=10)
        if log is not None:
            _checks.function("log", log, example="print")
        self.log, self.key = log, key
        self._question = read_question(
            signature,
            outputs,
            data,
            channels=_checks.flag("channels", channels),
            batch=(),
            seeds=seeds_of(key),
            groups=groups,
            bindings=bindings,
            call=_keywords.call_of(Monitor),
        )
        self.history: list[Entry] = []
        self._programs: dict[Any, Callable[..., Any]] = {}

    def __call__(
        self, step: int, training: float = math.nan, validation: float = math.nan, *, model: Callable[..., Any]
    ) -> None:
        """Measure the error of a model if it is time.

        Args:
            step: the number of the epoch or step.
            training, validation: measures to keep with the error.
            model: the model.
        """
        if step % self.every:
            return
        question = self._question
        called = asked_function(self._compiled(model), question)
        evaluation = Evaluation(called, question.signature, question.batch, question.sizes)
        probe, drawn = probed(evaluation, question.arrays, seeds_of(self.key))
        error = float(np.mean([comparison.error for comparison in drawn]))
        allowed = float(np.mean([value for one in drawn for value in probe.allowed(one).values()]))
        self.history.append(Entry(int(step), error, allowed, float(training), float(validation)))
        if self.log is not None:
            self.log(self.history[-1])

    def _compiled(self, model: Callable[..., Any]) -> Callable[..., Any]:
        """Return the compiled program of a Flax module; modules that differ in their numbers share it."""
        if not isinstance(model, nnx.Module):
            return model
        graph, state = nnx.split(model)
        if graph not in self._programs:
            self._programs[graph] = jax.jit(lambda state, x: nnx.merge(graph, state)(x))
        program = self._programs[graph]
        return lambda x: program(state, x)

    def svg(self) -> str:
        """Return a picture of the error, and of what rounding explains, over the steps, on a logarithmic scale."""
        return _drawn(self.history)

    def _repr_svg_(self) -> str:
        return self.svg()


def _drawn(history: list[Entry]) -> str:
    values = [v for entry in history for v in (entry.error, entry.rounding) if v > 0 and math.isfinite(v)]
    low = math.floor(math.log10(min(values, default=1e-8)))
    high = max(math.ceil(math.log10(max(values, default=1.0))), low + 1)
    first, last = (history[0].step, history[-1].step) if history else (0, 1)
    span = max(last - first, 1)

    def x(step: float) -> float:
        return LEFT + (WIDTH - LEFT - 12) * (step - first) / span

    def y(value: float) -> float:
        place = (math.log10(value) - low) / (high - low) if value > 0 else 0.0
        return HEIGHT - BOTTOM - (HEIGHT - BOTTOM - 12) * min(max(place, 0.0), 1.0)

    def line(values: list[float], style: str) -> str:
        points = " ".join(f"{x(entry.step):.1f},{y(value):.1f}" for entry, value in zip(history, values, strict=True))
        return f'<polyline points="{points}" fill="none" {style}/>'

    def text(at: tuple[float, float], words: str, anchor: str = "middle") -> str:
        return f'<text x="{at[0]:.1f}" y="{at[1]:.1f}" text-anchor="{anchor}" fill="{QUIET}">{escape(words)}</text>'

    every = max(1, (high - low) // 4)
    ticks = range(low, high + 1, every)
    heights = [f"{y(10.0**t):.1f}" for t in ticks]
    rails = [f'<line x1="{LEFT}" x2="{WIDTH - 12}" y1="{h}" y2="{h}" stroke="{QUIET}" opacity=".3"/>' for h in heights]
    words = [text((LEFT - 6, y(10.0**t) + 4), f"1e{t}", "end") for t in ticks]
    words += [text((x(step), HEIGHT - BOTTOM + 16), str(step)) for step in dict.fromkeys((first, last))]
    words.append(text(((LEFT + WIDTH) / 2, HEIGHT - 6), "equivariance error over steps; dashed: rounding"))
    curves = [
        line([entry.rounding for entry in history], f'stroke="{QUIET}" stroke-width="1.5" stroke-dasharray="4 3"'),
        line([entry.error for entry in history], f'stroke="{COLOR}" stroke-width="2"'),
    ]
    size = f'viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}"'
    body = "\n".join([*rails, *words, *curves])
    return f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="sans-serif" font-size="11">\n{body}\n</svg>'
