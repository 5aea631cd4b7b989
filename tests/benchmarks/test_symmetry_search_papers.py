"""LieGAN and SARD: the data have the symmetry that is claimed, and designs have theirs."""

import numpy as np
import pytest
from scipy.linalg import expm

from benchmarks.papers import liegan_2302_00236 as liegan, sard_2306_00036 as sard
from benchmarks.papers.liegan_2302_00236 import _data as data
from benchmarks.papers.sard_2306_00036._robots import LIMBS, lattice, matrices, symmetric, tasks
from equikit import D

METRIC = np.diag([1.0, -1, -1, -1])


def test_orbits_follow_newton_and_turn_along():
    before, after = data.two_bodies(200, 0)
    for state in (before, after):
        bodies = state.reshape(-1, 4, 2)
        apart = np.linalg.norm(bodies[:, 2] - bodies[:, 0], axis=1)
        energy = np.sum(bodies[:, 1] ** 2 + bodies[:, 3] ** 2, axis=1) / 2 - 1 / apart
        assert np.allclose(bodies[:, 0], -bodies[:, 2])
        assert np.all(energy < 0)
        before_energy = energy if state is before else before_energy
    assert np.allclose(energy, before_energy, atol=1e-5)
    turn = expm(0.7 * np.sqrt(8) * data.rotation_of_blocks())
    moved = data._step((before @ turn.T).reshape(-1, 4, 2), 0.01).reshape(-1, 8)
    assert np.allclose(moved, data._step(before.reshape(-1, 4, 2), 0.01).reshape(-1, 8) @ turn.T)
    assert np.all(data.rotation_of_blocks()[~data.DIAGONAL_BLOCKS] == 0)


def test_steps_of_the_angle_are_kept_by_a_seventh_of_a_turn():
    x, y = data.angle_in_steps(500, 0)
    turn = expm(2 * np.pi / 7 * np.sqrt(2) * data.rotation_about_z())
    moved = x @ turn.T
    again = moved[:, 2] / (1 + np.mod(np.arctan2(moved[:, 1], moved[:, 0]), 2 * np.pi / 7))
    assert np.mean(np.isclose(y, again)) > 0.99  # rounding decides at the steps
    assert np.std(y - moved[:, 2] / (1 + np.mod(np.arctan2(moved[:, 1], moved[:, 0]) + 0.4, 2 * np.pi / 7))) > 0.1


def test_momenta_are_massless_and_the_pair_has_the_mass_of_its_class():
    x, heavy = data.momenta(400, 0)
    assert np.allclose(np.einsum("cki,ij,ckj->ck", x, METRIC, x), 0, atol=1e-9)
    whole = x.sum(1)
    mass = np.sqrt(np.einsum("ci,ij,cj->c", whole, METRIC, whole))
    assert np.mean(mass[heavy == 1]) == pytest.approx(1, abs=0.05)
    assert np.mean(mass[heavy == 0]) == pytest.approx(0.3, abs=0.02)
    for generator in data.lorentz():
        assert np.allclose(generator.T @ METRIC + METRIC @ generator, 0)
    gram = np.einsum("aij,bij->ab", data.lorentz(), data.lorentz())
    assert np.allclose(gram, np.eye(6))


def test_cosines_are_with_the_projection():
    mixed = data.lorentz()[:1] + 0.5 * data.lorentz()[4:5] + 2 * np.eye(4) / 2
    assert data.cosines(mixed, data.lorentz())[0] == pytest.approx(np.sqrt(1.25 / 5.25))


def carried(designs, place):
    """Designs moved by an element: limbs change places, and their attributes turn."""
    result = np.zeros_like(designs)
    result[..., D(LIMBS).elements()[place], :] = designs @ matrices()[place].T
    return result


def test_the_matrices_act_on_the_corners_like_the_permutations():
    angle = 2 * np.pi * np.arange(LIMBS) / LIMBS
    corners = np.stack([np.cos(angle), np.sin(angle)], 1)
    for element, matrix in zip(D(LIMBS).elements(), matrices(), strict=True):
        assert np.allclose(corners @ matrix.T, corners[element])


def test_a_symmetric_design_is_kept_and_projection_is_idempotent():
    designs = np.random.default_rng(0).normal(size=(3, LIMBS, 2))
    for kept in lattice():
        found = symmetric(designs, kept)
        assert np.allclose(symmetric(found, kept), found)
        for place in kept.positions:
            assert np.allclose(carried(found, place), found)


@pytest.mark.parametrize("task", tasks(), ids=lambda task: task.name)
def test_rewards_have_the_hidden_symmetry(task):
    names = {"patrol": "D(2)", "patrol and turn": "Z(2)", "three ways": "D(3)", "all ways and turn": "Z(12)"}
    assert str(task.hidden) == names[task.name]
    designs = np.random.default_rng(1).normal(size=(2, LIMBS, 2)) / 2
    changes = [np.abs(task.reward(carried(designs, place)) - task.reward(designs)).max() for place in range(24)]
    kept = np.isin(np.arange(24), task.hidden.positions)
    assert max(change for change, inside in zip(changes, kept, strict=True) if inside) < 1e-6
    assert min(change for change, inside in zip(changes, kept, strict=True) if not inside) > 1e-4


def test_the_cells_of_both_run():
    measure = sard.BENCHMARK.start(True, 0, lambda text: None)
    found = [m for cell in sard.BENCHMARK.cells(True)[:5] for m in measure(cell)]
    assert [m.rival for m in found] == [*sard.RIVALS]
    assert all(np.isfinite(m.scores["cost"]) for m in found)
    measure = liegan.BENCHMARK.start(True, 0, lambda text: None)
    (one,) = measure(liegan.BENCHMARK.cells(True)[0])
    assert 0 <= one.scores["cosine"] <= 1
