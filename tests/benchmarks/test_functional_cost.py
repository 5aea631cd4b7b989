"""The benchmark of functionals of deep networks measures all rivals, and writes its page."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.core import command, lines
from benchmarks.speed import functional_cost


def test_cells_are_distinct() -> None:
    names = [cell.name for cell in functional_cost.cells(False)]
    assert len(names) == len(set(names)) == 9


@pytest.mark.slow
def test_a_quick_run(tmp_path: Path) -> None:
    assert command.main(["run", "functional_cost", "--quick", "--output", str(tmp_path)]) == 0
    found = {
        (record["case"]["layers"], record["direction"], record["rival"]): record["scores"]["value"]
        for record in lines.read(tmp_path / "functional_cost.jsonl")
    }
    assert len(found) == 2 * 3 * 3
    for layers in (3, 4):
        assert found[layers, functional_cost.STEP, "Deep Sets"] == 1
        assert found[layers, functional_cost.WEIGHTS, "rank"] < found[layers, functional_cost.WEIGHTS, "full"]
    assert "kernels" in (tmp_path / "functional_cost.md").read_text(encoding="utf-8")
