"""The action of elements on terms agrees with the matrices, in double precision."""

import numpy as np
import pytest
from scipy.linalg import expm

import equikit as ek
from equikit.auditing import act, act_each, stretch
from equikit.auditing._elements import algebra, exponential, identity, listed_products, product, same, simple
from equikit.signatures import parse_arrow

FINITE = [ek.S(4), ek.A(4), ek.Z(5), ek.D(4), ek.H(3)]
LIE = [ek.O(3), ek.SO(3), ek.Lorentz, ek.Sp(4), ek.GL(2), ek.U(2), ek.Bistochastic(3)]


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def signature(text, **groups):
    sources, targets = parse_arrow(text)
    return ek.signatures.Signature(sources, targets, tuple(sorted(groups.items())))


def test_each_axis_is_moved(rng):
    kind = signature("p x x -> p x", p=ek.S(4), x=ek.O(3))
    elements = {"p": np.array([2, 0, 3, 1]), "x": ek.O(3).random_element(rng)}
    array = rng.normal(size=(2, 4, 3, 3, 5)).astype(np.float32)
    permutation, rotation = ek.S(4).matrix(elements["p"]), elements["x"]
    wanted = np.einsum("pq,xi,yj,bqijc->bpxyc", permutation, rotation, rotation, array.astype(np.float64))
    moved = act(kind, kind.inputs[0], elements, array)
    assert moved.dtype == np.float64
    np.testing.assert_allclose(moved, wanted, atol=1e-14)


def test_determinants_and_duals():
    kind = signature("x~ -> u*", x=ek.O(3), u=ek.GL(2))
    flip, matrix = np.diag([1.0, 1.0, -1.0]), np.array([[2.0, 1.0], [0.0, 1.0]])
    elements = {"x": flip, "u": matrix}
    vector = np.ones((3, 1))
    np.testing.assert_array_equal(act(kind, kind.inputs[0], elements, vector), -flip @ vector)
    dual = act(kind, kind.outputs[0], elements, np.ones((2, 1)))
    np.testing.assert_allclose(dual, np.linalg.inv(matrix).T @ np.ones((2, 1)))


def test_samples_have_their_own_elements(rng):
    kind = signature("x -> x", x=ek.SO(3))
    elements = [{"x": ek.SO(3).random_element(rng)} for _ in range(4)]
    array = rng.normal(size=(4, 3, 2))
    moved = act_each(kind, kind.inputs[0], elements, array)
    for place, element in enumerate(elements):
        np.testing.assert_allclose(moved[place], element["x"] @ array[place])


def test_complex_elements_act_on_complex_arrays_only():
    kind = signature("u -> u", u=ek.U(2))
    element = {"u": np.diag([1j, 1])}
    assert act(kind, kind.inputs[0], element, np.ones((2, 1), np.complex64)).dtype == np.complex128
    with pytest.raises(ek.GroupError, match="complex matrix cannot act on a real array"):
        act(kind, kind.inputs[0], element, np.ones((2, 1)))


def test_the_stretch_is_a_product_over_axes():
    kind = signature("m m x -> m", m=ek.GL(2), x=ek.O(3))
    elements = {"m": np.diag([3.0, 0.5]), "x": np.eye(3)}
    assert [stretch(kind, term, elements) for term in (*kind.inputs, *kind.outputs)] == [9.0, 3.0]


@pytest.mark.parametrize("group", FINITE + LIE, ids=str)
def test_products_are_those_of_matrices(group, rng):
    one, two = group.random_element(rng), group.random_element(rng)
    np.testing.assert_allclose(group.matrix(product(group, one, two)), group.matrix(one) @ group.matrix(two))
    np.testing.assert_array_equal(group.matrix(identity(group)), np.eye(group.n))
    assert same(group, product(group, one, identity(group)), one)
    assert all(np.shape(element) == np.shape(one) for element in simple(group))


@pytest.mark.parametrize("group", LIE, ids=str)
def test_exponentials_of_the_algebra_are_in_the_group(group, rng):
    basis = algebra(group)
    assert all(np.linalg.norm(matrix) == pytest.approx(2**0.5) for matrix in basis)
    weights = 3 * rng.normal(size=len(basis))
    element = exponential(basis, weights)
    exact = expm(np.tensordot(weights, np.stack(basis), 1))
    np.testing.assert_allclose(element, exact, atol=1e-13 * np.max(np.abs(exact)))
    if group.keeps_norm:
        np.testing.assert_allclose(element @ element.conj().T, np.eye(group.n), atol=1e-12)
    elif group.form is not None:
        np.testing.assert_allclose(
            element.T @ group.form.matrix(group.n) @ element, group.form.matrix(group.n), atol=1e-9
        )


def test_products_of_groups_are_listed():
    found = listed_products({"p": ek.S(3), "z": ek.Z(4)})
    assert len({(tuple(g["p"]), tuple(g["z"])) for g in found}) == 24
    assert listed_products({"p": ek.S(5), "q": ek.S(3)}) is None
    assert listed_products({"p": ek.S(3), "x": ek.O(3)}) is None
    assert listed_products({"x": ek.MatrixGroup([[[1, 1], [0, 1]]])}) is None
    assert listed_products({}) == [{}]
