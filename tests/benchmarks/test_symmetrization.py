"""The benchmark `symmetrization` moves what it says it moves, trains as it says, and reports what it measured."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from benchmarks.core import command, trained as _trained
from benchmarks.core.fitting import Fitted, Recipe, fit, predict
from benchmarks.core.measurement import Skip
from benchmarks.core.scores import Bound
from benchmarks.core.task import Sizes, Task
from benchmarks.core.task_report import cell
from benchmarks.core.trained import Rival, difference, outputs, recipe, scores, train
from benchmarks.data.emlp import inertia, scattering
from benchmarks.data.particles import simulate
from benchmarks.data.vectors import orthogonal
from benchmarks.models.backbones import BACKBONES, bare
from benchmarks.models.learned import LEARNED
from benchmarks.models.networks import ParticleNetwork, random_orthogonal
from benchmarks.tasks import _symmetrization_tasks as tasks, symmetrization
from benchmarks.tasks._symmetrization_separation import SEPARATORS, graph_sets, unseparated

SMALL = Sizes(40, 3, 30, Recipe(2, 20, 1e-3))
MAKERS = {name: make for name, (make, _) in symmetrization.TASKS.items()}


@pytest.fixture(autouse=True, scope="module")
def one_round_of_messages() -> Iterator[None]:
    """Four rounds take longer to compile, and have the same symmetry."""
    _, apply = BACKBONES["n-body"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(BACKBONES, "n-body", (lambda seed: ParticleNetwork(nnx.Rngs(seed), rounds=1), apply))
        yield


def made(name: str, sizes: Sizes, seed: int, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Task:
    """A task, its cache in a folder of the test."""
    monkeypatch.setattr(tasks, "SCRATCH", folder)
    if name.startswith("digit"):
        pytest.importorskip("sklearn")
    return MAKERS[name](sizes, seed)


def test_random_elements_of_o3() -> None:
    found = np.asarray(jax.jit(random_orthogonal, static_argnums=1)(jax.random.key(0), 2000))
    np.testing.assert_allclose(found @ found.swapaxes(1, 2), np.tile(np.eye(3), (2000, 1, 1)), atol=1e-5)
    assert abs(np.linalg.det(found).mean()) < 0.1
    # For the Haar distribution every entry has mean zero and variance 1/3, and the trace of rotations has mean zero.
    np.testing.assert_allclose(found.mean(axis=0), np.zeros((3, 3)), atol=0.05)
    np.testing.assert_allclose(found.var(axis=0), np.full((3, 3), 1 / 3), atol=0.03)


def test_the_particle_network_commutes_with_permutations_and_translations_alone() -> None:
    network = ParticleNetwork(nnx.Rngs(0), width=8, rounds=1)
    static, state = nnx.split(network)
    apply = jax.jit(lambda state, *inputs: nnx.merge(static, state)(*inputs))
    generator = np.random.default_rng(1)
    q = np.sign(generator.normal(size=(3, 5)).astype(np.float32))
    x, v = generator.normal(size=(2, 3, 5, 3)).astype(np.float32)
    np.testing.assert_allclose(apply(state, q, x, v), x + v, atol=1e-6)  # as it begins
    last = network.read.layers[-1].kernel
    last[...] = jnp.asarray(generator.normal(size=last.shape), jnp.float32)
    state = nnx.state(network)
    y = np.asarray(apply(state, q, x, v))
    order = np.array([3, 0, 4, 1, 2])
    np.testing.assert_allclose(apply(state, q[:, order], x[:, order], v[:, order]), y[:, order], atol=1e-4)
    np.testing.assert_allclose(apply(state, q, x + 2, v), y + 2, atol=1e-4)
    g = orthogonal(generator, 1)[0].astype(np.float32)
    assert np.abs(apply(state, q, x @ g.T, v @ g.T) - y @ g.T).max() > 0.1


@pytest.mark.parametrize("name", MAKERS)
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


@pytest.mark.parametrize("name", MAKERS)
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
    task = Task("line", (x, y), {"as drawn": tasks.Test((x, y))}, Recipe(80, 30, 0.2), lambda key, rows: rows)
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
    for name, (_, rivals) in symmetrization.TASKS.items()
    for rival in rivals
    if rival not in ("straight line", "bare", "augmented", "probabilistic")
)


@pytest.mark.parametrize(("name", "rival"), QUICK)
def test_symmetrized_rivals_are_equivariant_before_they_are_trained(
    name: str, rival: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = made(name, SMALL, 0, tmp_path, monkeypatch)
    check_untrained(name, rival, untrained_scores(task, symmetrization.MAKE[rival](name, 0)))


def untrained_scores(task: Task, rival: Rival) -> dict[str, float]:
    return scores(task, rival, Fitted(rival.module, 0.0, 0.0, (0.0,)))


def check_untrained(name: str, rival: str, found: dict[str, float]) -> None:
    assert found["difference, moved"] < 1e-5
    assert found["error, as drawn"] == pytest.approx(found["error, moved"], rel=1e-3)
    assert (found["parameters"] > len_of(bare(name, 0).module)) == (rival in LEARNED)


def len_of(module: nnx.Module) -> int:
    """The number of parameters."""
    return sum(leaf.size for leaf in jax.tree.leaves(nnx.state(module, nnx.Param)))


@pytest.fixture(scope="module")
def quick_run(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], tuple[Any, ...]]:
    """The whole quick run: for each task and rival scores and modules, both before and after training."""
    pytest.importorskip("matplotlib")
    pytest.importorskip("sklearn")
    folder, found = tmp_path_factory.mktemp("symmetrization"), []

    def seen(task: Task, rival: Rival, seed: int, tell: Any) -> Fitted:
        fitted = train(task, rival, seed, tell)
        found.append((untrained_scores(task, rival), rival.module, fitted.module))
        return fitted

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tasks, "SCRATCH", folder / "cache")
        patch.setattr(_trained, "train", seen)
        assert command.main(["symmetrization", "--quick", "--output", str(folder)]) == 0
    records = [record for record in check_results(folder) if record["direction"] == "train"]
    names = [(record["case"]["task"], record["rival"]) for record in records]
    return {name: (record["scores"], *more) for name, record, more in zip(names, records, found, strict=True)}


@pytest.mark.slow
def test_the_whole_quick_run(quick_run: dict[tuple[str, str], Any]) -> None:
    assert [*quick_run] == [(name, rival) for name, (_, rivals) in symmetrization.TASKS.items() for rival in rivals]


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
    one = symmetrization.MAKE[rival]("inertia", 0)
    apply = one.train
    assert apply is not None
    twice = jax.tree.map(lambda a: np.repeat(a[:20], 2, axis=0), task.train[0])
    draws = predict(one.module, lambda *given: apply(*given)[0], twice)
    assert np.abs(draws[::2] - draws[1::2]).max() > 1e-2


def test_sorted_clouds_do_not_depend_on_the_order_of_points(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    task = made("digit clouds", SMALL, 0, tmp_path, monkeypatch)
    rival = symmetrization.MAKE["sorted"]("digit clouds", 0)
    found = outputs(task, rival, rival.module)
    np.testing.assert_array_equal(found["as drawn"], found["moved"])


def test_graphs_are_told_apart_and_copies_are_not() -> None:
    assert unseparated(np.array([[0.0, 1.0], [0.0, 1.0005], [0.0, 2.0]])) == 1
    graphs, copies = graph_sets(6, 1, 0)["graphs"]
    found = {name: separator(graphs, copies, 0) for name, separator in SEPARATORS.items()}
    assert found["color refinement"] == {
        "graphs": 112,
        "pairs": 6216,
        "pairs not told apart": 3,
        "copies told apart": 0,
    }
    assert found["bare"]["pairs not told apart"] == 0
    assert found["bare"]["copies told apart"] > 100
    for name in symmetrization.INVARIANT:
        assert found[name]["pairs not told apart"] == found[name]["copies told apart"] == 0
        assert found[name]["largest difference of copies"] < 1e-12


def test_circulants_are_told_apart_by_a_canonical_form_and_not_by_colors() -> None:
    graphs, copies = graph_sets(4, 3, 0)["CSL"]
    assert copies.shape == (14, 3, 41, 41)
    refined, canonical = (SEPARATORS[name](graphs, copies[:2], 0) for name in ("color refinement", "canonical form"))
    assert refined["pairs not told apart"] == 3
    assert canonical["pairs not told apart"] == canonical["copies told apart"] == refined["copies told apart"] == 0


def test_the_report_has_a_table_a_task_and_says_what_is_missing() -> None:
    measured = {"error, as drawn": 0.01, "error, moved": 0.5, "seconds": 12.34, "parameters": 1234.0, "train_loss": 1.0}
    records = [
        {"case": {"task": "n-body", "train": 3000}, "direction": "train", "rival": "bare", "scores": measured},
        {"case": {"task": "n-body", "train": 3000}, "direction": "train", "rival": "frame", "reason": "why"}
        | {"status": "skipped"},
        {"case": {"task": "graphs"}, "direction": "separate", "rival": "bare", "scores": {"copies told apart": 0.0}},
    ]
    bound = Bound("bare", {"task": "n-body", "train": 3000}, "error, moved", 0.4)
    targets = symmetrization.STYLE.check_targets([bound], records)
    result: dict[str, Any] = {
        "date": "now",
        "machine": {"cpu": "c", "cores": 1, "memory_bytes": None, "os": "o"},
        "versions": {},
        "revision": "r",
        "seed": 0,
        "load_average": [0, 0],
        "quick": False,
        "measurements": records,
        "targets": targets,
    }
    text = symmetrization.STYLE.markdown(result, {})
    assert "| bare | 0.01 | 0.5 | 12.3 | 1,234 | 0.0107 [1] |" in text
    assert "| frame | – | – | – | – | 0.0057 [2] |" in text
    assert "- n-body, bare, error, moved: 0.5, wanted at most 0.4, missed" in text
    assert "- frame skipped: why (task n-body, train 3000 train)" in text
    assert [cell("error", value) for value in (None, 0.0, 1.23e-7)] == ["–", "0", "1.2e-7"]


def test_what_cannot_be_made_is_skipped(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(sizes: Sizes, seed: int) -> Task:
        raise Skip("scikit-learn is not installed")

    monkeypatch.setattr(symmetrization, "TASKS", {"digits": (refuse, ("bare", "augmented"))})
    monkeypatch.setattr(symmetrization, "SEPARATORS", {})
    found, _ = symmetrization.run(True, 0, lambda text: None)
    assert [(m.rival, m.status, m.reason) for m in found] == [
        (rival, "skipped", "scikit-learn is not installed") for rival in ("bare", "augmented")
    ]


def test_every_rival_can_be_made_and_is_described() -> None:
    for name, (_, rivals) in symmetrization.TASKS.items():
        assert set(rivals) <= set(symmetrization.MAKE)
        assert name in symmetrization.limits(True).sizes.keys() & symmetrization.limits(False).sizes.keys()
    assert set(symmetrization.MAKE) | set(SEPARATORS) == set(symmetrization.RIVALS)


def check_results(folder: Path) -> list[dict[str, Any]]:
    result = json.loads((folder / "symmetrization.json").read_text(encoding="utf-8"))
    for record in result["measurements"]:
        assert record["status"] == "measured", record
    assert "*graphs*" in (folder / "symmetrization.md").read_text(encoding="utf-8")
    assert (folder / "symmetrization.png").stat().st_size > 1000
    return list(result["measurements"])


def test_the_command_writes_results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("matplotlib")
    chosen = {"inertia": (tasks.inertia, ("bare", "stochastic frame"))}
    monkeypatch.setattr(symmetrization, "TASKS", chosen)
    monkeypatch.setattr(symmetrization, "SEPARATORS", {name: SEPARATORS[name] for name in ("bare", "canonical form")})
    assert command.main(["symmetrization", "--quick", "--output", str(tmp_path)]) == 0
    records = check_results(tmp_path)
    assert [record["rival"] for record in records] == ["bare", "stochastic frame", *["bare", "canonical form"] * 2]


def test_the_published_error_of_a_straight_line_is_reached() -> None:
    systems = simulate(300, 0)
    error = np.mean((systems.positions + 0.73 * systems.velocities - systems.targets) ** 2)
    assert error == pytest.approx(0.0819, rel=0.25)
