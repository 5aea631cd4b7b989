"""Timing: rivals are compiled and checked one by one, then timed in turns in one process.

Every contender of a case is compiled ahead of time, run once, and compared with the first contender before timing
starts. Timing goes in rounds: in each round every contender has one turn, in a new random order, so that a slowdown of
the machine affects all of them. A turn is one untimed call, which brings the contender's own arrays back into the
caches, and then as many timed calls as fit. Contenders that are skipped, that fail or whose results differ from
the reference are recorded with the reason, and do not stop a run.
"""

from __future__ import annotations

import gc
import math
import random
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import jax
import numpy as np

from benchmarks.core.measurement import Measurement, Skip, TooSlow, one_line, time_limit

GIB = 2**30


class Differs(AssertionError):
    """Raised if the results of a contender differ from the reference."""


@dataclass(frozen=True)
class Limits:
    """The limits of a contender in one case and direction.

    Attributes:
        seconds: of timed calls aimed at.
        least, most: repeats; `least` gives way to `patience`.
        patience: seconds of timed calls after which timing ends.
        call: seconds of one call; a slower contender is called only once.
        prepare: seconds to make the contender's own constants.
        compile: seconds to compile; a contender that took longer is not compiled again for larger cases.
        memory: bytes; estimated before compilation, and as XLA reports them after it.
    """

    seconds: float = 0.7
    least: int = 7
    most: int = 500
    patience: float = 6.0
    call: float = 20.0
    prepare: float = 25.0
    compile: float = 60.0
    memory: int = 6 * GIB


@dataclass(frozen=True)
class Entry:
    """A function to time, its arguments, and its result in the form that all contenders share."""

    function: Callable[..., Any]
    arguments: tuple[Any, ...]
    comparable: Callable[[Any], Mapping[str, jax.Array]]


@dataclass(frozen=True)
class Contender:
    """A rival in one case and direction.

    Attributes:
        rival: its name.
        make: makes the entry; may raise `Skip`.
        bytes: a lower bound on its memory, known before compilation.
        tolerance: largest difference allowed, relative to the largest entry of each result.
    """

    rival: str
    make: Callable[[], Entry]
    bytes: int = 0
    tolerance: float = 1e-4


def relative_error(result: Mapping[str, jax.Array], expected: Mapping[str, jax.Array]) -> float:
    """Return the largest difference of any result, relative to that result's largest entry.

    Raises:
        Differs: if shapes differ.
    """
    worst = 0.0
    for name in expected.keys() & result.keys():
        wanted, got = np.asarray(expected[name]), np.asarray(result[name])
        if wanted.shape != got.shape:
            raise Differs(f"{name} has shape {got.shape}, not {wanted.shape}")
        difference, size = np.abs(wanted - got).max(initial=0.0), np.abs(wanted).max(initial=0.0)
        error = float(difference / size) if size else float(difference)
        if not math.isfinite(error):  # max() would lose a not-a-number
            return math.inf
        worst = max(worst, error)
    return worst


def compare(
    m: Measurement, result: Mapping[str, jax.Array], reference: str, expected: Mapping[str, jax.Array], tolerance: float
) -> None:
    """Record the error of a result relative to the reference.

    Raises:
        Differs: if the error exceeds the tolerance or is not finite.
    """
    error = relative_error(result, expected)
    if not math.isfinite(error):
        raise Differs("its result is not finite")
    m.relative_error = error
    if error > tolerance:
        raise Differs(
            f"its result is {error:.1e} of the largest entry away from the result of {reference}, over {tolerance:.0e}"
        )


@contextmanager
def recorded(m: Measurement) -> Iterator[None]:
    """Record an exception of a contender as its status and reason, without times; an interrupt is not caught."""
    try:
        yield
        return
    except Skip as reason:
        m.status, m.reason = "skipped", str(reason)
    except Differs as reason:
        m.status, m.reason = "differs", str(reason)
        m.trace_seconds = m.compile_seconds = None  # it compiled another computation
    except Exception as error:
        m.status, m.reason = "failed", one_line(error)
    m.times = []


@dataclass
class Harness:
    """Measures cases, and remembers which contenders have become too slow to prepare or compile.

    Attributes:
        limits: see `Limits`.
        seed: of the order of turns.
        tell: called with a short text whenever something begins.
        clock: the clock that times calls.
        family: entries of a case. Cases with equal entries come in increasing size, and a contender that took too long
            to prepare or compile in one of them is not tried in the next. If empty, cases are unrelated.
    """

    limits: Limits = field(default_factory=Limits)
    seed: int = 0
    tell: Callable[[str], None] = lambda text: None
    clock: Callable[[], float] = time.perf_counter
    family: tuple[str, ...] = ()
    _given_up: dict[tuple[Any, ...], str] = field(default_factory=dict)

    def measure(self, case: Mapping[str, Any], direction: str, contenders: Sequence[Contender]) -> list[Measurement]:
        """Measure one case in one direction; the first contender that works is the reference for the others' results.

        A contender that raises an exception is recorded as failed, and one with another result as differing.
        """
        measurements: list[Measurement] = []
        ready: list[tuple[Measurement, Callable[[], Any]]] = []
        reference: tuple[str, Mapping[str, jax.Array]] | None = None
        for contender in contenders:
            m = Measurement(dict(case), direction, contender.rival)
            measurements.append(m)
            self.tell(f"compile {contender.rival}")
            with recorded(m):
                call, entry, result = self._prepare(m, contender)
                comparable = entry.comparable(result)
                against = reference or (contender.rival, comparable)
                compare(m, comparable, *against, contender.tolerance)
                reference = against if comparable else reference
                if not m.times:
                    ready.append((m, call))
        self.rounds(ready)
        for m in measurements:
            m.summarize()
        return measurements

    def learn(self, records: Iterable[Mapping[str, Any]]) -> None:
        """Remember what was given up, from the records of the cases before, as a resumed run has to."""
        for record in records:
            if "given_up" in record:
                direction = record["direction"] if "prepare_seconds" in record else None
                self._given_up[self._key(record["case"], record["rival"], direction)] = record["given_up"]

    def _key(self, case: Mapping[str, Any], rival: str, direction: str | None) -> tuple[Any, ...]:
        """Return the key of a contender that is given up: in one direction, or in all if preparing took too long."""
        return (rival, direction, *(case[name] for name in self.family))

    def _give_up(self, m: Measurement, direction: str | None, reason: str) -> None:
        if self.family:
            m.given_up = self._given_up[self._key(m.case, m.rival, direction)] = reason

    def _prepare(self, m: Measurement, contender: Contender) -> tuple[Callable[[], Any], Entry, Any]:
        limits = self.limits
        for direction in (m.direction, None):
            known = self._given_up.get(self._key(m.case, m.rival, direction))
            if known:
                raise Skip(known)
        self._fits(contender.bytes, "by estimate")
        start = time.perf_counter()
        try:
            with time_limit(limits.prepare, "preparing it"):
                entry = contender.make()
                jax.block_until_ready(entry.arguments)
        except TooSlow as reason:
            self._give_up(m, None, f"{reason} in this or a smaller case")
            raise
        m.prepare_seconds = time.perf_counter() - start
        start = time.perf_counter()
        lowered = jax.jit(entry.function).lower(*entry.arguments)
        m.trace_seconds = time.perf_counter() - start
        start = time.perf_counter()
        compiled = lowered.compile()
        m.compile_seconds = time.perf_counter() - start
        if m.trace_seconds + m.compile_seconds > limits.compile:
            self._give_up(m, m.direction, f"compiling it took longer than {limits.compile:g} s in a smaller case")
        self._account(m, compiled)
        self._fits(m.peak_bytes or 0, "by XLA's account")

        def call() -> Any:
            return jax.block_until_ready(compiled(*entry.arguments))

        start = time.perf_counter()
        result = call()
        first = time.perf_counter() - start
        if first > limits.call:
            m.times, m.reason = [first], f"one call only: it took longer than {limits.call:g} s"
        return call, entry, result

    def _fits(self, needed: int, how: str) -> None:
        if needed > self.limits.memory:
            raise Skip(f"needs {needed / GIB:.1f} GiB {how}, over the limit of {self.limits.memory / GIB:.0f} GiB")

    @staticmethod
    def _account(m: Measurement, compiled: Any) -> None:
        memory, cost = compiled.memory_analysis(), compiled.cost_analysis()
        if memory is not None:
            m.argument_bytes, m.output_bytes = memory.argument_size_in_bytes, memory.output_size_in_bytes
            m.temporary_bytes = memory.temp_size_in_bytes
            m.peak_bytes = m.argument_bytes + m.output_bytes + m.temporary_bytes - memory.alias_size_in_bytes
        if cost:
            m.flops = float(cost.get("flops", 0.0))

    def rounds(self, ready: list[tuple[Measurement, Callable[[], Any]]]) -> None:
        """Time calls in turns, and add the times to their measurements; a call that raises an exception has failed."""
        limits, order = self.limits, random.Random(self.seed)
        waiting = list(ready)
        gc.collect()
        gc.disable()
        try:
            while waiting:
                order.shuffle(waiting)
                for m, call in waiting:
                    self.tell(f"time {m.rival}")
                    with recorded(m):
                        _turn(m.times, call, limits, self.clock)
                waiting = [(m, call) for m, call in waiting if m.status == "measured" and not _enough(m.times, limits)]
        finally:
            gc.enable()


def _enough(times: list[float], limits: Limits) -> bool:
    spent = sum(times)
    return (
        (len(times) >= limits.least and spent >= limits.seconds) or len(times) >= limits.most or spent > limits.patience
    )


def _turn(times: list[float], call: Callable[[], Any], limits: Limits, clock: Callable[[], float]) -> None:
    share = limits.seconds / 10
    # The contender before has filled the caches, and its freed memory may have gone back to the system, so one call is
    # not timed. A call of several seconds is hardly affected, and not repeated.
    if not times or times[-1] < limits.seconds:
        call()
    spent, most = 0.0, max(1, limits.most // 10)
    for _ in range(most):
        start = clock()
        call()
        times.append(clock() - start)
        spent += times[-1]
        if spent > share:
            return
