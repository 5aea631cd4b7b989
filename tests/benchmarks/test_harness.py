"""The harness measures, checks, skips with a reason, and its reports can be read."""

from __future__ import annotations

import json
import os
import platform
import signal
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest

from benchmarks import __main__ as command
from benchmarks.core import machine as _machine
from benchmarks.core.harness import Contender, Entry, Harness, Limits, relative_error
from benchmarks.core.measurement import Skip, TooSlow, time_limit
from benchmarks.core.report import paste, write_json
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


def test_a_wrong_rival_stops_the_run() -> None:
    contenders = [Contender("one", lambda: scaled(2.0)), Contender("wrong", lambda: scaled(2.1))]
    with pytest.raises(AssertionError, match="wrong differs from one"):
        Harness(LIMITS).measure(CASE, "forward", contenders)


def test_what_is_too_large_is_skipped_with_the_reason() -> None:
    large = Contender("large", lambda: Entry(lambda x: x @ x, (jnp.ones((600, 600)),), lambda y: {}))
    known = Contender("known", lambda: scaled(2.0), bytes=2**40)
    _, by_xla, by_estimate = Harness(LIMITS).measure(
        CASE, "forward", [Contender("one", lambda: scaled(2.0)), large, known]
    )
    assert (by_xla.status, by_estimate.status) == ("skipped", "skipped")
    assert "by XLA's account" in by_xla.reason
    assert "needs 1024.0 GiB by estimate" in by_estimate.reason


def test_what_is_too_slow_to_prepare_is_not_tried_again() -> None:
    tries = []

    def slow() -> Entry:
        tries.append(1)
        for _ in range(100):
            time.sleep(0.01)
        return scaled(2.0)

    harness = Harness(LIMITS)
    contenders = [Contender("one", lambda: scaled(2.0)), Contender("slow", slow)]
    reasons = [harness.measure(CASE, way, contenders, "family")[1].reason for way in ("forward", "forward+backward")]
    assert len(tries) == 1
    assert reasons[0] == "preparing it took longer than 0.5 s"
    assert "smaller case" in reasons[1]


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


def test_paste(tmp_path: Path) -> None:
    readme = tmp_path / "README.md"
    readme.write_text("a\n<!-- begin x -->\nold\n<!-- end x -->\nb\n", encoding="utf-8")
    paste(readme, "x", "new \\1\n")
    assert readme.read_text(encoding="utf-8") == "a\n<!-- begin x -->\nnew \\1\n<!-- end x -->\nb\n"
    with pytest.raises(ValueError, match="no markers"):
        paste(readme, "y", "")


def test_the_machine_has_no_paths_in_it(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"machine": _machine.machine(), "versions": _machine.versions()})
    text = (tmp_path / "a.json").read_text(encoding="utf-8")
    assert json.loads(text)["versions"]["jax"] == jax.__version__
    assert "/home" not in text
    assert str(Path(__file__).parent.parent) not in text


def test_the_stored_result_is_a_complete_run() -> None:
    readme = command.README.read_text(encoding="utf-8")
    for name in command.names():
        if name == "accelerator" and not (command.RESULTS / "accelerator.json").exists():
            assert "**It has not been run on an accelerator**" in readme
            continue
        stored = json.loads((command.RESULTS / f"{name}.json").read_text(encoding="utf-8"))
        assert stored["benchmark"] == name
        assert not stored["quick"]
        text = (command.RESULTS / f"{name}.md").read_text(encoding="utf-8")
        assert text in readme


def test_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main([]) == 0
    assert "permutation_layers" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        command.main(["nothing"])
    assert f"there is no benchmark 'nothing'; there are: {', '.join(command.names())}" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        command.main(["permutation_layers", "--quick", "--store"])
