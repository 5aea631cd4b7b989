"""Networks of charges have the symmetry they are said to have, and graphs are told apart as counted."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from benchmarks.core.measurement import Skip
from benchmarks.data.graphs import connected_graphs, equivalent_pairs
from benchmarks.data.vectors import orthogonal
from benchmarks.models.equivariant import EquivariantCharges, GeometricCharges
from benchmarks.models.networks import ParticleNetwork
from benchmarks.papers.frame_averaging_2110_03336 import BENCHMARK, INVARIANT
from benchmarks.papers.frame_averaging_2110_03336._separation import SEPARATORS, counted, graph_set, near_pairs


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


def largest_gap(one: np.ndarray, two: np.ndarray) -> float:
    return float(np.abs(one - two).max())


@pytest.mark.parametrize(
    "make",
    [
        lambda rngs: EquivariantCharges(rngs, 4, 2, layers=3),
        pytest.param(lambda rngs: GeometricCharges(rngs, 4, 2, rounds=1), marks=pytest.mark.slow),
    ],
    ids=["network", "messages"],
)
def test_equivariant_networks_of_charges_commute_with_everything(make: Callable[[nnx.Rngs], nnx.Module]) -> None:
    network = make(nnx.Rngs(0))
    last = network.network.head if isinstance(network, EquivariantCharges) else network.read.head
    generator = np.random.default_rng(1)
    q = np.sign(generator.normal(size=(3, 5)).astype(np.float32))
    x, v = generator.normal(size=(2, 3, 5, 3)).astype(np.float32)
    static, state = nnx.split(network)
    apply = jax.jit(lambda state, *inputs: nnx.merge(static, state)(*inputs))
    np.testing.assert_allclose(apply(state, q, x, v), x + v, atol=1e-6)  # as it begins
    for kernel in last.kernel.values():
        kernel[...] = jnp.asarray(generator.normal(size=kernel.shape), jnp.float32)
    state = nnx.state(network)
    y = np.asarray(apply(state, q, x, v))
    assert largest_gap(y, x + v) > 0.1
    assert largest_gap(y - x, np.asarray(apply(state, -q[:, ::-1], x, v)) - x) > 1e-3  # charges matter
    order = np.array([3, 0, 4, 1, 2])
    np.testing.assert_allclose(apply(state, q[:, order], x[:, order], v[:, order]), y[:, order], atol=1e-3)
    np.testing.assert_allclose(apply(state, q, x + 2, v), y + 2, atol=1e-3)
    g = orthogonal(generator, 1)[0].astype(np.float32)
    np.testing.assert_allclose(apply(state, q, x @ g.T, v @ g.T), y @ g.T, atol=1e-3)


def brute(outputs: np.ndarray, most: float) -> int:
    """Near pairs, by comparing all."""
    return sum(bool(np.abs(one - two).max() <= most) for one, two in itertools.combinations(outputs, 2))


@pytest.mark.parametrize("most", [1e-3, 0.05, 10.0])
def test_near_pairs_are_those_of_a_comparison_of_all(most: float) -> None:
    outputs = np.random.default_rng(0).uniform(size=(200, 2))
    outputs[50:60] = outputs[:10]
    outputs[60:70] = outputs[:10] + 5e-4
    assert near_pairs(outputs, most) == brute(outputs, most) >= 30
    assert near_pairs(np.array([[0.0, 1.0], [0.0, 1.0005], [0.0, 2.0]])) == 1
    assert near_pairs(np.zeros((1, 3))) == 0


def test_graphs_are_told_apart_and_copies_are_not() -> None:
    graphs, copies = graph_set("graphs", True, 0)
    found = {name: separator(graphs, copies, 0) for name, separator in SEPARATORS.items()}
    assert found["color refinement"] == {
        "graphs": 112,
        "pairs": 6216,
        "pairs not told apart": 3,
        "copies told apart": 0,
    }
    assert found["bare"]["pairs not told apart"] == 0
    assert found["bare"]["copies told apart"] > 100
    for name in INVARIANT:
        assert found[name]["pairs not told apart"] == found[name]["copies told apart"] == 0
        assert found[name]["largest difference of copies"] < 1e-12


def test_circulants_are_told_apart_by_a_canonical_form_and_not_by_colors() -> None:
    graphs, copies = graph_set("CSL", True, 0)
    assert copies.shape == (14, 2, 41, 41)
    refined, canonical = (SEPARATORS[name](graphs, copies[:2], 0) for name in ("color refinement", "canonical form"))
    assert refined["pairs not told apart"] == 1
    assert canonical["pairs not told apart"] == canonical["copies told apart"] == refined["copies told apart"] == 0


@pytest.fixture
def eight() -> np.ndarray:
    try:
        return connected_graphs(8)
    except Skip as reason:
        pytest.skip(str(reason))


def test_color_refinement_leaves_the_pairs_of_graph8c_that_are_known(eight: np.ndarray) -> None:
    assert eight.shape == (11_117, 8, 8)
    assert counted(len(eight)) == {"graphs": 11_117, "pairs": 61_788_286}
    np.testing.assert_array_equal(eight, eight.swapaxes(1, 2))
    pairs = equivalent_pairs(eight)
    assert len(pairs) == 312
    spectra = np.linalg.eigvalsh(eight)
    apart = [np.abs(spectra[i] - spectra[j]).max() > 1e-6 for i, j in pairs]
    assert sum(apart) > 200  # most are not even cospectral, and so not isomorphic


@pytest.mark.parametrize("rival", [pytest.param(rival, marks=pytest.mark.slow) for rival in INVARIANT])
def test_equivalent_pairs_of_graph8c_are_told_apart_by_symmetrized_networks(eight: np.ndarray, rival: str) -> None:
    hard = np.unique(equivalent_pairs(eight))
    found = SEPARATORS[rival](eight[hard], eight[hard][None, :, ::-1, ::-1], 0)
    assert found["pairs not told apart"] == found["copies told apart"] == 0


def test_graph8c_is_left_out_where_geng_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.data.graphs.find_spec", lambda name: None)
    measure = BENCHMARK.start(True, 0, lambda text: None)
    cells = [cell for cell in BENCHMARK.cells(True) if cell.case["task"] == "GRAPH8c"]
    assert [cell.rivals for cell in cells] == [(rival,) for rival in SEPARATORS]
    for cell in cells:
        with pytest.raises(Skip, match="passagemath-nauty, which has the program geng, is not installed"):
            measure(cell)
