"""The benchmark of growth fits what it is given, and writes exponents and memory."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.core import command, lines
from benchmarks.speed import growth
from benchmarks.speed._growth_report import BOUNDS, STYLE, Bound, check_targets, summary
from benchmarks.speed._layers import LayerCase


def records(power: float) -> list[dict[str, object]]:
    found = []
    for n in (10, 20, 40):
        case = {"group": "S", "k": 2, "l": 1, "n": n, "batch": 1}
        times = {"median": n**power, "minimum": 0.5 * n**power}
        found.append({"case": case, "direction": "forward", "peak_bytes": 7 * n**2} | times)
    ratio = {"scores": {"over_input_and_output": 2.5}}
    found.append({"case": {"group": "O", "k": 3, "l": 3, "n": 3, "batch": 8}, "direction": "forward"} | ratio)
    return found


def test_exponents_of_known_growth() -> None:
    (fit,) = summary(records(2.5))["fits"]
    assert (fit["k"], fit["l"], fit["expected"], fit["direction"]) == (2, 1, 2, "forward")
    assert fit["memory"]["value"] == pytest.approx(2.0)
    assert fit["time"]["value"] == pytest.approx(2.5)


def test_targets() -> None:
    bounds = [Bound("memory", "forward", 3.0), Bound("memory", "forward", 2.0), Bound("memory", "training", 6.0)]
    bounds += [Bound("exponent of memory", "forward", 0.05), Bound("exponent of time", "forward", 0.2)]
    found = check_targets(bounds, records(2.5))
    assert [target["met"] for target in found] == [True, False, True, False]
    told = STYLE.target_lines({"targets": found})
    assert told[1].startswith("memory over input and output, forward: at most 2.50 (3 → 3, group O, n 3, batch 8), ")
    assert told[3].startswith(
        "exponent of time - max(k, l), forward: at most 0.50 (2 → 1, S), wanted at most 0.2, missed"
    )


def test_memory_grows_as_the_larger_side() -> None:
    """What the fit finds, from XLA's account alone; the next terms are an axis shorter."""
    from benchmarks.speed._layers import footprint

    for k, l in ((1, 1), (2, 1), (1, 2), (2, 2), (1, 3)):
        order = max(k, l)
        small, large = (footprint(LayerCase("S", k, l, n, 1, 4), "training").total for n in (32, 64))
        assert large < 2.0 ** (order + 0.1) * small


def test_what_failed_is_a_gap_and_said() -> None:
    failed = {"rival": "equikit", "status": "failed", "reason": "no memory"}
    gaps = [{"case": one["case"], "direction": "training"} | failed for one in records(2.5)]
    result = {"measurements": records(2.5) + gaps, "targets": check_targets(BOUNDS, records(2.5) + gaps)}
    text = STYLE.markdown(result | {"circumstances": "A day."}, growth.RIVALS)
    assert "| 3 → 3, group O, n 3, batch 8 | 2.50 | – |" in text
    assert "- equikit failed: no memory (2 → 1, group S, n 10, batch 1 training; " in text


@pytest.mark.slow
def test_the_command_writes_exponents_and_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("matplotlib")
    monkeypatch.setattr(growth, "measured_apart", growth.series)  # so that a start is not waited for six times
    assert command.main(["run", "growth", "--quick", "--output", str(tmp_path)]) == 0
    fits = summary(lines.read(tmp_path / "growth.jsonl"))["fits"]
    assert [(fit["k"], fit["l"], fit["group"]) for fit in fits[::2]] == [(1, 1, "S"), (2, 1, "S"), (2, 2, "O")]
    assert all(abs(fit["memory"]["value"] - fit["expected"]) < 0.3 for fit in fits)
    text = (tmp_path / "growth.md").read_text(encoding="utf-8")
    assert "| 2 → 1 | S | training | n^2 | " in text
    assert "| 2 → 2, group S, n 16, batch 8 | " in text
    assert (tmp_path / "growth.png").stat().st_size > 1000


def test_a_process_of_its_own_measures_a_series() -> None:
    measure = growth.start(True, 0, lambda text: None)
    cells = growth.cells(True)
    found = measure(cells[1])
    assert [m.case["n"] for m in found] == [1_000, 2_000, 4_000]
    assert all(m.direction == "training" and m.peak_bytes > 0 and m.median > 0 for m in found)
    (alone,) = measure(cells[-1])
    assert (alone.case, alone.median) == (cells[-1].case, None)
    assert alone.scores["over_input_and_output"] > 1
    with pytest.raises(RuntimeError, match="the process that measures"):
        measure(replace(cells[0], given=[LayerCase("S", 1, 1, n, 1) for n in (-1, 4)]))
