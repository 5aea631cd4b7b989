"""The benchmark `methods` measures every method, and says how far the chosen one is from the fastest."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.speed.methods import BENCHMARK, RIVALS, STYLE


def test_cells_are_named_by_all_that_distinguishes_them() -> None:
    names = [cell.name for cell in BENCHMARK.cells(False)]
    assert len(set(names)) == len(names) == 21 * 4 * 2


def test_a_cell_is_measured_as_it_is_described() -> None:
    cell, *_ = BENCHMARK.cells(True)
    found = BENCHMARK.start(True, 0, lambda text: None)(cell)
    assert tuple(m.rival for m in found) == cell.rivals == tuple(RIVALS)
    assert all(m.status == "measured" and m.median and m.case == cell.case for m in found)


def records(times: dict[str, float], layer: str) -> list[dict]:
    case = {"layer": layer, "batch": 1, "width": 16}
    return [{"case": case, "direction": "forward", "rival": rival, "median": time} for rival, time in times.items()]


CHOICES = [
    *records({"auto": 3.0, "factored": 3.0, "dense": 2.0, "naive": 8.0}, "far"),
    *records({"auto": 1.0, "factored": 1.0, "dense": 2.0}, "best"),
]


def test_the_regret_is_the_ratio_to_the_best_method() -> None:
    far, best = STYLE.check_targets(BENCHMARK.targets, CHOICES)
    assert (far["rival"], far["ratio"], far["met"]) == ("dense", 1.5, False)
    assert (best["rival"], best["ratio"], best["met"]) == ("factored", 1.0, True)


def test_the_plot_has_a_point_for_each_method(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    figure, drawn = pytest.importorskip("matplotlib.figure"), []
    monkeypatch.setattr(figure.Figure, "savefig", lambda self, path: drawn.append(self))
    STYLE.plot(tmp_path / "a.png", {"measurements": CHOICES}, list(RIVALS), (), "n")
    (axes,) = drawn[0].axes
    points = {line.get_label(): [(float(x), int(y)) for x, y in line.get_xydata()] for line in axes.lines}
    assert points == {
        "auto": [(1.5, 0), (1.0, 1)],
        "factored": [(1.5, 0), (1.0, 1)],
        "dense": [(1.0, 0), (2.0, 1)],
        "naive": [(4.0, 0)],
    }
    assert [label.get_text() for label in axes.get_yticklabels()] == ["far", "best"]
