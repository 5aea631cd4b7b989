"""The families of groups: diagrams against walks, exact ranks, null spaces, and the definition of equivariance."""

import functools
import itertools
import math
import pickle

import flint
import numpy as np
import pytest
import sympy
from exact import PRIME, arrow, rank, rank_modulo, splits

import equikit as ek
from equikit import SO, A, Bistochastic, Diagram, H, O, S, Sp, hom
from equikit.diagrams import count_walks

GROUPS = [
    *(O(n) for n in range(4)), O(1, 1), O(1, 2), O(1, 3), *(SO(n) for n in range(5)), SO(1, 1), SO(1, 2), SO(1, 3),
    Sp(0), Sp(2), Sp(4), *(H(n) for n in range(5)), *(Bistochastic(n) for n in range(5)), *(A(n) for n in range(6)),
]  # fmt: skip
MOST = 1300
"""Entries of the dense tensors that are looked at."""
CASES = [(group, k, l) for group in GROUPS for k, l in splits(6) if group.n ** (k + l) <= MOST]
cases = pytest.mark.parametrize(("group", "k", "l"), CASES, ids=str)


def space_of(group, k, l):
    return hom(arrow(k, l), groups={"p": group} if k + l else {})


def power(matrix, order):
    result = np.ones((1, 1), np.int64)
    for _ in range(order):
        result = np.kron(result, matrix)
    return result


def derivation(matrix, order):
    """The action of an element of a Lie algebra on a tensor power."""
    n = len(matrix)
    one = [np.eye(n**i, dtype=np.int64) for i in range(order + 1)]
    return sum(
        (np.kron(np.kron(one[i], matrix), one[order - 1 - i]) for i in range(order)),
        np.zeros((n**order, n**order), np.int64),
    )


@functools.lru_cache(maxsize=8)
def actions(group, order):
    """Integer generators and elements of the Lie algebra on a tensor power, as floats: BLAS multiplies no integers."""
    found = [power(generator, order) for generator in map(group.matrix, group.generators())]
    found += [derivation(x, order) for x in (group.lie_algebra() if hasattr(group, "lie_algebra") else [])]
    return [matrix.astype(float) for matrix in found]


@cases
def test_four_counts_agree(group, k, l):
    space = space_of(group, k, l)
    diagrams = list(space.diagrams)
    dense = space.matrices()
    assert space.dim == len(space.diagrams) == len(diagrams) == len(dense)
    assert space.dim == (count_walks(group, k + l) if k + l else 1)
    assert rank_modulo(dense.reshape(len(dense), dense.shape[1] * dense.shape[2])) == space.dim
    assert diagrams == sorted(set(diagrams))
    for diagram in diagrams[:: 1 + len(diagrams) // 12]:
        assert diagram in space.diagrams
        assert Diagram.from_halves(*diagram.halves, forms=diagram.forms) == diagram
        assert Diagram.parse(str(diagram), groups={"p": group} if k + l else {}) == diagram
        assert pickle.loads(pickle.dumps(diagram)) == diagram
        assert eval(repr(diagram), vars(ek)) == diagram


@cases
def test_maps_commute_exactly(group, k, l):
    """With integer generators of the components, and with integer elements that span the Lie algebra."""
    dense = space_of(group, k, l).matrices().astype(float)
    for above, below in zip(actions(group, l), actions(group, k), strict=True):
        product = np.tensordot(dense, below, (2, 0))
        assert np.array_equal(np.moveaxis(np.tensordot(above, dense, (1, 1)), 0, 1), product)
        assert np.abs(product).max(initial=0) < 2**24  # far from where floats skip integers


@pytest.mark.parametrize("group", [g for g in GROUPS if g.n], ids=str)
def test_dimensions_are_those_of_null_spaces(group):
    """Without diagrams and without characters: the vectors that generators fix and the Lie algebra takes to zero."""
    for order in (o for o in range(1, 7) if group.n**o <= 81):
        size = group.n**order
        rows = [power(g, order) - np.eye(size, dtype=np.int64) for g in map(group.matrix, group.generators())]
        rows += [derivation(x, order) for x in (group.lie_algebra() if hasattr(group, "lie_algebra") else [])]
        constraints = np.concatenate([*rows, np.zeros((1, size), np.int64)])
        assert size - rank(constraints) == count_walks(group, order), order


def test_figures_of_the_papers():
    assert [hom("x x x -> x x x", x=O(n)).dim for n in (1, 2, 3)] == [1, 10, 15]
    assert hom("x x -> x", x=SO(3)).dim == 1
    assert [hom(arrow(k, k, "x"), x=SO(4)).dim for k in (2, 3)] == [4, 25]
    assert [hom("x x -> x x", x=Sp(n)).dim for n in (2, 4)] == [2, 3]
    assert hom("x x x -> x x x", x=Sp(2)).dim == 5
    assert hom("x x -> x x", x=A(3)).dim == 27
    assert hom("x x -> x", x=O(3)).dim == 0
    assert hom("x x x x x x -> x x x x x x", x=O).dim == 10395


def test_the_cross_product():
    (cross,) = hom("x x -> x", x=SO(3)).matrices()
    x, y = np.random.default_rng(0).integers(-9, 9, (2, 3))
    assert np.array_equal(cross @ np.kron(x, y), np.cross(x, y))


def test_the_metric_and_the_symplectic_form():
    minkowski = np.diag([1, -1, -1, -1])
    assert np.array_equal(hom("m m -> ()", m=ek.Lorentz).matrices()[0, 0].reshape(4, 4), minkowski)
    assert np.array_equal(hom("() -> m m", m=ek.Lorentz).matrices()[0, :, 0].reshape(4, 4), minkowski)
    omega = np.array([[0, 0, 1, 0], [0, 0, 0, 1], [-1, 0, 0, 0], [0, -1, 0, 0]])
    assert np.array_equal(hom("x x -> ()", x=Sp(4)).matrices()[0, 0].reshape(4, 4), omega)


CATEGORY = [O(2), O(1, 2), Sp(2), Sp(4), H(2), Bistochastic(3), O(4)]


@pytest.mark.parametrize("group", CATEGORY, ids=str)
def test_matrix_is_a_functor(group):
    n, rng = group.n, np.random.default_rng(0)
    free = {(k, l): list(space_of(type(group)() if not group.form else group, k, l).diagrams) for k, l in splits(6)}
    signs, loops = set(), set()
    for _ in range(300):
        a, b, c = rng.integers(0, 4, 3)
        if not free[a, b] or not free[b, c]:
            continue
        before, after = (pairs[rng.integers(len(pairs))] for pairs in (free[a, b], free[b, c]))
        product = after @ before
        assert np.array_equal(after.matrix(n) @ before.matrix(n), product.factor(n) * product.diagram.matrix(n))
        assert np.array_equal(before.flip().matrix(n), before.matrix(n).T)
        signs.add(product.coefficient)
        loops.add(sum(count for _, count in product.loops))
        if n ** (a + b + b + c) <= 4**8:
            assert np.array_equal(before.tensor(after).matrix(n), np.kron(before.matrix(n), after.matrix(n)))
    assert len(loops) > 1
    assert signs == ({1, -1} if isinstance(group, Sp) else {1})


HEADS = [SO(1), SO(2), SO(3), SO(4), SO(1, 1), SO(1, 2), SO(1, 3), A(2), A(3), A(4)]


@pytest.mark.parametrize("group", HEADS, ids=str)
def test_matrix_is_a_functor_with_heads(group):
    n, rng = group.n, np.random.default_rng(1)
    most = 4 if n < 4 else 3
    every = {(k, l): list(space_of(group, k, l).diagrams) for k, l in splits(2 * most) if max(k, l) <= most}
    with_head = {key: [d for d in found if d.heads] for key, found in every.items()}
    tried, terms = 0, set()
    while tried < 150:
        a, b, c = rng.integers(0, most + 1, 3)
        pools = [(with_head if rng.random() < 0.7 else every)[key] for key in ((a, b), (b, c))]
        if not all(pools):
            continue
        tried += 1
        before, after = (pool[rng.integers(len(pool))] for pool in pools)
        product = after @ before
        assert np.array_equal(after.matrix(n) @ before.matrix(n), product.matrix(n))
        assert np.array_equal(before.matrix(n).T, before.flip().matrix(n))
        terms.add(len(product.terms))
        if n ** (a + b + b + c) <= 4**7:
            assert np.array_equal(np.kron(before.matrix(n), after.matrix(n)), before.tensor(after).matrix(n))
    assert len(terms) > 1 or n == 1


def test_heads_of_two_labels_go_through_products():
    groups = {"x": SO(2), "y": SO(3), "p": S(3)}
    n = {"x": 2, "y": 3, "p": 3}
    before = [d for d in hom("x y p y -> x y p", groups=groups).diagrams if d.heads]
    after = [d for d in hom("x y p -> y y x p", groups=groups).diagrams if d.heads]
    assert before
    assert after
    for one, other in itertools.product(before[:12], after[:12]):
        assert np.array_equal(other.matrix(n) @ one.matrix(n), (other @ one).matrix(n))


def test_two_cross_products():
    (cross,) = hom("x x -> x", x=SO(3)).diagrams
    assert str(cross @ cross.flip()) == "2 * (x -> x: 1 1')"
    assert str(cross.flip()) == "(x -> x x: ^1 | ^2 | ^1')"
    assert str(cross.flip() @ cross) == "(x x -> x x: 1 1' | 2 2') - (x x -> x x: 1 2' | 2 1')"
    assert str(cross @ Diagram.parse("() -> x x: 1 2")) == "0"


def test_products_of_products():
    n = {"x": 3, "y": 2}
    (cross,) = hom("x x -> x", x=SO(3)).diagrams
    pair, omega = hom("x x -> x x", x=O).diagrams[2], hom("y y -> y y", y=Sp).diagrams[2]
    wedge = cross.flip() @ cross
    for one, other in itertools.product([wedge, pair @ pair, pair, wedge.flip()], repeat=2):
        assert np.array_equal((one @ other).matrix(n), one.matrix(n) @ other.matrix(n))
        assert np.array_equal(one.tensor(other).matrix(n), np.kron(one.matrix(n), other.matrix(n)))
    assert np.array_equal((omega @ omega).flip().matrix(n), (omega @ omega).matrix(n).T)
    zero = cross @ Diagram.parse("() -> x x: 1 2")
    assert zero.terms == ()
    assert np.array_equal((cross.flip() @ zero).matrix(n), np.zeros((9, 1)))
    assert zero.flip().matrix(n).shape == (1, 3)
    assert zero.tensor(omega @ omega).matrix(n).shape == (12, 4)
    with pytest.raises(ek.DiagramError, match="cannot be composed"):
        zero @ wedge


def test_the_snake_of_the_symplectic_group_is_minus_the_identity():
    one, pair = Diagram.identity("x", x=Sp), {"x": Sp}
    cup, cap = (Diagram.parse(text, groups=pair) for text in ("() -> x x: 1 2", "x x -> (): 1' 2'"))
    snake = one.tensor(cap) @ cup.tensor(one)
    assert (snake.coefficient, snake.diagram) == (-1, one)
    assert str(snake) == "-1 * (x -> x: 1 1')"
    assert (cap @ cup).symbol == sympy.Symbol("n", integer=True, nonnegative=True)


@pytest.mark.parametrize(
    ("group", "k", "l"),
    [(O(3), 2, 2), (Sp(2), 2, 2), (Sp(4), 2, 2), (SO(3), 3, 2), (SO(4), 2, 2), (SO(1, 2), 2, 1), (A(3), 2, 1),
     (A(3), 2, 2), (H(3), 2, 2), (Bistochastic(3), 2, 1), (O(1, 3), 2, 2)],
    ids=str,
)  # fmt: skip
def test_inner_products_are_traces(group, k, l):
    space = space_of(group, k, l)
    dense = space.matrices().reshape(space.dim, -1)
    gram = space.gram(group.n)
    assert np.array_equal(np.array(gram.tolist(), np.int64), dense @ dense.T)
    exact = flint.fmpz_mat([[int(x) for x in row] for row in gram.tolist()]).det()
    assert int(exact) == space.gram_determinant(group.n)


@pytest.mark.parametrize("group", [O(1), O(2), Sp(2), SO(2), SO(3), Bistochastic(2)], ids=str)
def test_the_basis_is_the_first_independent_diagrams(group):
    """Greedily, one diagram after another, by exact rank of dense matrices."""
    from equikit.diagrams import Diagrams

    for k, l in splits(6, 4):
        chosen = list(space_of(group, k, l).diagrams)
        kept, rows = [], np.zeros((0, group.n ** (k + l)), np.int64)
        for diagram in Diagrams(("p",) * l, ("p",) * k, (("p", group),), every=True):
            tried = np.concatenate([rows, diagram.matrix(group.n).reshape(1, -1)])
            if rank_modulo(tried) == len(tried):
                kept, rows = [*kept, diagram], tried
        assert chosen == kept


def test_mixed_labels_multiply():
    groups = {"p": S(3), "x": O(2), "y": Sp(2), "z": SO(2)}
    text = "p x y z x z -> x p y z x z"
    space = hom(text, groups=groups)
    counts = {label: count_walks(groups[label], text.split().count(label)) for label in groups}
    assert space.dim == np.prod(list(counts.values()))
    assert len(set(space.diagrams)) == space.dim
    dense = space.matrices()
    assert rank_modulo(dense.reshape(space.dim, -1)[:, :: max(1, dense[0].size // 20000)]) <= space.dim
    assert space.dim < PRIME


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Sp(3), "Sp needs an even number"),
        (lambda: O(2.5), "O needs a whole number"),
        (lambda: S(-1), "S needs a whole number"),
        (lambda: O(None, 1), "needs the positive ones too"),
        (lambda: SO(), "SO needs a size"),
        (lambda: A(), "A needs a size"),
        (lambda: hom("x -> x", x=SO), "SO needs a size"),
        (lambda: hom("x -> x", x=Sp).matrices(3), "Sp needs an even number"),
        (lambda: hom("x x -> x x", x=O(2)).matrices(basis="orbit"), "no orbit basis"),
        (lambda: hom("x x -> x x", x=O(2)).change_of_basis("orbit", "diagram"), "no orbit basis"),
        (lambda: hom("x x -> x", x=SO(3)).diagrams[0] @ hom("x -> x", x=SO(3)).diagrams[0], "cannot be composed"),
        (lambda: hom("x x -> x", x=SO(3)).diagrams[0].matrix(4), "has 3 legs"),
        (lambda: Diagram.parse("x x -> x: ^1 | ^1' | ^2'"), "do not fit the group"),
        (lambda: Diagram.parse("x x -> (): ^1' | ^2'", x=SO(3)), "do not fit the group"),
        (lambda: Diagram.parse("x x x -> (): ^1' 2' | ^3'", x=SO(2)), "do not fit the group"),
        (lambda: Diagram.parse("x x x x -> (): ^1' | ^2' | ^3' | 4'", x=A(3)), "do not fit the group"),
        (lambda: Diagram(("x", "x"), (), (0, 1), heads=(("x", 2, (0, 5)),)), "are not blocks of it"),
        (lambda: Diagram(("x", "x"), (), (0, 1), heads=(("x", 7, (0, 1)),)), "are not blocks of it"),
        (lambda: Diagram(("x", "x"), (), (0, 1), heads=(("y", 2, (0, 1)),)), "are not blocks of it"),
        (lambda: Diagram.parse("m m -> (): 1' 2'", m=ek.Lorentz).matrix(5), r"do not have the form of O\(1, 3\)"),
        (lambda: Diagram.parse("m -> m: 1 1'", m=ek.Lorentz).matrix(3), "do not have the form"),
        (lambda: Diagram.parse("m -> m: 1 1'", m=Sp).matrix(3), "do not have the form of Sp"),
        (lambda: ek.diagrams.mckay_quiver(A(3)), r"the McKay quiver of A\(3\) is not known here"),
        (lambda: ek.diagrams.mckay_quiver(SO(3), 2), r"pass O\(3\)"),
        (lambda: Diagram.parse("m m m -> m: 1 1' 2' 3'", m=ek.Lorentz), "has a form, which joins two"),
        (lambda: list(hom("x " * 14 + "-> ()", x=O(2)).diagrams), "too many to choose a basis from"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_said(call, message):
    with pytest.raises(ek.EquikitError, match=message):
        call()


def test_a_dimension_too_large_to_enumerate():
    assert hom("x " * 30 + "-> ()", x=O(2)).dim == 155117520 // 2
    # One and a vector of SO(3) are two spins of SU(2) together, whose powers have Catalan numbers of invariants.
    catalan = [math.comb(2 * k, k) // (k + 1) for k in range(49)]
    riordan = sum((-1) ** k * math.comb(48, k) * catalan[k] for k in range(49))
    assert hom("x " * 24 + "-> " + "x " * 24, x=SO(3)).dim == riordan > 10**19


def test_odd_labels_have_a_repr_that_reads_back():
    for label in ("text", "groups", "lambda", "m"):
        diagram = Diagram.parse(f"{label} {label} -> (): 1' 2'", groups={label: ek.Lorentz})
        assert eval(repr(diagram), vars(ek)) == diagram


def test_long_rows_of_pairs_begin_at_once():
    assert str(hom("x " * 40 + "->", x=O).diagrams[0]).endswith("39' 40'")
    assert str(hom("x " * 20 + "->", x=O(30)).diagrams[5]).count("|") == 9


def test_quivers():
    quiver = ek.diagrams.mckay_quiver(O(3), 2)
    assert set(quiver.successors((1,))) == {(), (2,), (1, 1)}
    assert set(ek.diagrams.mckay_quiver(H(2)).nodes) == {
        pair for pair in itertools.product([(), (1,), (2,), (1, 1)], repeat=2) if sum(map(sum, pair)) == 2
    }
    with pytest.raises(ek.GroupError, match="infinite"):
        ek.diagrams.mckay_quiver(O(3))
