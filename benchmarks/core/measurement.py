"""The record of a contender, and exceptions for contenders that are not measured."""

from __future__ import annotations

import signal
import statistics
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np


class Skip(Exception):
    """Raised if a contender cannot or should not be run; the text is recorded as the reason."""


class TooSlow(Skip):
    """Raised if a time limit is exceeded.

    Attributes:
        seconds: the limit.
    """

    def __init__(self, text: str, seconds: float) -> None:
        super().__init__(text)
        self.seconds = seconds


@dataclass
class Measurement:
    """The record of a contender: the times of single calls in seconds, and other scores by name.

    `longer_than` is the time limit that a stopped program exceeded, and `given_up` the reason why the contender is not
    tried in larger cases. The status is measured, skipped, failed or differs (from the reference).
    """

    case: dict[str, Any]
    direction: str
    rival: str
    status: str = "measured"
    reason: str | None = None
    given_up: str | None = None
    prepare_seconds: float | None = None
    trace_seconds: float | None = None
    compile_seconds: float | None = None
    argument_bytes: int | None = None
    output_bytes: int | None = None
    temporary_bytes: int | None = None
    peak_bytes: int | None = None
    flops: float | None = None
    relative_error: float | None = None
    repeats: int = 0
    longer_than: float | None = None
    median: float | None = None
    minimum: float | None = None
    lower_quartile: float | None = None
    upper_quartile: float | None = None
    scores: dict[str, float] | None = None
    times: list[float] = field(default_factory=list, repr=False)

    def record(self) -> dict[str, Any]:
        """Return the measurement for JSON, without single times and unknown values."""
        return {key: value for key, value in asdict(self).items() if key != "times" and value is not None}

    def summarize(self) -> None:
        """Fill in the statistics of the times."""
        self.repeats = len(self.times)
        if self.times:
            self.median, self.minimum = statistics.median(self.times), min(self.times)
            self.lower_quartile, self.upper_quartile = (float(q) for q in np.quantile(self.times, [0.25, 0.75]))


def first_line(text: str) -> str:
    """The first line of a text."""
    return next(iter(text.strip().splitlines()), "")


def one_line(error: BaseException) -> str:
    """The class of an error, and the first line of its text."""
    try:
        text = first_line(str(error))
    except Exception:  # its own code fails
        text = "(its text cannot be shown)"
    return f"{type(error).__name__}: {text}".removesuffix(": ")


@contextmanager
def time_limit(seconds: float, what: str) -> Iterator[None]:
    """Raise `TooSlow` if the block runs longer, at the next Python instruction; only in the main thread on POSIX."""
    if not hasattr(signal, "setitimer") or threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(*_: object) -> None:
        raise TooSlow(f"{what} took longer than {seconds:g} s", seconds)

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
