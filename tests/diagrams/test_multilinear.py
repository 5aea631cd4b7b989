"""Spaces of multilinear maps: what is read, what is counted, and what the matrices are, against independent counts."""

import functools
import itertools
import math

import numpy as np
import pytest
from exact import rank
from helpers import DUALS, HEXAGON, WHOLE, assert_error

import equikit as ek
from equikit import GL, SO, A, Bistochastic, D, Fixed, H, Lorentz, O, S, Sp, U, Z
from equikit.diagrams import Diagram, Diagrams, MultilinearSpace, compose, count_walks
from equikit.diagrams.multilinear._orbits import MOST_ORBITED, inner, moved
from equikit.signatures._multilinear_parse import parse_multilinear

SYMMETRIC = [
    ("sym(x x), x -> x", {"x": O(3)}),
    ("sym(x x), x -> x", {"x": O(2)}),
    ("sym(sym(x x), sym(x x)) -> sym(x x)", {"x": O(2)}),
    ("sym(sym(x x), sym(x x)) -> sym(x x)", {"x": O(3)}),
    ("sym(x x x), x -> x x", {"x": O(1)}),
    ("alt(x x), x -> x", {"x": SO(3)}),
    ("alt(x, x) -> x", {"x": SO(3)}),
    ("sym(x, x) -> x", {"x": SO(3)}),
    ("sym(x x) -> alt(x x)", {"x": SO(2)}),
    ("sym(x x), x x -> x x", {"x": SO(2)}),
    ("alt(x x), alt(x x) -> alt(x x)", {"x": SO(4)}),
    ("alt(x x), x -> x", {"x": Sp(2)}),
    ("sym(x x), x -> x", {"x": Sp(2)}),
    ("alt(sym(x x), sym(x x)) -> sym(x x)", {"x": Sp(4)}),
    ("alt(sym(x x), sym(x x)) -> sym(x x)", {"x": SO(1, 2)}),
    ("alt(x x), x x -> x x", {"x": SO(1, 2)}),
    ("sym(x x), x -> x", {"x": Bistochastic(2)}),
    ("sym(x x), x -> alt(x x)", {"x": Bistochastic(3)}),
    ("sym(x x), x -> x", {"x": A(3)}),
    ("alt(x x), x -> alt(x x)", {"x": A(3)}),
    ("alt(x x), x -> x x", {"x": A(4)}),
    ("sym(x x), x -> x", {"x": S(2)}),
    ("sym(x x), x -> x x x", {"x": H(2)}),
    ("sym(x, x, x) -> sym(x x)", {"x": S(3)}),
    ("sym(p x, p x) -> p", {"p": S(2), "x": O(2)}),
    ("alt(p x, p x) -> p", {"p": S(2), "x": Sp(2)}),
    ("alt(x y, x y) -> x y", {"x": SO(3), "y": SO(3)}),
    ("sym(y x, y x) -> x x", {"x": O(1, 1), "y": Sp(2)}),
    ("alt(x x), sym(y y), x y -> x y", {"x": SO(3), "y": Sp(2)}),
    ("sym(u u), u -> u u u", {"u": U(2)}),
    ("alt(u, u), u -> alt(u u) u", {"u": GL(2)}),
]
PLAIN = [
    ("x, x -> x x", {"x": O(3)}),
    ("x, x -> x", {"x": SO(3)}),
    ("x, x, x -> x", {"x": SO(2)}),
    ("x x, x -> x", {"x": Lorentz}),
    ("x x, x -> x", {"x": Sp(2)}),
    ("x, x x -> x", {"x": H(3)}),
    ("x, x -> x x", {"x": A(3)}),
    ("x, x -> x", {"x": Bistochastic(3)}),
    ("p x, p -> p x", {"p": S(3), "x": O(2)}),
    ("p x, x -> p", {"p": A(3), "x": SO(2)}),
    ("p f, p -> g p", {"p": S(3), "f": Fixed(2), "g": Fixed(3)}),
]


def names(cases):
    return [f"{text}, {groups}" for text, groups in cases]


def projected(space: MultilinearSpace) -> np.ndarray:
    """The matrices of all maps summed over the group of exchanges with its signs, found by closing the moves."""
    sizes, diagrams = space.sizes(), space.all_diagrams
    labels = diagrams.top + diagrams.bottom
    matrices = space.joined.matrices()
    tensors = matrices.reshape(len(matrices), *(sizes[label] for label in labels))
    group = {tuple(range(len(labels))): 1}
    edge = list(group)
    while edge:
        one = edge.pop()
        for sign, places in space.moves:
            other = tuple(places[i] for i in one)
            if other not in group:
                group[other] = sign * group[one]
                edge.append(other)
    total = sum(sign * tensors.transpose(0, *(1 + np.argsort(p))) for p, sign in group.items())
    return np.asarray(total).reshape(matrices.shape)


@pytest.mark.parametrize(("text", "groups"), SYMMETRIC, ids=names(SYMMETRIC))
def test_orbit_sums_are_a_basis_of_what_exchanges_leave(text, groups):
    space = ek.hom(text, groups=groups)
    whole, own = projected(space), space.matrices()
    flat = [m.reshape(len(m), m.shape[1] * m.shape[2]) for m in (whole, own)]
    assert space.dim == len(space.basis) == len(own) == rank(flat[1]) == rank(flat[0])
    assert rank(np.concatenate(flat)) == space.dim


@pytest.mark.parametrize(("text", "groups"), SYMMETRIC + PLAIN, ids=names(SYMMETRIC + PLAIN))
def test_the_maps_commute(text, groups):
    space = ek.hom(text, groups=groups)
    rng = np.random.default_rng(0)
    matrices = space.matrices().astype(float)
    for _ in range(2):
        elements = {label: group.matrix(group.random_element(rng)) for label, group in space.signature.groups.items()}
        elements |= {label: np.eye(what.size) for label, what in groups.items() if isinstance(what, Fixed)}
        sides = []
        for terms in ((space.output,), space.inputs):
            side = np.ones((1, 1))
            for label in (label for term in terms for label in term.labels):
                side = np.kron(side, elements[label])
            sides.append(side)
        scale = max(np.abs(matrices).max(initial=1), 1) * max(np.abs(side).max() for side in sides)
        np.testing.assert_allclose(sides[0] @ matrices, matrices @ sides[1], atol=1e-10 * scale)


def demands(space: MultilinearSpace) -> np.ndarray:
    """What maps have to satisfy, read as tensors: generators and random elements leave them, exchanges give signs."""
    sizes, diagrams = space.sizes(), space.all_diagrams
    labels, rng = diagrams.top + diagrams.bottom, np.random.default_rng(0)
    shape = [sizes[label] for label in labels]
    one = np.eye(math.prod(shape))
    rows = [np.zeros_like(one)]
    for own, group in space.bindings:
        if isinstance(group, Fixed):
            continue
        for element in (*group.generators(), *(group.random_element(rng) for _ in range(4))):
            matrix = group.matrix(element)
            dual = np.linalg.inv(matrix).T
            axes = [
                (matrix if label.endswith("*") == (i >= len(diagrams.top)) else dual)
                if label.rstrip("*") == own
                else np.eye(sizes[label])
                for i, label in enumerate(labels)
            ]
            rows.append(functools.reduce(np.kron, axes, np.ones((1, 1))) - one)
    for sign, places in space.moves:
        index = np.arange(len(one)).reshape(shape).transpose(np.argsort(places)).ravel()
        rows.append(one[index] - sign * one)
    return np.concatenate(rows)


@pytest.mark.parametrize(("text", "groups"), DUALS + WHOLE, ids=names(DUALS + WHOLE))
def test_duals_and_invariant_tensors_give_all_maps_that_commute(text, groups):
    space = ek.hom(text, groups=groups)
    wanted, matrices = demands(space), space.matrices()
    singular = np.linalg.svd(wanted, compute_uv=False)
    assert space.dim == len(space.basis) * space.multiplicity == len(matrices)
    assert len(space.basis) == np.sum(singular < 1e-8)
    assert np.linalg.matrix_rank(matrices.reshape(len(matrices), -1)) == space.dim
    if space.multiplicity == 1:
        np.testing.assert_allclose(wanted @ matrices.reshape(len(matrices), -1).T, 0, atol=1e-10)
    assert matrices.dtype == space.joined.dtype
    norms = [float(np.vdot(m, m).real) / m.shape[0] for m in matrices[:: space.multiplicity]]
    if space.multiplicity == 1:
        np.testing.assert_allclose([float(gain) for gain in space.mean_square_gains()], norms)


def elements(generators: list[np.ndarray]) -> list[np.ndarray]:
    """All elements of a finite group of integer matrices, by closing the generators."""
    one = np.eye(len(generators[0]), dtype=np.int64)
    found, edge = {one.tobytes(): one}, [one]
    while edge:
        here = edge.pop()
        for matrix in generators:
            product = matrix @ here
            if product.tobytes() not in found:
                found[product.tobytes()] = product
                edge.append(product)
    return list(found.values())


@pytest.mark.parametrize("group", [Z(4), Z(5), D(3), D(4), HEXAGON], ids=str)
@pytest.mark.parametrize("sign", [1, -1])
def test_symmetric_invariants_are_averages_of_characters(group, sign):
    """The character of Sym²V or Λ²V is half of tr(g)² plus or minus tr(g²)."""
    word = "sym" if sign > 0 else "alt"
    matrices = elements([np.asarray(group.matrix(g), np.int64) for g in group.generators()])
    traces = [(int(np.trace(g)), int(np.trace(g @ g)), round(np.trace(np.linalg.inv(g)))) for g in matrices]

    def average(values):
        total = sum(values)
        assert total % (2 * len(matrices)) == 0
        return total // (2 * len(matrices))

    assert ek.hom(f"{word}(x x), x -> x", x=group).dim == average((a * a + sign * b) * a * d for a, b, d in traces)
    assert ek.hom(f"{word}(x, x) -> x x", x=group).dim == average((a * a + sign * b) * d * d for a, b, d in traces)
    assert ek.hom("x, x -> x x", x=group).dim == average(2 * a * a * d * d for a, _, d in traces)


def test_exchanges_of_many_invariant_tensors_are_orbits():
    """The symmetric ones among 1296 tensors of Z(6) on five axes, counted by characters."""
    space = ek.hom("sym(z z z), z -> z", z=Z(6))
    traces = [6 if turn == 0 else 0 for turn in range(6)]
    cubes = [6 if turn % 2 == 0 else 0 for turn in range(6)]
    squares = [6 if turn % 3 == 0 else 0 for turn in range(6)]
    powers = zip(traces, squares, cubes, strict=True)
    assert space.dim == sum((a**3 + 3 * a * b + 2 * c) * a * a for a, b, c in powers) // 36
    assert space.all_diagrams.count_all == 1296 < MOST_ORBITED


def test_combinations_of_invariant_tensors_have_coefficients():
    space = ek.hom("alt(x x), x -> x", x=HEXAGON)
    assert any(abs(factor) != 1 or len(total.terms) > 1 for total in space.basis for _, factor in total.terms)
    assert "#" in str(space.basis[0])
    assert str(space.basis[0]).count("(") == len(space.basis[0].terms) > 1


@pytest.mark.parametrize(("text", "groups"), PLAIN, ids=names(PLAIN))
def test_without_symmetry_the_space_is_that_of_the_joined_inputs(text, groups):
    space = ek.hom(text, groups=groups)
    assert space.dim == space.joined.dim == len(space.diagrams) * space.multiplicity
    matrices = space.matrices()
    assert rank(matrices.reshape(len(matrices), -1)) == space.dim
    if space.multiplicity == 1:
        np.testing.assert_array_equal(matrices, space.joined.matrices())


def test_plain_axes_give_one_map_for_each_choice_of_entries():
    space = ek.hom("p f, p -> g p", p=S(2), f=Fixed(2), g=Fixed(3))
    matrices = space.matrices().reshape(space.dim, 3, 2, 2, 2, 2)  # [maps, g, p, p, f, p]
    core = ek.hom("p, p -> p", p=S(2)).matrices().reshape(-1, 2, 2, 2)
    for d, f, g in itertools.product(range(len(core)), range(2), range(3)):
        wanted = np.zeros((3, 2, 2, 2, 2), np.int64)
        wanted[g, :, :, f, :] = core[d]
        np.testing.assert_array_equal(matrices[(d * 2 + f) * 3 + g], wanted)


@pytest.mark.parametrize("group", [S(3), A(3), O(3), SO(3), Sp(4), H(3), Bistochastic(3), Lorentz], ids=str)
@pytest.mark.parametrize("row", [(1, 1, 1), (2, 1, 1), (2, 2, 0), (1, 1, 1, 1), (2, 1, 2)], ids=str)
def test_dimensions_are_those_of_walks_without_diagrams(group, row):
    *inputs, output = (" ".join(["x"] * count) or "()" for count in row)
    space = ek.hom(f"{', '.join(inputs)} -> {output}", x=group)
    assert space.dim == len(space.diagrams) == count_walks(group, sum(row))


def fixed_points(group_size: int, powers: tuple[int, ...]) -> int:
    """The average over S(n) of the product of traces of powers of its permutation matrices."""
    total = 0
    for permutation in itertools.permutations(range(group_size)):
        matrix = np.eye(group_size, dtype=np.int64)[list(permutation)]
        total += math.prod(int(np.trace(np.linalg.matrix_power(matrix, power))) for power in powers)
    return total // math.factorial(group_size)


@pytest.mark.parametrize("n", [1, 2, 3, 4])
@pytest.mark.parametrize("sign", [1, -1])
def test_symmetric_dimensions_are_averages_of_characters(n, sign):
    """The character of Sym²V or Λ²V is half of tr(g)² plus or minus tr(g²)."""
    word = "sym" if sign > 0 else "alt"
    wanted = (fixed_points(n, (1, 1, 1, 1)) + sign * fixed_points(n, (2, 1, 1))) // 2
    assert ek.hom(f"{word}(x x), x -> x", x=S(n)).dim == wanted
    assert ek.hom(f"{word}(x, x) -> x x", x=S(n)).dim == wanted
    both = fixed_points(n, (1, 1, 1, 1)) + 2 * sign * fixed_points(n, (2, 1, 1)) + fixed_points(n, (2, 2))
    assert ek.hom(f"{word}(x x) -> {word}(x x)", x=S(n)).dim == both // 4


def test_dimensions_known_from_elsewhere():
    # Isotropic elasticity has the two constants of Lamé; a quadratic isotropic law of a symmetric tensor has four.
    assert ek.hom("sym(x x) -> sym(x x)", x=O(3)).dim == 2
    assert ek.hom("sym(sym(x x), sym(x x)) -> sym(x x)", x=O(3)).dim == 4
    # tr³, tr(E) tr(E²) and tr(E³); at n = 2 the theorem of Cayley and Hamilton leaves two, at n = 1 one.
    for n, wanted in ((1, 1), (2, 2), (3, 3), (4, 3)):
        assert ek.hom("sym(sym(x x), sym(x x), sym(x x)) -> ()", x=O(n)).dim == wanted
    assert ek.hom("x, x -> x", x=SO(3)).dim == 1
    assert ek.hom("alt(x x x) -> ()", x=SO(3)).dim == 1
    assert ek.hom("alt(x, x, x, x) -> ()", x=SO(4)).dim == 1
    assert ek.hom("alt(x, x, x, x) -> ()", x=SO(3)).dim == 0
    assert ek.hom("alt(x x) -> ()", x=Sp(4)).dim == 1
    assert ek.hom("sym(x x) -> ()", x=Sp(4)).dim == 0
    assert ek.hom("sym(x, x) -> x", x=S).dim == 4


@pytest.mark.parametrize("text", ["sym(p x x, p x x) -> p", "p sym(x x), p x x -> x x", "alt(p x, p x) -> p x x"])
def test_a_free_label_beside_a_dependent_one(text):
    """The dimension is that at every large n of the free label."""
    free = ek.hom(text, p=S, x=O(2))
    assert free.dim == ek.hom(text, p=S(6), x=O(2)).dim > 0
    bound = ek.hom(text, p=S(3), x=O(2))
    whole, own = projected(bound), bound.matrices()
    flat = [m.reshape(len(m), m.shape[1] * m.shape[2]) for m in (whole, own)]
    assert bound.dim == rank(flat[0]) == rank(flat[1])


def test_the_map_is_symmetric_as_it_says():
    space = ek.hom("sym(x x), alt(x, x) -> sym(x x)", x=SO(3))
    tensor = space.matrices().reshape(space.dim, *[3] * 6)
    np.testing.assert_array_equal(tensor, tensor.swapaxes(1, 2))
    np.testing.assert_array_equal(tensor, tensor.swapaxes(3, 4))
    np.testing.assert_array_equal(tensor, -tensor.swapaxes(5, 6))
    assert space.dim > 0


MOVED = [("x x", "x x x", S(3)), ("x x", "x x", A(3)), ("x", "x x", A(3)), ("x x x", "x x x", Sp(4)),
         ("x x x", "x x", SO(3)), ("x x", "x x x", SO(1, 2)), ("x x x x", "", SO(2)), ("x x", "x x", H(2))]  # fmt: skip


@pytest.mark.parametrize(("top", "bottom", "group"), MOVED, ids=str)
def test_moving_vertices_permutes_the_axes_and_is_a_composition(top, bottom, group):
    top, bottom = tuple(top.split()), tuple(bottom.split())
    above, below = len(top), len(bottom)
    rng = np.random.default_rng(0)
    for diagram in Diagrams(top, bottom, (("x", group),), every=True):
        upper, lower = rng.permutation(above), above + rng.permutation(below)
        places = (*map(int, upper), *map(int, lower))
        sign, other = moved(diagram, places, {})
        tensors = [d.matrix(group.n).reshape([group.n] * (above + below)) for d in (diagram, other)]
        np.testing.assert_array_equal(sign * tensors[1], tensors[0].transpose(np.argsort(places)))
        turns = []
        for row, order in ((top, upper), (bottom, np.argsort(lower - above))):
            growth = (*range(len(row)), *(int(i) for i in order))
            turns.append(Diagram(row, row, growth, diagram.forms))
        product = compose(compose(turns[0], diagram), turns[1])
        (term,) = product.terms
        assert (term.coefficient, term.diagram) == (sign, other)


@pytest.mark.parametrize("groups", [{"x": SO(3), "y": Sp(2)}, {"x": A(3), "y": S(2)}, {"x": O(2), "y": SO(2)}], ids=str)
def test_inner_products_are_those_of_the_matrices(groups):
    diagrams = tuple(Diagrams(("x", "y"), ("y", "x", "x"), tuple(groups.items()), every=True))[:20]
    sizes = {label: group.n for label, group in groups.items()}
    for one, other in itertools.product(diagrams, repeat=2):
        assert inner(one, other, sizes) == np.sum(one.matrix(sizes) * other.matrix(sizes))


@pytest.mark.parametrize(("text", "groups"), SYMMETRIC[::3] + PLAIN[:-1], ids=names(SYMMETRIC[::3] + PLAIN[:-1]))
def test_gains_are_those_of_the_matrices(text, groups):
    space = ek.hom(text, groups=groups)
    rows = space.matrices().shape[1]
    wanted = [int(np.sum(m.astype(object) ** 2)) for m in space.matrices()]
    assert [gain * rows for gain in space.mean_square_gains()] == wanted


def test_the_text_is_read_back():
    for text in ("x, x y -> x", "sym(x x) y, () -> alt(x x x)", "y sym(x x), alt(sym(x x), sym(x x)), y -> ()"):
        operands, target, exchanges = parse_multilinear(text)
        space = MultilinearSpace(operands, target, exchanges, ())
        assert space.text == text
        assert parse_multilinear(f"  {text.replace(' ', '   ')} ") == (operands, target, exchanges)


def test_a_space_is_a_value_with_a_short_text():
    space = ek.hom("sym(x x), x -> x", x=O(3))
    assert space == ek.hom("sym( x x ) ,x", "x", groups={"x": O(3)})
    assert hash(space) == hash(ek.hom("sym(x x), x -> x", x=O(3)))
    assert repr(space) == '<hom("sym(x x), x -> x", x=O(3)): dimension 2>'
    assert [term.name for term in space.inputs] == ["x x", "x"]
    assert [term.name for term in ek.hom("x, x -> x", x=S).inputs] == ["x (input 1)", "x (input 2)"]
    both, one = space.basis
    assert str(both) == "x x x -> x: 1 3' | 1' 2'"
    assert {str(diagram) for diagram, _ in one.terms} == {"x x x -> x: 1 1' | 2' 3'", "x x x -> x: 1 2' | 1' 3'"}
    assert str(one).count(" + ") == 1
    assert {diagram.bottom for diagram in space.diagrams} == {("x", "x", "x")}
    assert isinstance(ek.hom("x -> x", x=O(3)), ek.HomSpace)


def test_large_dimensions_are_counted_and_not_enumerated():
    space = ek.hom(", ".join(["p p"] * 10) + " -> p p", p=S)
    assert space.dim == 4506715738447323
    assert "4,506,715,738,447,323" in repr(space)


ERRORS = [
    ("x, y -> x", {"x": O(3)}, "label 'y' is not bound", "   ^", "every label", "add y=ek.S"),
    ("x, x -> x", {"x": O(3), "z": S}, "no axis has the label 'z'", "z=S", "bindings for x", "remove the binding"),
    ("x,, x -> x", {"x": S}, "a tensor is missing", "  ^", "words separated", "x, x y -> y"),
    ("x, -> x", {"x": S}, "a tensor is missing", "   ^^", "words separated", "x, x y -> y"),
    ("x, x", {"x": S}, "expected ',' or '->'", "    ^", "words separated", "write for example"),
    ("x, x -> x, x", {"x": S}, "a second output", "         ^", "one output", "a space for each output"),
    ("x, x -> sym(x, x)", {"x": S}, "a second output", "        ^^^", "one output", "a space for each output"),
    ("x, x + x -> x", {"x": S}, "a sum of terms cannot stand beside a comma", "     ^", "single tensors", "each term"),
    ("a: x, x -> x", {"x": S}, "have no names", " ^", "labels", "leave the name out"),
    ("sym(x y), x -> x", {"x": S, "y": S}, "'sym' of axes with different labels", "      ^", "x", "leave one out"),
    ("sym(x), x -> x", {"x": S}, "'sym' of one axis", "     ^", "two axes", "sym(x x)"),
    ("sym(x, x x) -> x", {"x": S}, "'sym' of inputs that differ", "       ^", "x", "of one kind"),
    ("sum(x x), x -> x", {"x": S}, "'sum' before parentheses", "^^^", "'sym' or 'alt'", "parentheses out"),
    ("sym(x x, x -> x", {"x": S}, "a ')' is missing", "       ^", "words", "write for example"),
    ("sym(alt(x x) x), x -> x", {"x": S}, "parentheses inside", "    ^^^", "words", "write for example"),
    ("sym(), x -> x", {"x": S}, "'sym' without axes", "^^^", "words", "write for example"),
    ("x, x -> x -> x", {"x": S}, "expected the end", "          ^^", "words", "write for example"),
    ("x, x? -> x", {"x": S}, "bad character '?'", "    ^", "words", "write for example"),
    (
        "sym(x f, x f) -> x",
        {"x": S, "f": Fixed(2)},
        "the plain axis 'f' is inside",
        "Fixed(2)",
        "groups act",
        "channels",
    ),
    ("x, x* -> ()", {"x": O(2)}, "has no dual of its own", "   ^^", "a star on a label of", "leave the star out: x"),
    ("sym(u u*), u -> u", {"u": U(2)}, "'sym' of axes with different labels", "      ^^", "u", "leave one out"),
    ("u, y* -> u", {"u": U(2)}, "label 'y' is not bound", "   ^^", "every label", "add y=ek.GL"),
    ("u, x -> u x", {"u": U(2), "x": O(2)}, "mixes real and complex", "u=U(2) and x=O(2)", "complex groups", "GL"),
    ("sym(f f), x -> x", {"x": S, "f": Fixed(2)}, "the plain axis 'f' is inside", "Fixed(2)", "groups act", "channels"),
]


@pytest.mark.parametrize(("text", "groups", "problem", "mark", "expected", "step"), ERRORS, ids=[e[0] for e in ERRORS])
def test_errors_point_at_the_place(text, groups, problem, mark, expected, step):
    def call():
        ek.hom(text, groups=groups)

    if "^" not in mark:
        assert_error(ek.SignatureError, call, problem, mark, expected, step)
        return
    assert_error(ek.SignatureError, call, problem, "", expected, step)
    with pytest.raises(ek.SignatureError) as caught:
        call()
    lines = str(caught.value).split("\n")
    assert lines[1] == f"  {text}"
    assert lines[2] == f"  {mark}"


@pytest.mark.parametrize(
    ("short", "written"),
    [("x, x ->", "x, x -> ()"), ("sym(x, x) ->", "sym(x, x) -> ()"), ("-> alt(x x)", "() -> alt(x x)")],
)
def test_an_empty_side_is_a_tensor_without_axes(short, written):
    assert ek.hom(short, x=O(3)) == ek.hom(written, x=O(3))
    assert ek.hom(short.replace("->", ""), "", x=O(3)) == ek.hom(written, x=O(3)) or short.startswith("->")


def test_too_many_diagrams_to_list_are_refused():
    space = ek.hom("sym(x x x x x x), x x x x x x -> ()", x=S)
    with pytest.raises(ek.TooLargeError, match="too many diagrams to list their orbits"):
        space.dim  # noqa: B018
