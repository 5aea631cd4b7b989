"""The harness measures, checks, skips with a reason, and its reports can be read."""

from __future__ import annotations

import json
import os
import platform
import signal
import time
from dataclasses import replace
from pathlib import Path

import jax.numpy as jnp
import pytest

from benchmarks.core import machine as _machine
from benchmarks.core.harness import Contender, Entry, Harness, Limits, relative_error
from benchmarks.core.measurement import Measurement, Skip, TooSlow, time_limit
from benchmarks.core.targets import Target, check_targets

LIMITS = Limits(seconds=0.01, least=3, most=20, patience=0.1, prepare=0.5, memory=2**20)
CASE = {"k": 1, "l": 1, "n": 4}


def scaled(factor: float) -> Entry:
    return Entry(lambda x: factor * x, (jnp.ones(8),), lambda y: {"y": y})


def test_measures_in_rounds() -> None:
    contenders = [Contender("one", lambda: scaled(2.0)), Contender("two", lambda: scaled(2.0))]
    first, second = Harness(LIMITS).measure(CASE, "forward", contenders)
    for m in (first, second):
        assert m.status == "measured"
        assert m.repeats >= LIMITS.least
        assert 0 < m.minimum <= m.lower_quartile <= m.median <= m.upper_quartile
        assert m.compile_seconds > 0
        assert m.peak_bytes >= 64
        assert "times" not in m.record()


def test_a_wrong_rival_is_not_timed_and_stops_nothing() -> None:
    def reshaped() -> Entry:
        return Entry(lambda x: 2 * x[:, None], (jnp.ones(8),), lambda y: {"y": y})

    makers = {"one": lambda: scaled(2.0), "wrong": lambda: scaled(2.1), "nan": lambda: scaled(jnp.nan)}
    makers |= {"reshaped": reshaped, "right": lambda: scaled(2.0)}
    found = Harness(LIMITS).measure(CASE, "forward", [Contender(rival, make) for rival, make in makers.items()])
    assert [m.status for m in found] == ["measured", "differs", "differs", "differs", "measured"]
    _, wrong, nan, reshaped_one, right = found
    assert wrong.reason == "its result is 5.0e-02 of the largest entry away from the result of one, over 1e-04"
    assert nan.reason == "its result is not finite"
    assert reshaped_one.reason == "y has shape (8, 1), not (8,)"
    for m in (wrong, nan, reshaped_one):
        assert (m.repeats, m.median, m.compile_seconds) == (0, None, None)
    assert right.repeats >= LIMITS.least
    assert json.loads(json.dumps(nan.record(), allow_nan=False))


def test_a_slow_wrong_rival_keeps_no_time() -> None:
    one, wrong = Harness(replace(LIMITS, call=0.0)).measure(
        CASE, "forward", [Contender("one", lambda: scaled(2.0)), Contender("wrong", lambda: scaled(2.1))]
    )
    assert (one.repeats, one.reason) == (1, "one call only: it took longer than 0 s")
    assert (wrong.status, wrong.repeats, wrong.median) == ("differs", 0, None)


def failing(error: BaseException) -> Contender:
    def make() -> Entry:
        raise error

    return Contender("failing", make)


def test_an_exception_is_recorded_and_the_next_rival_is_the_reference() -> None:
    others = [Contender("two", lambda: scaled(2.0)), Contender("three", lambda: scaled(3.0))]
    found = Harness(LIMITS).measure(CASE, "forward", [failing(TypeError("no such dtype\nand more")), *others])
    assert [m.status for m in found] == ["failed", "measured", "differs"]
    assert found[0].reason == "TypeError: no such dtype"
    assert "away from the result of two" in found[2].reason
    assert Harness(LIMITS).measure(CASE, "forward", [failing(ValueError())])[0].reason == "ValueError"


def test_a_result_without_arrays_is_no_reference() -> None:
    silent = Contender("silent", lambda: Entry(lambda x: x, (jnp.ones(8),), lambda y: {}))
    others = [Contender("two", lambda: scaled(2.0)), Contender("three", lambda: scaled(3.0))]
    found = Harness(LIMITS).measure(CASE, "forward", [silent, *others])
    assert [m.status for m in found] == ["measured", "measured", "differs"]


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
def test_what_ends_a_program_passes(kind: type[BaseException]) -> None:
    with pytest.raises(kind):
        Harness(LIMITS).measure(CASE, "forward", [failing(kind())])


def test_an_exception_while_timing_is_recorded() -> None:
    calls = []

    def third() -> None:
        calls.append(1)
        if len(calls) > 2:
            raise RuntimeError("device lost")

    good, bad = Measurement(CASE, "forward", "good"), Measurement(CASE, "forward", "bad")
    Harness(LIMITS).rounds([(good, lambda: None), (bad, third)])
    assert (bad.status, bad.reason, bad.times) == ("failed", "RuntimeError: device lost", [])
    assert good.status == "measured"
    assert len(good.times) >= LIMITS.least


def test_what_is_too_large_is_skipped_with_the_reason() -> None:
    large = Contender("large", lambda: Entry(lambda x: x @ x, (jnp.ones((600, 600)),), lambda y: {}))
    known = Contender("known", lambda: scaled(2.0), bytes=2**40)
    _, by_xla, by_estimate = Harness(LIMITS).measure(
        CASE, "forward", [Contender("one", lambda: scaled(2.0)), large, known]
    )
    assert (by_xla.status, by_estimate.status) == ("skipped", "skipped")
    assert "by XLA's account" in by_xla.reason
    assert "needs 1024.0 GiB by estimate" in by_estimate.reason


class Tried(list[str]):
    """Two contenders, of which one takes too long to prepare; and how often that was tried."""

    def contenders(self) -> list[Contender]:
        def slow() -> Entry:
            self.append("slow")
            for _ in range(100):
                time.sleep(0.01)
            return scaled(2.0)

        return [Contender("one", lambda: scaled(2.0)), Contender("slow", slow)]


def records(*measurements: Measurement) -> list[dict]:
    """As they come back from a file."""
    return json.loads(json.dumps([m.record() for m in measurements]))


def test_what_is_too_slow_to_prepare_is_not_tried_again() -> None:
    tried, harness = Tried(), Harness(LIMITS, family=("k", "l"))
    first, second = (harness.measure(CASE, way, tried.contenders())[1] for way in ("forward", "forward+backward"))
    assert len(tried) == 1
    assert first.reason == "preparing it took longer than 0.5 s"
    assert second.reason == "preparing it took longer than 0.5 s in this or a smaller case"
    resumed = Harness(LIMITS, family=("k", "l"))
    resumed.learn(records(first))
    assert resumed.measure(CASE | {"n": 8}, "forward+backward", tried.contenders())[1].reason == second.reason
    assert len(tried) == 1
    resumed.measure(CASE | {"k": 2}, "forward", tried.contenders())  # of another family
    assert len(tried) == 2


def test_without_a_family_all_is_tried() -> None:
    tried, harness = Tried(), Harness(LIMITS)
    found = [harness.measure(CASE, way, tried.contenders())[1] for way in ("forward", "forward+backward")]
    assert len(tried) == 2
    assert [m.given_up for m in found] == [None, None]


def test_what_is_too_slow_to_compile_is_not_tried_in_larger_cases_of_its_direction() -> None:
    limits, one = replace(LIMITS, compile=0.0), [Contender("one", lambda: scaled(2.0))]
    harness = Harness(limits, family=("k",))
    (first,) = harness.measure(CASE, "forward", one)
    assert first.status == "measured"
    resumed = Harness(limits, family=("k",))
    resumed.learn(records(first))
    for again in (harness, resumed):
        (larger,), (other,) = (again.measure(CASE | {"n": 8}, way, one) for way in ("forward", "forward+backward"))
        assert (larger.status, larger.reason) == ("skipped", "compiling it took longer than 0 s in a smaller case")
        assert other.status == "measured"


def test_time_limit_lets_quick_blocks_through() -> None:
    with time_limit(5.0, "nothing"):
        pass
    with pytest.raises(TooSlow, match=r"sleeping took longer than 0\.02 s"), time_limit(0.02, "sleeping"):
        time.sleep(1.0)
    assert issubclass(TooSlow, Skip)


def test_without_timers_of_posix_nothing_is_too_slow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(signal, "setitimer", raising=False)  # as on Windows
    with time_limit(0.01, "it"):
        time.sleep(0.05)


def test_a_machine_that_tells_little_is_described(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("sched_getaffinity", "getloadavg", "sysconf"):
        monkeypatch.delattr(os, name, raising=False)  # as on Windows
    monkeypatch.setattr(platform, "system", lambda: "Windows")
    monkeypatch.setattr(_machine, "Path", lambda name: Path(f"/nowhere{name}"))
    found = _machine.machine()
    assert found["cores"]
    assert found["memory_bytes"] is None
    assert _machine.load_average() is None
    assert found["os"].startswith("Windows")


def test_not_a_number_is_an_error() -> None:
    good = {"y": jnp.ones(3)}
    assert relative_error(good, good) == 0.0
    assert relative_error({"y": jnp.full(3, jnp.nan)}, good) == float("inf")


def test_targets() -> None:
    records = [
        {"case": CASE, "direction": "forward", "rival": rival, "median": median}
        for rival, median in (("equikit", 0.1), ("slow", 0.8))
    ]
    (met,) = check_targets([Target("slow", {"n": 4}, "forward", 5.0)], records)
    assert met["met"]
    assert met["ratio"] == pytest.approx(8.0)
    (unknown,) = check_targets([Target("absent", {"n": 4}, "forward", 5.0)], records)
    assert not unknown["met"]
    assert not check_targets([Target("slow", {"n": 5}, "forward", 5.0)], records)
