"""Decompositions of tensors into irreps, and the exact change of basis."""

import itertools
import math
import pickle
import time

import numpy as np
import pytest
import sympy
from helpers import assert_error

import equikit as ek
from equikit.diagrams import count_walks
from equikit.spherical import Piece, _rows, change_of_basis, count_irreps, decompose
from equikit.spherical._harmonics import derivative, solid_harmonics, step_matrix, total

ORDERS = range(6)
SPACES = [(order, symmetry) for order in ORDERS for symmetry in (None, "sym", "alt")]


def rotation(seed: int) -> np.ndarray:
    return ek.SO(3).random_element(np.random.default_rng(seed))


def power(matrix: np.ndarray, order: int) -> np.ndarray:
    result = np.eye(1)
    for _ in range(order):
        result = np.kron(result, matrix)
    return result


def blocks(space) -> list[slice]:
    """The rows of each piece."""
    ends = list(itertools.accumulate((2 * piece.degree + 1 for piece in space.pieces), initial=0))
    return [slice(start, end) for start, end in itertools.pairwise(ends)]


@pytest.mark.parametrize(("order", "symmetry"), SPACES)
def test_pieces_agree_with_the_characters_and_fill_the_space(order, symmetry):
    space = decompose(order, symmetry)
    degrees = [piece.degree for piece in space.pieces]
    assert degrees == sorted(degrees)
    assert {degree: degrees.count(degree) for degree in degrees} == count_irreps(order, symmetry)
    dims = {None: 3**order, "sym": math.comb(order + 2, 2), "alt": math.comb(3, order)}
    assert sum(2 * degree + 1 for degree in degrees) == space.dim == dims[symmetry]
    assert space.rows().shape == (space.dim, 3**order)


@pytest.mark.parametrize("order", ORDERS)
def test_counts_are_those_of_invariants(order):
    """Invariants of k axes are the pieces of degree 0; maps to l axes are pairs of equal pieces."""
    axes = " ".join("x" * order) or "()"
    counts = count_irreps(order)
    assert counts.get(0, 0) == count_walks(ek.SO(3), order)
    assert counts.get(1, 0) == ek.hom(f"{axes} -> x", x=ek.SO(3)).dim
    if order:
        assert counts.get(0, 0) == ek.hom(f"{axes} -> ()", x=ek.SO(3)).dim
        assert sum(count**2 for count in counts.values()) == ek.hom(f"{axes} -> {axes}", x=ek.O(3)).dim
        assert decompose(order).multiplicities.get((0, 1), 0) == ek.hom(f"{axes} -> ()", x=ek.O(3)).dim


@pytest.mark.parametrize(("order", "symmetry"), SPACES)
def test_rows_are_orthogonal_exactly(order, symmetry):
    space = decompose(order, symmetry)
    rows, norms = space.rows(), space.squared_norms()
    assert rows.dtype == norms.dtype == np.int64
    np.testing.assert_array_equal(rows @ rows.T, np.diag(norms))
    assert (np.gcd.reduce(rows, axis=1) == 1).all()
    assert (norms > 0).all()


@pytest.mark.parametrize("order", range(4))
def test_sympy_matrices_are_orthogonal_and_round_to_the_floats(order):
    matrix = decompose(order).to_sympy()
    assert matrix * matrix.T == sympy.eye(3**order) == matrix.T * matrix
    np.testing.assert_allclose(np.array(matrix, float), change_of_basis(order), rtol=1e-15, atol=0)
    single = change_of_basis(order, dtype=np.float32)
    assert single.dtype == np.float32
    np.testing.assert_array_equal(single, change_of_basis(order).astype(np.float32))


@pytest.mark.parametrize(("order", "symmetry"), SPACES)
def test_rotations_become_equal_blocks(order, symmetry):
    """Without any formula for Wigner matrices: off-diagonal blocks vanish, blocks of one degree agree."""
    space, basis, turn = decompose(order, symmetry), change_of_basis(order, symmetry), power(rotation(order), order)
    turned = basis @ turn @ basis.T
    np.testing.assert_allclose(basis @ turn, turned @ basis, atol=1e-12)  # the rows span a space that is kept
    first = {}
    for piece, block in zip(space.pieces, blocks(space), strict=True):
        own = turned[block, block].copy()
        np.testing.assert_allclose(own, first.setdefault(piece.degree, own), atol=1e-12)
        turned[block, block] = 0
        if piece.degree == 1:  # x, y, z
            np.testing.assert_allclose(own, rotation(order), atol=1e-12)
    np.testing.assert_allclose(turned, 0, atol=1e-12)


@pytest.mark.parametrize("order", range(1, 5))
def test_blocks_have_the_character_of_their_degree(order):
    angle = 0.7
    turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    basis, space = change_of_basis(order), decompose(order)
    turned = basis @ power(turn, order) @ basis.T
    for piece, block in zip(space.pieces, blocks(space), strict=True):
        expected = sum(math.cos(m * angle) for m in range(-piece.degree, piece.degree + 1))
        assert abs(np.trace(turned[block, block]) - expected) < 1e-12


@pytest.mark.parametrize(
    ("order", "symmetry"), [(k, s) for k in range(2, 5) for s in ("sym", "alt") if (k, s) != (4, "alt")]
)
def test_symmetric_rows_are_symmetric(order, symmetry):
    rows = decompose(order, symmetry).rows().reshape(-1, *(3,) * order)
    sign = 1 if symmetry == "sym" else -1
    for axis in range(1, order):
        np.testing.assert_array_equal(np.swapaxes(rows, axis, axis + 1), sign * rows)


@pytest.mark.parametrize("order", ORDERS)
def test_the_last_rows_are_the_solid_harmonics(order):
    """The stretched path and the polynomials are two constructions of the symmetric traceless tensors."""
    for symmetry in (None, "sym"):
        space = decompose(order, symmetry)
        assert space.pieces[-1].path == tuple(range(1, order + 1))
        np.testing.assert_array_equal(space.rows()[-(2 * order + 1) :], decompose(order).rows()[-(2 * order + 1) :])
    if order > 1:
        last = space.rows()[-(2 * order + 1) :].reshape(2 * order + 1, 3, 3, -1)
        np.testing.assert_array_equal(np.einsum("aiij->aj", last), 0)


@pytest.mark.parametrize("degree", range(8))
def test_solid_harmonics_are_harmonic(degree):
    for harmonic in solid_harmonics(degree):
        assert total(*((1, derivative(derivative(harmonic, axis), axis)) for axis in range(3))) == {}
        assert {sum(place) for place in harmonic} == {degree}


def test_the_steps_from_a_vector():
    """Degree 1 with a vector: the inner product, the cross product, and five symmetric products."""
    identity, cross = step_matrix(1, 0), step_matrix(1, 1)
    np.testing.assert_array_equal(identity[0], np.eye(3))
    u, v = np.array([1, 2, 3]), np.array([-1, 0, 5])
    np.testing.assert_array_equal(np.einsum("tsi,s,i->t", cross, u, v), np.cross(u, v))


def test_the_second_degree_is_that_of_e3nn():
    x, y, z = 1.0, 2.0, 3.0
    expected = [3**0.5 * x * z, 3**0.5 * x * y, y**2 - (x**2 + z**2) / 2, 3**0.5 * y * z, 3**0.5 / 2 * (z**2 - x**2)]
    found = change_of_basis(2)[-5:] @ np.kron([x, y, z], [x, y, z])
    np.testing.assert_allclose(found, np.sqrt(2 / 3) * np.array(expected), rtol=1e-14)


def test_pseudotensors_have_the_other_parity():
    assert decompose(1, pseudo=True).irreps == "1x1e"
    assert decompose(2, pseudo=True).irreps == "1x0o+1x1o+1x2o"
    assert decompose(2, "alt").irreps == "1x1e"  # a cross product of two vectors is a pseudovector
    assert decompose(3, "alt").irreps == "1x0o"
    assert {piece.parity for piece in decompose(3, pseudo=True).pieces} == {1}
    reflection = -np.eye(3)
    for order in range(4):
        basis = change_of_basis(order)
        np.testing.assert_allclose(
            basis @ power(reflection, order) @ basis.T, decompose(order).parity * np.eye(3**order), atol=1e-14
        )


def test_paths_say_where_a_piece_comes_from():
    assert [str(piece) for piece in decompose(2).pieces] == ["0e", "1e", "2e"]
    assert [piece.path for piece in decompose(2, "sym").pieces] == [(1, 0), (1, 2)]
    assert [piece.path for piece in decompose(3, "sym").pieces] == [(), (1, 2, 3)]  # the trace is on two paths
    assert decompose(3, "alt").pieces == (Piece(0, -1, (1, 1, 0)),)
    assert decompose(0).pieces == (Piece(0, 1, ()),)
    assert decompose(4, "alt").pieces == ()
    # The first of the two: order three is symmetric in its first two axes on the paths through 0 and 2.
    rows = decompose(3).rows().reshape(-1, 3, 3, 3)
    for piece, block in zip(decompose(3).pieces, blocks(decompose(3)), strict=True):
        sign = {0: 1, 1: -1, 2: 1}[piece.path[1]]
        np.testing.assert_array_equal(np.swapaxes(rows[block], 1, 2), sign * rows[block])


def test_decompositions_are_values():
    space = decompose(3, "sym", pseudo=True)
    assert pickle.loads(pickle.dumps(space)) == space == eval(repr(space), {"Decomposition": type(space)})
    assert len({space, decompose(3, "sym", pseudo=True), decompose(3, "sym")}) == 2
    assert str(decompose(2)) == decompose(2).irreps == "1x0e+1x1e+1x2e"
    with pytest.raises(ValueError, match="read-only"):
        decompose(2).rows()[0, 0] = 1
    own = change_of_basis(2)
    own[:] = 0
    assert change_of_basis(2).any()


def test_order_four_is_quick():
    _rows.exact_rows.cache_clear()
    for cached in (solid_harmonics, step_matrix):
        cached.cache_clear()
    start = time.process_time()
    change_of_basis(4)
    assert time.process_time() - start < 2


@pytest.mark.parametrize("order", [6, 7])
def test_higher_orders_are_orthogonal_too(order):
    space = decompose(order)
    np.testing.assert_array_equal(
        (space.rows().astype(float) @ space.rows().T).astype(np.int64), np.diag(space.squared_norms())
    )  # floats are exact here: all partial sums are whole and below 2^53
    assert space.rows().shape == (3**order, 3**order)


ERRORS = [
    (ek.OptionError, lambda: decompose(-1), "order= must be a whole number", "-1", "an integer ≥ 0", "order=1"),
    (ek.OptionError, lambda: change_of_basis(2.0), "order= must be a whole number", "2.0", "an integer ≥ 0", "order=2"),
    (ek.OptionError, lambda: count_irreps(True), "order= must be a whole number", "True", "an integer ≥ 0", "order=1"),
    (ek.OptionError, lambda: decompose(2, "skew"), "unknown value for symmetry=", "'skew'", '"sym"', "symmetry=None"),
    (
        ek.OptionError,
        lambda: count_irreps(2, ["sym"]),
        "unknown value for symmetry=",
        "['sym']",
        '"alt"',
        "symmetry=None",
    ),
    (ek.OptionError, lambda: decompose(2, pseudo=1), "pseudo= must be True or False", "1", "a bool", "pseudo=True"),
    (ek.DTypeError, lambda: change_of_basis(2, dtype=np.int32), "in this dtype", "int32", "float64", "rows()"),
    (ek.DTypeError, lambda: change_of_basis(2, dtype="foo"), "in this dtype", "'foo'", "float64", "rows()"),
    (ek.DTypeError, lambda: change_of_basis(2, dtype=0), "in this dtype", "dtype 0", "float64", "rows()"),
    (
        ek.TooLargeError,
        lambda: change_of_basis(9),
        "would not fit in memory",
        "387,420,489",
        "bytes",
        "use a smaller order",
    ),
]


@pytest.mark.parametrize(("error", "call", "problem", "got", "expected", "step"), ERRORS)
def test_errors_say_what_was_wrong(error, call, problem, got, expected, step):
    assert_error(error, call, problem, got, expected, step)
