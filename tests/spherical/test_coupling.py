"""Couplings of two irreps by diagrams, with exact scales."""

import itertools
from fractions import Fraction

import numpy as np
import pytest
import sympy
from helpers import assert_error

import equikit as ek
from equikit.spherical import change_of_basis, coupling, decompose
from equikit.spherical._coupling import _components

TRIPLES = [(a, b, c) for a, b in itertools.product(range(4), repeat=2) for c in range(abs(a - b), min(a + b, 4) + 1)]


def wigner(degree: int, turn: np.ndarray) -> np.ndarray:
    """The matrix of a rotation on symmetric traceless tensors."""
    rows, power = change_of_basis(degree)[-(2 * degree + 1) :], np.eye(1)
    for _ in range(degree):
        power = np.kron(power, turn)
    return rows @ power @ rows.T


@pytest.mark.parametrize(("a", "b", "c"), TRIPLES)
def test_couplings_commute_with_rotations_and_keep_lengths(a, b, c):
    turn = ek.SO(3).random_element(np.random.default_rng(0))
    tensor = coupling(a, b, c).tensor()
    moved = np.einsum("abc,ai,bj,ck->ijk", tensor, wigner(a, turn), wigner(b, turn), wigner(c, turn))
    np.testing.assert_allclose(moved, tensor, atol=1e-12)
    np.testing.assert_allclose(np.einsum("abc,abd->cd", tensor, tensor), np.eye(2 * c + 1), atol=1e-13)


@pytest.mark.parametrize(("a", "b", "c"), TRIPLES)
def test_scales_are_exact(a, b, c):
    """Each component of the result has norm one, in rational numbers."""
    found = coupling(a, b, c)
    whole, norms = _components((a, b, c), found.diagram)
    for component in range(2 * c + 1):
        pairs = zip(whole[..., component].flat, norms[..., component].flat, strict=True)
        assert sum(Fraction(int(t) ** 2, n) for t, n in pairs) * found.squared_scale == 1
    assert found.scale**2 == sympy.Rational(*found.squared_scale.as_integer_ratio())
    assert found.scale > 0


def test_scales_up_to_degree_two():
    """The table in the documentation."""
    third, fifth = Fraction(1, 3), Fraction(1, 5)
    table = {(1, 1, 0): third, (1, 1, 1): Fraction(1, 2), (1, 1, 2): 1, (1, 2, 1): 3 * fifth, (1, 2, 2): 2 * third}
    table |= {(2, 1, 1): 3 * fifth, (2, 1, 2): 2 * third, (1, 2, 3): 1, (2, 1, 3): 1, (2, 2, 0): fifth}
    table |= {(2, 2, 1): 2 * fifth, (2, 2, 2): Fraction(12, 7), (2, 2, 3): 1, (2, 2, 4): 1}
    table |= {(0, l, l): 1 for l in range(3)} | {(l, 0, l): 1 for l in range(3)}
    expected = {(a, b, c) for a, b in itertools.product(range(3), repeat=2) for c in range(abs(a - b), a + b + 1)}
    assert table.keys() == expected
    assert {degrees: coupling(*degrees).squared_scale for degrees in table} == table


def test_diagrams_of_couplings():
    assert str(coupling(1, 1, 0).diagram) == "x x -> (): 1' 2'"
    assert coupling(1, 1, 1).diagram in ek.hom("x x -> x", x=ek.SO(3)).diagrams
    assert coupling(2, 2, 2).diagram in ek.hom("x x x x -> x x", x=ek.O(3)).diagrams
    u, v = np.array([1, 2, 3]), np.array([-1, 0, 5])
    np.testing.assert_array_equal(coupling(1, 1, 1).diagram.matrix(3) @ np.kron(u, v), np.cross(u, v))


@pytest.mark.parametrize("order", range(1, 5))
def test_paths_are_couplings_with_a_vector(order):
    """Diagrams on tensors and derivatives of polynomials give one basis, signs included."""
    rows = []
    for piece in decompose(order).pieces:
        found, source = np.ones((1, 1)), 0
        for degree in piece.path:
            found = np.einsum("aj,aic->cji", found, coupling(source, 1, degree).tensor())
            found, source = found.reshape(2 * degree + 1, -1), degree
        rows.append(found)
    np.testing.assert_allclose(np.concatenate(rows), change_of_basis(order), atol=1e-13)


def test_couplings_are_values():
    assert coupling(1, 2, 3) == coupling(1, 2, 3) != coupling(2, 1, 3)
    assert len({coupling(1, 2, 3), coupling(1, 2, 3)}) == 1


ERRORS = [
    (ek.OptionError, lambda: coupling(1, 1, 3), "result= must be a whole number", "3", "0 to 2", "1, 1, 0"),
    (
        ek.OptionError,
        lambda: coupling(3, 1, 1),
        "result= must be a whole number ≥ 2",
        "1",
        "from 2 to 4",
        "coupling(3, 1, 2)",
    ),
    (ek.OptionError, lambda: coupling(-1, 1, 1), "first= must be a whole number", "-1", "an integer ≥ 0", "first=1"),
    (ek.TooLargeError, lambda: coupling(7, 7, 7), "would not fit in memory", "entries", "bytes", "sum is at most 16"),
]


@pytest.mark.parametrize(("error", "call", "problem", "got", "expected", "step"), ERRORS)
def test_errors_of_couplings(error, call, problem, got, expected, step):
    assert_error(error, call, problem, got, expected, step)
