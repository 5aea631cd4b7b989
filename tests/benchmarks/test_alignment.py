"""The benchmark of alignment runs, and its rival matches weights as it should."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks.core import command, lines
from benchmarks.models.git_rebasin import similarity, weight_matching
from benchmarks.speed.alignment import BENCHMARK, RIVALS, Case, callers, networks


def test_the_rival_finds_a_planted_permutation_of_a_perceptron() -> None:
    case = Case("perceptron, moved", 12)
    _, one, _ = networks(case, 3)
    assert similarity(one, callers(case, 3)["Git Re-Basin"]()) == pytest.approx(1, abs=1e-5)


def test_what_the_rival_finds_no_single_label_improves() -> None:
    spec, one, two = networks(Case("residual blocks, other weights", 6), 0)
    terms = tuple((leaf.name, leaf.labels) for leaf in spec.leaves)
    taken = weight_matching(terms, tuple(spec.groups), one, two, 0)
    element = {label: np.argsort(each) for label, each in taken.items()}
    best = similarity(one, spec.act(element, two))
    generator = np.random.default_rng(0)
    for label, places in element.items():
        for _ in range(5):
            assert similarity(one, spec.act({**element, label: generator.permutation(places)}, two)) <= best + 1e-6


def test_every_rival_is_timed_and_what_is_planted_is_found() -> None:
    measure = BENCHMARK.start(True, 0, lambda text: None)
    for cell in BENCHMARK.cells(True):
        found = measure(cell)
        assert tuple(m.rival for m in found) == cell.rivals == tuple(RIVALS)
        assert all(m.median is not None and m.median > 0 for m in found)
        if "moved" in cell.case["layer"]:
            assert all(m.scores["similarity"] == pytest.approx(1, abs=1e-5) for m in found[:2])


@pytest.mark.slow
def test_the_command_writes_times_and_similarities(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    assert command.main(["run", "alignment", "--quick", "--output", str(tmp_path)]) == 0
    assert {line["rival"] for line in lines.read(tmp_path / "alignment.jsonl")} == set(RIVALS)
    assert "similarity equikit" in (tmp_path / "alignment.md").read_text(encoding="utf-8")
