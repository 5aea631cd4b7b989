"""Tasks with wrapped networks move what they say they move, and train as they say."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from rich.console import Console

from benchmarks.core import command, task as _task, trained as _trained
from benchmarks.core.benchmark import Benchmark, Cell
from benchmarks.core.bounds import Bound
from benchmarks.core.fitting import Fitted, Recipe, fit, predict
from benchmarks.core.folders import RESULTS
from benchmarks.core.lines import read
from benchmarks.core.measurement import Skip
from benchmarks.core.runner import Plan, run
from benchmarks.core.task import Sizes, Task
from benchmarks.core.task_report import TRAINED
from benchmarks.core.trained import Rival, difference, outputs, recipe, scores, train
from benchmarks.core.trials import Trial, Trials
from benchmarks.data.emlp import inertia, scattering
from benchmarks.models.backbones import BACKBONES, augmented, bare
from benchmarks.models.learned import LEARNED
from benchmarks.models.networks import ParticleNetwork, random_orthogonal
from benchmarks.papers import (
    canonicalization_2211_06489 as canonicalization,
    frame_averaging_2110_03336 as frame_averaging,
    weighted_frames_2402_16077 as weighted_frames,
)
from benchmarks.papers.frame_averaging_2110_03336 import _particles
from benchmarks.tasks import vectors

SMALL = Sizes(40, 3, 30, Recipe(2, 20, 1e-3))
MODULES = (frame_averaging, vectors, canonicalization, weighted_frames)
TRIALS: dict[str, Trial] = {name: trial for module in MODULES for name, trial in module.TRIALS.of.items()}
BENCHMARKS: tuple[Benchmark, ...] = tuple(module.BENCHMARK for module in MODULES)


@pytest.fixture(autouse=True, scope="module")
def one_round_of_messages() -> Iterator[None]:
    """Four rounds take longer to compile, and have the same symmetry."""
    _, apply = BACKBONES["n-body"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(BACKBONES, "n-body", (lambda seed: ParticleNetwork(nnx.Rngs(seed), rounds=1), apply))
        yield


def made(name: str, sizes: Sizes, seed: int, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Task:
    """A task, its cache in a folder of the test."""
    monkeypatch.setattr(_particles, "SCRATCH", folder)
    if name.startswith("digit"):
        pytest.importorskip("sklearn")
    return TRIALS[name].task(sizes, seed)


def test_random_elements_of_o3() -> None:
    found = np.asarray(jax.jit(random_orthogonal, static_argnums=1)(jax.random.key(0), 2000))
    np.testing.assert_allclose(found @ found.swapaxes(1, 2), np.tile(np.eye(3), (2000, 1, 1)), atol=1e-5)
    assert abs(np.linalg.det(found).mean()) < 0.1
    # For the Haar distribution every entry has mean zero and variance 1/3, and the trace of rotations has mean zero.
    np.testing.assert_allclose(found.mean(axis=0), np.zeros((3, 3)), atol=0.05)
    np.testing.assert_allclose(found.var(axis=0), np.full((3, 3), 1 / 3), atol=0.03)


@pytest.mark.parametrize("name", TRIALS)
def test_moved_rows_are_the_same_rows_moved(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    task = made(name, SMALL, 0, tmp_path, monkeypatch)
    first, *others = task.tests.values()
    assert first.act is None
    for test in others:
        assert test.act is not None
        np.testing.assert_allclose(test.act(first.rows[1]), test.rows[1], atol=1e-5)
        pairs = zip(jax.tree.leaves(first.rows[0]), jax.tree.leaves(test.rows[0]), strict=True)
        assert any(np.abs(one - two).max() > 0.1 for one, two in pairs)
    counts = {len(leaf) for leaf in jax.tree.leaves(task.train)}
    assert counts == {400 if name == "digit clouds" else 40}
    assert all(len(leaf) == 30 for test in task.tests.values() for leaf in jax.tree.leaves(test.rows))


@pytest.mark.parametrize("name", TRIALS)
def test_augmentation_moves_inputs_and_targets_alike(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = made(name, SMALL, 0, tmp_path, monkeypatch)
    rows = jax.tree.map(jnp.asarray, task.train)
    inputs, targets = task.move(jax.random.key(0), rows)
    if name == "inertia":
        joined = np.concatenate([inputs[0], np.reshape(inputs[1], (40, 15))], axis=1)
        np.testing.assert_allclose(inertia(joined).reshape(40, 3, 3), targets, rtol=1e-4, atol=1e-4)
    elif name == "scattering":
        np.testing.assert_allclose(scattering(np.reshape(inputs, (40, 16)))[:, 0], targets, rtol=1e-3, atol=1e-3)
    elif name == "n-body":
        (q, x, v), (_, x_before, v_before), before = inputs, rows[0], rows[1]
        np.testing.assert_array_equal(q, rows[0][0])
        for one, two in [((x, v, targets), (x_before, v_before, before))]:  # all inner products are kept
            gram = [np.einsum("bpi,bqi->bpq", np.concatenate(a, 1), np.concatenate(a, 1)) for a in (one, two)]
            np.testing.assert_allclose(*gram, rtol=1e-4, atol=1e-3)
    elif name == "digits":
        np.testing.assert_array_equal(targets, rows[1])
        for image, moved in zip(rows[0], inputs, strict=True):
            assert any(np.array_equal(np.rot90(image, k), moved) for k in range(4))
    else:
        np.testing.assert_array_equal(targets, rows[1])
        np.testing.assert_allclose(np.sort(inputs[:, :, 0], axis=1), np.sort(rows[0][:, :, 0], axis=1))
        np.testing.assert_allclose(inputs.prod(axis=2).sum(axis=1), rows[0].prod(axis=2).sum(axis=1), atol=1e-4)
    assert max(np.abs(a - b).max() for a, b in zip(*map(jax.tree.leaves, (inputs, rows[0])), strict=True)) > 0.1


class Line(nnx.Module):
    """A weight."""

    def __init__(self) -> None:
        self.slope = nnx.Param(jnp.zeros(2))

    def __call__(self, x: jax.Array) -> jax.Array:
        return x @ self.slope[...]


def line(count: int = 90) -> tuple[np.ndarray, np.ndarray]:
    x = np.random.default_rng(0).normal(size=(count, 2)).astype(np.float32)
    return x, x @ np.array([1.0, -2.0], np.float32)


def test_fitting_makes_whole_epochs_on_a_schedule() -> None:
    told: list[float] = []
    module = Line()

    def loss(module: Line, rows: Any, key: jax.Array) -> jax.Array:
        x, y = rows
        return jnp.mean((module(x) - y) ** 2)

    plan = Recipe(epochs=100, batch=20, rate=0.05)
    assert plan.steps(90) == 400
    fitted = fit(module, loss, line(), plan, 0, told.append)
    np.testing.assert_allclose(fitted.module.slope[...], [1.0, -2.0], atol=1e-3)
    np.testing.assert_array_equal(module.slope[...], [0.0, 0.0])  # left as it is
    assert told == [epoch / 100 for epoch in range(1, 101)]
    means = np.mean(np.reshape(fitted.losses, (4, 25)), axis=1).tolist()
    assert means == sorted(means, reverse=True)
    assert min(fitted.seconds, fitted.compile_seconds) > 0


def test_every_epoch_sees_every_row_once_and_every_step_another_key() -> None:
    seen: list[tuple[np.ndarray, int]] = []

    def loss(module: Line, rows: Any, key: jax.Array) -> jax.Array:
        jax.debug.callback(lambda *found: seen.append(found), rows, jax.random.bits(key), ordered=True)
        return jnp.sum(module.slope[...] * 0)

    fit(Line(), loss, np.arange(12), Recipe(epochs=4, batch=4, rate=0.1), 0)
    jax.effects_barrier()
    rows = np.array([row for row, _ in seen]).reshape(4, 12)
    assert all(sorted(epoch) == list(range(12)) for epoch in rows)
    assert len({tuple(epoch) for epoch in rows}) == 4
    assert len({int(key) for _, key in seen}) == 12


def test_predictions_come_in_order_however_they_are_cut() -> None:
    module = Line()
    module.slope[...] = jnp.array([1.0, 3.0])
    x, _ = line(23)
    found = predict(module, lambda module, x, key: module(x), x, batch=10)
    np.testing.assert_allclose(found, x @ np.array([1.0, 3.0]), rtol=1e-5)
    draws = predict(module, lambda module, x, key: jax.random.normal(key, (len(x),)), x, batch=10)
    assert len(set(draws.tolist())) == 23


def test_a_rival_may_train_differently_with_a_penalty_and_for_a_share_of_the_epochs() -> None:
    x, y = line()
    task = Task("line", (x, y), {"as drawn": _task.Test((x, y))}, Recipe(80, 30, 0.2), lambda key, rows: rows)
    half = Rival(Line(), lambda module, x, key: module(x), train=lambda module, x, key: (module(x) / 2, 0.0), share=0.5)
    assert recipe(task, half).epochs == 40
    fitted = train(task, half, 0)
    assert scores(task, half, fitted)["steps"] == 120
    np.testing.assert_allclose(outputs(task, half, fitted.module)["as drawn"], 2 * y, atol=0.1)
    held = Rival(half.module, half.apply, lambda module, x, key: (module(x), 100 * jnp.sum(module.slope[...] ** 2)))
    assert np.abs(train(task, held, 0).module.slope[...]).max() < 0.1


def test_how_far_outputs_are_from_equivariant(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    task = made("inertia", SMALL, 0, tmp_path, monkeypatch)
    assert difference(task, np.array([1.0, 2.0]), np.array([1.0, 2.0])) == 0
    assert difference(task, np.array([3.0, 4.0]), np.array([3.0, 0.0])) == pytest.approx(4 / 3)
    rival = bare("inertia", 0)
    fitted = Fitted(rival.module, 0.0, 0.0, (0.0,))
    assert scores(task, rival, fitted)["difference, moved"] > 0.05
    by_class = Task("x", (), {}, task.recipe, task.move, outputs="classes")
    one, two = np.array([[0.1, 0.2], [0.3, 0.1]]), np.array([[0.0, 9.0], [0.0, 0.1]])
    assert difference(by_class, one, two) == 0.5
    assert by_class.error(one, np.array([1, 1])) == 0.5


QUICK = (
    ("inertia", "stochastic frame"),
    ("inertia", "sorted"),
    ("scattering", "orbit distance"),
    ("digits", "canonical"),
)
ALL = tuple(
    (name, rival)
    for name, trial in TRIALS.items()
    for rival in trial.rivals
    if rival not in ("straight line", "bare", "augmented", "probabilistic")
)
# Rivals that are equivariant by their layers, and hold no copy of the bare network.
OF_THEIR_OWN = ("equivariant network", "equivariant messages", "equivariant attention", "Deep Sets")


@pytest.mark.parametrize(("name", "rival"), QUICK)
def test_symmetrized_rivals_are_equivariant_before_they_are_trained(
    name: str, rival: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = made(name, SMALL, 0, tmp_path, monkeypatch)
    check_untrained(name, rival, untrained_scores(task, TRIALS[name].rivals[rival](name, 0)))


def untrained_scores(task: Task, rival: Rival) -> dict[str, float]:
    return scores(task, rival, Fitted(rival.module, 0.0, 0.0, (0.0,)))


def check_untrained(name: str, rival: str, found: dict[str, float]) -> None:
    assert found["difference, moved"] < 1e-5
    assert found["error, as drawn"] == pytest.approx(found["error, moved"], rel=1e-3)
    if rival not in OF_THEIR_OWN:
        assert (found["parameters"] > len_of(bare(name, 0).module)) == (rival in LEARNED)


def len_of(module: nnx.Module) -> int:
    """The number of parameters."""
    return sum(leaf.size for leaf in jax.tree.leaves(nnx.state(module, nnx.Param)))


@pytest.fixture(scope="module")
def quick_run(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], tuple[Any, ...]]:
    """The whole quick run: for each task and rival scores and modules, both before and after training."""
    pytest.importorskip("sklearn")
    found, records = [], []

    def seen(task: Task, rival: Rival, seed: int, tell: Any) -> Fitted:
        fitted = train(task, rival, seed, tell)
        found.append((untrained_scores(task, rival), rival.module, fitted.module))
        return fitted

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_particles, "SCRATCH", tmp_path_factory.mktemp("particles"))
        patch.setattr(_trained, "train", seen)
        for benchmark in BENCHMARKS:
            measure = benchmark.start(True, 0, lambda text: None)
            records += [m for cell in benchmark.cells(True) if cell.direction == "train" for m in measure(cell)]
    assert {record.status for record in records} == {"measured"}
    names = [(record.case["task"], record.rival) for record in records]
    return {name: (record.scores, *more) for name, record, more in zip(names, records, found, strict=True)}


@pytest.mark.slow
def test_the_whole_quick_run(quick_run: dict[tuple[str, str], Any]) -> None:
    assert [*quick_run] == [(name, rival) for name, trial in TRIALS.items() for rival in trial.rivals]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "rival"), ALL)
def test_symmetrized_rivals_are_equivariant_before_and_after_they_are_trained(
    name: str, rival: str, quick_run: dict[tuple[str, str], Any]
) -> None:
    found, untrained, *modules = quick_run[name, rival]
    check_untrained(name, rival, untrained)
    assert np.isfinite(found["train_loss"])
    assert found["difference, moved"] < 1e-4
    before, after = (jax.tree.leaves(nnx.state(module, nnx.Param)) for module in modules)
    moved = [np.any(np.asarray(a) != np.asarray(b)) for a, b in zip(before, after, strict=True)]
    assert all(moved)  # the network that chooses the element learns too


@pytest.mark.parametrize("rival", ["stochastic frame", pytest.param("probabilistic", marks=pytest.mark.slow)])
def test_elements_are_drawn_anew_in_training(rival: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    task = made("inertia", SMALL, 0, tmp_path, monkeypatch)
    one = TRIALS["inertia"].rivals[rival]("inertia", 0)
    apply = one.train
    assert apply is not None
    twice = jax.tree.map(lambda a: np.repeat(a[:20], 2, axis=0), task.train[0])
    draws = predict(one.module, lambda *given: apply(*given)[0], twice)
    assert np.abs(draws[::2] - draws[1::2]).max() > 1e-2


def test_sorted_clouds_do_not_depend_on_the_order_of_points(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    task = made("digit clouds", SMALL, 0, tmp_path, monkeypatch)
    rival = TRIALS["digit clouds"].rivals["sorted"]("digit clouds", 0)
    found = outputs(task, rival, rival.module)
    np.testing.assert_array_equal(found["as drawn"], found["moved"])


def test_what_cannot_be_made_is_skipped(tmp_path: Path) -> None:
    def refuse(sizes: Sizes, seed: int) -> Task:
        raise Skip("scikit-learn is not installed")

    trials = Trials({"digits": Trial(refuse, {"bare": bare, "augmented": augmented}, SMALL, SMALL, copies=2)})
    benchmark = replace(vectors.BENCHMARK, cells=trials.cells, start=trials.start, limits=trials.limits)
    found = run("digits", benchmark, Plan(True, (0,), None, False, tmp_path), Console())
    case = {"task": "digits", "train": 80}
    assert [(line["rival"], line["status"], line["reason"], line["case"]) for line in found] == [
        (rival, "skipped", "scikit-learn is not installed", case) for rival in ("bare", "augmented")
    ]


def test_a_cell_measures_the_same_alone_and_after_others() -> None:
    def scored(cells: Sequence[Cell]) -> dict[str, float]:
        measure = vectors.BENCHMARK.start(True, 3, lambda text: None)
        (*_, (last,)) = [measure(cell) for cell in cells]
        assert last.scores is not None
        return {name: value for name, value in last.scores.items() if "seconds" not in name}

    cells = [cell for cell in vectors.BENCHMARK.cells(True) if cell.rivals[0] in ("bare", "stochastic frame")][:2]
    assert scored(cells) == scored(cells[1:])


@pytest.mark.parametrize("module", MODULES)
def test_stored_lines_are_of_cells_that_there_are(module: ModuleType) -> None:
    stored = read(RESULTS / f"{module.__name__.rsplit('.', 1)[-1]}.jsonl")
    assert stored
    assert {line["cell"] for line in stored} <= {cell.name for cell in module.BENCHMARK.cells(False)}


def test_the_report_has_a_table_a_task_and_says_what_is_missing() -> None:
    measured = {"error, as drawn": 0.01, "error, moved": 0.5, "seconds": 12.34, "parameters": 1234.0, "train_loss": 1.0}
    case = {"task": "n-body", "train": 3000}
    records = [
        {"case": case, "direction": "train", "rival": "bare", "scores": measured, "status": "measured"},
        {"case": case, "direction": "train", "rival": "frame", "reason": "why", "status": "skipped"},
        {"case": {"task": "graphs"}, "direction": "separate", "rival": "bare", "scores": {"copies told apart": 0.0}}
        | {"status": "measured"},
    ]
    targets = TRAINED.check_targets([Bound("bare", case, "error, moved", 0.4)], records)
    result = {"circumstances": "now", "measurements": records, "targets": targets}
    text = TRAINED.markdown(result, {})
    assert "| bare | 0.01 | 0.5 | 12.3 | 1,234 |" in text
    assert "| frame | – | – | – | – |" in text
    assert "- n-body, bare, error, moved: 0.5, wanted at most 0.4, missed" in text
    assert "- frame skipped: why (task n-body, train 3000 train)" in text


@pytest.mark.slow
def test_the_command_writes_results(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    assert command.main(["run", "vectors", "--quick", "--only", "inertia", "--output", str(tmp_path)]) == 0
    stored = read(tmp_path / "vectors.jsonl")
    assert [line["rival"] for line in stored] == list(vectors.TRIALS.of["inertia"].rivals)
    assert {line["status"] for line in stored} == {"measured"}
    assert "*inertia*" in (tmp_path / "vectors.md").read_text(encoding="utf-8")
    assert (tmp_path / "vectors.png").stat().st_size > 1000
