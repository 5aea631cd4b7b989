"""Orthogonal, symplectic, bistochastic, hyperoctahedral and alternating groups as values, and their elements."""

import copy
import itertools
import math
import pickle

import jax.numpy as jnp
import numpy as np
import pytest

from equikit import SO, A, Bistochastic, GroupError, H, Lorentz, MatrixGroup, O, S, ShapeError, Sp, hom

MATRICES = [O(0), O(1), O(3), O(1, 3), O(0, 2), SO(1), SO(3), SO(4), SO(1, 3), SO(2, 2), Sp(0), Sp(2), Sp(4),
            *(Bistochastic(n) for n in range(5))]  # fmt: skip
EVERY = [*MATRICES, *(H(n) for n in range(4)), *(A(n) for n in range(5))]


@pytest.mark.parametrize("group", MATRICES, ids=str)
def test_elements_keep_the_form(group):
    form = np.eye(group.n) if group.form is None else group.form.matrix(group.n)
    rng = np.random.default_rng(0)
    for element in [*group.generators(), *(group.random_element(rng) for _ in range(5))]:
        np.testing.assert_allclose(element.T @ form @ element, form, atol=1e-10)
        if isinstance(group, SO):
            assert np.isclose(np.linalg.det(element), 1)
        if isinstance(group, Bistochastic):
            np.testing.assert_allclose(element.sum(1), 1, atol=1e-12)
    for element in group.lie_algebra():
        assert element.dtype.kind == "i"
        np.testing.assert_array_equal(element.T @ form + form @ element, 0 * form)


@pytest.mark.parametrize(
    ("group", "dimension"),
    [(O(4), 6), (SO(4), 6), (O(1, 3), 6), (Sp(4), 10), (Bistochastic(4), 3)], ids=str,
)  # fmt: skip
def test_the_lie_algebra_has_its_dimension(group, dimension):
    flat = np.array([element.ravel() for element in group.lie_algebra()])
    assert len(flat) == np.linalg.matrix_rank(flat) == dimension


@pytest.mark.parametrize("group", EVERY, ids=str)
def test_matrix_and_act_agree_and_are_left_actions(group):
    rng = np.random.default_rng(1)
    x = rng.normal(size=(2, group.n, 3))
    g, h = group.random_element(rng), group.random_element(rng)
    a, b = group.matrix(g), group.matrix(h)
    np.testing.assert_allclose(group.act(g, x, 1), np.einsum("ij,bjc->bic", a, x), atol=1e-12)
    np.testing.assert_allclose(group.act(g, group.act(h, x, -2), 1), np.einsum("ij,bjc->bic", a @ b, x), atol=1e-9)
    y = group.act(g, jnp.asarray(x, jnp.float32), 1)
    assert isinstance(y, jnp.ndarray)
    np.testing.assert_allclose(y, group.act(g, x, 1), atol=1e-4)


@pytest.mark.parametrize("group", EVERY, ids=str)
def test_groups_are_values(group):
    assert pickle.loads(pickle.dumps(group)) == copy.deepcopy(group) == group
    assert hash(group) == hash(copy.deepcopy(group))
    assert eval(repr(group), {**globals()}) == group
    assert group != S(group.n)


def test_names_and_order():
    assert Lorentz == O(1, 3)
    assert str(O()) == "O"
    assert O(3) != SO(3)
    groups = [O(1, 2), O(3), O(2), O(), SO(3), S(3), Sp(2), H(3)]
    assert sorted(groups) == [H(3), O(), O(2), O(3), O(1, 2), S(3), SO(3), Sp(2)]
    assert sorted([O(1, 2), O(3)]) == [O(3), O(1, 2)]


def test_reflections_are_drawn():
    rng = np.random.default_rng(0)
    assert {round(np.linalg.det(O(3).random_element(rng))) for _ in range(30)} == {1, -1}
    signs = {tuple(np.sign(np.diag(O(1, 1).random_element(rng))).astype(int)) for _ in range(60)}
    assert len(signs) == 4


def test_haar_moments():
    """Of a Haar element of O(n) each entry has mean square 1/n."""
    rng = np.random.default_rng(0)
    draws = np.array([O(3).random_element(rng) for _ in range(4000)])
    np.testing.assert_allclose((draws**2).mean(0), 1 / 3, atol=0.02)
    np.testing.assert_allclose(draws.mean(0), 0, atol=0.04)


@pytest.mark.parametrize("n", range(5))
def test_finite_groups_are_generated(n):
    for group, size in ((A(n), max(1, math.factorial(n) // 2)), (H(n), 2**n * math.factorial(n))):
        matrices = [group.matrix(g) for g in group.generators()]
        found = {np.eye(n, dtype=int).tobytes(): np.eye(n, dtype=int)}
        edge = list(found.values())
        while edge:
            made = [m @ other for m, other in itertools.product(matrices, edge)]
            edge = [m for m in {m.tobytes(): m for m in made}.values() if m.tobytes() not in found]
            found |= {m.tobytes(): m for m in edge}
        assert len(found) == size


def test_even_permutations_are_drawn():
    rng = np.random.default_rng(0)
    drawn = {tuple(A(4).random_element(rng).tolist()) for _ in range(400)}
    assert len(drawn) == 12
    assert all(round(np.linalg.det(A(4).matrix(np.array(g)))) == 1 for g in drawn)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: O().act(np.eye(2), np.ones(3), 0), ShapeError, "does not fit the axis"),
        (lambda: SO(3).act(np.eye(2), np.ones(2), 0), GroupError, "not a square matrix of the size"),
        (lambda: Lorentz.act(np.eye(5), np.ones(5), 0), GroupError, "not a square matrix of the size"),
        (lambda: H(3).matrix([-1, 2]), GroupError, "not a signed permutation"),
        (lambda: O(3).matrix(np.ones(3)), GroupError, "not a square matrix"),
        (lambda: H(2).matrix([1, 1]), GroupError, "not a signed permutation"),
        (lambda: H(2).act([1, -2], np.ones(3), 0), ShapeError, "does not fit the axis"),
        (lambda: O().random_element(np.random.default_rng(0)), GroupError, "not settled"),
        (lambda: Sp().random_element(np.random.default_rng(0), 3), GroupError, "even"),
        (lambda: O(-1), GroupError, "whole number"),
        (lambda: O(1, -1), GroupError, "whole number"),
        (lambda: O(3, 0.5), GroupError, "whole number"),
    ],
)
def test_errors(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_integers_are_not_cut_off():
    turn = np.array([[0.6, -0.8], [0.8, 0.6]])
    np.testing.assert_allclose(SO(2).act(turn, np.array([10, 0]), 0), [6, 8])
    np.testing.assert_allclose(SO(2).act(turn, jnp.array([10, 0]), 0), [6, 8], rtol=1e-6)
    assert H(2).act(np.array([2, -1]), np.array([1, 2], np.uint8), 0).tolist() == [-2, 1]
    assert H(2).act(np.array([2, -1]), np.array([True, False]), 0).tolist() == [False, True]


@pytest.mark.parametrize("group", [O(8, 8), Sp(20), SO(6, 6)], ids=str)
def test_random_elements_are_of_moderate_size(group):
    rng = np.random.default_rng(0)
    assert np.median([np.abs(group.random_element(rng)).max() for _ in range(50)]) < 10


def test_the_group_without_entries_has_matrices():
    empty = MatrixGroup(n=0)
    assert hom("x -> x", x=empty).matrices().shape == (0, 0, 0)
    assert hom("x x -> ()", x=empty).matrices().shape == (0, 1, 0)
    assert hom("x + () -> x + ()", x=empty).matrices().tolist() == [[[1]]]
    assert empty.invariants(()).tolist() == [1]


@pytest.mark.parametrize("n", range(8))
def test_random_elements_and_generators_of_the_alternating_group_are_even(n):
    generator = np.random.default_rng(0)
    for element in [*A(n).generators(), *(A(n).random_element(generator) for _ in range(20))]:
        assert round(np.linalg.det(A(n).matrix(element))) == 1


@pytest.mark.parametrize("n", range(7))
def test_the_generators_of_the_alternating_group_generate_it(n):
    known, edge = {tuple(range(n))}, [tuple(range(n))]
    while edge:
        one = edge.pop()
        for letter in A(n).generators():
            product = tuple(int(letter[i]) for i in one)
            if product not in known:
                known.add(product)
                edge.append(product)
    assert len(known) == max(math.factorial(n) // 2, 1)
