"""The benchmark of compiled layers, its report and its check, on counts that are made up; and on one real program."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from documents import said
from rich.console import Console

from benchmarks.core import command, lines, machine, pages
from benchmarks.core.results import joined
from benchmarks.speed import _target_check, targets
from benchmarks.speed._target_check import JOBS, LAYERS
from benchmarks.speed._target_program import FULL
from benchmarks.speed._targets_report import Fewer, check_targets, tables, target_lines

LAYER = LAYERS[0]
CLAIM = Fewer("h100", "forward", 2.0)


def record(rival: str, bytes_moved: float, layer: str = LAYER, kernels: float = 4.0, **more: Any) -> dict[str, Any]:
    scores = {"kernels": kernels, "bytes": bytes_moved, "io_bytes": 1e8, "ratio": bytes_moved / 1e8}
    scores |= {"bandwidth_seconds": bytes_moved / 3.35e12, "arithmetic_seconds": 1e-6}
    found = {"case": {"layer": layer, "target": "h100"}, "direction": "forward", "rival": rival, "status": "measured"}
    return found | {"scores": scores, "flops": 1e9, "temporary_bytes": 2e6, "compile_seconds": 1.5} | more


def test_layers_that_move_much_have_to_move_less() -> None:
    records = [record("now", 2e8), record("before", 3e8), record("now", 1e8, "b"), record("before", 1e8, "b")]
    (met,) = check_targets([CLAIM, Fewer("v5e", "forward", 2.0)], records)
    assert (met["fewer"], met["same"], met["more"], met["met"]) == (1, [], [], True)
    (same,) = check_targets([CLAIM], [record("now", 3e8), record("before", 3e8)])
    (more,) = check_targets([CLAIM], [record("now", 1.2e8), record("before", 1e8)])
    assert (same["same"], same["met"], more["more"], more["met"]) == ([LAYER], False, [LAYER], False)
    texts = target_lines({"targets": [met, same, more]})
    assert texts[0].endswith("output, 1 move fewer bytes than before; unchanged: none; more bytes: none; met")
    assert texts[1].endswith(f"unchanged: *{LAYER}*; more bytes: none; missed")
    assert texts[2].endswith(f"unchanged: none; more bytes: *{LAYER}*; missed")


def test_tables_say_what_has_changed() -> None:
    alone = {"case": {"layer": "c", "target": "h100"}, "direction": "forward", "rival": "now", "status": "given up"}
    text = "\n".join(tables([record("now", 2e8), record("before", 3e8), record("now", 1e8, "b"), alone]))
    assert f"| {LAYER} | forward | 4 | 300 → 200 | 3.0 → 2.0 | 2.00 |" in text
    assert "| b | forward | – → 4 | – → 100 | – → 1.0 | – → 2.00 |" in text
    assert "| c | forward | – | – | – | – |" in text
    assert f"| {LAYER} | forward | 1.00 | 59.7 | 1.0 | 1.5 |" in text


def stored_lines(**changed: str) -> list[dict[str, Any]]:
    about = {"versions": machine.versions() | changed}
    cases = [{"layer": layer, "target": target} for layer, target, _ in JOBS]
    return [record("now", 1e8, case=case, **about) for case in cases]


def run_check(found: dict[str, float], known: Sequence[dict[str, Any]], missing: str | None = None) -> tuple[int, str]:
    console = Console(width=400, record=True, file=io.StringIO())

    def compiled(jobs: Sequence[targets.Job]) -> list[dict[str, float]]:
        return [{"bytes": 1e8, "kernels": 4.0}] * (len(jobs) - 1) + [found]

    return _target_check.run(console, known, lambda: missing, compiled), console.export_text()


def test_the_check_passes_and_fails() -> None:
    status, text = run_check({"bytes": 1.019e8, "kernels": 4.0}, stored_lines())
    assert (status, text.count("fine")) == (0, 6)
    status, text = run_check({"bytes": 1.021e8, "kernels": 4.0}, stored_lines())
    assert (status, text.count("fine"), text.count("REGRESSION")) == (1, 5, 1)
    assert "TPU v5e, forward: REGRESSION: 102 MB and 4 kernels, stored 100 MB and 4 kernels" in text
    status, text = run_check({"bytes": 1e8, "kernels": 5.0}, stored_lines())
    assert (status, text.count("REGRESSION")) == (1, 1)
    status, text = run_check({"bytes": 0.9e8, "kernels": 4.0}, stored_lines())
    assert (status, text.count("fewer: store them: python -m benchmarks run targets --store")) == (0, 1)
    status, text = run_check({"bytes": 1e8, "kernels": 4.0}, stored_lines()[:-1])
    assert (status, text.count("no counts are stored")) == (1, 1)


def test_the_check_is_skipped_with_its_reason() -> None:
    status, text = run_check({}, [], "libtpu not installed: make compilers")
    assert (status, text.strip()) == (0, "check: compiled layers: skipped: libtpu not installed: make compilers")
    status, text = run_check({}, stored_lines(jax="0.0.1"))
    assert (status, text.count("check:")) == (0, 1)
    assert "skipped: stored with jax 0.0.1, and this is " in text


def test_the_checked_layers_are_stored() -> None:
    known = _target_check.stored(pages.stored("targets"))
    assert set(JOBS) <= known.keys()


def test_every_layer_is_stored_now_and_before() -> None:
    found = {(r["case"]["layer"], r["case"]["target"], r["direction"], r["rival"]) for r in stored() if "scores" in r}
    names = {(*cell.case.values(), cell.direction, *cell.rivals) for cell in targets.cells(False)}
    assert len(FULL) == 12
    assert found == names


def test_the_documents_state_the_stored_counts() -> None:
    found = {
        (r["case"]["target"], r["direction"], r["rival"]): r["scores"]["ratio"]
        for r in stored()
        if r["case"]["layer"] == "S 2 → 2, n 256, batch 32"
    }
    gpu, tpu = (
        [f"{found[target, way, rival]:.1f}" for way in targets.DIRECTIONS for rival in ("now", "before")]
        for target in targets.COMPILERS
    )
    text = (
        f"moves {gpu[0]} times the bytes of its arguments and results on an H100 and {tpu[0]} times on a TPU v5e, with "
        f"its gradient {gpu[2]} and {tpu[2]} times. Before its steps followed the platform it moved "
        f"{gpu[1]} and {tpu[1]} times, with its gradient {gpu[3]} and {tpu[3]} times."
    )
    assert text in said()


def stored() -> list[dict[str, Any]]:
    return joined(pages.stored("targets"))


@pytest.mark.parametrize("name", ["targets", "target_rates"])
def test_without_compilers_a_run_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    pytest.importorskip("matplotlib")
    monkeypatch.setattr(targets, "COMPILERS", {"h100": "no_such_package", "v5e": "jax"})
    reason = "no_such_package not installed: make compilers"
    assert targets.missing() == reason
    assert command.main(["run", name, "--output", str(tmp_path)]) == 1
    assert f"{name}: {reason}" in capsys.readouterr().out
    assert command.main(["run", name, "--quick", "--output", str(tmp_path)]) == 0
    assert {line["reason"] for line in lines.read(tmp_path / f"{name}.jsonl")} == {reason}


@pytest.mark.slow
def test_the_command_compiles(tmp_path: Path) -> None:
    reason = targets.missing()
    if reason is not None:
        pytest.skip(reason)
    words = ["run", "targets", "--quick", "--only", "h100, forward, now", "--output", str(tmp_path)]
    assert command.main(words) == 0
    (line,) = lines.read(tmp_path / "targets.jsonl")
    assert line["scores"]["ratio"] > 1
    assert line["scores"]["kernels"] >= 1
