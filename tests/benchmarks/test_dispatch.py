"""A small layer compiles to the program of three lines of jnp, and the benchmark that times calls runs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import jax
import pytest

from benchmarks.core import command, lines
from benchmarks.core.harness import Limits
from benchmarks.speed import _dispatch, dispatch
from benchmarks.speed._layers import LayerCase, function

CASE = LayerCase("S", 1, 1, 8, 4)


def instructions(text: str) -> int:
    """What a compiled program does in its entry computation, parameters and views aside."""
    (entry,) = [part for part in text.split("\n\n") if part.startswith("ENTRY")]
    lines = [line for line in entry.splitlines() if " = " in line]
    return sum("parameter(" not in line and " bitcast(" not in line for line in lines)


def test_a_layer_compiles_to_as_many_instructions_as_by_hand() -> None:
    weights, x = CASE.arrays()
    by_hand = {"p -> p": weights["x -> x"], "-> p": weights["-> x"]}
    counts = []
    for layer, own in ((function(CASE, "forward"), weights), (_dispatch.by_hand, by_hand)):
        counts.append(instructions(jax.jit(layer).lower(own, x).compile().as_text()))
    assert 3 <= counts[0] <= counts[1]


def test_a_rival_that_computes_something_else_stops_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_dispatch, "by_hand", lambda weights, x: 2 * x)
    with pytest.raises(AssertionError, match="by hand differs by"):
        _dispatch.measure(CASE, 0, Limits(seconds=0.001, least=1, most=2))


def test_the_command_writes_times_of_every_rival(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    assert command.main(["run", "dispatch", "--quick", "--output", str(tmp_path)]) == 0
    records = lines.read(tmp_path / "dispatch.jsonl")
    (cell,) = dispatch.cells(True)
    assert {record["rival"] for record in records} == set(cell.rivals) == set(dispatch.RIVALS)
    assert all(record["case"] == cell.case for record in records)
    assert {record["direction"] for record in records} == {"forward", "training", "eager", "trace"}
    assert all(record["median"] > 0 for record in records)
    text = (tmp_path / "dispatch.md").read_text(encoding="utf-8")
    assert "| 1 → 1, n 8, batch 4 | forward | " in text


def test_a_cell_names_the_rivals_that_it_times() -> None:
    """A layer between matrices; the command above times a layer between vectors."""
    found = _dispatch.measure(replace(CASE, k=2, l=2), 0, Limits(seconds=0.001, least=1, most=2))
    assert {m.rival for m in found} == set(dispatch.cells(False)[3].rivals)


def test_the_process_that_fails_says_why() -> None:
    cell = replace(dispatch.cells(True)[0], given=LayerCase("S", 1, 1, -1, 4))
    with pytest.raises(RuntimeError, match=r"the process that times .* failed"):
        dispatch.start(True, 0, lambda text: None)(cell)
