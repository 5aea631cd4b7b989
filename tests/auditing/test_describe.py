"""Elements in words."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

import equikit as ek
from equikit.auditing._describe import cycles, describe, upright, vector_text


def turn(degrees, *axis):
    return Rotation.from_rotvec(np.radians(degrees) * np.array(axis) / np.linalg.norm(axis)).as_matrix()


def boost(rapidity):
    matrix = np.eye(4)
    matrix[[0, 0, 3, 3], [0, 3, 0, 3]] = np.cosh(rapidity), np.sinh(rapidity), np.sinh(rapidity), np.cosh(rapidity)
    return matrix


@pytest.mark.parametrize(
    ("group", "element", "text"),
    [
        (ek.S(4), [0, 1, 2, 3], "the identity"),
        (ek.S(4), [3, 1, 2, 0], "the transposition (0 3) of x"),
        (ek.S(4), [1, 2, 0, 3], "the permutation (0 1 2) of x"),
        (ek.S(10), [*range(1, 10), 0], "an odd permutation of x that moves 10 of 10 points"),
        (ek.Z(5), [2, 3, 4, 0, 1], "the shift of x by 2"),
        (ek.D(5), [4, 3, 2, 1, 0], "the reflection of x that sends i to 4 - i"),
        (ek.H(3), [1, -2, 3], "the sign change of x at 1"),
        (ek.H(3), [2, 1, -3], "the permutation (0 1) of x with 1 sign change"),
        (ek.O(1), [[-1.0]], "the sign change of x"),
        (ek.O(2), [[0, -1.0], [1, 0]], "the rotation of x by 90°"),
        (ek.O(2), [[1.0, 0], [0, -1]], "the reflection of x along (0, 1)"),
        (ek.O(3), -np.eye(3), "the inversion of x"),
        (ek.O(3), np.diag([1.0, -1, 1]), "the reflection of x along (0, 1, 0)"),
        (ek.SO(3), turn(37, 0, 0, 1), "the rotation of x by 37° about (0, 0, 1)"),
        (ek.SO(3), turn(37, 0, 0, -1), "the rotation of x by -37° about (0, 0, 1)"),
        (ek.SO(3), turn(180, 1, 0, 0), "the rotation of x by 180° about (1, 0, 0)"),
        (ek.O(3), -turn(60, 1, 1, 0), "the inversion of x with a rotation by 60° about (1, 1, 0)"),
        (ek.Lorentz, boost(0.5), "a boost with rapidity 0.5 along (0, 0, 1) of x"),
        (ek.Lorentz, np.diag([-1.0, 1, 1, 1]), "a time reversal of x"),
        (ek.Lorentz, np.diag([1.0, -1, -1, 1]), "a rotation of space of x"),
        (ek.GL(2), np.diag([3.0, 1]), "an element of GL(2) on x that stretches by 3"),
        (ek.U(2), np.diag([1j, 1]), "an element of U(2) on x"),
    ],
)  # fmt: skip
def test_elements_have_names(group, element, text):
    assert describe({"x": group}, {"x": np.asarray(element)}) == text


def test_four_dimensions_have_two_planes():
    matrix = np.eye(4)
    matrix[:3, :3] = turn(50, 0, 0, 1)
    assert describe({"x": ek.O(4)}, {"x": matrix}) == "a rotation of x by 50° in 1 plane"
    matrix[3, 3] = -1
    assert describe({"x": ek.O(4)}, {"x": matrix}) == "a reflection of x with a rotation by 50° in 1 plane"


def test_several_labels_are_joined_without_identities():
    groups = {"p": ek.S(3), "q": ek.S(2), "x": ek.O(3)}
    elements = {"p": np.array([1, 0, 2]), "q": np.arange(2), "x": -np.eye(3)}
    assert describe(groups, elements) == "the transposition (0 1) of p and the inversion of x"


def test_cycles_and_vectors():
    assert cycles(np.array([1, 0, 2, 4, 5, 3])) == [[0, 1], [3, 4, 5]]
    assert vector_text(np.array([-0.5, 0.5, 0])) == "(-1, 1, 0)"
    np.testing.assert_array_equal(upright(np.array([1.0, -2.0, 0.0])), [-1, 2, 0])
