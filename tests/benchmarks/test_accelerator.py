"""The accelerator's benchmark refuses a CPU, checks what it times, and runs small on one."""

from __future__ import annotations

import json
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest

from benchmarks import __main__ as command
from benchmarks.speed import accelerator
from benchmarks.speed._accelerator_report import STYLE, Share, check_targets
from benchmarks.speed._layers import MIXED, LayerCase

on_cpu = pytest.mark.skipif(jax.default_backend() != "cpu", reason="an accelerator is at hand")


@on_cpu
def test_without_an_accelerator_it_refuses_and_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as caught:
        command.main(["accelerator", "--output", str(tmp_path)])
    text = str(caught.value)
    assert "JAX sees only the CPU" in text
    assert "--quick" in text
    assert not list(tmp_path.iterdir())


def test_the_full_run_is_what_it_should_be() -> None:
    first, *rest = accelerator.cases(quick=False)[1:]
    assert (first.k, first.l, first.n, first.batch, first.channels) == (2, 2, 256, 32, 32)
    assert [(case.group, case.k) for case in rest] == [("S", 3), ("O", 3), (MIXED, 2)]
    for case in (first, *rest):
        assert 2**26 < case.tensor_bytes() < 2**30  # larger than caches, and ten times that is in memory
    assert accelerator.limits(quick=False).seconds < 600
    assert {target.rival for target in accelerator.TARGETS} == {"float32", "bfloat16"}


def test_bytes_and_operations_that_a_layer_cannot_do_without() -> None:
    case = LayerCase("S", 1, 1, 10, 3, 4)
    assert accelerator.least_bytes(case, "forward", jnp.float32) == 2 * 3 * 10 * 4 * 4
    assert accelerator.least_bytes(case, "training", jnp.bfloat16) == 5 * 3 * 10 * 4 * 2
    flops = accelerator.least_flops(case, "forward")
    products = 2 * 3 * (10 + 1) * 4 * 4
    assert products < flops < 2 * products
    assert accelerator.least_flops(case, "training") == 3 * flops
    assert accelerator.least_flops(LayerCase(MIXED, 2, 2, 10, 3, 4), "forward") > 0


def test_what_computes_something_else_is_not_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    case = LayerCase("S", 1, 1, 16, 4, 4)
    errors = accelerator.check(case, "training")
    assert set(errors) == {"float32", "float32, highest", "bfloat16"}
    assert errors["float32, highest"] < 1e-5 < errors["bfloat16"] < 5e-2
    right = accelerator.function

    def wrong(case, direction, **options):
        layer = right(case, direction, **options)
        return layer if "method" in options else lambda weights, x: layer(weights, 1.1 * x)

    monkeypatch.setattr(accelerator, "function", wrong)
    with pytest.raises(AssertionError, match="differs from the naive method"):
        accelerator.check(case, "forward")


def test_a_run_that_is_late_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    budget = accelerator.Budget(seconds=-1.0, turns=1, turn=1e-3, stream=2**10, side=8)
    monkeypatch.setattr(accelerator, "limits", lambda quick: budget)
    _, *layers = accelerator.run(True, 0, lambda text: None)
    assert all(m.status == "skipped" and "had passed" in m.reason for found in layers for m in found)
    assert len(layers) == 4


def test_targets_and_their_text() -> None:
    record = {"case": {"group": "S", "k": 2, "l": 2, "n": 8, "batch": 2}, "direction": "forward", "rival": "float32"}
    record |= {"median": 1.0, "scores": {"share_of_copy": 0.7}}
    targets = [Share("float32", {"k": 2}, "forward", 0.6), Share("float32", {"k": 2}, "forward", 0.8)]
    found = check_targets([*targets, Share("bfloat16", {}, "forward", 0.1)], [record])
    assert [target["met"] for target in found] == [True, False]
    line, _ = STYLE.target_lines({"targets": found})
    assert line == "2 → 2, group S, n 8, batch 2, float32, forward: 70% of the bandwidth of a copy, wanted 60%, met"


def test_the_quick_run_writes_results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("matplotlib")
    monkeypatch.setattr(accelerator, "QUICK", accelerator.QUICK[:1])
    assert command.main(["accelerator", "--quick", "--output", str(tmp_path)]) == 0
    records = json.loads((tmp_path / "accelerator.json").read_text(encoding="utf-8"))["measurements"]
    layers = [record for record in records if record["direction"] != "roof"]
    assert len(layers) == 2 * 2
    for record in layers:
        assert 0 < record["scores"]["share_of_copy"] <= record["scores"]["share_of_roof"]
        assert record["compile_seconds"] > 0
        assert record["peak_bytes"] > 0
        assert record["scores"]["kernels: fusion"] > 0
    text = (tmp_path / "accelerator.md").read_text(encoding="utf-8")
    assert "- a copy in float32: " in text
    assert "| 2 → 2, group S, n 16, batch 2 | forward | bfloat16 | " in text
    assert (tmp_path / "accelerator.png").stat().st_size > 1000


@pytest.mark.slow
def test_the_whole_quick_run(tmp_path: Path) -> None:
    assert command.main(["accelerator", "--quick", "--output", str(tmp_path)]) == 0
