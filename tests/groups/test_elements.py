"""All elements of finite groups, as elements and as rotations of the plane."""

import math

import numpy as np
import pytest
from helpers import assert_error

from equikit import GL, SO, A, Bistochastic, D, GroupError, H, MatrixGroup, O, OptionError, S, Sp, TooLargeError, U, Z

GOLDEN = (1 + math.sqrt(5)) / 2
THIRD = np.array([[-1, -math.sqrt(3)], [math.sqrt(3), -1]]) / 2
FIFTH = np.array([[GOLDEN - 1, -GOLDEN, 1], [GOLDEN, 1, GOLDEN - 1], [-1, GOLDEN - 1, GOLDEN]]) / 2
CYCLE = [[0, 0, 1], [1, 0, 0], [0, 1, 0]]
ORDERS = {
    **{S(0): 1, S(1): 1, S(4): 24, A(1): 1, A(4): 12, Z(0): 1, Z(5): 5, D(0): 1, D(1): 1, D(2): 2, D(4): 8, D(5): 10},
    **{H(0): 1, H(1): 2, H(3): 48},
    **{O(0): 1, O(1): 2, O(0, 1): 2, SO(0): 1, SO(1): 1, O(1) + O(1): 4, O(1) + SO(1) + S(2): 4},
    **{Bistochastic(0): 1, Bistochastic(1): 1, Bistochastic(2): 2, U(0): 1, U(0).dual: 1, GL(0): 1, Sp(0): 1},
    MatrixGroup([[[0, -1], [1, 0]]], name="C4"): 4,
    MatrixGroup([[[0, -1, 0], [1, 0, 0], [0, 0, 1]], CYCLE], name="octahedron"): 24,
    MatrixGroup([[[0, -1], [1, -1]]], name="C3 in a skew basis"): 3,
    MatrixGroup([THIRD], name="C3"): 3,
    MatrixGroup([CYCLE, FIFTH], name="icosahedron"): 60,
    MatrixGroup([[[1j, 0], [0, -1j]], [[0, 1], [-1, 0]]], name="Q8"): 8,
    MatrixGroup([[[0, -2], [0.5, 0]]], name="C4 in a stretched basis"): 4,
    MatrixGroup(n=2, name="trivial"): 1,
    MatrixGroup([[[1j, 0], [0, -1j]], [[0, 1], [-1, 0]]], name="Q8").dual: 8,
}
SHEAR = MatrixGroup([[[1, 1], [0, 1]]], name="shear")


@pytest.mark.parametrize("group", ORDERS, ids=str)
def test_every_element_is_listed_once_and_the_identity_first(group):
    elements = group.elements(most=100)
    assert len(elements) == ORDERS[group]
    assert group.order() in (len(elements), None)
    matrices = np.stack([group.matrix(element) for element in elements])
    assert np.array_equal(matrices[0], np.eye(group.n))
    products = np.einsum("aij,bjk->abik", matrices, matrices)[:, :, None]
    assert np.all(np.isclose(products, matrices, atol=1e-9).all((-2, -1)).sum(-1) == 1)
    drawn = group.random_element(np.random.default_rng(0))
    assert drawn.shape == elements.shape[1:]
    assert np.isclose(matrices, group.matrix(drawn)).all((-2, -1)).sum() == 1


@pytest.mark.parametrize("kind", [S, H])
def test_a_free_group_has_elements_of_every_size(kind):
    assert np.array_equal(kind().elements(3), kind(3).elements())
    assert kind().order(3) == kind(3).order() == len(kind().elements(3))
    assert_error(GroupError, lambda: kind().elements(), "not settled", "n=None", "n for a free group", "n=4")


def test_groups_that_are_not_finite_or_too_large_are_refused():
    infinite = SO(3), O(1, 1), O(1) + O(2), Bistochastic(3), U(1), MatrixGroup(lie_algebra=[[[0, 1], [-1, 0]]])
    for group in infinite:
        assert not group.is_finite
        assert group.order() is None
        assert_error(GroupError, group.elements, "cannot be listed", str(group), "finite", "random_element")
    assert_error(TooLargeError, lambda: S(8).elements(), "S(8) has too many", "40,320", "5,040", "most=")
    assert_error(TooLargeError, lambda: S(10**5).elements(), "too large", "100,000", "10,000", "smaller n")
    assert_error(TooLargeError, lambda: SHEAR.elements(most=9), "shear", "more than 9", "at most 9", "most=")
    wide = MatrixGroup(n=10**6, name="wide")
    assert_error(TooLargeError, wide.elements, "wide is too large", "1,000,000", "1,000", "smaller n")
    growing = MatrixGroup([[[2, 0], [0, 1]]], name="growing")
    assert_error(GroupError, growing.elements, "growing is not finite", "1e+08", "finite group", "finite order")
    assert_error(OptionError, lambda: Z(3).elements(most=0), "most= must be", "0", "≥ 1", "most=5040")


def test_counts_need_no_list():
    assert H(100).order() == 2**100 * math.factorial(100)
    assert Z(10**40).order() == 10**40
    assert D(10**40).order() == 2 * 10**40


def test_the_list_is_read_only():
    with pytest.raises(ValueError, match="read-only"):
        Z(3).elements()[0] = 1


@pytest.mark.parametrize(("n", "whole"), [(1, True), (2, True), (3, False), (4, True), (8, False)])
@pytest.mark.parametrize("family", [Z, D])
def test_matrices_of_the_plane_are_a_group(family, n, whole):
    matrices, quotients = family(n).plane_matrices(), family(n).plane_quotients()
    assert len(matrices) == (2 * n if family is D else n)
    assert np.issubdtype(matrices.dtype, np.integer) == whole
    assert np.array_equal(matrices[0], np.eye(2))
    assert len(np.unique(np.round(matrices, 6), axis=0)) == len(matrices)
    np.testing.assert_allclose(matrices[quotients], np.einsum("gba,hbc->ghac", matrices, matrices), atol=1e-12)


def test_no_corners_have_no_rotations():
    for group in (Z(0), D(0)):
        assert group.plane_matrices().shape == (0, 2, 2)
        assert group.plane_quotients().shape == (0, 0)
