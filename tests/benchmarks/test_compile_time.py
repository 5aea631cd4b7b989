"""The benchmark of compile time compares two versions, and says which program it gave up."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax
import pytest

from benchmarks.core import command, lines
from benchmarks.core.benchmark import Cell
from benchmarks.core.measurement import Skip
from benchmarks.speed import _compile_program, compile_time
from benchmarks.speed._compile_program import compiled, layer
from benchmarks.speed._values_report import AtMost, check_targets, target_lines
from benchmarks.speed.compile_time import measured


def record(value: float | None, direction: str, rival: str = "now") -> dict[str, object]:
    scores = {} if value is None else {"scores": {"value": value}}
    return {"case": {"layer": "labels", "size": 3}, "direction": direction, "rival": rival} | scores


def test_targets_are_ratios_of_two_directions_or_values() -> None:
    records = [record(2.0, "forward"), record(6.0, "gradient"), record(None, "gradient", "before")]
    targets = [
        AtMost("now", "gradient", 4.0, over="forward"),
        AtMost("now", "gradient", 5.0, case={"layer": "labels"}),
        AtMost("before", "gradient", 5.0),
        AtMost("now", "gradient", 5.0, case={"layer": "others"}),
    ]
    met, missed, given_up = check_targets(targets, records)
    assert (met["value"], met["met"], missed["value"], missed["met"]) == (3.0, True, 6.0, False)
    assert not given_up["met"]
    (line,) = target_lines({"targets": [met]})
    assert line == "now, gradient over forward: at most 3.00 (labels, size 3), wanted at most 4, met"
    (alone,) = check_targets(targets[:1], records[1:])
    assert not alone["met"]


@pytest.mark.parametrize("direction", compile_time.COMPILED)
def test_a_program_is_compiled(direction: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is measured is a compilation; its time may be zero, because the processor's clock ticks every 10 ms."""
    programs: list[Any] = []
    monkeypatch.setattr(_compile_program, "seconds", lambda work: (1.5, programs.append(work())))
    assert compiled(*layer("a -> a", 2), direction) == 1.5
    assert isinstance(programs[0], jax.stages.Compiled)


def test_a_program_that_takes_too_long_is_given_up() -> None:
    m = measured(Cell({"layer": "labels", "size": 1}, "forward", ("now",)), 0.01)
    assert (m.status, m.reason, m.longer_than) == ("given up", "took longer than 0.01 s", 0.01)


def test_an_unknown_program_stops_the_run() -> None:
    with pytest.raises(RuntimeError, match="the process that compiles"):
        measured(Cell({"layer": "nothing", "size": 1}, "construction", ("now",)), 60.0)


@pytest.mark.slow
def test_the_command_compares_with_the_earlier_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("matplotlib")

    def checkout(revision: str) -> Path:
        raise Skip("git has no such commit here")

    monkeypatch.setattr(compile_time, "checkout", checkout)
    assert command.main(["run", "compile_time", "--quick", "--output", str(tmp_path)]) == 0
    now = [r["scores"]["value"] for r in lines.read(tmp_path / "compile_time.jsonl") if r["rival"] == "now"]
    assert len(now) == 3
    assert min(now) > 0
    text = (tmp_path / "compile_time.md").read_text(encoding="utf-8")
    assert "before skipped: git has no such commit here" in text
    assert (tmp_path / "compile_time.png").stat().st_size > 1000
