"""The benchmark of planted faults asks what it says, counts right, and its report can be read."""

from __future__ import annotations

import dataclasses
import importlib
import io
import sys
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from benchmarks.accuracy import audit_faults
from benchmarks.accuracy._fault_report import ANSWERS, Count, check_targets
from benchmarks.core import command, lines


def record(model: str, direction: str, found: float, located: float, seed: int = 0, **more: Any) -> dict[str, Any]:
    scores = {"found": found, "located": located, "error": 0.1, "rounding": 1e-7}
    case = {"model": model, "framework": "Flax", "dtype": "float32"}
    return {"case": case, "direction": direction, "rival": "audit", "seed": seed, "scores": scores} | more


def test_targets_count_faults_that_are_located_in_every_seed() -> None:
    """Records are joined over seeds, so that scores are shares."""
    records = [record(model, "fault", 1, share, seeds=2) for model, share in zip("abc", (0.8, 1, 1), strict=True)]
    records += [record("right", "correct", 0, 0), record("other", "correct", 1, 0, blamed="part")]
    found = check_targets([Count("fault", "Flax", least=3), Count("correct", "Flax", most=1)], records)
    assert [(one["value"], one["of"], one["met"]) for one in found] == [(2, 3, False), (1, 2, True)]
    assert check_targets([Count("fault", "PyTorch", least=3)], records) == []
    assert ANSWERS.target_lines({"targets": found}) == [
        "Flax: 2 of 3 faults found and located, wanted at least 3, missed",
        "Flax: 1 of 2 correct models blamed, wanted at most 1, met",
    ]
    console = Console(width=140, record=True, file=io.StringIO())
    console.print(ANSWERS.terminal_table("title", records, ["audit"]))
    assert "2 of 2" in console.export_text()


def test_cells_name_models_that_exist() -> None:
    cells = audit_faults.cells(False)
    assert len(cells) == len({cell.name for cell in cells}) == 62
    assert len(audit_faults.cells(True)) == 22
    flax = [cell for cell in cells if cell.case["framework"] == "Flax"]
    models = importlib.import_module(audit_faults.MODULES["Flax"])
    assert [cell.case["model"] for cell in flax if cell.direction == "fault"] == [*models.faults()]
    assert {cell.case["model"] for cell in flax if cell.direction == "correct"} == {*models.correct()}


def test_missing_packages_are_gaps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.delitem(sys.modules, audit_faults.MODULES["PyTorch"], raising=False)
    cell = next(cell for cell in audit_faults.cells(True) if cell.case["framework"] == "PyTorch")
    gap = audit_faults.measured(cell, 0)
    assert (gap.status, gap.scores) == ("skipped", None)
    assert "torch" in (gap.reason or "")


def test_the_command_writes_results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("matplotlib")
    some = [cell for cell in audit_faults.cells(True) if cell.case["model"] == "padding that leaks"][:1]
    monkeypatch.setattr(
        audit_faults, "BENCHMARK", dataclasses.replace(audit_faults.BENCHMARK, cells=lambda quick: some)
    )
    assert command.main(["run", "audit_faults", "--quick", "--output", str(tmp_path)]) == 0
    (line,) = lines.read(tmp_path / "audit_faults.jsonl")
    assert (line["blamed"], line["fault"], line["scores"]["located"]) == ("pool", "pool", 1.0)
    text = (tmp_path / "audit_faults.md").read_text(encoding="utf-8")
    assert "| padding that leaks | Flax | float32 | 1 of 1 | pool | pool |" in text
    assert (tmp_path / "audit_faults.png").stat().st_size > 1000
