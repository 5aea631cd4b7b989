"""The paper on ensembles splits its data, joins members as ensembles do, and reports."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks.core import command
from benchmarks.papers import ensembles_2502_17391 as ensembles
from benchmarks.papers.ensembles_2502_17391 import _data as data

LIMITS = ensembles.limits(True)


@pytest.mark.parametrize("name", data.NAMES)
def test_rows_are_split_and_standardized_by_those_to_train_on(name: str) -> None:
    found = data.table(name, 0)
    counts = [len(y) for _, y in (found.train, found.validation, found.test)]
    np.testing.assert_allclose(np.array(counts) / sum(counts), [0.6, 0.2, 0.2], atol=0.01)
    np.testing.assert_allclose(found.train[0].mean(0), 0, atol=1e-4)
    deviations = found.train[0].std(0)
    np.testing.assert_allclose(deviations[deviations > 0], 1, rtol=1e-4)
    assert found.classes == {"digits": 10, "breast cancer": 2, "wine": 3, "diabetes": None}[name]
    rows = np.concatenate([x for x, _ in (found.train, found.validation, found.test)])
    other = data.table(name, 1)
    assert np.any(other.train[0] != found.train[0])
    assert len(rows) == sum(counts)


def test_members_are_joined_by_their_probabilities_or_their_numbers() -> None:
    outputs = np.random.default_rng(0).normal(size=(5, 3, 4)).astype(np.float32)
    odds = np.exp(outputs) / np.exp(outputs).sum(-1, keepdims=True)
    classes, numbers = (data.Table((), (), (), count) for count in (4, None))
    np.testing.assert_allclose(np.exp(ensembles.joined(outputs, classes)), odds.mean(1), rtol=1e-5)
    np.testing.assert_allclose(ensembles.joined(outputs, numbers), outputs.mean(1), rtol=1e-5)


def test_members_of_an_ensemble_share_their_fixed_weights_only() -> None:
    some = data.table("wine", 0)
    members = ensembles.make("W-Asym", some, LIMITS, 0).members
    values, kernel = (np.asarray(getattr(members.layers[0], name)[...]) for name in ("values", "kernel"))
    assert np.all(values == values[:1])
    assert np.any(kernel[0] != kernel[1])
    assert np.mean(np.asarray(members.layers[1].mask[...]), axis=(0, 1)).tolist() == [0.5] * 3


@pytest.mark.slow
def test_it_runs_and_reports(tmp_path: Path) -> None:
    name = "ensembles_2502_17391"
    assert command.main(["run", name, "--quick", "--only", "wine", "--output", str(tmp_path)]) == 0
    text = (tmp_path / f"{name}.md").read_text(encoding="utf-8")
    assert "| W-Asym, interpolated |" in text
    assert "curve" not in text
    assert (tmp_path / f"{name}.png").stat().st_size > 10_000
