"""The benchmark of alignment runs, and its rival matches weights as it should."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks.core import command
from benchmarks.speed import alignment
from benchmarks.speed._alignment_rival import weight_matching
from benchmarks.speed.alignment import Case, callers, networks, similarity


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


@pytest.mark.slow
def test_the_command_writes_times_and_similarities(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    assert command.main(["alignment", "--quick", "--output", str(tmp_path)]) == 0
    records = json.loads((tmp_path / "alignment.json").read_text(encoding="utf-8"))["measurements"]
    assert {record["rival"] for record in records} == set(alignment.RIVALS)
    assert all(record["median"] > 0 for record in records)
    moved = [record for record in records if "moved" in record["case"]["layer"] and record["rival"] == "equikit"]
    assert all(record["scores"]["similarity"] == pytest.approx(1, abs=1e-5) for record in moved)
