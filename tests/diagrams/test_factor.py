"""Factored diagrams: composed they are the diagram, multiplied step by step they are its matrix."""

import functools
import xml.etree.ElementTree as ET

import numpy as np
import pytest
import sympy

import equikit as ek
from equikit import SO, A, Bistochastic, Diagram, H, O, S, Sp, hom

GROUPS = [S(3), A(3), O(3), O(1, 2), SO(3), SO(1, 2), Sp(2), H(3), Bistochastic(3)]
n = sympy.Symbol("n", integer=True, nonnegative=True)


def diagrams_of(group):
    for k, l in [(0, 2), (2, 0), (1, 2), (2, 2), (3, 1), (2, 3)]:
        yield from hom(" ".join("p" * k) + " -> " + " ".join("p" * l), p=group).diagrams


def crossings(diagram):
    """Pairs of blocks of a row that cross when the bottom row is written behind the top row, backwards."""
    split = len(diagram.top)
    around = diagram.growth[:split] + diagram.growth[split:][::-1]
    places = {}
    for place, block in enumerate(around):
        places.setdefault(block, []).append(place)
    count = 0
    for one in places.values():
        for other in places.values():
            gaps = {sum(q < p for q in one) % len(one) for p in other}
            count += one is not other and len(gaps) > 1
    return count // 2


@pytest.mark.parametrize("group", GROUPS, ids=str)
def test_factors_compose_to_the_diagram(group):
    for diagram in diagrams_of(group):
        factored = diagram.factor()
        size = group.n
        product = factored.output @ factored.planar @ factored.input
        assert [(term.diagram, term.factor(size)) for term in product.terms] == [(diagram, 1)]
        for permutation in (factored.output, factored.input):
            assert permutation.num_wires == len(permutation.top) == len(permutation.bottom)
        if not diagram.heads:
            assert crossings(factored.planar) == 0


@pytest.mark.parametrize("group", GROUPS, ids=str)
def test_the_planar_matrix_is_the_kronecker_product_of_the_components(group):
    size = group.n
    for diagram in diagrams_of(group):
        factored = diagram.factor()
        parts = [component.matrix(size) for component in factored.components]
        assert np.array_equal(functools.reduce(np.kron, parts, np.ones((1, 1), np.int64)), factored.planar.matrix(size))


@pytest.mark.parametrize("group", GROUPS, ids=str)
def test_step_by_step_is_the_dense_product(group):
    size, rng = group.n, np.random.default_rng(0)
    for diagram in diagrams_of(group):
        x = rng.integers(-9, 9, (size,) * len(diagram.bottom))
        y = diagram.factor().apply(x, size)
        assert y.shape == (size,) * len(diagram.top)
        assert np.array_equal(y.reshape(-1), diagram.matrix(size) @ x.reshape(-1))


def test_several_labels():
    groups, size = {"p": S(3), "x": SO(3), "y": Sp(2)}, {"p": 3, "x": 3, "y": 2}
    rng = np.random.default_rng(0)
    for diagram in hom("p y x x y -> y x y p", groups=groups).diagrams:
        x = rng.integers(-9, 9, tuple(size[label] for label in diagram.bottom))
        assert np.array_equal(diagram.factor().apply(x, size).reshape(-1), diagram.matrix(size) @ x.reshape(-1))


def test_operations_are_counted():
    """As in the paper: sums over blocks of the input alone, largest first for what they leave; the rest is copied."""
    trace = Diagram.parse("p p -> p p: 1 2 | 1' 2'").factor()
    assert trace.operations() == (0, n - 1)
    assert trace.naive_operations() == (n**4, n**2 * (n**2 - 1))
    assert trace.operations(5) == (0, 4)
    rows = Diagram.parse("p p p -> p: 1 1' | 2' | 3'").factor()
    assert sympy.expand(rows.operations()[1] - (n - 1) * n**2 - (n - 1) * n) == 0
    assert Diagram.identity("p p").factor().operations() == (0, 0)
    (cross,) = hom("x x -> x", x=SO(3)).diagrams
    assert cross.factor().operations() == (0, 3)
    assert cross.factor().naive_operations() == (27, 24)


@pytest.mark.parametrize("group", [S(3), A(3), A(4), O(3), O(1, 2), SO(3), SO(4), Sp(2), Sp(4)], ids=str)
def test_the_product_does_the_arithmetic_that_is_counted(group):
    """`apply`, on numbers that count how often they are added, subtracted, or multiplied by anything but a sign."""
    done = {"additions": 0, "multiplications": 0}

    class Counted:
        def __init__(self, value):
            self.value = value

        def __add__(self, other):
            done["additions"] += 1
            return Counted(self.value + other.value)

        def __sub__(self, other):
            done["additions"] += 1
            return Counted(self.value - other.value)

        def __mul__(self, factor):
            done["multiplications"] += abs(factor) != 1
            return Counted(self.value * int(factor))

        __rmul__ = __mul__

    size, rng = group.n, np.random.default_rng(0)
    for k, l in [(2, 2), (3, 1), (2, 3)]:
        for diagram in hom(" ".join("p" * k) + " -> " + " ".join("p" * l), p=group).diagrams:
            x, factored = rng.integers(-9, 9, (size,) * k), diagram.factor()
            done.update(additions=0, multiplications=0)
            y = factored.apply(np.frompyfunc(Counted, 1, 1)(x), size)
            assert (done["multiplications"], done["additions"]) == factored.operations(size)
            values = np.frompyfunc(lambda entry: getattr(entry, "value", entry), 1, 1)(y)
            assert np.array_equal(np.reshape(values, -1).astype(int), diagram.matrix(size) @ x.reshape(-1))


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.complex64])
def test_the_dtype_is_kept(dtype):
    for group in (S(3), SO(3), SO(1, 2), Sp(2)):
        for diagram in (*hom("p p -> p p", p=group).diagrams, *hom("p p -> p", p=group).diagrams):
            y = diagram.factor().apply(np.ones((group.n,) * 2, dtype), group.n)
            assert y.dtype == dtype


def test_pictures_and_texts():
    factored = Diagram.parse("p p -> p p: 1 2' | 2 | 1'").factor()
    root = ET.fromstring(factored._repr_html_())
    assert len(list(root.iter("{http://www.w3.org/2000/svg}svg"))) == 1  # the stages share their rows
    assert str(factored).count("@") == 2
    assert [step.kind for step in factored.steps()] == ["permute", "contract", "transfer", "copy", "permute"]


def test_a_tensor_of_another_shape_is_refused():
    with pytest.raises(ek.ShapeError, match="does not fit the diagram"):
        Diagram.identity("p p").factor().apply(np.ones((3, 4)), 3)
