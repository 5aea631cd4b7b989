"""The benchmark `sparse_scaling`: its graph, its model against a compiled program for eight devices, and its report."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.speed import sparse_scaling
from benchmarks.speed._sparse_scaling_model import EXCHANGES, LARGE, Load, predicted, random_load
from benchmarks.speed._sparse_scaling_program import LAYOUTS, in_a_process, random_pairs
from equikit.plans.targets import Collective

SIZE = sparse_scaling.Limits(edges=40, nodes=8, channels=2)
ALONE: dict[str, Any] = {"flops": 1e4, "bytes": 4e4, "held": 2e4, "rows": {"entries": 40, "copies": 0, "slots": 0}}


@pytest.fixture(scope="module")
def compiled() -> dict[str, Any]:
    return in_a_process(8, SIZE.edges, SIZE.nodes, SIZE.channels)


def test_the_graph_has_both_directions_and_no_loops() -> None:
    i, j = random_pairs(30, 100)
    assert len({*zip(i.tolist(), j.tolist(), strict=True)}) == 100
    assert {*zip(i.tolist(), j.tolist(), strict=True)} == {*zip(j.tolist(), i.tolist(), strict=True)}
    assert (i != j).all()


def test_a_spread_layer_exchanges_what_the_model_says(compiled: dict[str, Any]) -> None:
    found = compiled["spread"]
    rows = found["rows"]
    load = Load(8, rows["entries"], SIZE.nodes, rows["copies"], rows["slots"], SIZE.channels)
    exchanged = [Collective(each["kind"], each["bytes"], tuple(each["group"])) for each in found["collectives"]]
    assert [each for each in exchanged if each.kind == "all-to-all"] == load.exchanged
    rest = [each for each in exchanged if each.kind != "all-to-all"]
    assert {each.kind for each in rest} == {"all-reduce"}
    weights = 4 * (15 * SIZE.channels**2 + 2 * SIZE.channels)
    assert sum(each.bytes for each in rest) < 2 * weights  # the gradient, the loss and two sums over all edges


def test_automatic_axes_gather_edges_twice_and_nodes_six_times(compiled: dict[str, Any]) -> None:
    row = 4 * SIZE.channels
    gathered = [each["bytes"] for each in compiled["automatic"]["collectives"] if each["kind"] == "all-gather"]
    assert gathered.count(8 * SIZE.edges * row) == 2
    assert gathered.count(8 * SIZE.nodes * row) == 6


def test_the_load_of_a_random_graph() -> None:
    devices, nodes, edges = 8, 400, 4000
    load = random_load(devices * edges, devices * nodes, 16, devices)
    i, j = random_pairs(devices * nodes, devices * edges)
    key = np.where((i + j) % 2, np.maximum(i, j), np.minimum(i, j))
    other = i + j - key
    of_first = np.unique(other[(key < nodes) & (other >= nodes)])
    assert len(of_first) == pytest.approx(load.copies, rel=0.05)
    assert LARGE.entries == pytest.approx(1e9 / 256)
    assert LARGE.copies == pytest.approx(LARGE.entries / 2, rel=0.02)
    assert LARGE.slots * 255 == pytest.approx(LARGE.copies, rel=0.06)
    assert [each.bytes for each in LARGE.exchanged] == [round(256 * LARGE.slots * 64)] * EXCHANGES


def test_the_model_is_linear_in_edges() -> None:
    small = predicted(LARGE, ALONE, 40)
    twice = random_load(2e9, 2e8, 16, 256)
    large = predicted(twice, ALONE, 40)
    for name in ("held", "sent", "own H100", "exchange H100"):
        assert large[name] == pytest.approx(2 * small[name], rel=0.03)


def test_a_quick_run_from_end_to_end(compiled: dict[str, Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    alone = {"spread": ALONE | {"collectives": []}}
    monkeypatch.setattr(sparse_scaling, "in_a_process", lambda devices, *size: compiled if devices > 1 else alone)
    measure = sparse_scaling.start(True, 0, lambda text: None)
    found = [m for cell in sparse_scaling.cells(True) for m in measure(cell)]
    assert [m.rival for m in found] == ["spread", *LAYOUTS]
    records: list[dict[str, Any]] = [{"case": m.case, "rival": m.rival, "scores": m.scores} for m in found]
    assert records[1]["scores"]["slots"] == compiled["spread"]["rows"]["slots"]
    last = {**records[1], "case": {"devices": 256}}
    style = sparse_scaling.BENCHMARK.style
    targets = style.check_targets(sparse_scaling.TARGETS, [*records, last])
    assert [target["case"]["devices"] for target in targets] == [256, 256]
    result = {"measurements": records, "targets": targets, "circumstances": "here"}
    text = style.markdown(result, sparse_scaling.RIVALS)
    assert "| automatic | 8 |" in text
    assert "Model of 10⁹ edges and 10⁸ nodes on 256 devices: each has 3.9 million edges" in text
    assert "- spread, 256 devices: sends " in text
    gap = {"case": {"devices": 64}, "direction": "value and gradient", "rival": "spread"}
    gap |= {"reason": "no memory", "status": "failed"}
    assert "no memory" in style.markdown({**result, "measurements": [*records, gap]}, sparse_scaling.RIVALS)
    style.plot(tmp_path / "plot.png", result, LAYOUTS, (), "devices")
    assert (tmp_path / "plot.png").stat().st_size > 10_000
