"""Invariants that tell what is in a group: against dense tensors, under the group, and on what is not in it."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import assert_error
from jax.test_util import check_grads

import equikit as ek
from equikit.diagrams._dense import diagram_tensor
from equikit.symmetrization import invariants, orbit_distance
from equikit.symmetrization.orbits._invariants import connected, determinant

GROUPS = [
    *(ek.O(3), ek.Lorentz, ek.SO(3), ek.Sp(4), ek.U(2), ek.Bistochastic(3), ek.S(3), ek.A(3), ek.H(3), ek.D(5)),
    *(ek.SO(1), ek.O(0)),
    *(
        pytest.param(group, marks=pytest.mark.slow)
        for group in (ek.SO(2), ek.SO(1, 3), ek.SO(5), ek.A(2), ek.A(4), ek.Z(4))
    ),
]
pytestmark = pytest.mark.usefixtures("x64")


def element(group, rng):
    return np.asarray(group.matrix(group.random_element(rng)), complex if group.is_complex else float)


def vectors(group, rng, count):
    real, imaginary = rng.normal(size=(2, group.n, count))
    return real + 1j * imaginary if group.is_complex else real


@pytest.mark.parametrize("group", GROUPS, ids=str)
def test_they_are_the_dense_tensors_and_the_group_keeps_them(group):
    rng = np.random.default_rng(0)
    some = vectors(group, rng, group.n + 1)
    both = jax.tree.map(np.asarray, invariants(group, np.stack([some, element(group, rng) @ some])))
    found = {name: value[0] for name, value in both.items()}
    orders = {len(name.split(" -> ")[0].split()) for name in found}
    diagrams = {str(diagram): diagram for diagram in connected(group, group.n, tuple(orders))}
    for name, value in found.items():
        diagram = diagrams[name]
        wanted = diagram_tensor(diagram, group.n)
        for label in diagram.bottom:  # an axis of the tensor is replaced by one of vectors, at the end
            wanted = np.tensordot(wanted, some.conj() if label.endswith("*") else some, (0, 0))
        if diagram.heads:
            tuples = itertools.combinations(range(some.shape[1]), len(diagram.bottom))
            wanted = np.array([wanted[chosen] for chosen in tuples])
        np.testing.assert_allclose(value, wanted, rtol=1e-9, atol=1e-9)
        np.testing.assert_allclose(both[name][1], value, rtol=1e-9, atol=1e-9)
    assert float(orbit_distance(group, jnp.asarray(element(group, rng)))) < 1e-20


HALF = np.full((2, 2), 0.5)
OUTSIDE = {
    "O(3), stretched": (ek.O(3), np.diag([1, 1, 1.01])),
    "O(1, 3), time for space": (ek.Lorentz, np.eye(4)[[1, 0, 2, 3]]),
    "O(1, 3), the Euclidean turn": (ek.Lorentz, np.block([[np.array([[0.8, -0.6], [0.6, 0.8]]), np.zeros((2, 2))],
                                                         [np.zeros((2, 2)), np.eye(2)]])),
    "SO(2), reflected": (ek.SO(2), np.diag([1.0, -1.0])),
    "SO(3), reflected": (ek.SO(3), -np.eye(3)),
    "SO(1, 3), parity": (ek.SO(1, 3), np.diag([1.0, -1, -1, -1])),
    "Sp(4), reflected": (ek.Sp(4), np.diag([1.0, 1, 1, -1])),
    "U(2), stretched": (ek.U(2), np.eye(2) * (1 + 1j)),
    "Bistochastic(3), reflected": (ek.Bistochastic(3), -np.eye(3)),
    "S(2), halves": (ek.S(2), HALF),
    "S(3), a sign": (ek.S(3), np.diag([1.0, 1, -1])),
    "A(3), exchanged": (ek.A(3), np.eye(3)[[1, 0, 2]]),
    "H(2), an eighth of a turn": (ek.H(2), np.array([[1, -1], [1, 1]]) / np.sqrt(2)),
    "Z(4), reflected": (ek.Z(4), np.eye(4)[::-1]),
    "D(5), exchanged": (ek.D(5), np.eye(5)[[1, 0, 2, 3, 4]]),
    "SO(1)": (ek.SO(1), -np.eye(1)),
    "zero": (ek.SO(3), np.zeros((3, 3))),
}  # fmt: skip


@pytest.mark.parametrize("name", OUTSIDE)
def test_what_is_not_in_the_group_is_away_from_it(name):
    group, matrix = OUTSIDE[name]
    assert float(orbit_distance(group, jnp.asarray(matrix, complex if group.is_complex else float))) > 1e-5


def test_without_the_head_a_reflection_passes():
    reflection = jnp.diag(jnp.array([1.0, 1.0, -1.0]))
    assert float(orbit_distance(ek.SO(3), reflection, orders=(2,))) == 0
    assert float(orbit_distance(ek.O(3), reflection)) == 0
    assert float(orbit_distance(ek.SO(3), reflection)) == 4  # the determinant, -1 for 1


@pytest.mark.parametrize("group", [ek.S(4), ek.A(4), ek.Z(4), ek.D(4), ek.A(2), ek.H(2)], ids=str)
def test_all_permutations_that_pass_are_the_group(group):
    rng = np.random.default_rng(0)
    inside = {element(group, rng).tobytes() for _ in range(300)}
    signs = [*itertools.product([1.0, -1.0], repeat=group.n)]
    permutations = [np.eye(group.n)[list(order)] for order in itertools.permutations(range(group.n))]
    tried = np.array([sign * matrix for matrix in permutations for sign in np.array(signs)]) + 0.0
    passed = tried[np.asarray(orbit_distance(group, jnp.asarray(tried))) < 1e-12]
    assert {matrix.tobytes() for matrix in passed} == inside


def test_the_distance_of_the_metric_and_of_the_determinant():
    matrix = np.random.default_rng(0).normal(size=(2, 4, 4))
    metric = np.diag([1.0, -1, -1, -1])
    error = np.sum((matrix.mT @ metric @ matrix - metric) ** 2, (1, 2)) / 4
    np.testing.assert_allclose(orbit_distance(ek.Lorentz, jnp.asarray(matrix)), error)
    with_head = orbit_distance(ek.SO(1, 3), jnp.asarray(matrix))
    np.testing.assert_allclose(with_head, error + (np.linalg.det(matrix) - 1) ** 2)


def test_a_matrix_group_has_the_orders_that_are_given():
    quarter = ek.MatrixGroup([[[0, -1], [1, 0]]], name="C4")
    turn, reflection = jnp.array([[0.0, -1.0], [1.0, 0.0]]), jnp.diag(jnp.array([1.0, -1.0]))
    eighth = jnp.array([[1.0, -1.0], [1.0, 1.0]]) / np.sqrt(2)
    for matrix, inside in ((turn, True), (turn @ turn, True), (reflection, False), (eighth, False)):
        assert (float(orbit_distance(quarter, matrix, orders=(2, 4))) < 1e-20) == inside
    assert float(orbit_distance(quarter, eighth, orders=(2,))) < 1e-20  # which order two does not see


@pytest.mark.parametrize("n", [0, 1, 2, 3, 5, 20])
def test_determinants(n):
    matrix = np.random.default_rng(n).normal(size=(3, n, n))
    np.testing.assert_allclose(jax.jit(determinant)(matrix), np.linalg.det(matrix), rtol=1e-10)


@pytest.mark.parametrize("n", [4, 20])
def test_derivatives_of_the_determinant_of_a_singular_matrix(n):
    singular = np.diag([0.0] + [1.0] * (n - 1))
    slope = jax.jit(jax.grad(determinant))
    assert np.array_equal(slope(singular), np.diag(1 - np.diag(singular)))
    assert not slope(np.zeros((n, n))).any()
    matrix = np.random.default_rng(0).normal(size=(n, n))
    matrix[-1] = matrix[0]
    left, sizes, right = np.linalg.svd(matrix)
    cofactors = np.prod(sizes[:-1]) * np.linalg.det(left) * np.linalg.det(right) * np.outer(left[:, -1], right[-1])
    np.testing.assert_allclose(slope(matrix), cofactors, rtol=1e-7, atol=1e-9 * np.abs(cofactors).max())


@pytest.mark.parametrize("group", [ek.SO(20), ek.SO(1, 19)], ids=str)
def test_the_distance_of_a_large_group_needs_one_determinant(group):
    inside = group.random_element(np.random.default_rng(0))
    reflection = np.diag([1.0] * 19 + [-1.0])
    found = orbit_distance(group, jnp.asarray(np.stack([inside, inside @ reflection])))
    np.testing.assert_allclose(found, [0, 4], atol=1e-9)


def test_more_invariants_than_fit_in_memory_are_refused():
    for group, shape, orders in ((ek.S(3), (3, 3), 24), (ek.SO(20), (20, 40), 20)):
        assert_error(
            ek.TooLargeError,
            lambda group=group, shape=shape, orders=orders: invariants(group, jnp.ones(shape), orders=orders),
            "the invariants would not fit in memory",
            "entries",
            "bytes",
            "use lower orders, or fewer vectors",
        )


@pytest.mark.parametrize("group", [ek.Lorentz, ek.SO(4), ek.S(3)], ids=str)
def test_derivatives_are_finite_differences(group):
    rng = np.random.default_rng(0)
    shape = group.n, group.n
    matrices = jnp.asarray(np.stack([rng.normal(size=shape), np.zeros(shape), np.ones(shape)]))
    check_grads(jax.jit(lambda m: orbit_distance(group, m)), (matrices,), order=1, modes=["rev"], rtol=1e-5)


def test_dtypes_and_batches():
    matrix = np.random.default_rng(0).normal(size=(2, 0, 3, 3, 3))
    assert orbit_distance(ek.SO(3), jnp.asarray(matrix)).shape == (2, 0, 3)
    for given, found in (("bfloat16", "float32"), ("float32", "float32"), ("float64", "float64")):
        assert orbit_distance(ek.SO(3), jnp.eye(3, dtype=given)).dtype == found
    assert orbit_distance(ek.U(2), jnp.eye(2, dtype="complex64")).dtype == "float32"
    assert orbit_distance(ek.O(0), jnp.zeros((2, 0, 0))).tolist() == [0, 0]
    assert np.isnan(orbit_distance(ek.O(2), jnp.full((2, 2), jnp.nan)))
    assert invariants(ek.SO(3), jnp.ones((3, 2)))["x x x -> (): ^1' | ^2' | ^3'"].shape == (0,)


def test_errors():
    eye = jnp.eye(3)
    assert_error(ek.GroupError, lambda: orbit_distance(ek.GL(3), eye), "no invariants", "GL(3)", "O, SO", "nothing")
    for orders in ((3,), (), 1):  # nothing that could tell 2 from 1
        assert_error(
            ek.GroupError,
            lambda orders=orders: orbit_distance(ek.O(3), 2 * eye, orders=orders),
            "no invariants of these orders",
            "orders=",
            "invariant tensors",
            "leave orders=",
        )
    group = ek.MatrixGroup([[[-1]]])
    assert_error(ek.GroupError, lambda: invariants(group, eye[:1, :1]), "no invariants", "Matrix", "O, SO", "orders=")
    assert_error(
        ek.ShapeError,
        lambda: invariants(ek.O(2), eye),
        "vectors must have shape [*batch, 2, vectors]",
        "[3, 3]",
        "2, vectors",
        "pass an array of shape [*batch, 2, vectors]",
    )
    assert_error(
        ek.ShapeError,
        lambda: invariants(ek.O(3), eye[0]),
        "vectors must have shape [*batch, 3, vectors]",
        "[3]",
        "batch",
        "pass an array of shape [*batch, 3, vectors]",
    )
    assert_error(
        ek.ShapeError,
        lambda: orbit_distance(ek.O(3), eye[:, :2]),
        "matrix must have shape [*batch, 3, 3]",
        "[3, 2]",
        "3, 3]",
        "invariants(",
    )
    assert_error(
        ek.DTypeError,
        lambda: invariants(ek.U(3), eye),
        "vectors must be an array of complex floating-point numbers",
        "float64",
        "complex",
        "pass jnp.asarray(vectors, complex)",
    )
    assert_error(
        ek.DTypeError,
        lambda: orbit_distance(ek.U(3), eye),
        "matrix must be an array of complex floating-point numbers",
        "float64",
        "complex",
        "pass jnp.asarray(matrix, complex)",
    )
    assert_error(
        ek.ShapeError,
        lambda: orbit_distance(ek.O(), eye[:, :2]),
        "matrix must have shape [*batch, n, n]",
        "[3, 2]",
        "n, n]",
        "invariants(",
    )
    assert_error(
        ek.DTypeError,
        lambda: invariants(ek.O(2), jnp.eye(2, dtype=int)),
        "vectors must be an array of real or complex floating-poi",
        "int",
        "float",
        "pass",
    )
    assert_error(
        ek.DTypeError,
        lambda: invariants(ek.O(2), [[1.0]]),
        "vectors must be an array of real or complex floating-poi",
        "list",
        "float",
        "pass",
    )
    assert_error(
        ek.OptionError, lambda: invariants("O(3)", eye), "group= must be a Group", "'O(3)'", "a Group", "SO(3)"
    )
