"""The data of tasks with wrapped networks have the statistics, laws and symmetries that they are said to have."""

from __future__ import annotations

import dataclasses
import math
import sys
from pathlib import Path

import networkx as nx
import numpy as np
import pytest
from scipy.ndimage import rotate

import equikit as ek
from benchmarks.core.measurement import Skip
from benchmarks.data.digits import Digits, clouds, digits, quarter_turns, turned
from benchmarks.data.emlp import inertia, scattering
from benchmarks.data.graphs import (
    SKIPS,
    circulant,
    circulants,
    connected_graphs,
    equivalent_pairs,
    refined_colors,
    relabeled,
)
from benchmarks.data.particles import (
    Simulation,
    Systems,
    cached,
    forces,
    integrate,
    simulate,
    start,
)
from benchmarks.data.vectors import lorentz, orthogonal, vectors

SHORT = Simulation(observed=5, predicted=8)


@pytest.fixture(scope="module")
def systems() -> Systems:
    return simulate(1000, seed=0)


def test_extrapolation_errs_as_with_the_published_data(systems: Systems) -> None:
    gap = systems.targets - systems.positions
    assert np.sum(gap * systems.velocities) / np.sum(systems.velocities**2) == pytest.approx(0.73, rel=0.03)
    found = [np.mean((gap - time * systems.velocities) ** 2) for time in (0.73, 1.0, 0.0)]
    np.testing.assert_allclose(found, [0.086, 0.111, 0.274], rtol=0.05)


def test_forces_are_those_of_coulomb() -> None:
    charges, x, _ = start(np.random.default_rng(0), 3, Simulation())
    found = forces(charges, x, math.inf)
    for system in range(3):
        q, place = charges[:, system], x[:, :, system].T
        expected = np.zeros((5, 3))
        for i in range(5):
            for j in range(5):
                if i != j:
                    gap = place[i] - place[j]
                    expected[i] += q[i] * q[j] * gap / np.linalg.norm(gap) ** 3
        np.testing.assert_allclose(found[:, :, system].T, expected, rtol=1e-12)
    near = x.copy()
    near[:, 1] = near[:, 0] + 1e-3
    assert np.abs(forces(charges, near, 100.0)).max() == 100.0


def energy(charges: np.ndarray, x: np.ndarray, v: np.ndarray) -> np.ndarray:
    kinetic = np.sum(v**2, axis=(0, 1)) / 2
    pairs = [(i, j) for i in range(5) for j in range(i)]
    return kinetic + sum(charges[i] * charges[j] / np.linalg.norm(x[:, i] - x[:, j], axis=0) for i, j in pairs)


def test_energy_and_momentum_are_kept_where_no_force_is_cut_off() -> None:
    generator = np.random.default_rng(0)
    charges, x, v = start(generator, 100, Simulation())
    charges[:] = 1.0  # equal charges never meet
    rule = Simulation(observed=1500, predicted=1500)
    after, ahead, _ = integrate(charges, x, v, rule)
    last = after - rule.step * ahead
    apart = np.abs(forces(charges, last, math.inf)).max(axis=(0, 1)) < 50
    apart &= np.abs(forces(charges, x, math.inf)).max(axis=(0, 1)) < 50
    assert apart.sum() > 50
    # A kick leads from the velocity half a step before to the one half a step after; energy uses their mean.
    before = energy(charges, x, v + rule.step / 2 * forces(charges, x, rule.largest))
    between = energy(charges, last, ahead - rule.step / 2 * forces(charges, last, rule.largest))
    np.testing.assert_allclose(between[apart], before[apart], rtol=1e-4)
    np.testing.assert_allclose(ahead.sum(axis=1)[:, apart], v.sum(axis=1)[:, apart], atol=1e-12)


def test_the_simulation_commutes_with_orthogonal_matrices() -> None:
    charges, x, v = start(np.random.default_rng(1), 20, SHORT)
    rule = dataclasses.replace(SHORT, largest=math.inf)  # cutting off components does not commute
    g = orthogonal(np.random.default_rng(2), 1)[0]
    plain = integrate(charges, x, v, rule)
    moved = integrate(charges, np.einsum("ij,jpn->ipn", g, x), np.einsum("ij,jpn->ipn", g, v), rule)
    for one, two in zip(plain, moved, strict=True):
        np.testing.assert_allclose(np.einsum("ij,jpn->ipn", g, one), two, atol=1e-12)


def test_chunks_change_nothing() -> None:
    whole, parts = simulate(7, 3, SHORT), simulate(7, 3, SHORT, chunk=3)
    for name, array in vars(whole).items():
        np.testing.assert_array_equal(array, vars(parts)[name])
        assert array.dtype == np.float32
    assert len(whole.take(slice(2, 5))) == 3


def test_the_cache_keeps_settings_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = cached(tmp_path, 4, 0, SHORT)
    assert len(list(tmp_path.iterdir())) == 1
    cached(tmp_path, 4, 1, SHORT)
    cached(tmp_path, 4, 0, dataclasses.replace(SHORT, speed=1.0))
    assert len(list(tmp_path.iterdir())) == 3

    def refuse(*_: object, **__: object) -> None:
        raise RuntimeError("simulated again")

    monkeypatch.setattr("benchmarks.data.particles.simulate", refuse)
    again = cached(tmp_path, 4, 0, SHORT)
    for name, array in vars(first).items():
        np.testing.assert_array_equal(array, vars(again)[name])
    monkeypatch.setattr("benchmarks.data.particles.simulate", lambda *_: first)
    monkeypatch.setattr(np, "savez", refuse)
    with pytest.raises(RuntimeError):
        cached(tmp_path, 5, 0, SHORT)
    assert len(list(tmp_path.iterdir())) == 3  # nothing half written is left


@pytest.mark.parametrize(("name", "function"), [("inertia", inertia), ("scattering", scattering)])
def test_moved_vectors_have_the_targets_of_the_moved(name: str, function: object) -> None:
    rows = vectors(name, 400, 0)
    generator = np.random.default_rng(1)
    elements = orthogonal(generator, 400) if name == "inertia" else lorentz(generator, 400, 2)
    moved = rows.moved(elements)
    assert callable(function)
    for one in (rows, moved):
        joined = np.concatenate([one.scalars, one.vectors.reshape(400, -1)], axis=1).astype(np.float64)
        np.testing.assert_allclose(function(joined).reshape(one.targets.shape), one.targets, rtol=1e-3, atol=1e-3)
    np.testing.assert_array_equal(moved.scalars, rows.scalars)
    assert np.abs(moved.vectors - rows.vectors).max() > 0.1
    assert moved.vectors.dtype == np.float32


def test_the_variance_of_inertia_tensors_is_that_of_all_entries() -> None:
    assert np.var(vectors("inertia", 4000, 0).targets) == pytest.approx(25.6, rel=0.05)


def test_elements_are_those_of_their_groups() -> None:
    generator = np.random.default_rng(0)
    turns, boosts = orthogonal(generator, 500), lorentz(generator, 100)
    np.testing.assert_allclose(turns @ turns.swapaxes(1, 2), np.tile(np.eye(3), (500, 1, 1)), atol=1e-12)
    assert abs(np.linalg.det(turns).mean()) < 0.2
    assert np.abs(turns.mean(axis=0)).max() < 0.1
    metric = np.diag(ek.Lorentz.metric().astype(float))
    np.testing.assert_allclose(boosts @ metric @ boosts.swapaxes(1, 2), np.tile(metric, (100, 1, 1)), atol=1e-10)
    sizes = [np.median(np.abs(lorentz(generator, 300, factors)[:, 0, 0])) for factors in (1, 2, 4)]
    assert sizes == sorted(sizes)
    assert sizes[1] == pytest.approx(1.33, rel=0.1)


@pytest.mark.parametrize(("nodes", "graphs", "pairs"), [(1, 1, 0), (4, 6, 0), (5, 21, 0), (6, 112, 3), (7, 853, 17)])
def test_connected_graphs_that_color_refinement_cannot_tell_apart(nodes: int, graphs: int, pairs: int) -> None:
    adjacency = connected_graphs(nodes)
    assert adjacency.shape == (graphs, nodes, nodes)
    np.testing.assert_array_equal(adjacency, adjacency.swapaxes(1, 2))
    found = equivalent_pairs(adjacency)
    assert len(found) == pairs
    made = [nx.from_numpy_array(graph) for graph in adjacency]
    hashes = [nx.weisfeiler_lehman_graph_hash(graph, "weight", iterations=nodes) for graph in made]
    equal = {(i, j) for j, one in enumerate(hashes) for i in range(j) if hashes[i] == one}
    assert {(min(pair), max(pair)) for pair in found} == equal
    assert not any(nx.is_isomorphic(made[i], made[j]) for i, j in found)


def test_relabeled_graphs_are_isomorphic_and_never_told_apart() -> None:
    adjacency = connected_graphs(6)
    moved = relabeled(adjacency, np.random.default_rng(0))
    assert not np.array_equal(adjacency, moved)
    for one, two in zip(adjacency[::10], moved[::10], strict=True):
        assert nx.is_isomorphic(nx.from_numpy_array(one), nx.from_numpy_array(two))
    joined = np.concatenate([adjacency, moved])
    assert {(i, i + 112) for i in range(112)} <= set(equivalent_pairs(joined))
    np.testing.assert_array_equal(np.sort(refined_colors(joined)[:112], 1), np.sort(refined_colors(joined)[112:], 1))


def test_circulants() -> None:
    graphs = circulants()
    assert graphs.shape == (10, 41, 41)
    assert np.all(graphs.sum(axis=2) == 4)
    assert nx.is_isomorphic(nx.from_numpy_array(graphs[1]), nx.circulant_graph(41, [1, SKIPS[1]]))
    assert len(equivalent_pairs(graphs)) == 45
    np.testing.assert_array_equal(circulant(5, 2), 1 - np.eye(5))


@pytest.fixture(scope="module")
def images() -> Digits:
    pytest.importorskip("sklearn")
    return digits(0)


def test_digits_are_turned_about_their_center(images: Digits) -> None:
    some = images.inputs[:40]
    assert images.inputs.shape == (1797, 8, 8)
    assert (some.min(), some.max()) == (0.0, 1.0)
    assert np.bincount(images.labels).min() > 170
    for k in range(-1, 5):
        found = quarter_turns(some, np.full(40, k))
        np.testing.assert_array_equal(found, np.rot90(some, k, axes=(1, 2)))
        np.testing.assert_allclose(turned(some, np.full(40, 90.0 * k)), found, atol=1e-6)
    angles = np.array([45.0, -20.0])
    for image, angle, found in zip(some, angles, turned(some[:2], angles), strict=False):
        expected = rotate(image.astype(float), angle, reshape=False, order=1, mode="grid-constant")
        np.testing.assert_allclose(found, expected, atol=1e-6)


def test_clouds_are_where_the_image_is_bright(images: Digits) -> None:
    few = images.take(slice(0, 30))
    found = clouds(few, seed=0, copies=200)
    assert found.inputs.shape == (6000, 50, 2)
    np.testing.assert_array_equal(found.labels, np.tile(few.labels, 200))
    exact = clouds(few, seed=0, copies=200, jitter=0.0)
    column, row = np.moveaxis(np.rint(exact.inputs * 4 + 3.5).astype(int), 2, 0)
    counts = np.zeros((30, 8, 8))
    np.add.at(counts, (np.tile(np.arange(30), 200)[:, None], 7 - row, column), 1 / 200)
    assert np.all(counts[few.inputs == 0] == 0)  # never where there is nothing
    expected = few.inputs / few.inputs.sum(axis=(1, 2), keepdims=True) * 50
    assert np.corrcoef(counts.ravel(), expected.ravel())[0, 1] > 0.98
    assert np.std(found.inputs - exact.inputs) == pytest.approx(0.2 * 2 / 8, rel=0.02)


def test_an_empty_image_is_a_cloud_all_the_same() -> None:
    empty = Digits(np.zeros((1, 8, 8), np.float32), np.zeros(1, np.int32))
    assert np.isfinite(clouds(empty, 0).inputs).all()


def test_without_scikit_learn_the_reason_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(Skip, match="scikit-learn is not installed"):
        digits(0)
