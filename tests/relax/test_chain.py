"""Splits along chains: dimensions, the definition of the summands with random elements, and bad chains."""

import functools
import itertools

import numpy as np
import pytest
from chains import ABOUT_Z, CHAINS, TURN
from helpers import assert_error

import equikit as ek
from equikit import GL, SO, A, Fixed, H, MatrixGroup, O, S, Sp, Trivial, U, Z, hom
from equikit.relax import chain
from equikit.relax._containment import algebra, contains, contains_algebra, elements

SIGNATURES = ["x -> x", "x x -> x", "x x -> x x"]


def random_map(space, rng):
    return np.tensordot(rng.normal(size=space.dim), space.matrices(), 1)


def moved(matrix, group, signature, rng):
    """A map g M g^-1 for a random element."""
    element = group.matrix(group.random_element(rng))
    below, above = (functools.reduce(np.kron, [element] * len(side.split())) for side in signature.split(" -> "))
    return above @ matrix @ np.linalg.inv(below)


@pytest.mark.parametrize("signature", SIGNATURES)
@pytest.mark.parametrize("name", CHAINS)
def test_dimensions_are_differences(name, signature):
    groups = CHAINS[name]
    found = chain(signature, x=groups)
    counts = [hom(signature, x=group).dim for group in groups]
    assert found.dims == (counts[0], *np.diff(counts))
    (bases,) = (bases for key, bases in found.broken().items() if not key.startswith("->"))
    assert tuple(len(basis) for basis in bases) == found.dims[1:]
    matrices = hom(signature, x=groups[-1]).matrices()
    for basis in bases:  # orthonormal as matrices
        rows = np.tensordot(basis, matrices, 1).reshape(len(basis), matrices[0].size)
        np.testing.assert_allclose(rows @ rows.T, np.eye(len(basis)), atol=1e-9)


def test_dimensions_by_hand():
    assert chain("x x -> x x", x=CHAINS["O(3)"]).dims == (3, 7, 71)
    assert chain("x -> x", x=[O(3), Trivial(3)]).dims == (1, 8)
    assert chain("x f -> x", x=[O(3), Trivial(3)], f=Fixed(2)).dims == (2, 16)
    assert chain("x + () -> x", x=[O(3), O(2) + Trivial(1), Trivial(3)]).dims == (1, 2, 9)
    assert chain("x y -> x y", x=[O(2), Trivial(2)], y=[O(3), Trivial(3)]).dims == (1, 35)
    assert chain("x p -> x p", x=[O(2), Trivial(2)], p=S(3)).dims == (2, 6)


@pytest.mark.parametrize("name", CHAINS)
def test_parts_are_those_of_the_definition(name):
    groups, rng, signature = CHAINS[name], np.random.default_rng(0), "x x -> x x"
    found = chain(signature, x=groups)
    matrix = random_map(found.spaces[-1], rng)
    parts = found.split(matrix)
    np.testing.assert_allclose(sum(parts), matrix, atol=1e-9)
    for group, part in zip(groups, parts, strict=True):  # the part commutes with its group
        np.testing.assert_allclose(moved(part, group, signature, rng), part, atol=1e-8 * max(1, abs(part).max()) * 100)
    for group, part in zip(groups, parts[1:], strict=False):  # and has no part that the group before keeps
        assert np.abs(found.split(part)[0]).max() < 1e-9 * max(1, abs(part).max())
        # The Reynolds operator does not see a change by an element of its own group.
        np.testing.assert_allclose(
            chain(signature, x=[group, Trivial(group.n)]).split(moved(matrix, group, signature, rng))[0],
            chain(signature, x=[group, Trivial(group.n)]).split(matrix)[0],
            atol=1e-7 * max(1, abs(matrix).max()) * 100,
        )


@pytest.mark.parametrize("name", ["O(3)", "permutations", "signs"])
def test_parts_of_orthogonal_groups_are_orthogonal(name):
    found = chain("x x -> x", x=CHAINS[name])
    parts = found.split(random_map(found.spaces[-1], np.random.default_rng(0)))
    for one, other in itertools.combinations(parts, 2):
        assert abs(np.vdot(one, other)) < 1e-9


def test_the_part_of_a_finite_group_is_its_mean():
    found, matrix = chain("x -> x", x=[S(3), Z(3), Trivial(3)]), np.random.default_rng(0).normal(size=(3, 3))
    means = [np.mean([g @ matrix @ g.T for g in map(group.matrix, group.elements())], axis=0) for group in (S(3), Z(3))]
    parts = found.split(matrix)
    np.testing.assert_allclose(parts, [means[0], means[1] - means[0], matrix - means[1]], atol=1e-12)


def test_it_is_a_value():
    found = chain("x p -> x", x=[O(3), Trivial(3)], p=S(4))
    assert str(found) == 'chain("x p -> x", x=[O(3), Trivial(3)], p=S(4))'
    assert repr(found) == f"<{found}: dimensions 1 + 8>"
    assert found == chain("x p -> x", groups={"x": (O(3), Trivial(3)), "p": S(4)})
    assert hash(found) == hash(chain({"x p": "x p"}, "x", x=[O(3), Trivial(3)], p=S(4)))
    assert (found.labels, found.steps) == (("x",), 1)


# Containment.

TURNED = np.array([[0.6, -0.8, 0], [0.8, 0.6, 0], [0, 0, 1]])
SHEAR = np.array([[1, 1, 0], [0, 1, 0], [0, 0, 1]])
CYCLE, SWAP, SIGN = np.eye(3)[[1, 2, 0]], np.eye(3)[[1, 0, 2]], np.diag([-1, 1, 1])
BOOST = np.array([[1.25, 0.75, 0], [0.75, 1.25, 0], [0, 0, 1]])
MATRICES = {"turn": TURNED, "shear": SHEAR, "cycle": CYCLE, "swap": SWAP, "sign": SIGN, "boost": BOOST}
INSIDE = {
    O(3): {"turn", "cycle", "swap", "sign"},
    SO(3): {"turn", "cycle"},
    O(1, 2): {"boost", "sign"},
    H(3): {"cycle", "swap", "sign"},
    S(3): {"cycle", "swap"},
    A(3): {"cycle"},
    Z(3): {"cycle"},
    GL(3): set(MATRICES),
    O(2) + O(1): {"turn", "swap", "sign"},
    SO(2) + Trivial(1): {"turn"},
    Trivial(3): set(),
    ABOUT_Z: {"turn", "swap", "sign"},
    MatrixGroup(lie_algebra=[TURN]): {"turn"},
    MatrixGroup([SWAP.astype(int)], name="swap"): {"swap"},
}


@pytest.mark.parametrize("group", INSIDE, ids=str)
def test_matrices_in_a_group(group):
    assert {name for name, matrix in MATRICES.items() if contains(group, matrix)} == INSIDE[group]
    assert contains(group, np.eye(3))


@pytest.mark.parametrize("group", [*INSIDE, Sp(2), U(2), ek.Bistochastic(3)], ids=str)
def test_a_group_contains_its_own_elements(group):
    rng = np.random.default_rng(0)
    assert all(contains(group, matrix) for matrix in [*elements(group), group.matrix(group.random_element(rng))])
    assert all(contains_algebra(group, matrix) for matrix in algebra(group))
    assert not contains_algebra(group, np.diag([1.0, *[2.0] * (group.n - 1)])) or group == GL(3)


def test_brackets_are_in_the_lie_algebra():
    one, other = O(3).lie_algebra()[:2]
    assert contains_algebra(MatrixGroup(lie_algebra=[one, other]), one @ other - other @ one)


# Bad chains.

JORDAN = MatrixGroup([[[1, 1], [0, 1]]], name="shears")
NILPOTENT = MatrixGroup(lie_algebra=[[[0, 1], [0, 0]]])
LARGER, EXAMPLE = "give the larger group first", "write x=[ek.O(3), ek.O(2) + ek.O(1)]"
OUTSIDE, UNBOUND, NO_MEAN = "does not contain the next one", "needs groups with a size", "no Reynolds operator"
BAD = {
    "order": (ek.GroupError, {"x": [O(2) + O(1), O(3)]}, OUTSIDE, "O(2) + O(1), then O(3)", "descending", LARGER),
    "reflection": (ek.GroupError, {"x": [SO(3), O(2) + O(1)]}, OUTSIDE, "generator", "descending", LARGER),
    "algebra": (ek.GroupError, {"x": [H(3), SO(3)]}, OUTSIDE, "Lie algebra element", "descending", LARGER),
    "complex": (ek.GroupError, {"x": [O(3), U(3)]}, OUTSIDE, "Lie algebra element", "descending", LARGER),
    "complex block": (ek.GroupError, {"x": [O(3), U(2) + U(1)]}, OUTSIDE, "element", "descending", LARGER),
    "trivial": (ek.GroupError, {"x": [Trivial(2), S(2)]}, OUTSIDE, "Trivial(2), then", "descending", LARGER),
    "sizes": (ek.GroupError, {"x": [O(3), O(2)]}, "different sizes", "O(2) of size 2", "one size", "ek.O(2) + ek.O(1)"),
    "shears": (
        ek.GroupError,
        {"x": [JORDAN, Trivial(2)]},
        NO_MEAN,
        "x=shears",
        "compact or reductive",
        "end the chain",
    ),
    "nilpotent": (ek.GroupError, {"x": [NILPOTENT, Trivial(2)]}, NO_MEAN, "rank 1", "reductive", "end the chain"),
    "family": (ek.GroupError, {"x": [O, Trivial(3)]}, UNBOUND, "O", "bound groups", "write ek.O(3)"),
    "free": (ek.GroupError, {"x": [O(), Trivial(3)]}, UNBOUND, "O", "bound groups", "write ek.O(3)"),
    "plain": (ek.GroupError, {"x": [O(3), Fixed(3)]}, UNBOUND, "Fixed(3)", "bound groups", "write ek.Trivial(3)"),
    "empty": (ek.OptionError, {"x": []}, "the number of groups in a chain", "0", "an integer ≥ 2", EXAMPLE),
    "single": (ek.OptionError, {"x": [O(3)]}, "the number of groups in a chain", "1", "an integer ≥ 2", EXAMPLE),
    "none": (ek.OptionError, {"x": O(3)}, "no chains of groups", "no label", "one or more", EXAMPLE),
    "label": (ek.SignatureError, {"y": [O(3), Trivial(3)], "x": O(3)}, "'y'", "y=O(3)", "x", "remove"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_chains(name):
    error, bindings, *texts = BAD[name]
    assert_error(error, lambda: chain("x -> x", **bindings), *texts)


def test_other_bad_arguments():
    assert_error(
        ek.GroupError,
        lambda: chain("x p -> x", x=[O(2), Trivial(2)], p=S),
        "size of every label",
        "p=S",
        "bound",
        "p=ek.S(5)",
    )
    assert_error(
        ek.SignatureError,
        lambda: chain("x, x -> x", x=[SO(3), Trivial(3)]),
        "several inputs",
        "x, x -> x",
        "one input",
        "x x -> x x",
    )
    lists = {"x": [O(2), SO(2), Trivial(2)], "y": [O(2), Trivial(2)]}
    assert_error(
        ek.OptionError,
        lambda: chain("x y -> x y", **lists),
        "the chains have different lengths",
        "3 groups on 'x', 2 groups on 'y'",
        "equally many",
        "repeat a group",
    )
    wide = {"x": [O(9), Trivial(9)]}
    assert_error(
        ek.TooLargeError, lambda: chain("x x x -> x x x", **wide), "would not fit", "entries", "at most", "fewer axes"
    )
    found = chain("x -> x", x=[O(3), O(2) + O(1)])
    assert_error(ek.ShapeError, lambda: found.split(np.eye(2)), "matrix must have shape", "[2, 2]", "[3, 3]", "pass")
    assert_error(
        ek.ShapeError,
        lambda: found.split(np.ones((3, 3))),
        "does not commute",
        "a distance",
        "a map of",
        "ek.Trivial(n)",
    )
    assert_error(ek.OptionError, lambda: found.split(np.full((3, 3), np.nan)), "not finite", "9 of 9", "finite", "NaN")
    unlisted = MatrixGroup([[[1, 1], [0, 1]]])
    assert_error(
        ek.GroupError,
        lambda: chain("x -> x", x=[unlisted, Z(2)]),
        "cannot be decided",
        "MatrixGroup",
        "family",
        "lie_algebra",
    )
