"""Irreps of symmetric groups: characters by the rule and as traces, Young's orthogonal form by its definition."""

import itertools
import math

import numpy as np
import pytest
import sympy
from helpers import assert_error
from sympy.utilities.iterables import partitions as sympy_partitions

from equikit import GroupError, O, S, TooLargeError
from equikit.groups import Irrep, character_table, cycle_type, irreps

SIZES = range(6)


def products(n):
    """All elements, and the place of each product `g[h]` in their list."""
    elements = S(n).elements()
    place = {tuple(each): i for i, each in enumerate(elements.tolist())}
    return elements, np.array([[place[tuple(g[h].tolist())] for h in elements] for g in elements])


@pytest.mark.parametrize("n", SIZES)
def test_matrices_are_orthogonal_and_multiply_as_the_elements_do(n):
    elements, table = products(n)
    for irrep in irreps(S(n)):
        matrices = irrep.matrix(elements)
        assert matrices.dtype == np.float64
        assert np.allclose(matrices @ matrices.swapaxes(-1, -2), np.eye(irrep.dim), atol=1e-12)
        found = np.einsum("aij,bjk->abik", matrices, matrices)
        assert np.allclose(found, matrices[table], atol=1e-12)


@pytest.mark.parametrize("n", SIZES)
def test_the_character_is_the_trace(n):
    elements = S(n).elements()
    for irrep in irreps(S(n)):
        traces = np.trace(irrep.matrix(elements), axis1=-2, axis2=-1)
        assert np.allclose(traces, [irrep.character(cycle_type(each)) for each in elements], atol=1e-12)


@pytest.mark.parametrize("n", SIZES)
def test_matrices_are_irreducible_and_inequivalent(n):
    """By Schur: the mean over the group of one entry times another is zero, or one over the dimension."""
    elements = S(n).elements()
    entries = [irrep.matrix(elements).reshape(len(elements), -1) * math.sqrt(irrep.dim) for irrep in irreps(S(n))]
    rows = np.concatenate(entries, axis=1)
    assert np.allclose(rows.T @ rows / len(elements), np.eye(math.factorial(n)), atol=1e-12)


@pytest.mark.parametrize("n", [*SIZES, 8, 10])
def test_characters_are_orthogonal(n):
    table, shapes = character_table(S(n)), [irrep.shape for irrep in irreps(S(n))]
    centralizers = [
        math.prod(k ** shape.count(k) * math.factorial(shape.count(k)) for k in set(shape)) for shape in shapes
    ]
    sizes = np.array([math.factorial(n) // each for each in centralizers], dtype=object)
    assert sizes.sum() == math.factorial(n)
    assert np.array_equal((table * sizes) @ table.T, math.factorial(n) * np.eye(len(table), dtype=object))
    assert np.array_equal(table.T @ table, np.diag(np.array(centralizers, dtype=object)))
    assert [irrep.dim for irrep in irreps(S(n))] == table[:, -1].tolist()
    assert sum(irrep.dim**2 for irrep in irreps(S(n))) == math.factorial(n)


@pytest.mark.parametrize("n", [3, 4])
def test_characters_are_coefficients_of_schur_polynomials(n):
    """By Frobenius: the character is a coefficient of the Vandermonde determinant times power sums."""
    x = sympy.symbols(f"x:{n}")
    vandermonde = sympy.prod(a - b for a, b in itertools.combinations(x, 2))
    for cycles in map(expanded, sympy_partitions(n)):
        product = sympy.Poly(vandermonde * sympy.prod(sum(each**k for each in x) for k in cycles), *x)
        for irrep in irreps(S(n)):
            padded = [*irrep.shape, *[0] * (n - len(irrep.shape))]
            power = [row + n - 1 - i for i, row in enumerate(padded)]
            assert product.coeff_monomial(tuple(power)) == irrep.character(cycles)


def expanded(counts):
    return tuple(sorted((k for k, count in counts.items() for _ in range(count)), reverse=True))


@pytest.mark.parametrize("n", [1, 4, 9, 20])
def test_there_is_an_irrep_for_each_partition(n):
    shapes = [irrep.shape for irrep in irreps(S(n))]
    assert sorted(shapes) == sorted(expanded(each) for each in sympy_partitions(n))
    assert shapes == sorted(shapes, reverse=True)


def test_named_irreps():
    g = np.array([2, 0, 3, 1, 4])
    assert Irrep((5,)).matrix(g).tolist() == [[1.0]]
    assert Irrep((1,) * 5).matrix(g).tolist() == [[-1.0]]  # a cycle of four points is odd
    assert np.trace(Irrep((4, 1)).matrix(g)) == pytest.approx(np.trace(S(5).matrix(g)) - 1)
    assert Irrep((50, 1)).character((2,) * 25 + (1,)) == 0
    assert Irrep((999, 1)).character((2,) * 400 + (1,) * 200) == 199
    assert Irrep((20, 1)).transpositions().shape == (20, 20, 20)


def test_batches_of_elements():
    elements = S(3).elements().reshape(2, 3, 3)
    found = Irrep((2, 1)).matrix(elements)
    assert found.shape == (2, 3, 2, 2)
    assert np.array_equal(found[1, 2], Irrep((2, 1)).matrix(elements[1, 2].tolist()))
    assert Irrep((2, 1)).matrix(elements[:, :0]).shape == (2, 0, 2, 2)


def test_bad_input():
    for shape in ((1, 2), (2, 0), (1.5,), "21", b"21", 3, None):
        assert_error(GroupError, lambda shape=shape: Irrep(shape), "not a partition", repr(shape), "descending", "sort")
    irrep = Irrep((2, 1))
    assert_error(
        GroupError, lambda: irrep.character([1, 2, 0]), "cycle type is not a partition", "[1, 2, 0]", "tuple", ""
    )
    assert_error(
        GroupError, lambda: irrep.character((2,)), "does not fit", "2 points", "partition of 3", "fixed points"
    )
    assert_error(
        GroupError, lambda: irrep.matrix([0, 1]), "not a permutation", "array([0, 1])", "0..3-1", "random_element"
    )
    assert_error(GroupError, lambda: irrep.matrix(1), "not a permutation", "1", "0..3-1", "random_element")
    for group in (S(), O(3), 4):
        assert_error(
            GroupError,
            lambda group=group: irreps(group),
            "symmetric groups with",
            str(group),
            "S(n)",
            "number of points",
        )
    assert_error(TooLargeError, lambda: irreps(S(100)), "too many irreps", "100 points", "at most 45", "smaller n")
    assert_error(TooLargeError, lambda: Irrep((10**30,)), "too many digits", "points", "10,000", "smaller")
    assert_error(
        TooLargeError, lambda: Irrep((30, 30)).transpositions(), "would not fit", "entries", "at most", "smaller"
    )
    assert_error(TooLargeError, lambda: character_table(S(30)), "too many characters", "30", "at most 18", "single")
    deep = Irrep(tuple(range(30, 0, -1)))
    assert_error(
        TooLargeError, lambda: deep.character((1,) * 465), "too many partitions", "of them", "at most", "fewer"
    )
