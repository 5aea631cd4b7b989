"""Diagrams form a monoidal category, and `matrix` is a functor from it: exact integers on random diagrams."""

import itertools
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from equikit import Diagram, DiagramError, ShapeError
from equikit.diagrams import Composite, compose, flip, tensor

SIZES = {"p": 3, "q": 2}
checked = settings(deadline=None, derandomize=True, max_examples=150)

rows = st.lists(st.sampled_from("ppq"), max_size=3).map(tuple)


@st.composite
def diagrams(draw, top=rows, bottom=rows):
    top, bottom = draw(top), draw(bottom)
    block = st.integers(0, 3)
    growth = [draw(block) + 10 * (label == "q") for label in top + bottom]
    return Diagram(top, bottom, growth)


@st.composite
def chains(draw, length):
    """Diagrams that can be composed in order: the first is applied last."""
    levels = [draw(rows) for _ in range(length + 1)]
    return [draw(diagrams(st.just(a), st.just(b))) for a, b in itertools.pairwise(levels)]


@checked
@given(chains(2))
def test_composition_is_the_product_of_matrices(chain):
    after, before = chain
    composite = after @ before
    assert composite == compose(after, before) == after.compose(before)
    product = after.matrix(SIZES) @ before.matrix(SIZES)
    assert np.array_equal(product, composite.factor(SIZES) * composite.diagram.matrix(SIZES))
    for n in (1, 2):
        product = after.matrix(n) @ before.matrix(n)
        assert np.array_equal(product, composite.factor(n) * composite.diagram.matrix(n))
    assert composite.loops == tuple(sorted(composite.loops))
    assert all(count > 0 for _, count in composite.loops)


@checked
@given(diagrams(), diagrams())
def test_tensor_is_the_kronecker_product(left, right):
    both = left.tensor(right)
    assert both == tensor(left, right)
    assert np.array_equal(both.matrix(SIZES), np.kron(left.matrix(SIZES), right.matrix(SIZES)))
    assert both.num_wires == left.num_wires + right.num_wires


@checked
@given(diagrams())
def test_flip_is_the_transpose(diagram):
    assert np.array_equal(diagram.flip().matrix(SIZES), diagram.matrix(SIZES).T)
    assert np.array_equal(flip(diagram).matrix(SIZES, basis="orbit"), diagram.matrix(SIZES, basis="orbit").T)
    assert diagram.flip().flip() == diagram
    assert diagram.flip().num_wires == diagram.num_wires


@checked
@given(diagrams())
def test_identities_do_nothing(diagram):
    left, right = Diagram.identity(diagram.top), Diagram.identity(diagram.bottom)
    assert left @ diagram == diagram @ right == Composite(diagram, ())
    nothing = Diagram.identity("")
    assert diagram.tensor(nothing) == nothing.tensor(diagram) == diagram
    assert np.array_equal(left.matrix(SIZES), np.eye(len(left.matrix(SIZES)), dtype=int))


@checked
@given(diagrams())
def test_the_rank_is_the_product_of_the_sizes_of_the_wires(diagram):
    core = diagram.halves[0].core
    expected = np.prod([SIZES[label] for label in core], initial=1)
    assert np.linalg.matrix_rank(diagram.matrix(SIZES)) == expected
    assert len(core) == diagram.num_wires


@checked
@given(chains(3))
def test_composition_is_associative_with_its_loops(chain):
    a, b, c = chain
    first, last = a @ b, b @ c
    left, right = first.diagram @ c, a @ last.diagram
    assert left.diagram == right.diagram
    loops = [
        Counter(dict(first.loops)) + Counter(dict(left.loops)),
        Counter(dict(last.loops)) + Counter(dict(right.loops)),
    ]
    assert loops[0] == loops[1]


@checked
@given(chains(2), chains(2))
def test_the_interchange_law(left, right):
    both = tensor(left[0], right[0]) @ tensor(left[1], right[1])
    one, other = left[0] @ left[1], right[0] @ right[1]
    assert both.diagram == tensor(one.diagram, other.diagram)
    assert Counter(dict(both.loops)) == Counter(dict(one.loops)) + Counter(dict(other.loops))


@checked
@given(chains(2))
def test_flip_reverses_composition(chain):
    after, before = chain
    turned = before.flip() @ after.flip()
    assert turned == Composite((after @ before).diagram.flip(), (after @ before).loops)


@checked
@given(diagrams(), diagrams(), diagrams())
def test_tensor_is_associative_and_flips(a, b, c):
    assert tensor(tensor(a, b), c) == tensor(a, tensor(b, c))
    assert tensor(a, b).flip() == tensor(a.flip(), b.flip())


def test_loops_by_hand():
    cap_cup = Diagram.parse("p q p -> p p q: 1 2 | 3 2' | 1' 3'")
    counit, unit = Diagram.parse("p q q -> (): 1' | 2' | 3'"), Diagram.parse("() -> p q q: 1 | 2 3")
    assert (counit @ unit).loops == (("p", 1), ("q", 1))
    assert (counit @ unit).factor(SIZES) == 6
    assert (counit @ unit).diagram == Diagram((), (), ())
    assert str(counit @ unit) == "n_p*n_q * (() -> ():)"
    assert str(Diagram.parse("p -> (): 1'") @ Diagram.parse("() -> p: 1")) == "n * (() -> ():)"
    assert str(cap_cup @ Diagram.parse("p q -> p q p: 1 1' | 2 2' | 3")) == "p q -> p p q: 1 2 | 3 2' | 1'"
    assert str((cap_cup @ Diagram.parse("() -> p q p: 1 3 | 2")).symbol) == "n_p"


def test_a_big_factor_is_exact():
    vertices = 30
    closed = Diagram((), ("p",) * vertices, range(vertices)) @ Diagram(("p",) * vertices, (), range(vertices))
    assert closed.factor(10) == 10**30
    assert closed.factor({"p": 7}) == 7**30
    assert closed.factor(0) == 0
    assert Diagram.identity("p").compose(Diagram.identity("p")).factor({}) == 1


def test_a_factor_needs_its_sizes():
    composite = Diagram.parse("p -> (): 1'") @ Diagram.parse("() -> p: 1")
    with pytest.raises(ShapeError, match="no size is given for label 'p'"):
        composite.factor({"q": 3})


@pytest.mark.parametrize(
    ("after", "before"),
    [
        ("p p -> p: 1 1' 2'", "p -> p: 1 1'"),
        ("p -> p: 1 1'", "q -> q: 1 1'"),
        ("p q -> (): 1' | 2'", "() -> q p: 1 | 2"),
    ],
)
def test_rows_that_do_not_meet(after, before):
    with pytest.raises(DiagramError, match="cannot be composed") as caught:
        Diagram.parse(after) @ Diagram.parse(before)
    assert f"got:       {after} after {before}" in str(caught.value)


@pytest.mark.parametrize("other", [5, None, "p -> p: 1 1'", np.eye(2)], ids=type)
def test_only_diagrams_are_composed(other):
    with pytest.raises(DiagramError, match="only diagrams can be composed"):
        Diagram.identity("p").compose(other)
    with pytest.raises(DiagramError, match="only diagrams can be put side by side"):
        Diagram.identity("p").tensor(other)
