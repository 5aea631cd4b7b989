"""Timing: rivals are compiled and checked one by one, then timed in turns in one process.

Every contender of a case is compiled ahead of time, run once, and compared with the first contender before timing
starts. Timing goes in rounds: in each round every contender has one turn, in a new random order, so that a slowdown of
the machine affects all of them. A turn is one untimed call, which brings the contender's own arrays back into the
caches, and then as many timed calls as fit. Skipped measurements are recorded with the reason.
"""

from __future__ import annotations

import gc
import math
import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import jax
import numpy as np

from benchmarks.core.measurement import Measurement, Skip, TooSlow, time_limit

GIB = 2**30


@dataclass(frozen=True)
class Limits:
    """The limits of a contender in one case and direction.

    Attributes:
        seconds: of timed calls aimed at.
        least, most: repeats; `least` gives way to `patience`.
        patience: seconds of timed calls after which no further one is made.
        call: seconds of one call; a slower contender keeps that one measurement.
        prepare: seconds to make the contender's own constants.
        compile: seconds to compile; a contender that took longer is not compiled again for larger cases.
        memory: bytes, by estimate before compiling and by XLA's own account after.
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
        bytes: what it is known to need before anything is compiled.
        tolerance: largest difference allowed, relative to the largest entry of each result.
    """

    rival: str
    make: Callable[[], Entry]
    bytes: int = 0
    tolerance: float = 1e-4


def relative_error(result: Mapping[str, jax.Array], expected: Mapping[str, jax.Array]) -> float:
    """Return the largest difference of any result, relative to that result's largest entry."""
    worst = 0.0
    for name in expected.keys() & result.keys():
        wanted, got = np.asarray(expected[name]), np.asarray(result[name])
        if wanted.shape != got.shape:
            raise AssertionError(f"{name} has shape {got.shape}, not {wanted.shape}")
        difference, size = np.abs(wanted - got).max(initial=0.0), np.abs(wanted).max(initial=0.0)
        error = float(difference / size) if size else float(difference)
        if not math.isfinite(error):  # max() would lose a not-a-number
            return math.inf
        worst = max(worst, error)
    return worst


@dataclass
class Harness:
    """Measures cases, and remembers which contenders have become too slow to prepare or compile.

    Attributes:
        limits: see `Limits`.
        seed: of the order of turns.
        tell: called with a short text whenever something begins.
        clock: what the time of a call is read from.
    """

    limits: Limits = field(default_factory=Limits)
    seed: int = 0
    tell: Callable[[str], None] = lambda text: None
    clock: Callable[[], float] = time.perf_counter
    _given_up: dict[tuple[str, str], str] = field(default_factory=dict)

    def measure(
        self, case: Mapping[str, Any], direction: str, contenders: Sequence[Contender], family: str = ""
    ) -> list[Measurement]:
        """Measure one case in one direction; the first contender is the reference for the results of the others.

        Cases of one family come in increasing size: what took too long to prepare or compile is not tried again.

        Raises:
            AssertionError: if a contender computes something else than the reference.
        """
        measurements, ready, expected = [], [], None
        for contender in contenders:
            m = Measurement(dict(case), direction, contender.rival)
            measurements.append(m)
            self.tell(f"compile {contender.rival}")
            try:
                call, entry, result = self._prepare(m, contender, family)
            except Skip as reason:
                m.status, m.reason = "skipped", str(reason)
                continue
            except jax.errors.JaxRuntimeError as error:  # out of memory, most likely
                m.status, m.reason = "failed", str(error).splitlines()[0]
                continue
            comparable = entry.comparable(result)
            expected = comparable if expected is None else expected
            m.relative_error = relative_error(comparable, expected)
            if m.relative_error > contender.tolerance:
                raise AssertionError(
                    f"{contender.rival} differs from {contenders[0].rival} by {m.relative_error:.1e} of the largest "
                    f"entry, more than {contender.tolerance:.0e}: {dict(case)}, {direction}"
                )
            if not m.times:
                ready.append((m, call))
        self.rounds(ready)
        for m in measurements:
            m.summarize()
        return measurements

    def _prepare(self, m: Measurement, contender: Contender, family: str) -> tuple[Callable[[], Any], Entry, Any]:
        limits, key = self.limits, (contender.rival, f"{family}, {m.direction}")
        for known in (key, (contender.rival, family)):
            if known in self._given_up:
                raise Skip(self._given_up[known])
        self._fits(contender.bytes, "by estimate")
        start = time.perf_counter()
        try:
            with time_limit(limits.prepare, "preparing it"):
                entry = contender.make()
                jax.block_until_ready(entry.arguments)
        except TooSlow as reason:
            self._given_up[contender.rival, family] = f"{reason} in this or a smaller case"
            raise
        m.prepare_seconds = time.perf_counter() - start
        start = time.perf_counter()
        lowered = jax.jit(entry.function).lower(*entry.arguments)
        m.trace_seconds = time.perf_counter() - start
        start = time.perf_counter()
        compiled = lowered.compile()
        m.compile_seconds = time.perf_counter() - start
        if m.trace_seconds + m.compile_seconds > limits.compile:
            self._given_up[key] = f"compiling it took longer than {limits.compile:g} s in a smaller case"
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
        """Time calls in turns, and add the times to their measurements."""
        limits, order = self.limits, random.Random(self.seed)
        waiting = list(ready)
        gc.collect()
        gc.disable()
        try:
            while waiting:
                order.shuffle(waiting)
                for m, call in waiting:
                    self.tell(f"time {m.rival}")
                    _turn(m.times, call, limits, self.clock)
                waiting = [pair for pair in waiting if not _enough(pair[0].times, limits)]
        finally:
            gc.enable()


def _enough(times: list[float], limits: Limits) -> bool:
    spent = sum(times)
    return (
        (len(times) >= limits.least and spent >= limits.seconds) or len(times) >= limits.most or spent > limits.patience
    )


def _turn(times: list[float], call: Callable[[], Any], limits: Limits, clock: Callable[[], float]) -> None:
    share = limits.seconds / 10
    # What came before has filled the caches, and its freed memory may have gone back to the system: that it comes again
    # is not part of this call. (A call of seconds hardly feels it, and would be made twice.)
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
