"""The tasks are what they are said to be, the contenders commute, training uses what it should, results are written."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import math
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks.core import command
from benchmarks.core.measurement import Skip
from benchmarks.core.scores import SCORES, Bound, check_targets, number
from benchmarks.core.training import Budget, Trainer, rate_at
from benchmarks.data.emlp import METRIC, TASKS, Task, make_data, random_elements, turns
from benchmarks.models.emlp import emlp
from benchmarks.papers import emlp_2104_09459 as emlp_tasks

tasks = pytest.mark.parametrize("task", TASKS.values(), ids=TASKS)
BUDGET = Budget(steps=30, batch=16, rate=3e-3, checks=3, seconds=20.0, prepare=60.0)


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
    """Against the contraction of the two tensors, index by index, where `_emlp_data` has products of momenta."""
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
    model = emlp_tasks.MAKERS[rival](task, 0)
    x, _ = rows(task)
    elements = random_elements(task, np.random.default_rng(1), len(x))
    parameters = jax.tree.map(lambda leaf: leaf + 0.01, model.parameters)  # what begins at zero is tested too
    y = np.asarray(jax.jit(model.apply)(parameters, jnp.asarray(x, jnp.float32)))
    moved = np.asarray(jax.jit(model.apply)(parameters, jnp.asarray(task.act(elements, x), jnp.float32)))
    assert y.shape == (len(x), task.out)
    assert np.std(y) > 1e-3
    scale = np.abs(y).max()
    np.testing.assert_allclose(moved / scale, task.act_on_targets(elements, y) / scale, atol=2e-4)


def test_a_perceptron_does_not_commute_and_augmentation_moves_targets_too() -> None:
    for task in TASKS.values():
        data = make_data(task, 50, 10, 10, seed=0, elements=8)
        x, y = (jnp.asarray(part) for part in data.train)
        moved, target = jax.jit(emlp_tasks.augmentation(task, data))(jax.random.key(0), x, y)
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
        model = emlp_tasks.MAKERS["MLP"](task, 0)
        outputs = [np.asarray(model.apply(model.parameters, part)) for part in (x, moved)]
        if not task.matrix:
            assert np.abs(outputs[0] - outputs[1]).max() > 0.05


def trainer(budget: Budget, count: int = 40, rest: float = math.nan) -> Trainer:
    """A straight line to fit, with rows after `count` that hold something else."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(100, 2)).astype(np.float32)
    y = (x @ np.array([[1.0], [2.0]])).astype(np.float32)
    train = x.copy(), y.copy()
    train[0][count:] = rest
    parameters = {"w": jnp.zeros((2, 1))}
    return Trainer(lambda p, x: x @ p["w"], parameters, train, (x, y), (x, y), budget)


def test_training_uses_the_first_rows_only_and_keeps_the_best_parameters() -> None:
    loop = trainer(dataclasses.replace(BUDGET, steps=400, rate=3e-2, checks=5))
    outcome = loop.fit(40, seed=0)
    assert outcome.steps == 400
    assert outcome.test == pytest.approx(outcome.validation)
    assert outcome.test < 1e-2
    assert outcome.step_seconds > 0
    spoilt = loop.fit(100, seed=0)  # not-a-numbers come in
    assert spoilt.validation == math.inf
    np.testing.assert_array_equal(spoilt.parameters["w"], np.zeros((2, 1)))


def test_a_slow_contender_makes_fewer_steps() -> None:
    outcome = trainer(dataclasses.replace(BUDGET, steps=10**9, seconds=0.05)).fit(40, seed=0)
    assert BUDGET.checks <= outcome.steps < 10**7


def test_the_schedule() -> None:
    rates = [float(rate_at(jnp.asarray(i), jnp.asarray(100), 2.0)) for i in range(101)]
    assert rates[4] == pytest.approx(2.0)
    assert rates[:5] == sorted(rates[:5])
    assert rates[5:] == sorted(rates[5:], reverse=True)
    assert rates[100] == pytest.approx(0.0, abs=1e-6)


@pytest.mark.skipif(importlib.util.find_spec("emlp") is not None, reason="emlp is installed")
def test_without_emlp_the_reason_is_given() -> None:
    task = TASKS["inertia"]
    with pytest.raises(Skip, match="emlp is not installed"):
        emlp(task, 0)
    data = make_data(task, 20, 10, 10, seed=0, elements=4)
    contender = emlp_tasks.prepare("EMLP", task, data, BUDGET, 0)
    m = emlp_tasks.measure(emlp_tasks.Case("inertia", 20), contender, data, 0)
    assert (m.status, m.reason, m.scores) == ("skipped", "emlp is not installed", None)


def test_targets_and_numbers() -> None:
    records = [
        {"case": {"task": "a", "train": 10}, "rival": "equikit", "scores": {"error": 0.5}},
        {"case": {"task": "b", "train": 10}, "rival": "equikit"},
    ]
    met, unknown = check_targets([Bound("equikit", {"train": 10}, "error", 0.5)], records)
    assert (met["met"], met["value"]) == (True, 0.5)
    assert (unknown["met"], unknown["value"]) == (False, None)
    assert not check_targets([Bound("other", {"train": 10}, "error", 0.5)], records)
    lines = SCORES.target_lines({"targets": [met, unknown]})
    assert lines[0] == "a, 10 points, equikit, error: 0.5, wanted at most 0.5, met"
    assert lines[1] == "b, 10 points, equikit, error: –, wanted at most 0.5, missed"
    assert [number(v) for v in (None, 12.3, 0.0123, 1.23e-5)] == ["–", "12", "0.012", "1.2e-5"]


@pytest.mark.slow
def test_the_command_writes_results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(emlp_tasks, "TASKS", {"scattering": TASKS["scattering"]})
    monkeypatch.setattr(emlp_tasks, "QUICK", (20, 40))
    monkeypatch.setattr(emlp_tasks, "VALIDATION", 50)
    monkeypatch.setattr(emlp_tasks, "TEST", 60)
    monkeypatch.setattr(emlp_tasks, "limits", lambda quick: dataclasses.replace(BUDGET, prepare=5.0))
    pytest.importorskip("matplotlib")
    assert command.main(["emlp_tasks", "--quick", "--output", str(tmp_path)]) == 0
    result = json.loads((tmp_path / "emlp_tasks.json").read_text(encoding="utf-8"))
    assert [record["rival"] for record in result["measurements"]] == 2 * list(emlp_tasks.RIVALS)
    for record in result["measurements"]:
        if record["status"] == "measured":
            assert 0 < record["scores"]["test_mse"] < 100
            assert record["scores"]["steps"] == 30
    text = (tmp_path / "emlp_tasks.md").read_text(encoding="utf-8")
    assert "| scattering | equikit | " in text
    assert "| scattering | *variance of the target* | " in text
    assert (tmp_path / "emlp_tasks.png").stat().st_size > 1000
