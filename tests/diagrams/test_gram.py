"""Gram matrices against dense matrices, their determinants against exact determinants."""

import flint
import numpy as np
import pytest
import sympy
from exact import arrow, rank

from equikit import SO, Fixed, GroupError, S, ShapeError, Sp, hom
from equikit.diagrams import count_partitions
from equikit.diagrams.bases._gram import inner_product

SPACES = {
    **{f"{k}to{l}": (arrow(k, l), {"p": S}) for k, l in [(1, 0), (1, 1), (2, 1), (1, 2), (2, 2), (4, 0)]},
    "two": ("p q -> q p", {"p": S, "q": S}),
    "two-diagonal": ("p q p -> q", {"p": S, "q": S}),
    "bound": (arrow(2, 2), {"p": S(2)}),
    "one-bound": ("p q p -> q", {"p": S, "q": S(1)}),
    "empty": ("p -> p", {"p": S(0)}),
    "fixed": ("p i -> p", {"p": S, "i": Fixed(3)}),
    "scalar": ("->", {}),
}


def symbols(space) -> dict[str, sympy.Symbol]:
    labels = sorted({*space.diagrams.top, *space.diagrams.bottom})
    names = ["n"] if len(labels) == 1 else [f"n_{label}" for label in labels]
    return {x: sympy.Symbol(s, integer=True, nonnegative=True) for x, s in zip(labels, names, strict=True)}


@pytest.fixture(params=SPACES.values(), ids=SPACES)
def space(request):
    text, groups = request.param
    return hom(text, groups=groups)


@pytest.mark.parametrize("n", range(5))
def test_entries_are_traces(space, n):
    gram, diagrams = space.gram(), list(space.diagrams)
    assert gram.shape == (len(diagrams), len(diagrams))
    assert isinstance(gram, sympy.ImmutableDenseMatrix)
    assert gram == gram.T
    sizes = {label: n + i for i, label in enumerate(symbols(space))}
    dense = [d.matrix(sizes) for d in diagrams]
    values = gram.subs({symbol: sizes[label] for label, symbol in symbols(space).items()})
    assert values.tolist() == [[int(np.trace(a.T @ b)) for b in dense] for a in dense]


@pytest.mark.parametrize(("k", "l"), [(1, 1), (2, 1), (2, 2), (0, 1), (3, 0)], ids=str)
def test_the_determinant_is_the_determinant(k, l):
    space = hom(arrow(k, l), p=S)
    n = sympy.Symbol("n", integer=True, nonnegative=True)
    gram, determinant = space.gram(), sympy.Poly(space.gram_determinant(), n)
    # A join has at most as many blocks as a diagram, which bounds the degree: so many points determine the polynomial.
    degree = sum(len(d.blocks) for d in space.diagrams)
    assert determinant.degree() <= degree
    for value in range(degree + 1):
        entries = [[int(x) for x in row] for row in gram.subs(n, value).tolist()]
        assert int(flint.fmpz_mat(entries).det()) == determinant.eval(value), value


@pytest.mark.parametrize("text", ["p q -> q p", "p q p -> ()", "p q q -> p"])
def test_the_determinant_with_two_labels(text):
    space = hom(text, p=S, q=S)
    symbol, gram, determinant = symbols(space), space.gram(), space.gram_determinant()
    degree = sum(len(d.blocks) for d in space.diagrams)
    for p in range(degree + 1):
        for q in range(degree + 1):
            at = {symbol["p"]: p, symbol["q"]: q}
            entries = [[int(x) for x in row] for row in gram.subs(at).tolist()]
            assert int(flint.fmpz_mat(entries).det()) == determinant.subs(at)


@pytest.mark.parametrize(("k", "l"), [(1, 1), (2, 1), (2, 2), (3, 1), (0, 3)], ids=str)
def test_the_roots_are_where_the_rank_drops(k, l):
    space = hom(arrow(k, l), p=S)
    roots = sympy.roots(space.gram_determinant())
    assert set(roots) == set(range(k + l))
    for n in range(k + l + 2):
        found = rank(space.matrices(n).reshape(space.dim, n ** (k + l)))
        assert found == count_partitions(k + l, n) == hom(arrow(k, l), p=S(n)).dim
        assert (found < space.dim) == (n in roots)


@pytest.mark.parametrize("n", range(1, 4))
def test_a_bound_space_has_no_root_at_its_size(n):
    determinant = hom(arrow(2, 2), p=S(n)).gram_determinant()
    assert determinant.subs(sympy.Symbol("n", integer=True, nonnegative=True), n) > 0


def test_determinants_are_factored():
    n, n_p, n_q = (sympy.Symbol(name, integer=True, nonnegative=True) for name in ("n", "n_p", "n_q"))
    assert hom("p -> p", p=S).gram_determinant() == n**2 * (n - 1)
    assert hom("p q -> ()", p=S, q=S).gram_determinant() == n_p * n_q
    assert str(hom("p p -> p", p=S).gram_determinant()) == "n**5*(n - 2)*(n - 1)**4"
    assert hom("p -> p", p=S(0)).gram_determinant() == 1
    assert hom("i -> i", i=Fixed(3)).gram_determinant() == 1


def test_sizes_can_be_put_in():
    space = hom("p q i -> q p", p=S, q=S, i=Fixed(2))
    at = {symbol: {"p": 4, "q": 3}[label] for label, symbol in symbols(space).items()}
    assert space.gram({"p": 4, "q": 3}) == space.gram().subs(at)
    assert space.gram_determinant({"p": 4, "q": 3}) == space.gram_determinant().subs(at)
    assert hom("p -> p", p=S(3)).gram(3).tolist() == [[3, 3], [3, 9]]
    assert [hom("p -> p", p=S).gram_determinant(n) for n in range(4)] == [0, 0, 4, 18]


@pytest.mark.parametrize(
    ("groups", "n", "error"), [(S(3), 4, ShapeError), (S, {"q": 4}, ShapeError), (S, -1, GroupError)]
)
def test_sizes_must_fit(groups, n, error):
    with pytest.raises(error):
        hom("p -> p", p=groups).gram(n)


def test_symplectic_signs_beside_a_levi_civita_tensor():
    """Inner products are those of the dense matrices where one label has a head and another a symplectic form."""
    space = hom("x x x y y -> y y", x=SO(3), y=Sp(4))
    matrices, diagrams = space.matrices(), tuple(space.diagrams)
    for i, j in np.ndindex(len(diagrams), len(diagrams)):
        factor, powers = inner_product(diagrams[i], diagrams[j])
        for label, power in powers:
            factor *= {"x": 3, "y": 4}[label] ** power
        assert factor == np.sum(matrices[i] * matrices[j])
