"""The tasks are what they are said to be, the rivals commute with the group, all train alike, results are shown."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from documents import said
from flax import nnx

import equikit as ek
from benchmarks.core import lines, paper
from benchmarks.core.bounds import Bound, check_targets, number
from benchmarks.core.fitting import Recipe
from benchmarks.core.folders import RESULTS
from benchmarks.core.results import joined
from benchmarks.data.emlp import METRIC, TASKS, Task, make_data, random_elements, turns
from benchmarks.models.perceptron import optimizer, perceptron
from benchmarks.papers import emlp_2104_09459 as emlp_tasks
from benchmarks.papers.emlp_2104_09459 import BENCHMARK, PAPER
from benchmarks.papers.emlp_2104_09459._curves import curves, target_lines

tasks = pytest.mark.parametrize("task", TASKS.values(), ids=TASKS)


def rows(task: Task, count: int = 50) -> tuple[np.ndarray, np.ndarray]:
    x = task.draw(np.random.default_rng(0), count)
    return x, task.target(x)


def test_two_vectors() -> None:
    x, y = rows(TASKS["O(5) invariant"], 1)
    u, v = x[0, :5], x[0, 5:]
    one, two = math.sqrt(sum(u * u)), math.sqrt(sum(v * v))
    assert y[0, 0] == pytest.approx(math.sin(one) - two**3 / 2 + sum(u * v) / one / two)


def test_inertia() -> None:
    x, y = rows(TASKS["inertia"], 1)
    total = np.zeros((3, 3))
    for mass, place in zip(x[0, :5], x[0, 5:].reshape(5, 3), strict=True):
        total += mass * (place @ place * np.eye(3) - np.outer(place, place))
    np.testing.assert_allclose(y[0].reshape(3, 3), total, rtol=1e-12)
    assert np.all(np.linalg.eigvalsh(total) > 0)
    assert np.all(x[:, :5] > 0)


def test_scattering() -> None:
    """Against the contraction of the two tensors, index by index, where `data.emlp` has products of momenta."""
    x, y = rows(TASKS["scattering"], 3)
    metric = np.diag(METRIC)
    for row, value in zip(x, y[:, 0], strict=True):
        p = row.reshape(4, 4)
        dot = p @ metric @ p.T
        low = p @ metric
        electron = np.outer(p[0], p[2]) - (dot[0, 2] - dot[0, 0]) * metric
        muon = np.outer(low[1], low[3]) - (dot[1, 3] - dot[1, 1]) * metric
        assert value == pytest.approx(4 * np.sum(electron * muon))


@tasks
def test_targets_commute_with_the_group(task: Task) -> None:
    x, y = rows(task)
    generator = np.random.default_rng(1)
    for draw in (random_elements, turns):
        elements = draw(task, generator, len(x))
        form = np.diag(METRIC) if task.group.form is not None else np.eye(task.n)
        np.testing.assert_allclose(np.swapaxes(elements, 1, 2) @ form @ elements, [form] * len(x), atol=1e-9)
        moved = task.target(task.act(elements, x))
        np.testing.assert_allclose(moved, task.act_on_targets(elements, y), rtol=1e-8, atol=1e-8)
    other = np.random.default_rng(2).normal(size=(len(x), task.n, task.n))
    assert np.abs(task.target(task.act(other, x)) - task.act_on_targets(other, y)).max() > 0.1


@tasks
def test_data_are_scaled_and_scaled_back(task: Task) -> None:
    data = make_data(task, 400, 50, 60, seed=0, elements=8)
    assert [len(part[0]) for part in (data.train, data.validation, data.test)] == [400, 50, 60]
    assert data.train[0].dtype == data.train[1].dtype == np.float32
    assert np.mean(data.train[1] ** 2) == pytest.approx(1.0, rel=1e-4)
    x = task.draw(np.random.default_rng(0), 510)
    y = task.target(x)
    np.testing.assert_allclose(data.variance, np.mean(np.var(y[450:], axis=0)), rtol=1e-6)
    shift = np.zeros(task.out) if task.matrix else y[:400].mean(axis=0)
    np.testing.assert_allclose(data.test[1] * data.scale + shift, y[450:], rtol=1e-4, atol=1e-4)
    again = make_data(task, 400, 50, 60, seed=0, elements=8)
    np.testing.assert_array_equal(data.elements, again.elements)


@tasks
@pytest.mark.parametrize("rival", ["equikit", "scalars"])
def test_models_commute_with_the_group(task: Task, rival: str) -> None:
    model: Any = emlp_tasks.MODELS[rival](task, 0)
    nnx.update(model, jax.tree.map(lambda leaf: leaf + 0.01, nnx.state(model)))  # what begins at zero is tested too
    x, _ = rows(task)
    elements = random_elements(task, np.random.default_rng(1), len(x))
    apply = nnx.jit(lambda model, x: model(x))
    y = np.asarray(apply(model, jnp.asarray(x, jnp.float32)))
    moved = np.asarray(apply(model, jnp.asarray(task.act(elements, x), jnp.float32)))
    assert y.shape == (len(x), task.out)
    assert np.std(y) > 1e-3
    scale = np.abs(y).max()
    np.testing.assert_allclose(moved / scale, task.act_on_targets(elements, y) / scale, atol=2e-4)


def test_a_perceptron_does_not_commute_and_augmentation_moves_targets_too() -> None:
    for task in TASKS.values():
        data = make_data(task, 50, 10, 10, seed=0, elements=8)
        x, y = (jnp.asarray(part) for part in data.train)
        moved, target = jax.jit(emlp_tasks.augmentation(task, data))((x, y), key=jax.random.key(0))
        raw = task.target(np.asarray(moved, np.float64))
        same = task.target(np.asarray(x, np.float64))
        if task.matrix:  # its inputs are scaled by what the targets are not: compare traces, which rotations keep
            places = [0, 4, 8]
            np.testing.assert_allclose(raw[:, places].sum(1), same[:, places].sum(1), rtol=1e-4)
            np.testing.assert_allclose(target[:, places].sum(1), y[:, places].sum(1), rtol=1e-3, atol=1e-4)
            ratio = np.asarray(target) / np.where(np.abs(raw) < 0.3, np.nan, raw)
            first = np.asarray(y) / np.where(np.abs(same) < 0.3, np.nan, same)
            np.testing.assert_allclose(np.nanmedian(ratio, 1), np.nanmedian(first, 1), rtol=1e-2)
        else:
            np.testing.assert_allclose(raw, same, rtol=1e-3, atol=1e-3)
            np.testing.assert_array_equal(target, y)
        model: Any = emlp_tasks.MODELS["MLP"](task, 0)
        outputs = [np.asarray(model(part)) for part in (x, moved)]
        if not task.matrix:
            assert np.abs(outputs[0] - outputs[1]).max() > 0.05


def test_the_perceptron_is_initialized_as_in_the_paper() -> None:
    layers = perceptron(10, 1, 0).layers
    assert [layer.kernel.shape for layer in layers] == [(10, 256), (256, 256), (256, 256), (256, 1)]
    for layer in layers:
        assert float(jnp.std(layer.kernel[...])) == pytest.approx(math.sqrt(2 / sum(layer.kernel.shape)), rel=0.15)


def test_the_rate_rises_and_falls() -> None:
    adam, state, found = optimizer(100, 0.5), optimizer(100, 0.5).init(jnp.zeros(3)), []
    for _ in range(100):  # the steps of Adam on a constant gradient are the rates
        step, state = adam.update(jnp.ones(3), state)
        found.append(-float(step[0]))
    assert found[:6] == pytest.approx([0.0, 0.1, 0.2, 0.3, 0.4, 0.5], abs=1e-4)
    assert found[5:] == sorted(found[5:], reverse=True)
    assert found[-1] < 1e-3


def test_large_gradients_are_clipped() -> None:
    adam, sums = optimizer(100, 0.5), []
    for size in (2.0, 1e6):
        state: Any = adam.init(jnp.zeros(1))
        for gradient in (0.0, 0.1, size, 0.1):
            step, state = adam.update(jnp.array([gradient]), state)
        sums.append(float(step[0]))
    assert sums[0] == sums[1]


BUDGET = emlp_tasks.Budget(300, Recipe(4, 50, 3e-3), 100, 200)


def test_training_sees_the_first_points_only() -> None:
    task = TASKS["scattering"]
    data = make_data(task, BUDGET.rows, BUDGET.validation, BUDGET.test, seed=0, elements=8)
    spoilt = data.train[0].copy(), data.train[1].copy()
    spoilt[0][100:] = np.nan
    found = emlp_tasks.scores(task, "MLP", data, 100, BUDGET, 0)
    assert found == emlp_tasks.scores(task, "MLP", replace(data, train=spoilt), 100, BUDGET, 0)
    assert found["steps"] == 24
    assert found["error_over_variance"] == pytest.approx(found["test_mse"] / found["variance"])
    with pytest.raises(ek.OptionError, match="diverged"):
        emlp_tasks.scores(task, "MLP", replace(data, train=spoilt), 300, BUDGET, 0)


def test_the_error_is_in_the_units_of_the_target(monkeypatch: pytest.MonkeyPatch) -> None:
    """A network that returns zero has the variance of an invariant target as its error."""
    task = TASKS["O(5) invariant"]
    data = make_data(task, BUDGET.rows, BUDGET.validation, BUDGET.test, seed=0, elements=8)
    monkeypatch.setattr(emlp_tasks, "predict", lambda module, apply, x: np.zeros((len(x), 1), np.float32))
    found = emlp_tasks.scores(task, "scalars", data, 100, BUDGET, 0)
    assert found["test_mse"] == pytest.approx(data.variance, rel=0.05)


def test_cells_do_not_depend_on_those_before() -> None:
    every_cell = [cell for cell in BENCHMARK.cells(True) if cell.case["task"] == "scattering"]
    assert {(cell.case["train"], *cell.rivals) for cell in every_cell} == {
        (count, rival) for count in (100, 300) for rival in BENCHMARK.rivals
    }
    *first, last = every_cell
    cells = [*(cell for cell in first if cell.case["train"] == 100), last]  # every rival once
    assert len({cell.name for cell in BENCHMARK.cells(False)}) == len(BENCHMARK.cells(False)) == 60
    measure = BENCHMARK.start(True, 1, lambda text: None)
    every = {cell.name: measure(cell)[0] for cell in cells}
    assert {m.rival for m in every.values()} == set(BENCHMARK.rivals)
    alone = BENCHMARK.start(True, 1, lambda text: None)(last)[0]
    other = BENCHMARK.start(True, 2, lambda text: None)(last)[0]
    assert alone.record() == every[last.name].record()
    assert alone.scores != other.scores
    bare, augmented = (every[f"task scattering, train 100, train, {name}"].scores for name in ("MLP", "MLP, augmented"))
    assert bare is not None
    assert augmented is not None
    assert bare["parameters"] == augmented["parameters"]
    assert bare["test_mse"] != augmented["test_mse"]


def test_targets_and_numbers() -> None:
    records = [
        {"case": {"task": "a", "train": 10}, "rival": "equikit", "scores": {"error": 0.5}},
        {"case": {"task": "b", "train": 10}, "rival": "equikit"},
    ]
    met, unknown = check_targets([Bound("equikit", {"train": 10}, "error", 0.5)], records)
    assert (met["met"], met["value"]) == (True, 0.5)
    assert (unknown["met"], unknown["value"]) == (False, None)
    assert not check_targets([Bound("other", {"train": 10}, "error", 0.5)], records)
    texts = target_lines({"targets": [met, unknown]})
    assert texts[0] == "a, 10 points, equikit, error: 0.5, wanted at most 0.5, met"
    assert texts[1] == "b, 10 points, equikit, error: –, wanted at most 0.5, missed"
    assert [number(v) for v in (None, 12.3, 0.0123, 1.23e-5)] == ["–", "12", "0.012", "1.2e-5"]


def record_of(task: str, rival: str, train: int, error: float, spread: float | None) -> dict[str, Any]:
    """A record as the runner joins it over seeds."""
    record = {"case": {"task": task, "train": train}, "direction": "train", "rival": rival, "status": "measured"}
    scores = {"test_mse": error, "variance": 2.0, "parameters": 1234.0}
    joined = {"spread": {"test_mse": spread}, "seeds": 5, "counts": {"test_mse": 5}}
    return record | {"scores": scores} | ({} if spread is None else joined)


CURVE = """
title = "A"
arxiv = "1"
authors = "B et al."
year = 2000
[[published]]
task = "a"
rival = "one"
score = "test_mse"
metric = "mean squared error"
row = "Theirs"
train = [10, 100]
value = [0.5, 0.25]
spread = [0.01, 0.02]
headline = [false, true]
[[claim]]
task = "a"
score = "test_mse"
better = "one"
than = "two"
place = "table 1"
"""


def test_a_published_curve_is_compared_point_by_point(tmp_path: Path) -> None:
    (tmp_path / "paper.toml").write_text(CURVE)
    found = paper.read(tmp_path / "paper.toml")
    assert [(p.train, p.value, p.spread, p.headline) for p in found.published] == [
        (10, 0.5, 0.01, False),
        (100, 0.25, 0.02, True),
    ]
    records = [
        record_of("a", "one", 10, 0.505, 0.1),
        record_of("a", "two", 10, 0.4, 0.001),
        record_of("a", "one", 100, 0.1, 0.001),
        record_of("a", "two", 100, 0.2, 0.001),
    ]
    ours = paper.values(records)
    assert ours["a", "one", "test_mse", 10] == paper.Ours(0.505, 0.1, 5)
    assert ours["a", "one", "test_mse"] == ours["a", "one", "test_mse", 100]
    assert [paper.verdict(p, found.claims, ours) for p in found.published] == ["reproduced", "partly"]
    ours = paper.values([record_of("a", "one", 10, 0.7, 0.001), record_of("a", "two", 10, 0.4, 0.001), *records[2:]])
    assert [paper.verdict(p, found.claims, ours) for p in found.published] == ["contradicted", "partly"]
    (tmp_path / "paper.toml").write_text(CURVE.replace("spread = [0.01, 0.02]", "spread = [0.01]"))
    with pytest.raises(ValueError, match="zip"):
        paper.read(tmp_path / "paper.toml")


def test_results_are_shown_next_to_the_published_curve(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    (tmp_path / "paper.toml").write_text(CURVE)
    records = [
        record_of("a", "two", 10, 0.4, None),
        record_of("a", "one", 100, 0.1, 0.2),
        record_of("a", "one", 10, 0.6, 0.05),
    ]
    style = emlp_tasks.style(paper.read(tmp_path / "paper.toml"))
    shown = curves(paper.read(tmp_path / "paper.toml"), records, ["one", "two"])["a"]
    assert [(curve.name, curve.published) for curve in shown] == [
        ("one", False),
        ("Theirs, published", True),
        ("two", False),
    ]
    assert list(shown[0].points) == [10, 100]
    result = {"measurements": records, "targets": [], "circumstances": "A day."}
    text = style.markdown(result, {"one": "", "two": ""})
    assert "| task | rival | parameters | 10 | 100 |" in text
    assert "| a | one | 1,234 | 0.600 ± 0.050 | 0.10 ± 0.20 |" in text
    assert "| a | *Theirs, published* | – | 0.500 ± 0.010 | 0.250 ± 0.020 |" in text
    assert "| a | two | 1,234 | 0.4 | – |" in text
    assert "| a | *variance of the target* | – | 2 | 2 |" in text
    style.plot(tmp_path / "a.png", result, ["one", "two"], ("task",), "train")
    assert (tmp_path / "a.png").stat().st_size > 1000


def test_published_values_have_a_place_among_the_cells() -> None:
    cases = {(cell.case["task"], *cell.rivals, cell.case["train"]) for cell in BENCHMARK.cells(False)}
    assert len(PAPER.published) == 45
    assert {(p.task, p.rival, p.train) for p in PAPER.published} <= cases
    assert sum(p.headline for p in PAPER.published) == 3
    assert {(c.task, c.better, c.than) for c in PAPER.claims} == {
        (task, "equikit", than) for task in TASKS for than in ("MLP", "MLP, augmented")
    }


def test_stored_results_are_complete() -> None:
    stored = lines.read(RESULTS / "emlp_2104_09459.jsonl")
    assert {(line["cell"], line["seed"]) for line in stored} == {
        (cell.name, seed) for cell in BENCHMARK.cells(False) for seed in range(BENCHMARK.seeds)
    }
    assert all(line["status"] == "measured" and math.isfinite(line["scores"]["test_mse"]) for line in stored)
    assert not any(line["revision"].endswith("+") for line in stored)


def test_the_page_states_the_stored_errors() -> None:
    ours = paper.values(joined(lines.read(RESULTS / "emlp_2104_09459.jsonl")))
    texts = {
        rival: "{}, {} and {}".format(*(f"{ours[task, rival, 'test_mse', 10_000].mean:.1e}" for task in TASKS))
        for rival in ("equikit", "scalars")
    }
    theirs = [f"{p.value:.1e}" for p in PAPER.published if p.headline]
    text_of_pages = said()
    for text in (
        f"the mean squared errors over five seeds are {texts['equikit']}.",
        f"EMLP's authors report {theirs[0]}, {theirs[1]} and {theirs[2]}.",
        f"inner products reaches {texts['scalars']} after the same 3,000 steps",
    ):
        assert text.replace("e-0", "e-") in text_of_pages
