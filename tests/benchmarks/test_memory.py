"""The benchmark of memory measures what the guide says of it."""

from __future__ import annotations

import math
import re
from pathlib import Path

import pytest

from benchmarks.core import command, lines
from benchmarks.core.folders import RESULTS
from benchmarks.speed import memory

GUIDE = (Path(__file__).parents[2] / "docs/guides/time_and_memory.md").read_text(encoding="utf-8")


def test_chunks_need_less_than_the_whole_batch(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    assert command.main(["run", "memory", "--quick", "--output", str(tmp_path)]) == 0
    found = {
        (record["case"]["group"], record["direction"], record["rival"]): record["scores"]["value"]
        for record in lines.read(tmp_path / "memory.jsonl")
    }
    assert len(found) == 2 * 2 * len(memory.RIVALS)
    assert all(value >= 1 for value in found.values())
    assert found["S", "training", "four chunks"] < found["S", "training", "whole"]
    assert "| 2 → 2, group S, n 8, batch 4 | " in (tmp_path / "memory.md").read_text(encoding="utf-8")
    assert (tmp_path / "memory.png").stat().st_size > 1000


def test_the_guide_gives_the_stored_figures() -> None:
    stored = lines.read(RESULTS / "memory.jsonl")

    def largest(rival: str, direction: str, **about: int) -> float:
        cases = (r for r in stored if (r["rival"], r["direction"]) == (rival, direction))
        return max(r["scores"]["value"] for r in cases if about.items() <= r["case"].items())

    (text,) = re.findall(r"^\| layer \| call \| in training \|\n(.*?)\n\n", GUIDE, re.DOTALL | re.MULTILINE)
    figures = [float(figure) for figure in re.findall(r"\d+\.\d", text)]
    rows = [("whole", {"k": 2}), ("whole", {"k": 3, "l": 3, "n": 8}), ("whole", {}), ("four chunks", {})]
    expected = [largest(rival, way, **about) for rival, about in rows for way in ("forward", "training")]
    expected.insert(6, largest("whole", "forward", batch=memory.LARGE))
    assert figures == [math.ceil(10 * value) / 10 for value in expected]  # each is an upper bound
