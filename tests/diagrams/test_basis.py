"""The matrices of a space are a basis of exactly the maps that commute with the group."""

import itertools

import numpy as np
import pytest
from exact import arrow, distinct_columns, kronecker, permutation_matrix, power, rank_modulo, splits

from equikit import Fixed, GroupError, OptionError, S, ShapeError, TooLargeError, hom
from equikit.diagrams import Diagram


def actions(space, elements: dict[str, list[int]]):
    """The matrices by which elements act on all inputs and on all outputs, direct sums of Kronecker products."""
    result = []
    for side in (space.signature.inputs, space.signature.outputs):
        parts = []
        for term in side:
            sizes = space.signature.sizes
            parts.append(
                kronecker(
                    permutation_matrix(elements[x]) if x in elements else np.eye(sizes[x], dtype=np.int64)
                    for x in term.labels
                )
            )
        total = np.zeros((sum(map(len, parts)),) * 2, np.int64)
        place = 0
        for part in parts:
            total[place : place + len(part), place : place + len(part)] = part
            place += len(part)
        result.append(total)
    return result


def some_elements(space, seed=0):
    """Generators of each group alone, then a few random elements of all of them at once."""
    groups = space.signature.groups
    trivial = {label: list(range(group.n)) for label, group in groups.items()}
    for label, group in groups.items():
        for element in group.generators():
            yield trivial | {label: element.tolist()}
    generator = np.random.default_rng(seed)
    for _ in range(3):
        yield {label: generator.permutation(group.n).tolist() for label, group in groups.items()}


def assert_is_basis(space, basis="diagram"):
    matrices = space.matrices(basis=basis)
    assert matrices.dtype == np.int64
    assert len(matrices) == space.dim
    flat = matrices.reshape(space.dim, matrices.shape[1] * matrices.shape[2])
    # The rank modulo a prime of some columns is at most the rank: where it is the dimension, it is exact.
    assert rank_modulo(distinct_columns(flat) if space.dim else flat) == space.dim
    return matrices


@pytest.mark.parametrize("n", range(5))
@pytest.mark.parametrize(("k", "l"), splits(6), ids=str)
def test_matrices_are_a_basis_of_equivariant_maps(k, l, n):
    space = power(k, l, S(n))
    matrices = assert_is_basis(space)
    assert len(space.diagrams) == space.dim
    assert matrices.shape == (space.dim, n**l, n**k)
    tensors = matrices.reshape(space.dim, *[n] * (k + l))
    generator = np.random.default_rng(k + 10 * l)
    for element in (*S(n).generators(), generator.permutation(n)):
        moved = tensors
        for axis in range(1, k + l + 1):
            moved = np.take(moved, element, axis=axis)
        assert np.array_equal(moved, tensors)


SMALL = {
    **{f"{k}to{l}n{n}": (arrow(k, l), {"p": S(n)}) for k, l in splits(4, 1) for n in (1, 2, 3)},
    "two": ("p q -> q p", {"p": S(3), "q": S(2)}),
    "two-diagonal": ("p q p -> q p", {"p": S(2), "q": S(2)}),
    "fixed-in": ("p in -> out p", {"p": S(3), "in": Fixed(2), "out": Fixed(3)}),
    "fixed-between": ("p i p -> j", {"p": S(3), "i": Fixed(2), "j": Fixed(2)}),
    "fixed-on-both-sides": ("i p -> p i i", {"p": S(2), "i": Fixed(2)}),
    "fixed-one": ("p i -> p", {"p": S(3), "i": Fixed(1)}),
    "only-fixed": ("i j -> j i", {"i": Fixed(2), "j": Fixed(3)}),
    "sum": ("p p + p -> p + ()", {"p": S(3)}),
    "sum-of-two": ("p + q + a: p q -> q + p", {"p": S(2), "q": S(3)}),
    "sum-with-fixed": ("p i + q -> j q + p + x: p i", {"p": S(2), "q": S(2), "i": Fixed(2), "j": Fixed(3)}),
    "weights": ("in h + h out -> in h + h", {"in": Fixed(2), "h": S(3), "out": Fixed(2)}),
    "zero-fixed": ("p i -> p + ()", {"p": S(2), "i": Fixed(0)}),
    "zero-points": ("p q -> q + ()", {"p": S(0), "q": S(2)}),
    "scalar": ("-> ", {}),
}


@pytest.mark.parametrize("basis", ["diagram", "orbit"])
@pytest.mark.parametrize(("text", "groups"), SMALL.values(), ids=SMALL)
def test_every_kind_of_space_commutes_and_is_all(text, groups, basis):
    space = hom(text, groups=groups)
    matrices = assert_is_basis(space, basis)
    _, height, width = matrices.shape
    constraints = []
    for elements in some_elements(space):
        source, target = actions(space, elements)
        assert source.shape == (width, width)
        assert target.shape == (height, height)
        assert np.array_equal(target @ matrices, matrices @ source)
        constraints.append(np.kron(target, np.eye(width, dtype=int)) - np.kron(np.eye(height, dtype=int), source.T))
    if basis == "diagram" and height * width:
        # The nullity modulo a prime is at least that over the rationals: no equivariant map is missing.
        assert height * width - rank_modulo(np.concatenate(constraints)) == space.dim


def test_plain_axes_give_a_map_for_each_pair_of_entries():
    space = hom("p in -> out p", p=S(2), out=Fixed(3), groups={"in": Fixed(2)})
    matrices = space.matrices().reshape(2, 2, 3, 3, 2, 2, 2)  # diagram, input entry, output entry; out p, p in
    plain = hom("p -> p", p=S(2)).matrices()
    for d, i, o in itertools.product(range(2), range(2), range(3)):
        expected = np.zeros((3, 2, 2, 2), np.int64)
        expected[o, :, :, i] = plain[d]
        assert np.array_equal(matrices[d, i, o], expected)
    assert (space.multiplicity, len(space.diagrams), space.dim) == (6, 2, 12)


def test_the_five_maps_from_matrices_to_vectors():
    """The contractions of arXiv:1812.09902, written with NumPy alone."""
    n = 4
    x = np.random.default_rng(0).integers(-9, 9, (n, n))
    expected = {
        "1 1' 2'": np.diag(x),
        "1 1' | 2'": x.sum(1),
        "1 2' | 1'": x.sum(0),
        "1 | 1' 2'": np.full(n, np.trace(x)),
        "1 | 1' | 2'": np.full(n, x.sum()),
    }
    space = hom("p p -> p", p=S(n))
    found = {str(d).split(": ")[1]: m @ x.ravel() for d, m in zip(space.diagrams, space.matrices(), strict=True)}
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert np.array_equal(found[name], value), name


def test_the_matrix_of_a_diagram_is_its_definition():
    space = hom("p p -> p p", p=S(3))
    for diagram, matrix in zip(space.diagrams, space.matrices(), strict=True):
        assert np.array_equal(diagram.matrix(3), matrix)
        for index in itertools.product(range(3), repeat=4):
            equal = all(index[v] == index[block[0]] for block in diagram.blocks for v in block)
            separate = len({index[block[0]] for block in diagram.blocks}) == len(diagram.blocks)
            place = (index[0] * 3 + index[1], index[2] * 3 + index[3])
            assert matrix[place] == equal
            assert diagram.matrix(3, basis="orbit")[place] == (equal and separate)


# Sizes at run time


def test_a_free_space_takes_any_size():
    space = hom("p q -> p", p=S, q=S)
    assert space.matrices({"p": 2, "q": 3}).shape == (2, 2, 6)
    assert space.matrices(3).shape == (2, 3, 9)
    assert space.sizes({"q": 1, "p": 0}) == {"p": 0, "q": 1}
    assert hom("p q -> p", p=S, q=S(3)).matrices(2).shape == (2, 2, 6)
    assert hom("p q -> p", p=S, q=S(3)).matrices({"p": 2, "q": 3}).shape == (2, 2, 6)
    assert hom("p -> p", p=S(3)).matrices(3).shape == (2, 3, 3)
    assert np.array_equal(hom("p p -> p p", p=S).matrices(5), hom("p p -> p p", p=S(5)).matrices())


SIZE_ERRORS = {
    "free": (lambda: hom("p -> p", p=S).matrices(), ShapeError, "no size is given for label 'p'"),
    "one-free": (lambda: hom("p q -> p", p=S, q=S).matrices({"p": 3}), ShapeError, "no size is given for label 'q'"),
    "contradicts": (lambda: hom("p -> p", p=S(3)).matrices(4), ShapeError, "size given for label 'p' does not fit"),
    "contradicts-one": (lambda: hom("p q -> p", p=S, q=S(2)).matrices({"p": 2, "q": 3}), ShapeError, "label 'q' does"),
    "contradicts-fixed": (lambda: hom("p -> i", p=S, i=Fixed(2)).matrices({"p": 2, "i": 3}), ShapeError, "label 'i'"),
    "unknown": (lambda: hom("p -> p", p=S).matrices({"p": 3, "r": 4}), ShapeError, "label 'r' does not fit"),
    "negative": (lambda: hom("p -> p", p=S).matrices(-1), GroupError, "must be a whole number"),
    "fraction": (lambda: hom("p -> p", p=S).matrices(2.5), GroupError, "must be a whole number"),
    "bool": (lambda: hom("p -> p", p=S).matrices(True), GroupError, "must be a whole number"),
    "basis": (lambda: hom("p -> p", p=S(2)).matrices(basis="orbits"), OptionError, "unknown value for basis="),
    "diagram-basis": (lambda: Diagram.identity("p").matrix(2, basis=None), OptionError, "unknown value for basis="),
    "diagram-free": (lambda: Diagram.identity("p q").matrix({"p": 2}), ShapeError, "label 'q'"),
    "diagram-none": (lambda: Diagram.identity("p").matrix(None), GroupError, "must be a whole number"),
    "huge": (lambda: hom(arrow(10, 10), p=S(10)).matrices(), TooLargeError, "would not fit in memory"),
    "huge-free": (lambda: hom(arrow(30, 30), p=S).matrices(100), TooLargeError, "would not fit in memory"),
    "huge-fixed": (lambda: hom("i -> j", i=Fixed(10**6), j=Fixed(10**6)).matrices(), TooLargeError, "would not fit"),
    "huge-diagram": (lambda: Diagram.identity("p p p p").matrix(1000), TooLargeError, "would not fit in memory"),
    "many-axes": (lambda: Diagram.identity(["p"] * 40).matrix(1), TooLargeError, "more vertices than an array can"),
    "terms": (lambda: hom("p + () -> p", p=S).gram(), OptionError, "several terms"),
    "terms-determinant": (lambda: hom("p + () -> p", p=S).gram_determinant(), OptionError, "several terms"),
    "terms-multiplicity": (lambda: hom("p + () -> p", p=S).multiplicity, OptionError, "several terms"),
    "terms-change": (lambda: hom("p + () -> p", p=S).change_of_basis("orbit", "diagram"), OptionError, "several"),
    "change-basis": (lambda: hom("p -> p", p=S).change_of_basis("orbit", "x"), OptionError, "for target="),
    "change-no-basis": (lambda: hom("p -> p", p=S).change_of_basis("x", "x"), OptionError, "for source="),
}


@pytest.mark.parametrize(("call", "error", "text"), SIZE_ERRORS.values(), ids=SIZE_ERRORS)
def test_errors(call, error, text):
    with pytest.raises(error, match=text) as caught:
        call()
    lines = str(caught.value).split("\n")
    assert [line[:12].strip() for line in lines[1:]] == ["got:", "expected:", "next step:"]


# The smallest cases


@pytest.mark.parametrize(("k", "l"), splits(3), ids=str)
def test_zero_points(k, l):
    space = power(k, l, S(0))
    assert space.dim == (k + l == 0)
    assert space.matrices().shape == (space.dim, 0**l, 0**k)
    assert power(k, l, S).matrices(0).shape == (len(power(k, l, S).diagrams), 0**l, 0**k)


@pytest.mark.parametrize(("k", "l"), splits(3), ids=str)
def test_one_point(k, l):
    space = power(k, l, S(1))
    assert space.dim == 1
    assert space.matrices().tolist() == [[[1]]]


def test_order_zero():
    for space in (hom("->"), hom("() -> ()")):
        assert space.dim == 1
        assert space.matrices().tolist() == [[[1]]]
        assert str(space) == 'hom("() -> ()")'
        assert space.gram().tolist() == [[1]]
        assert space.gram_determinant() == 1
        assert space.change_of_basis("diagram", "orbit").tolist() == [[1]]


def test_no_terms_at_all():
    space = hom({}, {"a": "p"}, p=S(2))
    assert (space.dim, space.pairs, tuple(space.diagrams)) == (0, (), ())
    assert space.matrices().shape == (0, 2, 0)


def test_a_long_plain_axis_beside_an_empty_one():
    assert hom("a b -> p", p=S, a=Fixed(1000), b=Fixed(1000)).matrices(0).shape == (10**6, 0, 10**6)
    assert hom("a b -> p", p=S(0), a=Fixed(1000), b=Fixed(1000)).matrices().shape == (0, 0, 10**6)


def test_the_repr_of_a_space():
    assert repr(hom("p i -> p", p=S(5), i=Fixed(2))) == '<hom("p i -> p", i=Fixed(2), p=S(5)): dimension 4>'
    assert repr(hom(arrow(4, 4), p=S)).endswith("p=S): dimension 4,140>")
