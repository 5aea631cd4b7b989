"""Vectors and dual vectors: walled Brauer diagrams, against walks, exact ranks and the definition of equivariance."""

import itertools
import math
import pickle

import numpy as np
import pytest
import sympy
from exact import rank_modulo

import equikit as ek
from equikit import GL, Diagram, S, U, hom
from equikit.diagrams import count_walks
from equikit.diagrams.algebra._category import compose, flip, tensor
from equikit.diagrams.bases._gram import inner_product

ROWS = [" ".join(row) or "()" for m in range(4) for row in itertools.product(("u", "u*"), repeat=m)]
CASES = [
    (n, below, above) for n in (1, 2, 3) for below in ROWS for above in ROWS if n ** len((below + above).split()) < 90
]


def labels(row):
    return [] if row == "()" else row.split()


def axes(below, above):
    """How many axes an invariant tensor has, and how many of them are dual."""
    return len(labels(below) + labels(above)), labels(above).count("u*") + labels(below).count("u")


def turned(group, element, row):
    """The matrix of a group element on a row of axes."""
    result = np.ones((1, 1))
    for label in labels(row):
        result = np.kron(result, group.matrix(element) if label == "u" else group.dual_element(element))
    return result


def derived(matrix, row):
    """An element of the Lie algebra on a row of axes."""
    names, n = labels(row), len(matrix)
    total = np.zeros((n ** len(names),) * 2, np.int64)
    for place, label in enumerate(names):
        one, other = (np.eye(n**m, dtype=np.int64) for m in (place, len(names) - 1 - place))
        total += np.kron(np.kron(one, matrix if label == "u" else -matrix.T), other)
    return total


@pytest.mark.parametrize("n", [1, 2, 3])
def test_four_counts_agree(n):
    seen = 0
    for _, below, above in (case for case in CASES if case[0] == n):
        space = hom(f"{below} -> {above}", groups={"u": U(n)} if below + above != "()()" else {})
        diagrams, dense = list(space.diagrams), space.matrices()
        assert space.dim == len(space.diagrams) == len(diagrams) == len(dense)
        if below + above != "()()":
            assert space.dim == count_walks(U(n), *axes(below, above)) == count_walks(GL(n), *axes(below, above))
        assert rank_modulo(dense.reshape(len(dense), dense.shape[1] * dense.shape[2])) == space.dim
        assert diagrams == sorted(set(diagrams))
        for diagram in diagrams:
            assert diagram in space.diagrams
            assert Diagram.from_halves(*diagram.halves) == diagram == Diagram.parse(str(diagram))
            assert pickle.loads(pickle.dumps(diagram)) == diagram
            assert eval(repr(diagram), vars(ek)) == diagram
        seen += space.dim
    assert seen > 40


@pytest.mark.parametrize("n", [1, 2, 3, 4])
def test_all_rows_of_six_axes(n):
    """The diagrams that are listed against walks, for every arrangement of stars."""
    for below, above in itertools.product(ROWS, ROWS):
        if below + above != "()()":
            space = hom(f"{below} -> {above}", u=U(n))
            assert len(list(space.diagrams)) == space.dim == count_walks(U(n), *axes(below, above))


@pytest.mark.parametrize("n", [1, 2, 3])
def test_maps_commute_exactly(n):
    """With the integer elements that span the Lie algebra of GL, whose complex span is also that of U."""
    for _, below, above in (case for case in CASES if case[0] == n):
        for matrix in hom(f"{below} -> {above}", groups={"u": GL(n)} if below + above != "()()" else {}).matrices():
            for element in GL(n).lie_algebra():
                assert np.array_equal(derived(element, above) @ matrix, matrix @ derived(element, below))


@pytest.mark.parametrize("group", [U(3), GL(3)], ids=str)
def test_maps_commute_with_random_elements(group):
    rng = np.random.default_rng(0)
    for _, below, above in (case for case in CASES if case[0] == 3):
        element = group.random_element(rng)
        for matrix in hom(f"{below} -> {above}", groups={"u": group} if below + above != "()()" else {}).matrices():
            assert np.allclose(turned(group, element, above) @ matrix, matrix @ turned(group, element, below))


def test_dimensions_known():
    assert [hom("u u u -> u u u", u=U(n)).dim for n in (1, 2, 3, 4)] == [1, 5, 6, 6]  # Catalan number for n = 2
    assert hom("u u* -> ", u=U).dim == 1
    assert hom("u u -> ", u=U).dim == hom("u -> u*", u=U).dim == 0
    assert hom(" -> " + " ".join(["u", "u*"] * 20), u=U(30)).dim == math.factorial(20)
    # Permutations of ten without an increasing subsequence longer than two: the tenth Catalan number.
    assert hom(" ".join("u" * 10) + " -> " + " ".join("u" * 10), u=U(2)).dim == 16796


def test_matrix_is_a_functor():
    rng = np.random.default_rng(0)
    loops = 0
    for _ in range(1500):
        low, middle, high = (ROWS[rng.integers(len(ROWS))] for _ in range(3))
        first, second = (
            list(hom(f"{a} -> {b}", groups={"u": U} if a + b != "()()" else {}).diagrams)
            for a, b in ((low, middle), (middle, high))
        )
        if not first or not second:
            continue
        before, after = first[rng.integers(len(first))], second[rng.integers(len(second))]
        product = compose(after, before)
        assert np.array_equal(after.matrix(2) @ before.matrix(2), product.matrix(2))
        assert np.array_equal(tensor(before, after).matrix(2), np.kron(before.matrix(2), after.matrix(2)))
        assert np.array_equal(flip(before).matrix(2), before.matrix(2).T)
        power = dict(inner_product(before, before)[1]).get("u", 0)
        assert 2**power == np.sum(before.matrix(2) ** 2)
        loops += bool(product.loops)
    assert loops > 5


def test_the_determinant_is_weingartens():
    space = hom("u u* -> u u*", u=U)
    n = sympy.Symbol("n", integer=True, nonnegative=True)
    assert sympy.expand(space.gram_determinant() - n**2 * (n**2 - 1)) == 0


def test_factors_compose_to_the_diagram():
    rng = np.random.default_rng(0)
    for diagram in hom("u* u u -> u u* u", u=U).diagrams:
        factored = diagram.factor()
        x = rng.integers(-5, 5, (3, 3, 3))
        assert np.array_equal(factored.apply(x, 3).ravel(), diagram.matrix(3) @ x.ravel())


def test_mixed_with_permutations():
    space = hom("p u -> p u", p=S(3), u=U(2))
    assert space.dim == 2
    assert "p=S(3), u=U(2)" in str(space)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: hom("x x* -> ", x=ek.O(3)), "O(3), which is bound to 'x', has no dual of its own"),
        (lambda: hom("x* -> ", x=ek.Fixed(3)), "Fixed(3), which is bound to 'x', has no dual"),
        (lambda: hom("u x -> u x", u=U(2), x=ek.SO(3)), "mixes real and complex vectors"),
        (lambda: hom("u -> u", u=U(2).dual), "label 'u' is bound to a dual"),
        (lambda: hom("u * -> u", u=U), "bad character '*'"),
        (lambda: hom("u* -> ", v=U), "label 'u' is not bound"),
        (lambda: hom("u -> u", groups={"u": U, "u*": U}), "no axis has the label 'u*'"),
        (lambda: ek.O(3).dual, "O(3) has no dual of its own"),
        (lambda: Diagram.parse("u u* -> (): 1' 2'") @ Diagram.parse("() -> u u: 1 2"), "cannot be composed"),
        (lambda: U(2.5), "U needs a whole number"),
        (lambda: GL(-1), "GL needs a whole number"),
        (lambda: U(2).act(U(2).random_element(np.random.default_rng(0)), np.ones(2), 0), "cannot act on a real array"),
    ],
)
def test_what_cannot_be_is_said(call, message):
    with pytest.raises(ek.EquikitError) as caught:
        call()
    assert message in str(caught.value)
    assert "next step" in str(caught.value)
