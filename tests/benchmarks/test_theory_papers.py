"""Papers of theory: optimal networks that are written down, hidden targets, power sums by quadrature, sets."""

from __future__ import annotations

import itertools
import math

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from benchmarks.core import catalog
from benchmarks.papers import _curves as curves
from benchmarks.papers.deep_sets_1703_06114 import _sets as sets
from benchmarks.papers.deep_sets_1703_06114._networks import KernelMean, Recurrent, SumNetwork
from benchmarks.papers.feature_emergence_2311_07568 import _network as network, _tasks as tasks
from benchmarks.papers.hardness_2401_01869 import _graphs as graphs, _neighbors as neighbors, _targets as targets
from benchmarks.papers.single_index_2310_02117 import _power_sums as sums, _student as students
from equikit import S
from equikit.groups import irreps

PAPERS = ("deep_sets_1703_06114", "feature_emergence_2311_07568", "hardness_2401_01869", "single_index_2310_02117")


@pytest.mark.parametrize("name", PAPERS)
def test_cells_have_unique_names_and_tasks_that_the_paper_knows(name: str) -> None:
    benchmark = catalog.load(name)
    assert benchmark.paper is not None
    for quick in (True, False):
        cells = list(benchmark.cells(quick))
        assert len({cell.name for cell in cells}) == len(cells)
        assert {rival for cell in cells for rival in cell.rivals} <= set(benchmark.rivals)
    measured = {(cell.case["task"], rival) for cell in cells for rival in cell.rivals}
    assert {(one.task, one.rival) for one in benchmark.paper.published} <= measured
    assert {(one.task, rival) for one in benchmark.paper.claims for rival in (one.better, one.than)} <= measured


def test_curves_are_read_back() -> None:
    scores = curves.points("end", (1, 0.5), (3.0, 4.0)) | curves.points("end, other", (1,), (5.0,)) | {"error": 1.0}
    record = {"scores": scores, "spread": {"curve, end at 1": 0.1}}
    assert [each.tolist() for each in curves.curve(record, "end")] == [[0.5, 1], [4, 3], [0, 0.1]]
    assert curves.tabulated([record]) == [{"scores": {"error": 1.0}, "spread": {}}]


# Feature emergence: networks of the largest margin.


def of_permutations(n: int) -> np.ndarray:
    r"""Products of three entries of irreps, which add up to \(4 \sum_\rho d_\rho \chi_\rho(c^{-1} a b)\)."""
    elements = S(n).elements()
    columns = []
    for irrep in irreps(S(n))[1:]:
        rho, d = irrep.matrix(elements), irrep.dim
        for i, j, k in itertools.product(range(d), repeat=3):
            for sign in (1, -1):
                neuron = np.concatenate([rho[:, i, j], sign * rho[:, j, k], sign * rho[:, i, k]])
                columns.append(d ** (1 / 3) * neuron)
    return np.stack(columns, 1)


def of_addition(p: int) -> np.ndarray:
    """Cosines of each frequency at eight phases of both factors, whose sum is the phase of the result."""
    phases = 2 * np.pi * np.arange(8) / 8
    columns = []
    for k, one, two in itertools.product(range(1, (p + 1) // 2), phases, phases):
        angle = 2 * np.pi * k * np.arange(p) / p
        columns.append(np.concatenate([np.cos(angle + one), np.cos(angle + two), np.cos(angle + one + two)]))
    return np.stack(columns, 1)


def of_parity(n: int, k: int) -> np.ndarray:
    """Equal weights up to signs on the first variables, and opposite ones on both classes."""
    columns = []
    for signs in itertools.product((1, -1), repeat=k - 1):
        rest = np.array([1, *signs])
        sign = rest.prod()
        columns.append(np.concatenate([rest, np.zeros(n - k), np.array([-sign, sign]) / math.sqrt(2)]))
    return np.stack(columns, 1)


OPTIMAL = {
    "Z_7": (tasks.addition(7), of_addition(7)),
    "S_3": (tasks.permutations(3), of_permutations(3)),
    "S_4": (tasks.permutations(4), of_permutations(4)),
    "parity": (tasks.parity(6, 4), of_parity(6, 4)),
}


@pytest.mark.parametrize("name", OPTIMAL)
def test_a_network_that_is_written_down_has_the_margin_and_the_features_of_theory(name: str) -> None:
    task, weights = OPTIMAL[name]
    model = network.Powers(task, weights.shape[1], task.power + 1, nnx.Rngs(0))
    model.weights[...] = jnp.asarray(weights, jnp.float32)
    found = network.scores(task, model)
    assert found["margin over theory"] == pytest.approx(1, abs=1e-4)
    assert found["accuracy"] == found["features used"] == 1
    assert found["least share"] == pytest.approx(1, abs=1e-5)
    assert found["share of the constant"] < 1e-6
    assert found.get("phase error", 0) < 1e-5
    model.weights[...] += 0.1 * jnp.asarray(np.random.default_rng(0).normal(size=weights.shape), jnp.float32)
    worse = network.scores(task, model)
    assert worse["margin over theory"] < 1
    assert worse["least share"] < 0.999


@pytest.mark.parametrize("name", OPTIMAL)
def test_features_are_an_orthonormal_basis(name: str) -> None:
    task, _ = OPTIMAL[name]
    basis = np.concatenate(list(task.features.values()))
    assert basis.shape[0] == task.inputs.shape[1] + task.classes
    assert np.allclose(basis @ basis.T, np.eye(len(basis)), atol=1e-12)


def test_the_limit_of_margins() -> None:
    assert network.limit([1 - 1 / n for n in (3, 4, 5)]) == pytest.approx(1)
    assert network.limit([0.5, 0.9, 0.9]) == 0.9


# Hardness.


def test_labels_count_hidden_degrees() -> None:
    """A set and its symmetric difference with the odd degrees have the same parity; no other set has."""
    adjacency = graphs.graphs(7, 200, 0)
    assert np.array_equal(adjacency, adjacency.swapaxes(1, 2))
    assert not np.trace(adjacency, axis1=1, axis2=2).any()
    parity = graphs.labels("parity", adjacency, 3)
    counts = np.stack([np.sum(adjacency.sum(-1) == degree, axis=-1) for degree in range(7)], 1)
    matching = [s for s in itertools.product((0, 1), repeat=7) if np.array_equal(counts @ s % 2, parity)]
    assert np.array(matching).sum(0).tolist() == [2 * s if d % 2 == 0 else 1 for d, s in enumerate(matching[0])]
    assert 1 / 3 <= parity.mean() <= 2 / 3


@pytest.mark.parametrize("inputs", [2, 4])
def test_a_hard_network_is_odd_in_each_of_its_inputs(inputs: int) -> None:
    x = np.random.default_rng(0).normal(size=(5, targets.ROWS, targets.COLUMNS)).astype(np.float32)
    h = targets.hard(inputs, 1)
    plain = np.asarray(h(jnp.asarray(x)))
    signs = []
    for place in range(targets.ROWS * targets.COLUMNS):
        flipped = x.reshape(5, -1).copy()
        flipped[:, place] *= -1
        signs.append(np.allclose(h(jnp.asarray(flipped)), -plain, atol=1e-5))
    assert np.abs(plain).max() > 0.1
    assert sum(signs) == inputs


def test_a_quasimetric_satisfies_the_triangle_inequality() -> None:
    d = neighbors.distances(0)
    assert d.max() == 1
    assert neighbors.violation(d) < 1e-6
    assert np.abs(d - d.T).max() > 0.1
    assert neighbors.violation(np.array([[0, 1, 3], [1, 0, 1], [1, 1, 0.0]])) == pytest.approx(0.5)


def test_pointers_are_followed() -> None:
    signs, labels = neighbors.pointers("parity")
    assert signs.shape == (2**11, 11)
    row = signs.tolist().index([1, -1, 1, *[-1] * 5, 1, 1, -1])  # 101 in binary: the values at 5, 6 and 7
    assert labels[row] == 0
    assert labels.mean() == 0.5


# Power sums.


@pytest.mark.parametrize("n", [1, 2])
def test_inner_products_of_power_sums_by_quadrature(n: int) -> None:
    """Weyl's integration formula on a grid, which is exact for trigonometric polynomials of a low degree."""
    grid = np.exp(2j * np.pi * np.arange(16) / 16)
    x = np.stack([each.ravel() for each in np.meshgrid(*[grid] * n)], 1)
    weight = np.abs(np.prod([x[:, i] - x[:, j] for i, j in itertools.combinations(range(n), 2)], axis=0)) ** 2
    weight = weight * np.ones(len(x)) / len(x) / math.factorial(n)
    for degree in range(1, 6):
        powers = np.stack([np.sum(x**k, axis=1) for k in range(1, degree + 1)], 1)
        products = np.stack([np.prod(powers[:, np.array(rho.shape) - 1], axis=1) for rho in irreps(S(degree))])
        assert np.allclose((products * weight) @ products.conj().T, sums.expected(n, degree), atol=1e-9)


def test_power_sums_are_orthogonal_for_many_points() -> None:
    found = sums.expected(5, 5)
    assert np.array_equal(found, np.diag([5, 4, 6, 6, 8, 12, 120]))
    assert not np.array_equal(sums.expected(4, 5), found)


def test_the_student_can_be_the_teacher() -> None:
    goal, first = students.directions(0)
    assert abs(np.vdot(goal, first)) == pytest.approx(students.START)
    x = sums.points("independent points", 7, 20, 0)
    student = students.Student(3, goal)
    found = student(student.features(jnp.asarray(x)))
    assert np.allclose(found, students.planted(x, 3, goal), atol=1e-4)
    assert np.allclose(student.direction, goal, atol=1e-6)


def test_the_flow_of_theory() -> None:
    times = np.linspace(0, 1, 5)
    assert np.allclose(students.flow(1, times), np.tanh(2 * times + np.arctanh(students.START)), atol=1e-6)
    assert students.reached(times, np.array([0, 0.5, 0.9, 0.8, 1])) == 0.5
    assert math.isinf(students.reached(times, times / 2))


# Sets.


def test_statistics_of_bags_are_those_of_their_points() -> None:
    for task, statistic in (
        ("entropy", lambda c: 0.5 * np.log(2 * np.pi * np.e * c[0, 0])),
        ("mutual information", lambda c: -0.5 * np.log(1 - c[0, 1] ** 2 / c[0, 0] / c[1, 1])),
    ):
        found = sets.bags(task, 5, 20_000, 0)
        assert np.allclose([statistic(np.cov(bag.T)) for bag in found.points], found.targets, atol=0.05)


def test_sums_outliers_and_queries_are_what_they_say() -> None:
    train, test = sets.images(0)
    assert (len(train), len(test)) == (1300, 497)
    which, lengths, total = sets.sums(train, 50, 6, 0)
    assert lengths.min() == 1
    assert lengths.max() == 6
    expected = [train.labels[row[:length]].sum() for row, length in zip(which, lengths, strict=True)]
    assert np.array_equal(total, expected)
    assert set(sets.sums(train, 9, 7, 0, shortest=7)[1]) == {7}
    which, place = sets.outliers(train, 50, 8, 0)
    shown = train.labels[which]
    assert all(np.sum(row != np.bincount(row).argmax()) == 1 for row in shown)
    assert all(row[at] != np.bincount(row).argmax() for row, at in zip(shown, place, strict=True))
    query, right, wrong = (test.labels[each] for each in sets.queries(test, 50, 4, 0))
    assert np.all(query == right[:, None])
    assert not np.any(right == wrong)


def test_absent_digits_count_for_nothing() -> None:
    x, lengths = jnp.asarray(np.random.default_rng(0).normal(size=(2, 5, 3)), jnp.float32), jnp.asarray([2, 5])
    other = x.at[0, 2:].set(7.0)
    for model in (
        SumNetwork([3, 4], [4, 1], jnp.tanh, "sum", nnx.Rngs(0)),
        Recurrent([3, 4], "GRU", 4, [], nnx.Rngs(0)),
        Recurrent([3, 4], "LSTM", 4, [], nnx.Rngs(0)),
    ):
        assert np.allclose(model(x, lengths), model(other, lengths), atol=1e-6)
        assert np.allclose(model(x, lengths)[0], model(x[:1, :2])[0], atol=1e-6)
        assert not np.allclose(model(x), model(other), atol=1e-3)


def test_kernel_means_estimate_an_entropy() -> None:
    train, held, test = (sets.bags("entropy", 40, 200, seed) for seed in range(3))
    found = KernelMean(0).fit_and_predict(train.points, train.targets, (held.points, held.targets), test.points)
    assert np.mean((found - test.targets) ** 2) < 0.05 * np.var(test.targets)


def test_a_cell_of_power_sums_tells_unitaries_from_independent_points() -> None:
    benchmark = catalog.load("single_index_2310_02117")
    measure = benchmark.start(True, 0, lambda text: None)
    errors = {}
    for cell in benchmark.cells(True):
        if cell.case["task"] == "power sums, 3 points":
            (found,) = measure(cell)
            assert found.scores is not None
            errors[found.rival] = found.scores["largest error of a squared norm"]
    assert errors["Haar unitary"] < 0.2 < 5 < errors["independent points"]
