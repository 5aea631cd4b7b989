"""Papers on zoos train the zoos they say they train, move what they say they move, and learn optimizers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from benchmarks.core import catalog, command
from benchmarks.core.benchmark import Cell
from benchmarks.core.cache import cached
from benchmarks.core.fitting import Recipe
from benchmarks.core.task import Sizes, Task
from benchmarks.data import weight_tasks as tasks, zoos
from benchmarks.data.digits import Digits
from benchmarks.models.weight_networks import MAKE, statistics
from benchmarks.models.zoo import convolutional, gru, perceptron, siren
from benchmarks.papers import _zoo_tasks
from benchmarks.papers.nfn_2302_14040 import _editing as editing
from benchmarks.papers.unf_2402_05232 import _optimizers as optimizers
from equikit.weightspace import trace

PAPERS = ("dws_2301_12780", "nfn_2302_14040", "unf_2402_05232")


def quiet(text: str) -> None:
    pass


def test_arrays_are_made_once_for_all_settings(tmp_path: Path) -> None:
    made: list[int] = []

    def make() -> dict[str, np.ndarray]:
        made.append(1)
        return {"x": np.arange(3)}

    for settings in ({"a": 1}, {"a": 1}, {"a": 2}):
        np.testing.assert_array_equal(cached(tmp_path, "some", settings, make)["x"], np.arange(3))
    assert len(made) == 2


@pytest.mark.parametrize(
    "build", [lambda: siren((1, 4, 1)), lambda: perceptron((4, 3, 2)), lambda: convolutional((3, 4)), lambda: gru(4)]
)
def test_networks_compute_the_same_in_both_ways(build) -> None:
    model = build()
    params = model.init(jax.random.key(0), 1.0)
    x = jax.random.normal(jax.random.key(1), model.example.shape)
    np.testing.assert_allclose(*jax.jit(lambda p: (model.train(p, x), model.apply(p, x)))(params), rtol=1e-4, atol=1e-5)


def test_sines_are_learned(tmp_path: Path) -> None:
    zoo = zoos.sines(tmp_path, 6, 0, quiet, steps=150, points=32)
    x = jnp.linspace(-np.pi, np.pi, 32)[:, None]
    found = jax.jit(jax.vmap(lambda p: zoo.model.apply(p, x / np.pi)))(zoo.params)[..., 0]
    error = np.mean((found - np.sin(zoo.targets[:, None] * x[:, 0])) ** 2, axis=1)
    assert np.median(error) < 0.05


def test_images_come_again_with_other_starts(monkeypatch, tmp_path: Path) -> None:
    some = Digits(np.random.default_rng(0).random((5, 784), dtype=np.float32), np.arange(5, dtype=np.int32))
    monkeypatch.setattr(zoos, "mnist", lambda seed: some)
    zoo, pictures = zoos.images(tmp_path, 7, 2, 0, quiet, steps=60, chunk=9)
    np.testing.assert_array_equal(zoo.targets, [0, 1, 2, 0, 1, 2, 0, 3, 4])
    np.testing.assert_array_equal(pictures, some.inputs[zoo.targets])
    assert np.any(zoo.params["w0"][0] != zoo.params["w0"][3])
    shown = jax.jit(jax.vmap(lambda p: zoo.model.apply(p, zoos.positions())))(zoo.params)[..., 0]
    assert np.mean((shown - pictures) ** 2) < 0.1  # the mean of all pixels is 0.08 away, and zero 0.33


def test_images_are_dilated_by_the_largest_neighbor() -> None:
    picture = np.zeros((1, 28, 28), np.float32)
    picture[0, 0, 5], picture[0, 10, 27] = 1.0, 0.5
    found = editing.dilated(picture.reshape(1, -1)).reshape(28, 28)
    want = np.zeros((28, 28), np.float32)
    want[:2, 4:7], want[9:12, 26:] = 1.0, 0.5
    np.testing.assert_array_equal(found, want)


@pytest.mark.slow
@pytest.mark.parametrize("rival", [*editing.MAKE])
def test_edits_are_of_functions(rival: str, monkeypatch, tmp_path: Path) -> None:
    some = Digits(np.random.default_rng(0).random((20, 784), dtype=np.float32), np.zeros(20, np.int32))
    monkeypatch.setattr(zoos, "mnist", lambda seed: some)
    monkeypatch.setattr(editing, "SCRATCH", tmp_path)
    task = editing.make("dilate", Sizes(12, 0, 8, Recipe(1, 6, 1e-3)), 0, quiet)
    module = editing.Edited(editing.MAKE[rival](task, nnx.Rngs(0)), task)
    inputs, targets = task.task.tests["as drawn"].rows
    one, two = (jax.jit(module)(task.task.tests[name].rows[0]) for name in ("as drawn", "moved"))
    assert one.shape == targets.shape
    assert np.allclose(one, two, rtol=1e-3, atol=1e-4) == (rival != "flat")
    shown = 2 * jax.vmap(lambda p: task.model.apply(p, zoos.positions()))(inputs)[..., 0] - 1
    assert 0 < np.abs(one - shown).max() < 1  # edits begin small


def test_the_error_of_ranks_is_one_less_tau() -> None:
    task = Task("some", None, {}, Recipe(1, 1, 1.0), lambda key, rows: rows, "ranks")
    y = np.array([0.1, 0.5, 0.3, 0.9])
    assert task.error(y**3, y) == 0
    assert task.error(-y, y) == 2


def small(monkeypatch, tmp_path: Path, name: str = "perceptrons"):
    monkeypatch.setattr(tasks, "SCRATCH", tmp_path)
    monkeypatch.setitem(
        tasks.MAKERS,
        "perceptrons",
        lambda sizes, seed, tell: zoos.classifiers("perceptrons", tmp_path, sizes.total, seed, tell, steps=5),
    )
    return tasks.make(name, Sizes(12, 0, 6, Recipe(1, 6, 1e-3)), 0, quiet)


def test_moved_networks_compute_the_same_from_other_weights(monkeypatch, tmp_path: Path) -> None:
    task = small(monkeypatch, tmp_path)
    (one, y), (two, z) = (task.task.tests[name].rows for name in ("as drawn", "moved"))
    np.testing.assert_array_equal(y, z)
    assert any(np.any(one[name] != two[name]) for name in one)
    x = jax.random.normal(jax.random.key(0), task.zoo.model.example.shape)
    run = jax.jit(jax.vmap(lambda p: task.zoo.model.apply(p, x)))
    first, second = np.asarray(run(one)), np.asarray(run(two))
    np.testing.assert_allclose(first, second, rtol=1e-4, atol=1e-5)
    assert not np.allclose(first[0], first[1])
    np.testing.assert_allclose(statistics(one), statistics(two), rtol=1e-4, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize(
    "rival", [pytest.param(name, marks=() if name == "UNF" else pytest.mark.slow) for name in MAKE]
)
def test_rivals_give_one_number_a_network(rival: str, monkeypatch, tmp_path: Path) -> None:
    task = small(monkeypatch, tmp_path)
    made = MAKE[rival](task, 0)
    one, two = (task.task.tests[name].rows[0] for name in ("as drawn", "moved"))
    apply = jax.jit(lambda params: made.apply(made.module, params, jax.random.key(0)))
    found, moved = apply(one), apply(two)
    assert found.shape == (6,)
    assert np.allclose(found, moved, rtol=1e-3, atol=1e-4) == (not rival.startswith("flat"))


def test_a_cell_gives_the_same_without_the_cells_before_it(monkeypatch, tmp_path: Path) -> None:
    small(monkeypatch, tmp_path)
    papers = _zoo_tasks.Zoos({"perceptrons": Sizes(12, 0, 6, Recipe(1, 6, 1e-3))})
    cells = [cell for cell in papers.cells(False) if cell.rivals[0] in ("flat", "statistics")]
    measure = papers.start(False, 0, quiet)
    *_, last = [m for cell in cells for m in measure(cell)]
    (alone,) = papers.start(False, 0, quiet)(cells[-1])
    assert (last.rival, last.case) == ("statistics", {"task": "perceptrons", "train": 12})
    assert last.scores is not None
    assert alone.scores is not None
    for name in ("error, as drawn", "error, moved", "train_loss"):
        assert last.scores[name] == alone.scores[name]


@pytest.mark.slow
def test_rates_are_chosen_and_curves_begin_at_the_first_loss() -> None:
    case = optimizers.transformer_case(0)
    sizes = replace(optimizers.QUICK, steps=12, tests=2, rates=(0.1, 1e30))
    adam = optimizers.PLAIN["Adam"]
    assert optimizers.best_setting(adam, case.problem, sizes, optimizers.grid(sizes), 0)[0] == 0.1
    curve = optimizers.curve(optimizers.optax.sgd(1e30), case.problem, sizes, 0)
    assert np.all(np.isfinite(curve))
    assert np.all(curve <= curve[0] * (1 + 1e-6))


@pytest.mark.slow
def test_learned_optimizers_are_compared_with_a_tuned_adam() -> None:
    cells = [one for one in optimizers.cells(optimizers.QUICK) if one.case["task"] == "train a perceptron"]
    measure = optimizers.start(0, quiet)
    found = {m.rival: m.scores for cell in cells if len(cell.rivals) > 1 or cell is cells[1] for m in measure(cell)}
    assert [*found] == ["momentum", "Adam, rate only", "Adam", "rates alone"]
    assert found["Adam"]["times the loss of Adam"] == found["Adam, rate only"]["times the loss of Adam, rate only"] == 1
    assert found["Adam, rate only"]["decay"] == 0.9
    assert found["rates alone"]["parameters"] == 1 + 4 * (8 + 2 * 4)
    assert [cell.rivals[0] for cell in cells[1:]] == [name for name in optimizers.LEARNED if "NFN" not in name]


def test_the_rate_follows_a_cosine() -> None:
    tx = optimizers.scheduled(optimizers.PLAIN["momentum"], 4, 0.5, 0.0, True)
    state, found = tx.init(jnp.zeros(())), []
    for _ in range(4):
        update, state = tx.update(jnp.ones(()), state)
        found.append(float(update))
    np.testing.assert_allclose(found, -0.25 * (1 + np.cos(np.pi * np.arange(4) / 4)), rtol=1e-5, atol=1e-7)


def test_deep_sets_treat_the_weights_of_an_array_as_a_set() -> None:
    params = {"a": np.random.default_rng(0).normal(size=(3, 4, 2)), "b": np.ones((5, 2))}
    params = jax.tree.map(lambda leaf: leaf.astype(np.float32), params)
    spec = trace(
        lambda p, x: x @ p["a"] @ jnp.ones((4, 1)), {"a": jnp.ones((3, 4)), "b": jnp.ones(5)}, jnp.ones((2, 3))
    )
    apply = jax.jit(optimizers.DeepSets(spec, [2, 8, 1], rngs=nnx.Rngs(0)))
    order = np.random.default_rng(1).permutation(12)
    moved = params | {"a": params["a"].reshape(12, 2)[order].reshape(3, 4, 2)}
    one, two = apply(params), apply(moved)
    np.testing.assert_allclose(np.reshape(one["a"], 12)[order], np.reshape(two["a"], 12), rtol=1e-5, atol=1e-6)
    assert np.ptp(one["a"]) > 0.01
    np.testing.assert_array_equal(one["b"], two["b"])


@pytest.mark.slow
def test_it_runs_and_reports(monkeypatch, tmp_path: Path) -> None:
    small(monkeypatch, tmp_path)
    nfn = catalog.load("nfn_2302_14040")
    sizes = Sizes(12, 0, 6, Recipe(1, 6, 1e-3))
    cells = [Cell({"task": "perceptrons", "train": 12}, "train", (rival,), sizes) for rival in ("flat", "statistics")]
    monkeypatch.setattr(f"{catalog.modules()['nfn_2302_14040']}.BENCHMARK", replace(nfn, cells=lambda quick: cells))
    assert command.main(["run", "nfn_2302_14040", "--quick", "--output", str(tmp_path)]) == 0
    text = (tmp_path / "nfn_2302_14040.md").read_text(encoding="utf-8")
    assert "*perceptrons*" in text
    assert "| statistics |" in text
    assert (tmp_path / "nfn_2302_14040.png").stat().st_size > 1000
