"""The paper on teleportation: the same loss after a move, gradients that are counted, rates that are chosen."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks.core import catalog, command
from benchmarks.papers import teleportation_2205_10637 as paper
from benchmarks.papers._curves import curve
from benchmarks.papers.teleportation_2205_10637._descent import Moves, Way, chosen, descend, losses, scores
from benchmarks.papers.teleportation_2205_10637._tasks import TASKS, Task


def quadratic() -> Task:
    """Half the square of one number from three: descent at rate r multiplies the loss by (1 - r)² in every step."""
    return replace(
        TASKS["factorization"](),
        make=lambda key: (jnp.full((), 3.0), None),
        loss=lambda params, data, key: params**2 / 2,
    )


def test_gradients_are_counted() -> None:
    moves = Moves("gradient_norm", (1, 7), 0.1)
    np.testing.assert_array_equal(moves.gradients(3), [0, 1, 2 + 34, 3 + 34])
    np.testing.assert_array_equal(Moves("sharpness", (0,), 0.1).gradients(1), [0, 1 + 441])
    way, loss = Way("gradient descent", 0.5, moves), np.array([8.0, 4.0, 2.0, 1.0])
    found = scores(way, loss, loss[::3], loss[::3], None, 3)
    assert found["loss"] == 1
    assert found["loss after as many gradients"] == 4  # three gradients: the second step comes after 35 more
    np.testing.assert_array_equal(curve({"scores": found}, "loss over gradients")[0], [0, 37])
    plain = scores(Way("gradient descent", 0.5), loss, loss[::3], loss[::3], None, 3)
    assert plain["loss after as many gradients"] == 1


def test_the_best_rate_is_chosen_and_a_diverged_one_is_not() -> None:
    task = quadratic()
    way = chosen(task, "gradient descent", [None], (0.1, 0.9, 1.5, 1e6), 5)
    assert way == Way("gradient descent", 0.9)
    key = jax.random.key(0)
    found = jax.jit(lambda: losses(task, descend(task, way.transformation(task, 0.9), key, 5), key))()
    np.testing.assert_allclose(found, 4.5 * 0.01 ** np.arange(6), rtol=1e-3)


@pytest.mark.parametrize(
    "name", [name if name == "regression" else pytest.param(name, marks=pytest.mark.slow) for name in TASKS]
)
def test_a_move_alone_keeps_the_loss_and_raises_the_gradient(name: str) -> None:
    task, key = TASKS[name](), jax.random.key(0)
    way = Way("gradient descent", 0.0, Moves("gradient_norm", (1,), 0.1))

    @jax.jit
    def run():
        path = descend(task, way.transformation(task, 0.0), key, 3)
        _, data = task.make(jax.random.split(key)[0])
        slopes = jax.lax.map(jax.grad(lambda params: task.loss(params, data, None)), path)
        return losses(task, path, key), sum(jnp.sum(leaf**2, axis=(1, 2)) for leaf in jax.tree.leaves(slopes))

    loss, squares = map(np.asarray, run())
    np.testing.assert_allclose(loss, loss[0], rtol=1e-4)
    assert squares[0] == squares[1] < 0.9 * squares[2] == 0.9 * squares[3]


def test_every_rival_has_a_description_and_every_claim_its_rivals() -> None:
    for claim in paper.PAPER.claims:
        assert {claim.better, claim.than} <= {*paper.RIVALS}
        assert claim.task in TASKS
    assert [cell.case["task"] for cell in paper.cells(True)] == [*TASKS]


@pytest.mark.slow
def test_it_runs_and_reports(monkeypatch, tmp_path: Path) -> None:
    cells = paper.cells(True)[:1]
    benchmark = replace(paper.BENCHMARK, cells=lambda quick: cells)
    monkeypatch.setattr(f"{catalog.modules()['teleportation_2205_10637']}.BENCHMARK", benchmark)
    assert command.main(["run", "teleportation_2205_10637", "--quick", "--output", str(tmp_path)]) == 0
    text = (tmp_path / "teleportation_2205_10637.md").read_text(encoding="utf-8")
    assert "loss after as many gradients" in text
    assert "curve" not in text
    assert (tmp_path / "teleportation_2205_10637.png").stat().st_size > 10_000
