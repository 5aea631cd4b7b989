"""The accelerator's benchmark refuses a CPU, checks what it times, and runs small on one."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest

from benchmarks.core import command, lines
from benchmarks.speed import accelerator
from benchmarks.speed._accelerator_report import STYLE, Near, Share, check_targets
from benchmarks.speed._layers import DIRECTIONS, MIXED, LayerCase

on_cpu = pytest.mark.skipif(jax.default_backend() != "cpu", reason="an accelerator is at hand")


@on_cpu
def test_without_an_accelerator_it_refuses_and_says_what_to_do(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert command.main(["run", "accelerator", "--output", str(tmp_path)]) == 1
    text = capsys.readouterr().out
    assert "JAX sees only the CPU" in text
    assert "--quick" in text


def test_the_full_run_is_what_it_should_be() -> None:
    layers = [cell for cell in accelerator.cells(quick=False) if cell.direction != "roof"]
    assert [cell.direction for cell in layers] == [*DIRECTIONS] * 10
    first, *rest = (cell.given for cell in layers[::2])
    assert (first.k, first.l, first.n, first.batch, first.channels) == (2, 2, 256, 32, 32)
    assert [(case.group, case.k) for case in rest[:3]] == [("S", 3), ("O", 3), (MIXED, 2)]
    for case in (first, *rest):
        assert 2**26 < case.tensor_bytes() < 2**30  # larger than caches, and ten times that is in memory
    shares = [target for target in accelerator.TARGETS if isinstance(target, Share)]
    assert {target.rival for target in shares} == accelerator.PROGRAMS.keys() == accelerator.RIVALS.keys()


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
    errors = accelerator.check(case, "training", "float32") | accelerator.check(case, "training", "bfloat16")
    assert set(errors) == {"float32", "float32, highest", "bfloat16"}
    assert errors["float32, highest"] < 1e-5 < errors["bfloat16"] < 5e-2
    right = accelerator.function

    def wrong(case, direction, **options):
        layer = right(case, direction, **options)
        return layer if options["method"] == "naive" else lambda weights, x: layer(weights, 1.1 * x)

    monkeypatch.setattr(accelerator, "function", wrong)
    with pytest.raises(AssertionError, match="differs from the naive method"):
        accelerator.check(case, "forward", "float32")


def test_a_layer_is_measured_beside_the_peak_whether_or_not_that_came_before(monkeypatch: pytest.MonkeyPatch) -> None:
    budget = accelerator.Budget(turns=1, turn=1e-3, stream=2**10, side=8)
    monkeypatch.setattr(accelerator, "limits", lambda quick: budget)
    copied, product, *layers = accelerator.cells(True)
    case = LayerCase("S", 1, 1, 4, 2, 2)
    measure = accelerator.start(True, 0, lambda text: None)
    found = measure(replace(layers[0], given=case))
    assert [m.rival for m in found] == list(accelerator.DTYPES)
    assert [(m.case["group"], m.rival) for cell in (copied, product) for m in measure(cell)] == [
        (name, rival) for name in ("a copy", "a product") for rival in accelerator.DTYPES
    ]
    for m, roof in zip(found, measure(copied), strict=True):
        share = accelerator.least_bytes(case, "forward", accelerator.DTYPES[m.rival]) / m.median
        assert m.scores["share_of_copy"] == pytest.approx(share / roof.scores["bytes_a_second"])


def test_targets_and_their_text() -> None:
    record = {"case": {"group": "S", "k": 2, "l": 2, "n": 8, "batch": 2}, "direction": "forward", "rival": "float32"}
    record |= {"median": 1.0, "scores": {"share_of_copy": 0.7}}
    targets = [Share("float32", {"k": 2}, "forward", 0.6), Share("float32", {"k": 2}, "forward", 0.8)]
    found = check_targets([*targets, Share("bfloat16", {}, "forward", 0.1)], [record])
    assert [target["met"] for target in found] == [True, False]
    line, _ = STYLE.target_lines({"targets": found})
    assert line == "2 → 2, group S, n 8, batch 2, float32, forward: 70% of the bandwidth of a copy, wanted 60%, met"


def test_a_method_that_a_layer_does_not_have_is_a_gap_with_its_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    budget = accelerator.Budget(turns=1, turn=1e-3, stream=2**10, side=8)
    monkeypatch.setattr(accelerator, "limits", lambda quick: budget)
    monkeypatch.setitem(accelerator.PROGRAMS, "float32, other", ("float32", "other"))
    case = LayerCase("S", 1, 1, 4, 2, 2)
    cell = replace(accelerator.cells(True)[2], given=case, rivals=("float32", "float32, other"))
    right, gap = accelerator.start(True, 0, lambda text: None)(cell)
    assert (right.status, gap.status) == ("measured", "failed")
    assert "method" in gap.reason
    assert gap.scores is None


def test_expected_times_are_compared_with_measured_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    case = LayerCase("S", 1, 1, 4, 2, 2)
    assert accelerator.expected(accelerator.function(case, "forward"), case, jnp.float32) == {}
    monkeypatch.setattr(accelerator, "compiled_cost", lambda *_, target: Counted())
    here = Device(jax.devices()[0].device_kind)
    monkeypatch.setattr(accelerator, "DEVICES", {"h100": here})
    seconds = accelerator.expected(accelerator.function(case, "forward"), case, jnp.float32)
    assert seconds == {"expected_seconds": pytest.approx(4 * 3e-6 + 5e-6 + 1e-6)}
    record = {"case": {"group": "S"}, "direction": "forward", "rival": "float32", "median": 2e-5}
    (target,) = check_targets([Near("forward", 0.25), Near("training", 0.25)], [record | {"scores": seconds}])
    assert (target["met"], target["worst"]) == (True, pytest.approx(0.1))
    (line,) = STYLE.target_lines({"targets": [target]})
    assert line == "forward: expected times of 1 programs differ by 10% or less (group S, float32), wanted 25%, met"


@dataclass(frozen=True)
class Device:
    kind: str


class Counted:
    def as_dict(self) -> dict[str, float]:
        return {"kernels": 4, "bandwidth_seconds": 5e-6, "arithmetic_seconds": 1e-6}


def test_the_quick_run_writes_results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("matplotlib")
    monkeypatch.setattr(accelerator, "QUICK", accelerator.QUICK[:1])
    assert command.main(["run", "accelerator", "--quick", "--output", str(tmp_path)]) == 0
    layers = [record for record in lines.read(tmp_path / "accelerator.jsonl") if record["direction"] != "roof"]
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
    assert command.main(["run", "accelerator", "--quick", "--output", str(tmp_path)]) == 0
