"""Features that are multiplied by determinants: which maps there are, how they are written, and what is refused."""

import functools
import math

import numpy as np
import pytest
from exact import rank
from flax import nnx
from helpers import assert_error

import equikit as ek
from equikit.diagrams import Diagram
from equikit.groups import Group

SPACES = [
    ("x x -> x~", ek.O(3), 1),
    ("x -> x x~", ek.O(3), 1),
    ("x~ x~ -> x~", ek.O(3), 1),
    ("x x -> x", ek.O(3), 0),
    ("x~ -> x", ek.O(3), 0),
    ("x~ -> x~", ek.O(3), 1),
    ("x x x -> det(x)", ek.O(3), 1),
    ("det(x) -> x x~", ek.O(3), 1),
    ("det(x) x -> x~", ek.O(3), 1),
    ("det(x) -> ()", ek.O(3), 0),
    ("x~ x~ x -> x x~", ek.O(3), 6),
    ("x x x -> x~ x", ek.O(3), 6),
    ("x -> x~", ek.O(2), 1),
    ("x x~ -> x x", ek.O(2), 3),
    ("() -> x~", ek.O(1), 1),
    ("x x -> x x~", ek.O(1), 0),
    ("x x x -> x~", ek.O(1, 3), 1),
    ("x x -> x x~", ek.O(1, 3), 1),
    ("x x x -> x x~", ek.O(1, 2), 6),
    ("x x -> det(x)", ek.O(1, 1), 1),
    ("x x~ -> x x", ek.O(1, 1), 3),
    ("det(x) -> ()", ek.O(0), 1),
    ("x x + x~ -> x~ + det(x) + x", ek.O(3), 2),
]


def elements(group: Group) -> list[np.ndarray]:
    """Random elements and reflections, which generate a dense subgroup with probability one."""
    rng = np.random.default_rng(0)
    return [*(group.random_element(rng) for _ in range(3)), *(np.asarray(g, float) for g in group.generators())]


def representation(terms: tuple, element: np.ndarray) -> np.ndarray:
    """The matrix by which an element acts on a sum of terms, by the definition."""
    blocks = []
    for term in terms:
        factors = [element] * len(term.labels)
        block = functools.reduce(np.kron, factors, np.ones((1, 1)))
        blocks.append(block * np.linalg.det(element) ** len(term.determinants))
    size = sum(map(len, blocks))
    result, start = np.zeros((size, size)), 0
    for block in blocks:
        result[start : start + len(block), start : start + len(block)] = block
        start += len(block)
    return result


def pairs_of(space: ek.HomSpace) -> list[tuple[np.ndarray, np.ndarray]]:
    group = space.signature.groups["x"]
    sides = space.signature.outputs, space.signature.inputs
    return [tuple(representation(side, element) for side in sides) for element in elements(group)]


@pytest.mark.parametrize(("signature", "group", "dimension"), SPACES)
def test_the_dimension_is_that_of_the_matrices_that_commute(signature, group, dimension):
    space = ek.hom(signature, x=group)
    squares: np.ndarray = np.zeros(())
    for after, before in pairs_of(space):
        equation = np.kron(after, np.linalg.inv(before).T) - np.eye(len(after) * len(before))
        squares = squares + equation.T @ equation
    assert space.dim == dimension == np.sum(np.linalg.eigvalsh(squares) < 1e-9)


@pytest.mark.parametrize(("signature", "group", "dimension"), SPACES)
def test_the_matrices_commute_with_reflections_too(signature, group, dimension):
    space = ek.hom(signature, x=group)
    matrices = space.matrices()
    for after, before in pairs_of(space):
        np.testing.assert_allclose(after @ matrices, matrices @ before, atol=1e-8)
    assert (
        rank(matrices.reshape(len(matrices), math.prod(matrices.shape[1:])))
        == len(matrices)
        == dimension
        == len(list(space.diagrams))
    )


@pytest.mark.parametrize("odd", [False, True])
@pytest.mark.parametrize("order", range(9))
def test_under_o3_the_dimension_is_the_integral_of_characters(order, odd):
    angles = 2 * np.pi * np.arange(64) / 64  # exact for polynomials of lower degree
    trace, density = 1 + 2 * np.cos(angles), 1 - np.cos(angles)
    integral = np.mean(density * trace**order) * (1 + (-1) ** (order + odd)) / 2
    words = ["x"] * order + ["det(x)"] * odd
    assert ek.hom(" ".join(words), "", groups={"x": ek.O(3)} if words else {}).dim == round(integral)


@pytest.mark.parametrize(("source", "target"), [(False, False), (False, True), (True, False), (True, True)])
@pytest.mark.parametrize(("k", "l"), [(1, 1), (2, 1), (2, 2), (3, 2), (3, 3)])
def test_under_o3_the_dimension_is_that_of_schurs_lemma(k, l, source, target):
    """One map for each pair of equal irreps, degree and parity, which `decompose` counts without diagrams."""
    sides = [ek.spherical.decompose(order, pseudo=odd).multiplicities for order, odd in ((k, source), (l, target))]
    rows = (" ".join(["x"] * order) + "~" * odd for order, odd in ((k, source), (l, target)))
    assert ek.hom(*rows, x=ek.O(3)).dim == sum(count * sides[1].get(irrep, 0) for irrep, count in sides[0].items())


@pytest.mark.parametrize("group", [ek.O(1), ek.O(2), ek.O(3), ek.O(4), ek.O(1, 1), ek.O(2, 1)], ids=str)
@pytest.mark.parametrize(("k", "l"), [(1, 1), (2, 1), (3, 1), (2, 2), (3, 2)])
def test_even_and_odd_maps_are_together_those_of_the_rotations(group, k, l):
    rows = " ".join(["x"] * k), " ".join(["x"] * l)
    special = ek.SO(group.n - group.negative, group.negative)
    even, odd, all_maps = (
        [*ek.hom(rows[0], rows[1] + mark, x=g).diagrams] for mark, g in (("", group), ("~", group), ("", special))
    )
    assert even + odd == all_maps


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("x~ x~ -> x", "x x -> x"),
        ("x~ x -> x~", "x x~ -> x~"),
        ("x -> x~ x", "x -> det(x) x x"),
        ("det(x) det(x) -> x~", "() -> x~"),
        ("det( x ) x -> x", "x~ -> x"),
    ],
)
def test_factors_count_for_the_whole_term_and_two_are_one(one, other):
    spaces = [ek.hom(text, x=ek.O(2)) for text in (one, other)]
    assert spaces[0].dim == spaces[1].dim
    assert [*spaces[0].diagrams] == [*spaces[1].diagrams]


def test_each_label_has_a_determinant_of_its_own():
    spaces = {
        text: ek.hom(text, x=ek.O(2), y=ek.O(3)).dim for text in ("x y y -> x~ y~", "x y y -> x y~", "x y -> x~ y")
    }
    assert spaces == {"x y y -> x~ y~": 1, "x y y -> x y~": 1, "x y -> x~ y": 1}
    assert ek.hom("x y -> x y~", x=ek.O(2), y=ek.O(3)).dim == 0


def test_names_are_the_words_as_written():
    signature = ek.hom("x x~ + det(x) + a: x~ -> x~ x", x=ek.O(3)).signature
    assert [term.name for term in (*signature.inputs, *signature.outputs)] == ["x x~", "det(x)", "a", "x~ x"]
    assert str(signature) == "x x~ + det(x) + a: x~ -> x~ x"
    assert ek.hom(str(signature), x=ek.O(3)).signature == signature


def test_a_signature_of_several_inputs_is_written_as_it_is_read():
    text = "sym(x~, x~), alt(x~ x), det(x) x -> det(x) sym(x x)"
    space = ek.hom(text, x=ek.O(3))
    assert space.text == text
    assert ek.hom(space.text, x=ek.O(3)) == space


def test_a_label_may_be_called_det():
    assert ek.hom("det p -> det", det=ek.S, p=ek.S).dim == 2
    assert ek.hom("det(det) det -> det~", det=ek.O(3)).dim == 1


@pytest.mark.parametrize("signature", ["x~ -> x", "x x -> x~", "x x x -> det(x)", "det(x) -> ()"])
def test_under_so_the_mark_changes_nothing(signature):
    bare = signature.replace("~", "").replace("det(x)", "()")
    marked, plain = (ek.hom(text, groups={"x": ek.SO(3)} if "x" in text else {}) for text in (signature, bare))
    assert marked.dim == plain.dim
    assert [*marked.diagrams] == [*plain.diagrams]


@pytest.mark.parametrize("signature", ["x~ -> x~", "x~ x -> x x~", "det(x) -> det(x)"])
def test_a_free_group_has_the_maps_of_even_determinants(signature):
    bare = signature.replace("~", "").replace("det(x)", "()")
    plain = ek.hom(bare, groups={"x": ek.O} if "x" in bare else {})
    assert [*ek.hom(signature, x=ek.O).diagrams] == [*plain.diagrams]


@pytest.mark.parametrize("signature", ["x x -> x~", "x + x~ -> x", "x, x -> x~", "det(x) -> ()"])
def test_odd_maps_of_a_free_group_are_refused(signature):
    problem, step = "maps that change their sign under reflections depend on n", "write O(3) in place of O"
    assert_error(ek.GroupError, lambda: ek.hom(signature, x=ek.O), problem, "the free group O", "with a size", step)
    assert ek.hom(signature, x=ek.O(3)).dim < 3


@pytest.mark.parametrize(
    ("signature", "groups", "problem", "caret"),
    [
        ("p~ -> p", {"p": ek.S(3)}, "S(3), which is bound to 'p', has no pseudotensors", (0, 2)),
        ("p -> p det(p)", {"p": ek.S}, "S, which is bound to 'p', has no pseudotensors", (0, 1)),
        ("u*~ -> u", {"u": ek.U(2)}, "U(2), which is bound to 'u', has no pseudotensors", (0, 3)),
        ("f~ -> f", {"f": ek.Fixed(3)}, "Fixed(3), which is bound to 'f', has no pseudotensors", (0, 2)),
        ("x ~ -> x", {"x": ek.O(3)}, "'~' without a label right before it", (2, 1)),
        ("x, x~~ -> x", {"x": ek.O(3)}, "'~' without a label right before it", (5, 1)),
        ("x~: x -> x", {"x": ek.O(3)}, "a ':' must follow one name, at the start of a term", (2, 1)),
        ("sym(x x det(x)) -> x", {"x": ek.O(3)}, "'det(x)' inside 'sym', which is not an axis", (8, 6)),
        ("det(x x) -> x", {"x": ek.O(3)}, "'det' of something that is not one label", (0, 3)),
        ("x~ -> x", {}, "label 'x' is not bound to a group", (0, 2)),
    ],
)
def test_errors_point_at_the_place(signature, groups, problem, caret):
    with pytest.raises(ek.SignatureError) as caught:
        ek.hom(signature, groups=groups)
    assert caught.value.problem == problem
    assert (caught.value.at.start, caught.value.at.length) == caret


def test_a_dictionary_of_terms_has_marks_and_errors_point_into_them():
    assert ek.hom({"a": "x", "b": "x"}, {"c": "x~"}, x=ek.O(2)).dim == 2
    with pytest.raises(ek.SignatureError, match="has no pseudotensors") as caught:
        ek.hom({"a": "p p~"}, {"c": "p"}, p=ek.S)
    assert caught.value.at.text == "a: p p~ -> c: p"


def test_rows_of_diagrams_have_no_marks():
    with pytest.raises(ek.SignatureError, match="rows of diagrams have no determinants"):
        Diagram.parse("x x -> x~: ^1 | ^1' | ^2'", x=ek.SO(3))


@pytest.mark.parametrize(("signature", "group", "_"), SPACES[:3] + SPACES[10:14])
def test_diagrams_are_values_of_their_space(signature, group, _):
    space = ek.hom(signature, x=group)
    for place, diagram in enumerate(space.diagrams):
        assert diagram in space.diagrams
        assert space.diagrams.index(diagram) == place
        assert eval(repr(diagram), {"Diagram": Diagram, "SO": ek.SO}) == diagram
    even = Diagram.identity("x")
    assert even in ek.hom("x -> x", x=group).diagrams
    assert even not in ek.hom("x -> x~", x=group).diagrams


@pytest.mark.parametrize(("signature", "group", "_"), SPACES[10:14])
def test_gram_matrices_and_projections_are_those_of_the_matrices(signature, group, _):
    space = ek.hom(signature, x=group)
    flat = space.matrices().reshape(space.dim, -1)
    np.testing.assert_array_equal(np.array(space.gram(group.n), int), flat @ flat.T)
    assert space.gram_determinant(group.n) == round(np.linalg.det(flat @ flat.T))
    weights = np.arange(1.0, space.dim + 1)
    matrix = np.tensordot(weights, space.matrices(), 1)
    np.testing.assert_allclose(space.coefficients(matrix), weights, atol=1e-9)
    even = ek.hom(signature.replace("~", ""), x=group)
    np.testing.assert_allclose(even.project(matrix), 0, atol=1e-9)


MULTILINEAR = [
    ("x, x -> x~", ek.O(3), 1),
    ("x, x~ -> x", ek.O(3), 1),
    ("x, x~ -> det(x)", ek.O(3), 1),
    ("alt(x, x) -> x~", ek.O(3), 1),
    ("sym(x, x) -> x~", ek.O(3), 0),
    ("x x, x -> x~ x", ek.O(3), 6),
    ("x, sym(x x) -> sym(x x~)", ek.O(3), 1),
    ("det(x), x x -> x~", ek.O(3), 0),
    ("x~, x~ -> x~", ek.O(3), 1),
    ("x, x, x -> x~", ek.O(1, 3), 1),
    ("x, x~ x -> x", ek.O(2), 3),
]


@pytest.mark.parametrize(("signature", "group", "dimension"), MULTILINEAR)
def test_maps_of_several_inputs_commute_with_reflections_too(signature, group, dimension):
    space = ek.hom(signature, x=group)
    matrices = space.matrices()
    for element in elements(group):
        after = representation((space.output,), element)
        before = functools.reduce(np.kron, [representation((term,), element) for term in space.inputs])
        np.testing.assert_allclose(after @ matrices, matrices @ before, atol=1e-8)
    assert rank(matrices.reshape(len(matrices), math.prod(matrices.shape[1:]))) == space.dim == dimension


def test_dimensions_are_counted_without_a_list():
    row = " ".join(["x"] * 20)
    even, odd, all_maps = (
        ek.hom(row, word, x=g).dim for word, g in (("", ek.O(4)), ("det(x)", ek.O(4)), ("", ek.SO(4)))
    )
    assert even + odd == all_maps
    assert odd > 10**8


def test_what_is_drawn_has_the_size_of_the_group():
    html = ek.hom("x x -> x~", x=ek.O(3))._repr_html_()
    assert "matrices drawn at x = 3" in html
    assert "O(3)" in html


def test_the_twisted_group_goes_back_and_draws_reflections():
    twisted: Group = ek.O(1, 2).twisted
    assert str(twisted) == "O(1, 2)~"
    assert twisted.twisted == ek.O(1, 2)
    drawn = [np.linalg.det(twisted.random_element(np.random.default_rng(seed))) for seed in range(20)]
    assert {round(sign) for sign in drawn} == {1, -1}
    assert len(twisted.generators()) == 2
    assert [group.twisted for group in (ek.SO(3), ek.O(0))] == [ek.SO(3), ek.O(0)]
    for group in (ek.S(3), ek.U(2), ek.O()):
        with pytest.raises(ek.GroupError):
            group.twisted  # noqa: B018


@pytest.mark.parametrize("signature", ["x x -> x~ x", "det(x) -> ()"])
def test_reasons_for_no_map_name_the_determinant(signature):
    with pytest.raises(ek.SignatureError, match="changes its sign under reflections of 'x'"):
        ek.nn.Linear(signature, 1, 1, x=ek.O(3), rngs=nnx.Rngs(0))
