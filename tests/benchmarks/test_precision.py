"""The benchmark of rounding errors measures what it says, and its report can be read."""

from __future__ import annotations

import io
import math
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from documents import said
from rich.console import Console

from benchmarks.accuracy import precision
from benchmarks.accuracy._precision_report import ERRORS, Most, check_targets
from benchmarks.core import command, lines
from benchmarks.core.folders import RESULTS
from benchmarks.speed._layers import LayerCase


def test_errors_of_known_arrays() -> None:
    exact = np.array([3.0, -4.0])
    assert precision.errors(exact, exact) == {"largest": 0.0, "rms": 0.0}
    found = precision.errors(exact + np.array([0.0, 0.4]), exact)
    assert found["largest"] == pytest.approx(0.1)
    assert found["rms"] == pytest.approx(0.08)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("case", [LayerCase("S", 2, 2, 3, 2, 2), LayerCase("SO", 2, 1, 3, 2, 2)])
def test_the_exact_results_are_those_of_the_definition(case: LayerCase) -> None:
    weights, x = case.arrays(jnp.float64)
    arrays = weights, x, jnp.ones(case.shape(case.l))
    found, wanted = precision.results(case, arrays), precision.results(case, arrays, method="naive")
    assert set(found) == set(precision.WHAT)
    for what in precision.WHAT:
        np.testing.assert_allclose(found[what], wanted[what], atol=1e-12 * np.abs(wanted[what]).max())


def test_an_error_is_between_one_rounding_and_a_few(monkeypatch: pytest.MonkeyPatch) -> None:
    measurements = precision.measured(LayerCase("S", 1, 1, 32, 4, 4), 0)
    rms = {(m.rival, m.direction): m.scores["rms"] for m in measurements}
    assert len(rms) == len(precision.RIVALS) * len(precision.WHAT)
    for what in precision.WHAT:
        assert 5e-4 < rms["bfloat16, rounded", what] < 2e-3
        assert rms["bfloat16, rounded", what] * 0.9 < rms["bfloat16", what] < 8e-3
        assert 1e-5 < rms["float16", what] < 1e-3
        assert 1e-9 < rms["float32", what] < 1e-6
    assert not jax.config.jax_enable_x64


def test_targets() -> None:
    def record(rms: float, n: int) -> dict[str, object]:
        case = {"group": "S", "k": 1, "l": 1, "n": n}
        return {"case": case, "direction": "output", "rival": "a", "scores": {"rms": rms, "largest": 1.0}}

    records = [record(1e-3, 4), record(2e-3, 8)]
    met, missed = check_targets([Most("a", "output", 2e-3), Most("a", "output", 1e-3)], records)
    assert (met["met"], missed["met"], met["worst"]) == (True, False, "1 → 1, group S, n 8")
    assert not check_targets([Most("b", "output", 1.0)], records)
    gap = {"case": {"group": "S", "k": 1, "l": 1, "n": 9}, "direction": "", "rival": "a", "reason": "no memory"}
    assert check_targets([Most("a", "output", 2e-3)], [*records, gap | {"direction": "output"}]) == [met]
    console = Console(width=120, record=True, file=io.StringIO())
    console.print(ERRORS.terminal_table("title", [*records, gap], ["a"]))
    assert "2.0e-3 / 1.0" in console.export_text()
    assert ERRORS.target_lines({"targets": [missed]}) == [
        "a, output: at most 2.0e-3 (1 → 1, group S, n 8), wanted at most 1.0e-3, missed"
    ]


def test_the_command_writes_results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("matplotlib")
    monkeypatch.setattr(precision, "QUICK", precision.QUICK[:1])
    assert command.main(["run", "precision", "--quick", "--output", str(tmp_path)]) == 0
    assert len(lines.read(tmp_path / "precision.jsonl")) == len(precision.RIVALS) * len(precision.WHAT)
    text = (tmp_path / "precision.md").read_text(encoding="utf-8")
    assert "| 1 → 1, group S, n 64, batch 4 | gradient by weights | " in text
    assert (tmp_path / "precision.png").stat().st_size > 1000


def test_the_guide_gives_the_largest_error_of_bfloat16_over_one_rounding() -> None:
    stored = lines.read(RESULTS / "precision.jsonl")
    errors = {(str(r["case"]), r["direction"], r["rival"]): r["scores"]["rms"] for r in stored}
    ratios = [
        error / errors[case, direction, "bfloat16, rounded"]
        for (case, direction, rival), error in errors.items()
        if rival == "bfloat16"
    ]
    assert f"errors in bfloat16 are at most {math.ceil(10 * max(ratios)) / 10} times the error of rounding" in said()
