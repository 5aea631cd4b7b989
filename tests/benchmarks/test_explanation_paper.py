"""The data sets of the benchmark of explanations have the symmetry that they claim."""

from __future__ import annotations

import jax
import networkx as nx
import numpy as np
import pytest

import equikit as ek
from benchmarks.papers import explanations_2304_06715 as benchmark
from benchmarks.papers.explanations_2304_06715._data import DATA, LENGTH, WAVES, Data

explanations = ek.auditing.explanations


def of(name: str) -> Data:
    return DATA[name](0, 30)


INVARIANTS = {
    "permuted sets": lambda x: np.sort(x.view("f4,f4"), axis=1).view("f4"),
    "atlas graphs": lambda x: np.linalg.eigvalsh(x[..., 0]),
    "cyclic signals": lambda x: np.abs(np.fft.fft(x, axis=1)),
    "digits": lambda x: np.abs(np.fft.fft2(x, axes=(1, 2))),
}
"""Functions that tell orbits apart, up to reflections."""


@pytest.mark.parametrize("name", DATA)
def test_moved_inputs_stay_in_their_orbits(name: str) -> None:
    data = of(name)
    moved = np.asarray(data.move(jax.random.key(0), data.x[:4]))
    assert np.all(np.any(moved != data.x[:4], axis=tuple(range(1, moved.ndim))))
    one, other = (INVARIANTS[name](np.ascontiguousarray(x)) for x in (moved, data.x[:4]))
    np.testing.assert_allclose(one, other, atol=1e-5)


@pytest.mark.parametrize("name", DATA)
def test_regions_are_stable_where_they_should_be(name: str) -> None:
    data = of(name)
    stable = {}
    for method, regions in data.regions.items():
        explainer = explanations.occlusion(lambda x: x.sum(), regions=regions)
        told = explanations.guarantee(
            explainer, data.x[:2], data.invariant, groups=data.groups, tolerance=1e-3, samples=1
        )
        stable[method] = {one.text: one.holds for one in told.conditions}["the groups permute the regions"]
    grid = name in benchmark.GRIDS
    assert stable.pop("feature ablation")
    assert stable.pop("Shapley values") != grid
    assert stable == ({"occlusion": False, "occlusion, cyclic windows": True} if grid else {})


def test_classes_and_concepts_of_graphs_do_not_depend_on_labels() -> None:
    data = of("atlas graphs")
    for x, y, present in zip(data.x, data.y, data.present, strict=True):
        graph = nx.from_numpy_array(x[..., 0])
        assert y == any(
            not nx.is_connected(graph.subgraph(set(graph) - {node})) for node in graph
        )  # the definition, node by node
        degrees = x[..., 0].sum(axis=0)
        assert present[0] == (degrees.min() == 1)
        assert present[1] == any(len(clique) == 4 for clique in nx.enumerate_all_cliques(graph))


def test_anomalies_are_where_a_heartbeat_is_abnormal() -> None:
    data = DATA["cyclic signals"](1, 400)
    np.testing.assert_array_equal(data.y, data.present.any(axis=1))
    assert 0.3 < data.y.mean() < 0.7
    beats, at = data.x[..., 0], {name: int(place) for name, (place, *_) in WAVES.items()}
    with_t, without = beats[data.present[:, 1]], beats[~data.present[:, 1]]
    assert with_t[:, at["T"]].mean() < -0.2 < 0.2 < without[:, at["T"]].mean()
    assert beats[data.present[:, 2], at["P"]].mean() < 0.1 < beats[~data.present[:, 2], at["P"]].mean()
    assert data.x.shape[1:] == (LENGTH, 1)
