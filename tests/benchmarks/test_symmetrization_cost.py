"""The benchmark `symmetrization_cost` symmetrizes what it says, and reports ratios."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from benchmarks.core import lines as stored
from benchmarks.core.folders import BENCHMARKS, RESULTS
from benchmarks.speed._symmetrization_cost_methods import KINDS, made
from benchmarks.speed._symmetrization_cost_report import Most, by_case, check, lines, plot, ratio, table
from benchmarks.speed.symmetrization_cost import BENCHMARK
from equikit.symmetrization import Symmetrized


def test_ratios_are_those_to_the_network_alone() -> None:
    case = {"inputs": "clouds", "batch": 2, "size": 8}
    records = [
        {"case": case, "direction": direction, "rival": rival, "median": factor * median}
        for direction, factor in (("forward", 1.0), ("forward+backward", 3.0))
        for rival, median in (("bare", 0.001), ("frame", 0.008), ("canonical", 0.004))
    ]
    targets = [Most("frame", case, 9.0), Most("canonical", case, 1.5), Most("absent", case, 1.0)]
    found = check(targets, records)
    assert [target["met"] for target in found] == [True, False, False]
    assert found[0]["ratio"] == pytest.approx(8.0)
    said = lines({"targets": found})
    assert said[0] == "inputs clouds, batch 2, size 8, forward, frame over bare: 8.0x, wanted at most 9x, met"
    assert said[2].endswith("absent over bare: not measured, wanted at most 1x, missed")
    of = {"forward": {one["rival"]: one for one in records[:3]}, "forward+backward": {}}
    assert ratio(of, "forward+backward", "frame") is None
    assert table(of)[1][1][:3] == ["frame", "8.00 (8.0x)", "–"]


def test_a_case_without_one_direction_is_shown(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    case, direction = {"inputs": "clouds", "batch": 2, "size": 8}, "forward+backward"
    records = [{"case": case, "direction": direction, "rival": rival, "median": 0.001} for rival in ("bare", "frame")]
    ((_, of),) = by_case(records)
    assert [row[:3] for row in table(of)[1]] == [["bare", "–", "1.00"], ["frame", "–", "1.00 (1.00x)"]]
    plot(tmp_path / "plot.png", {"measurements": records}, (), (), "")
    assert (tmp_path / "plot.png").exists()


@pytest.mark.slow
@pytest.mark.parametrize(("name", "rival"), [(name, rival) for name, kind in KINDS.items() for rival in kind.methods])
def test_what_is_timed_is_the_symmetrized_network(name: str, rival: str) -> None:
    kind, size = KINDS[name], 5
    module, keyed = made(kind, rival, size, 0)
    network, _ = made(kind, "bare", size, 0)
    assert isinstance(module, Symmetrized)
    x = jnp.asarray(kind.draw(3, size, np.random.default_rng(0)), jnp.float32)
    found = module(x, key=jax.random.key(0)) if keyed else module(x)
    assert isinstance(network, nnx.Module)
    assert found.shape == network(x).shape  # type: ignore[operator]
    assert bool(jnp.all(jnp.isfinite(found)))


def test_a_cell_is_measured_and_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("matplotlib")
    images = KINDS["images"]
    few = replace(images, methods={"group average": images.methods["group average"]})
    monkeypatch.setitem(KINDS, "images", few)
    cells = [cell for cell in BENCHMARK.cells(True) if cell.case["inputs"] == "images"]
    measure = BENCHMARK.start(True, 0, lambda text: None)
    records = [m.record() for cell in cells for m in measure(cell)]
    assert [record["rival"] for record in records] == ["bare", "group average"] * 2
    assert all(record["median"] > 0 for record in records)
    ((_, of),) = by_case(records)
    assert [row[0] for row in table(of)[1]] == ["bare", "group average"]
    BENCHMARK.style.plot(tmp_path / "a.png", {"measurements": records}, list(BENCHMARK.rivals), (), "batch")
    assert (tmp_path / "a.png").stat().st_size > 1000


def test_stored_lines_meet_the_targets_as_the_page_says() -> None:
    page = (BENCHMARKS / "speed" / "symmetrization_cost.md").read_text(encoding="utf-8")
    found = check(BENCHMARK.targets, stored.read(RESULTS / "symmetrization_cost.jsonl"))
    assert len(found) == len(BENCHMARK.targets)
    assert all(f"- {line}\n" in page for line in lines({"targets": found}))
