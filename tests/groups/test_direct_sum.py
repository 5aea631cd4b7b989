"""The trivial group and direct sums: elements, invariant tensors by independent counts, values, and bad parts."""

import copy
import pickle

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from helpers import assert_error
from in_numpy import by_numpy

import equikit as ek
from equikit import GL, SO, A, D, Fixed, H, MatrixGroup, O, S, Sp, Trivial, U, Z, hom
from equikit.cli import parse_groups
from equikit.groups import DirectSum
from equikit.symmetrization.finite._haar import draw_element

SUMS = [
    O(2) + O(1),
    O(1) + O(2),
    SO(2) + Trivial(1),
    S(2) + H(1),
    Z(3) + D(3),
    O(1, 1) + O(1),
    Sp(2) + O(1),
    A(3) + S(1) + O(1),
    MatrixGroup([[[0, -1], [1, 0]]]) + O(1),
]


def counted_by_null_space(group, order):
    """The dimension of the invariant tensors from the generators and the Lie algebra alone."""
    if not group.lie_algebra():
        return MatrixGroup(group.generators()).count_invariants(order)
    return len(MatrixGroup(group.generators(), lie_algebra=group.lie_algebra()).invariants((False,) * order))


@pytest.mark.parametrize("n", range(4))
@pytest.mark.parametrize(("signature", "axes"), [("x -> x", 2), ("x x -> x", 3), ("() -> x x x x", 4), ("() -> ()", 0)])
def test_all_maps_commute_with_the_trivial_group(n, signature, axes):
    space = hom(signature, x=Trivial(n)) if "x" in signature else hom(signature)
    assert space.dim == n**axes
    np.testing.assert_array_equal(space.matrices().reshape(n**axes, n**axes), np.eye(n**axes))


def test_the_trivial_group_has_one_element():
    group = Trivial(3)
    assert (group.elements().tolist(), group.order(), group.generators()) == ([[0, 1, 2]], 1, [])
    assert group.random_element(np.random.default_rng(0)).tolist() == [0, 1, 2]
    assert (group.has_haar, group.is_finite, group.keeps_norm, group.permutes) == (True, True, True, True)
    assert draw_element(group, jax.random.key(0), 3, jnp.float32).tolist() == [0, 1, 2]


def test_the_trivial_group_is_capped():
    space = hom("x x x -> x x x", x=Trivial(9))
    assert space.dim == 9**6
    assert_error(
        ek.TooLargeError,
        lambda: Trivial(9).invariants((False,) * 6),
        "Trivial(9) are too large",
        "entries",
        "most",
        "fewer",
    )
    assert_error(ek.GroupError, Trivial, "Trivial needs a size", "Trivial", "Trivial(n)", "Trivial(5)")


@pytest.mark.parametrize("group", SUMS, ids=str)
@pytest.mark.parametrize("order", range(4))
def test_invariant_tensors_are_counted_twice(group, order):
    assert group.count_invariants(order) == counted_by_null_space(group, order)
    tensors = group.invariants((False,) * order).reshape(-1, group.n**order)
    assert len(tensors) == group.count_invariants(order)
    if len(tensors):
        assert np.linalg.matrix_rank(tensors) == len(tensors)


@pytest.mark.parametrize("group", [*SUMS, O(2) + GL(1)], ids=str)
def test_maps_commute_with_random_elements(group):
    rng = np.random.default_rng(0)
    for signature in ("x -> x", "x x -> x", "x -> x x"):
        space = hom(signature, x=group)
        rows, columns = (len(term[0].labels) for term in (space.signature.outputs, space.signature.inputs))
        for element in (group.random_element(rng) for _ in range(3)):
            above, below = (np.eye(1), np.eye(1))
            for _ in range(rows):
                above = np.kron(above, group.matrix(element))
            for _ in range(columns):
                below = np.kron(below, group.matrix(element))
            for matrix in space.matrices():
                np.testing.assert_allclose(above @ matrix, matrix @ below, atol=1e-9 * max(1, abs(above).max()) ** 2)


@pytest.mark.parametrize(
    ("group", "part"), [(Trivial(0) + O(2), O(2)), (S(0) + S(2), S(2)), (O(2) + Trivial(0), O(2))], ids=str
)
def test_a_part_of_size_zero_changes_nothing(group, part):
    for signature in ("x -> x", "x x -> x", "x x -> x x"):
        wanted = hom(signature, x=part).matrices()
        whole = wanted.reshape(-1, wanted[0].size if len(wanted) else 1)
        found = hom(signature, x=group).matrices()
        rank = np.linalg.matrix_rank(whole) if whole.size else 0  # NumPy before 2.4 rejects empty matrices
        assert len(found) == hom(signature, x=group).dim == rank
        for matrix in found:
            np.testing.assert_allclose(hom(signature, x=part).project(matrix), matrix, atol=1e-12)


def test_dimensions_by_hand():
    # Each block has the maps of its part, and blocks of an even number of sign changes meet.
    assert hom("x -> x", x=O(2) + O(1)).dim == 2
    assert hom("x x -> x x", x=O(2) + O(1)).dim == 3 + 1 + 6  # 2222, 1111, and six ways to pair 22 with 11
    assert hom("x -> x", x=SO(2) + Trivial(1)).dim == 3
    assert hom("x x* -> ()", x=O(2) + GL(1)).dim == 2
    assert hom("x -> ()", x=O(2) + Trivial(3)).dim == 3


@pytest.mark.parametrize("group", [O(2) + O(1), S(2) + H(1), Z(3) + D(3)], ids=str)
def test_elements_are_block_diagonal_and_drawn_by_parts(group):
    rng = np.random.default_rng(0)
    draws = [group.random_element(rng) for _ in range(4000)]
    for element in draws[:5]:
        np.testing.assert_allclose(element @ element.T, np.eye(group.n), atol=1e-12)
        first = group.blocks_of_entries[0]
        assert not element[first, first.stop :].any()
        assert not element[first.stop :, first].any()
    # The mean square of the trace is the dimension of the maps from the axis to itself, and the mean that of vectors.
    traces = np.array([np.trace(element) for element in draws])
    assert abs(np.mean(traces**2) - hom("x -> x", x=group).dim) < 5 * np.std(traces**2) / 60
    assert abs(np.mean(traces) - hom("x -> ()", x=group).dim) < 5 * np.std(traces) / 60


def test_jax_draws_by_parts():
    group = O(2) + H(2) + S(2)
    draws = np.asarray(
        jax.vmap(lambda k: draw_element(group, k, 6, jnp.float32))(jax.random.split(jax.random.key(0), 64))
    )
    np.testing.assert_allclose(draws @ np.swapaxes(draws, 1, 2), np.broadcast_to(np.eye(6), draws.shape), atol=1e-5)
    assert {tuple(np.unique(np.abs(draws[:, 2:, 2:])))} == {(0, 1)}
    assert len({g[2:4, 2:4].tobytes() for g in draws}) == 8  # all of H(2)
    assert {tuple(g[4:, 4:].ravel()) for g in draws} == {(1, 0, 0, 1), (0, 1, 1, 0)}


def test_finite_parts_are_listed():
    group = S(2) + H(1) + Trivial(1)
    assert (group.order(), group.is_finite) == (4, True)
    wanted = [np.diag([0, 0, s, 1]) + np.pad(p, (0, 2)) for p in (np.eye(2), np.eye(2)[::-1]) for s in (1, -1)]
    found = {element.astype(int).tobytes() for element in group.elements()}
    assert found == {element.astype(int).tobytes() for element in wanted}
    assert (O(2) + S(2)).order() is None
    assert_error(ek.GroupError, lambda: (O(2) + S(2)).elements(), "cannot be listed", "O(2) + S(2)", "finite", "random")


def test_a_sum_is_a_value():
    group = O(2) + O(1)
    assert (str(group), repr(group), group.n) == ("O(2) + O(1)", "O(2) + O(1)", 3)
    assert eval(repr(group)) == group == copy.deepcopy(group) == pickle.loads(pickle.dumps(group))
    assert hash(group) == hash(O(2) + O(1))
    assert group != O(1) + O(2)
    assert group + S(2) == O(2) + (O(1) + S(2)) == DirectSum(O(2), O(1), S(2))
    assert sorted([O(3) + O(1), O(1) + O(2), O(1) + O(1)]) == [O(1) + O(1), O(1) + O(2), O(3) + O(1)]
    assert (group.keeps_norm, group.has_haar, group.is_finite, group.is_complex, group.free) == (
        True,
        True,
        False,
        False,
        None,
    )
    assert (O(1, 1) + O(1)).keeps_norm is False
    assert (O(1, 1) + O(1)).has_haar is False
    assert (U(1) + U(1)).is_complex
    assert eval(repr(DirectSum(O(2)))) == DirectSum(O(2))


def test_the_command_line_reads_sums():
    assert parse_groups(["x=O(2) + O(1)", "p=S", "y=Lorentz+Trivial(2)"]) == {
        "x": O(2) + O(1),
        "p": S(),
        "y": O(1, 3) + Trivial(2),
    }
    assert_error(
        ek.SignatureError, lambda: parse_groups(["x=O(2)+Nope(1)"]), "cannot be read", "Nope", "Trivial", "defines Nope"
    )
    assert_error(ek.SignatureError, lambda: parse_groups(["x=O(2)+"]), "cannot be read", "O(2)+", "a label", "S(5)")
    assert_error(ek.GroupError, lambda: parse_groups(["x=O(2)+O"]), "a direct sum needs", "O", "bound groups", "O(2)")
    assert_error(
        ek.GroupError, lambda: parse_groups(["x=O(2)+Fixed(1)"]), "a direct sum needs", "Fixed(1)", "bound", "Tr"
    )


def test_complex_parts():
    group, rng = U(1) + U(1), np.random.default_rng(0)
    element = group.random_element(rng)
    np.testing.assert_allclose(np.abs(np.diag(element)), 1)
    assert hom("u -> u", u=group).dim == 2
    # Of the weights of u u*, zero has multiplicity two, and the two differences have multiplicity one.
    assert hom("u u* -> u u*", u=group).dim == 2**2 + 1 + 1


def test_a_layer_of_a_sum_is_equivariant(x64):
    group = O(2) + O(1)
    layer = ek.nn.Linear("x x -> x x", 2, 3, x=group, rngs=nnx.Rngs(0), param_dtype=jnp.float64)
    run, rng = by_numpy(layer), np.random.default_rng(0)
    x, g = rng.normal(size=(3, 3, 2)), group.random_element(rng)
    moved = np.einsum("ij,kl,jlc->ikc", g, g, x)
    np.testing.assert_allclose(run(moved), np.einsum("ij,kl,jlc->ikc", g, g, run(x)), atol=1e-12)
    outside = O(3).random_element(rng)
    moved = np.einsum("ij,kl,jlc->ikc", outside, outside, x)
    assert np.abs(run(moved) - np.einsum("ij,kl,jlc->ikc", outside, outside, run(x))).max() > 0.01


@pytest.mark.parametrize(
    ("make", "got", "step"),
    [
        (lambda: O(2) + 3, "3", "O(2)"),
        (lambda: O(2) + O(), "O", "O(2)"),
        (lambda: O(2) + O, "class", "O(2)"),
        (lambda: O(2) + Fixed(3), "Fixed(3)", "Trivial(3)"),
        (lambda: O(2) + GL(2).dual, "GL(2)*", "write for example"),
        (lambda: DirectSum(), "None", "O(2)"),
    ],
)
def test_parts_are_bound_groups(make, got, step):
    assert_error(ek.GroupError, make, "a direct sum needs groups with a size", got, "bound groups", step)
