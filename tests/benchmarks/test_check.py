"""The regression check passes, fails and says why, on ratios that are made up."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Callable, Iterable
from pathlib import Path

import jax.numpy as jnp
import pytest
from rich.console import Console

from benchmarks.core import command
from benchmarks.core.harness import Contender, Entry
from benchmarks.speed import _check, _target_check
from benchmarks.speed._check import CHECKS, Check, complaints

NAMES = [str(check) for check in CHECKS]


def test_complaints() -> None:
    stored = {"a": 0.5, "b": 1.0}
    assert complaints(stored, {"a": 1.0, "b": 0.1}, 2.0) == {}
    (name,) = wrong = complaints(stored, {"a": 1.01, "b": 2.0}, 2.0)
    assert name == "a"
    assert "REGRESSION: 1.01x, stored 0.50x: more than 2 times as slow" in wrong["a"]
    assert "store it: python -m benchmarks check --store" in wrong["a"]
    assert complaints(stored, {"a": math.nan, "b": 1.0}).keys() == {"a"}
    assert "no ratio is stored" in complaints({"b": 1.0}, {"a": 1.0, "b": 1.0})["a"]
    assert "no longer measured" in complaints(stored, {"a": 0.5})["b"]


class Measured:
    """Made-up ratios, one list for each time that is measured."""

    def __init__(self, *rounds: list[float]) -> None:
        self.rounds, self.asked = [*rounds], []

    def __call__(self, checks: Iterable[Check], tell: Callable[[str], None]) -> dict[str, float]:
        names = [str(check) for check in checks]
        self.asked.append(names)
        return dict(zip(names, self.rounds.pop(0), strict=True))


def run(path: Path, measured: Measured, keep: bool = False) -> tuple[int, str]:
    console = Console(width=400, record=True, file=io.StringIO())
    return _check.run(console, path, keep, measured), console.export_text()


@pytest.fixture
def stored(tmp_path: Path) -> Path:
    path = tmp_path / "ratios.json"
    _check.store(path, dict(zip(NAMES, (1.0, 0.5, 0.2), strict=True)))
    return path


def test_passes(stored: Path) -> None:
    measured = Measured([1.9, 0.9, 0.1])
    status, text = run(stored, measured)
    assert status == 0
    assert text.count("fine") == 3
    assert measured.asked == [NAMES]


def test_fails_after_a_second_try(stored: Path) -> None:
    measured = Measured([1.0, 1.5, 0.2], [1.2])
    status, text = run(stored, measured)
    assert status == 1
    assert measured.asked == [NAMES, NAMES[1:2]]
    assert f"{NAMES[1]}: REGRESSION: 1.20x, stored 0.50x" in text


def test_a_disturbance_is_forgiven(stored: Path) -> None:
    status, text = run(stored, Measured([1.0, 1.5, 0.2], [0.6]))
    assert status == 0
    assert f"{NAMES[1]}: 0.60x, stored 0.50x, fine" in text


def test_nothing_stored(tmp_path: Path) -> None:
    measured = Measured([1.0, 1.0, 1.0])
    status, text = run(tmp_path / "ratios.json", measured)
    assert status == 1
    assert text.count("no ratio is stored; store one: python -m benchmarks check --store") == 3
    assert len(measured.asked) == 1  # a second try would not help


def test_stores(tmp_path: Path) -> None:
    path = tmp_path / "ratios.json"
    status, text = run(path, Measured([1.0, 0.5, 0.25]), keep=True)
    assert status == 0
    assert "written: ratios.json" in text
    assert _check.read(path) == dict(zip(NAMES, (1.0, 0.5, 0.25), strict=True))
    assert json.loads(path.read_text(encoding="utf-8"))["versions"]["jax"]


def test_what_is_stored_is_what_is_measured() -> None:
    assert list(_check.read(_check.STORED)) == NAMES


def test_measures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_check, "LIMITS", _check.Limits(seconds=0.01, least=3, most=10, patience=0.1))
    (ratio,) = _check.measure(CHECKS[:1]).values()
    assert 0.05 < ratio < 20


def test_a_rival_that_is_not_measured_stops_the_check(monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(*_: object) -> list[Contender]:
        makers = {"equikit": 1.0, "by hand": 2.0}
        return [
            Contender(rival, lambda by=by: Entry(lambda x: by * x, (jnp.ones(2),), lambda y: {"y": y}))
            for rival, by in makers.items()
        ]

    monkeypatch.setattr(_check.peers, "contenders", wrong)
    with pytest.raises(RuntimeError, match="by hand was not measured: its result is 1"):
        _check.measure(CHECKS[:1])


def test_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_check, "run", lambda console, keep: 1 if keep is False else 0)
    monkeypatch.setattr(_target_check, "run", lambda console: 0)
    assert command.main(["check"]) == 1
    assert command.main(["check", "--store"]) == 0
    with pytest.raises(SystemExit):
        command.main(["check", "--quick"])
