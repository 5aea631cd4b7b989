"""The zoo of many architectures has the symmetries that are read, and predictors of its accuracy get the right rows."""

from __future__ import annotations

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks.core import command
from benchmarks.data.mixed_zoo import Population, accuracy_of, left_out, mixed_zoo, within
from benchmarks.models.architectures import EPSILON, Architecture, architectures, normalized
from benchmarks.models.mixed_networks import Strata, Training, channels, graphs_of, neurons, statistics, trees
from benchmarks.papers import _mixed_zoo_tasks as mixed
from equikit.weightspace import trace

EVERY = [one for of in architectures().values() for one in of]
FIRST = EVERY[::6]
PAPER = "graph_metanetworks_2312_04501"


def drawn(one: Architecture, count: int, seed: int = 0) -> Population:
    """Networks with random positive parameters, whose accuracy is their number."""
    generator = np.random.default_rng(seed)
    shapes = jax.eval_shape(lambda key: one.model.init(key, 1.0), jax.random.key(0))
    params = {
        name: generator.uniform(0.1, 1, (count, *shapes[name].shape)).astype(np.float32) for name in one.parameters()
    }
    return Population(one, params, np.arange(count, dtype=np.float32))


def named(one: Architecture) -> str:
    return f"{one.family} {one.name}".replace(" ", "-")


def test_there_are_six_families_of_six_architectures() -> None:
    found = architectures()
    assert [len(of) for of in found.values()] == [6] * 6
    assert len({named(one) for one in EVERY}) == 36
    for one in FIRST:
        weights = sum(array[0].size for array in drawn(one, 1).params.values())
        assert 800 < weights < 4000


@pytest.mark.parametrize(
    "one", [pytest.param(a, marks=() if a in FIRST[4:] else pytest.mark.slow, id=named(a)) for a in EVERY]
)
def test_networks_have_the_symmetry_that_is_read(one: Architecture) -> None:
    params = {name: jnp.asarray(array[0]) for name, array in drawn(one, 1).params.items()}
    apply, x = jax.jit(one.model.apply), jax.random.uniform(jax.random.key(1), one.model.example.shape)
    spec = trace(one.model.apply, params, one.model.example)
    assert spec.groups
    assert not spec.unread
    assert spec.check(apply, params, x, key=jax.random.key(2)) < 1e-3


@pytest.mark.slow
@pytest.mark.parametrize("one", EVERY, ids=named)
def test_networks_compute_the_same_in_both_ways(one: Architecture) -> None:
    params = {name: jnp.asarray(array[0]) for name, array in drawn(one, 1).params.items()}
    x = jax.random.uniform(jax.random.key(1), one.model.example.shape)
    found, expected = jax.jit(lambda p: (one.test(p, x), one.model.apply(p, x)))(params)
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4)


def test_statistics_of_a_batch_are_those_of_its_channels() -> None:
    _, settle, _ = normalized((3, 4), jnp.tanh)
    generator = np.random.default_rng(0)
    params = {"k0": generator.normal(size=(3, 3, 1, 3)), "k1": generator.normal(size=(3, 3, 3, 4))}
    for layer, size in enumerate((3, 4)):
        params |= {f"{name}{layer}": np.ones(size) for name in ("scale", "shift", "mean", "variance")}
    params |= {"w": np.ones((4, 10)), "b": np.zeros(10)}
    x = generator.normal(size=(6, 8, 8))
    found = jax.jit(settle)(params, x)
    padded = np.pad(x, [(0, 0), (1, 1), (1, 1)])
    seen = sum(padded[:, i : i + 8, j : j + 8, None] * params["k0"][i, j, 0] for i in range(3) for j in range(3))
    np.testing.assert_allclose(found["mean0"], seen.mean((0, 1, 2)), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(found["variance0"], seen.var((0, 1, 2)), rtol=1e-4)
    hidden = np.tanh((seen - seen.mean((0, 1, 2))) / np.sqrt(seen.var((0, 1, 2)) + EPSILON) + 1)
    padded = np.pad(hidden, [(0, 0), (1, 1), (1, 1), (0, 0)])
    seen = sum(padded[:, i : i + 8 : 2, j : j + 8 : 2] @ params["k1"][i, j] for i in range(3) for j in range(3))
    np.testing.assert_allclose(found["variance1"], seen.var((0, 1, 2)), rtol=1e-3)


def test_parts_have_equally_many_networks_and_none_twice() -> None:
    zoo = [drawn(one, 20, seed) for seed, one in enumerate(FIRST)]
    task = within(zoo, 0)
    for number, parts in enumerate(zip(task.train, task.validation, task.test, strict=True)):
        assert [len(part.accuracy) for part in parts] == [14, 2, 4]
        assert sorted(accuracy_of(parts)) == [*range(20)]
        for part in parts:
            for name, array in part.params.items():
                np.testing.assert_array_equal(array, zoo[number].params[name][part.accuracy.astype(int)])
    assert np.any(within(zoo, 1).train[0].accuracy != task.train[0].accuracy)


def test_a_family_that_is_left_out_is_only_tested() -> None:
    zoo = [drawn(one, 20) for one in FIRST]
    task = left_out(zoo, "residual", 0)
    assert {one.architecture.family for one in (*task.train, *task.validation)} == {*architectures()} - {"residual"}
    assert [one.architecture.family for one in task.test] == ["residual"]
    assert len(accuracy_of(task.test)) == 20


def test_features_do_not_depend_on_the_order_of_neurons() -> None:
    one = drawn(next(a for a in FIRST if a.family == "attention"), 3)
    spec = trace(one.architecture.model.apply, {k: a[0] for k, a in one.params.items()}, one.architecture.model.example)
    element = spec.random_element(key=jax.random.key(0))
    rows = [spec.act(element, {k: a[row] for k, a in one.params.items()}) for row in range(3)]
    moved = Population(one.architecture, {k: np.stack([row[k] for row in rows]) for k in one.params}, one.accuracy)
    assert any(np.any(moved.params[name] != one.params[name]) for name in one.params)
    np.testing.assert_allclose(statistics(moved), statistics(one), rtol=1e-4)
    sets = [np.sort(neurons(some).sum(-1), axis=1) for some in (one, moved)]
    np.testing.assert_allclose(*sets, rtol=1e-4, atol=1e-4)


def test_weights_are_scaled_by_the_number_of_summands() -> None:
    one = drawn(EVERY[6], 2)
    found = channels(one)
    expected = one.params["k1"] * np.sqrt(9 * 8)
    np.testing.assert_allclose(found["k1"][..., 0], expected, rtol=1e-6)
    np.testing.assert_allclose(found["k1"][..., 1], 1 + np.log(expected + 0.01) / 2, rtol=1e-5)
    np.testing.assert_array_equal(found["b1"][..., 0], one.params["b1"])


def test_values_and_targets_are_combined_anew_in_each_pass() -> None:
    def filled(one: Population, numbers: np.ndarray) -> Population:
        params = {name: np.ones_like(a) * numbers.reshape(-1, *[1] * (a.ndim - 1)) for name, a in one.params.items()}
        return Population(one.architecture, params, numbers)

    some = [drawn(one, 4) for one in (FIRST[1], FIRST[2], FIRST[5])]
    graphs = graphs_of(some)
    strata = Strata([filled(one, one.accuracy) for one in some], graphs, 0, groups=2)
    ones = [*Strata([filled(one, np.ones(4, np.float32)) for one in some], graphs, groups=2)][::4]
    passes = [[*strata], [*strata]]
    for batches in passes:
        assert len(batches) == len(strata) == 8
        for count, whole in ((2, ones[0][0]), (1, ones[1][0])):
            own = [(batch, y) for batch, y in batches if len(y) == count]
            for number in range(count):
                assert sorted(y[number] for _, y in own) == [0, 1, 2, 3]
            for batch, y in own:
                of_nodes = np.append(y, 0)[whole.graph_of]
                for side, owner in (("nodes", of_nodes), ("edges", of_nodes[whole.senders])):
                    found, expected = (getattr(of, side).values[..., 0] for of in (batch, whole))
                    np.testing.assert_allclose(found, expected * owner[:, None], rtol=1e-6)
    orders = [[tuple(y) for _, y in batches] for batches in passes]
    assert sorted(orders[0]) != sorted(orders[1])
    strata.set_epoch(0)
    assert [tuple(y) for _, y in strata] == orders[0]


def test_trees_find_what_a_statistic_tells() -> None:
    zoo = [drawn(one, 40, seed) for seed, one in enumerate(FIRST[:2])]
    for one in zoo:
        one.accuracy[:] = [*one.params.values()][-2].mean((1, 2))
    found = trees(within(zoo, 0), {}, Training(20, 0.3), 0)
    scores = mixed.scores(within(zoo, 0), found)
    assert scores["tau"] > 0.6
    assert 0 < scores["R2"] < 1
    assert 1 <= scores["epochs or trees"] <= 20


def test_tau_of_ranks() -> None:
    assert mixed.tau(np.array([1, 2, 3]), np.array([0.1, 0.5, 0.7])) == pytest.approx(1)
    assert mixed.tau(np.array([1, 2, 3]), np.array([0.1, 0.7, 0.5])) == pytest.approx(1 / 3)
    assert mixed.tau(np.ones(3), np.arange(3)) == 0


@pytest.mark.slow
def test_accuracies_spread(tmp_path: Path) -> None:
    zoo = mixed_zoo(tmp_path, 12, 0, lambda text: None, steps=120, few=True)
    assert len(zoo) == 6
    for one in zoo:
        assert one.accuracy.shape == (12,)
        assert all(len(array) == 12 and np.all(np.isfinite(array)) for array in one.params.values())
    every = accuracy_of(zoo)
    assert np.quantile(every, 0.9) - np.quantile(every, 0.1) > 0.3
    again = mixed_zoo(tmp_path, 12, 0, lambda text: pytest.fail("trained again"), steps=120, few=True)
    np.testing.assert_array_equal(accuracy_of(again), every)


@pytest.mark.slow
def test_it_runs_and_reports(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(mixed, "SCRATCH", tmp_path)
    assert command.main(["run", PAPER, "--quick", "--output", str(tmp_path)]) == 0
    text = (tmp_path / f"{PAPER}.md").read_text(encoding="utf-8")
    for words in (
        "*within the zoo*",
        "*without perceptrons*",
        "| statistics |",
        "| Deep Sets |",
        "| message passing |",
    ):
        assert words in text
    assert (tmp_path / f"{PAPER}.png").stat().st_size > 1000
