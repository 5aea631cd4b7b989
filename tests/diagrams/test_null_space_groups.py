"""Groups without diagrams: orbits, exact and numerical null spaces, against Burnside's lemma and against each other."""

import pickle
from fractions import Fraction

import numpy as np
import pytest
from exact import rank_modulo

import equikit as ek
from equikit import SO, D, Diagram, GroupError, H, MatrixGroup, O, S, Sp, TooLargeError, Z, hom
from equikit.diagrams import mean_square_gains

ROTATIONS = [[[0, 0, 0], [0, 0, -1], [0, 1, 0]], [[0, 0, 1], [0, 0, 0], [-1, 0, 0]], [[0, -1, 0], [1, 0, 0], [0, 0, 0]]]
TURN = 2 * np.pi / 3
SQUARE = MatrixGroup([[[0, -1], [1, 0]], [[1, 0], [0, -1]]], name="square")
TRIANGLE = MatrixGroup([[[0, -1], [1, -1]]], name="C3")
TRIANGLE_FLOAT = MatrixGroup([[[np.cos(TURN), -np.sin(TURN)], [np.sin(TURN), np.cos(TURN)]]])
STRETCH = MatrixGroup([[[Fraction(1, 2), 0], [0, 1]], [[0, 1], [1, 0]]])
CUBE = MatrixGroup([[[0, -1, 0], [1, 0, 0], [0, 0, 1]], [[0, 0, 1], [1, 0, 0], [0, 1, 0]]], name="octahedral")
SU2 = MatrixGroup(lie_algebra=[[[1j, 0], [0, -1j]], [[0, 1], [-1, 0]], [[0, 1j], [1j, 0]]], name="SU(2)")
GROUPS = [Z(1), Z(2), Z(3), D(3), D(4), SQUARE, TRIANGLE, STRETCH, CUBE, TRIANGLE_FLOAT, SU2]
SIGNATURES = ["z -> z", "z z -> z", "z p z -> p z", "() -> z p z", "z -> z z z"]


def invariants(group, order):
    return len(group.invariants((False,) * order))


FINITE = [*(Z(n) for n in range(6)), *(D(n) for n in range(6)), SQUARE, TRIANGLE, CUBE]


@pytest.mark.parametrize("group", FINITE, ids=str)
def test_null_spaces_have_the_dimension_of_burnside(group):
    for order in range(6 if group.n < 4 else 5):
        assert invariants(group, order) == group.count_invariants(order)


def test_the_same_group_three_ways():
    """By orbits, exactly and numerically: four-fold rotations, in their basis and in two others."""
    skew = np.array([[1, 1], [0, 1]])
    quarter = np.array([[0, -1], [1, 0]])
    exact = MatrixGroup([skew @ quarter @ np.linalg.inv(skew).astype(int)])
    turn = np.array([[np.cos(1), -np.sin(1)], [np.sin(1), np.cos(1)]])
    stretch = np.diag([1.0, 1.5])
    change = turn @ stretch
    floating = MatrixGroup([change @ quarter @ np.linalg.inv(change)])
    assert exact.exact
    assert not floating.exact
    for order in range(7):
        dims = [invariants(group, order) for group in (MatrixGroup([quarter]), exact, floating)]
        assert len({*dims}) == 1
        stars = (True, False, False, True)
        assert len(exact.invariants(stars)) == len(floating.invariants(stars)) == 8


@pytest.mark.parametrize(
    ("matrices", "family", "most"),
    [
        (MatrixGroup(lie_algebra=ROTATIONS), SO(3), 5),
        (MatrixGroup([np.diag([-1, 1, 1])], ROTATIONS), O(3), 5),
        (MatrixGroup(lie_algebra=[[[0, 1], [0, 0]], [[0, 0], [1, 0]]]), Sp(2), 8),
        (MatrixGroup(S(3).matrix(g) for g in S(3).generators()), S(3), 5),
        (MatrixGroup(H(3).matrix(g) for g in H(3).generators()), H(3), 5),
    ],
    ids=str,
)
def test_families_given_by_their_generators(matrices, family, most):
    for order in range(1, most + 1):
        space = hom("x " * order + "-> ()", x=family)
        assert invariants(matrices, order) == space.dim
        tensors = matrices.invariants((False,) * order), space.matrices()
        both = np.concatenate([found.reshape(len(found), family.n**order) for found in tensors])
        assert (rank_modulo(both) if len(both) else 0) == space.dim


def test_invariants_of_the_special_unitary_group():
    assert [SU2.count_invariants(m) for m in range(5)] == [1, 0, 1, 0, 2]
    assert SU2.is_complex
    assert not CUBE.is_complex
    assert all(group.keeps_norm for group in (CUBE, SU2, TRIANGLE_FLOAT))
    assert not any(group.keeps_norm for group in (STRETCH, TRIANGLE))


@pytest.mark.parametrize("group", GROUPS, ids=str)
@pytest.mark.parametrize("text", SIGNATURES)
def test_spaces(group, text):
    groups = {"z": group} | ({"p": S(2)} if "p" in text else {})
    space = hom(text, groups=groups)
    diagrams, dense = list(space.diagrams), space.matrices()
    assert space.dim == len(space.diagrams) == len(diagrams) == len(dense)
    flat = dense.reshape(len(dense), dense.shape[1] * dense.shape[2])
    assert np.linalg.matrix_rank(flat) == space.dim if space.dim else True
    assert diagrams == sorted(set(diagrams))
    exact = dense.dtype == np.int64
    assert exact == (group not in (TRIANGLE_FLOAT, SU2))
    for diagram in diagrams:
        assert diagram in space.diagrams
        assert Diagram.from_halves(*diagram.halves, elements=diagram.elements) == diagram
        assert Diagram.parse(str(diagram), groups=groups) == diagram
        assert pickle.loads(pickle.dumps(diagram)) == diagram
        assert eval(repr(diagram), vars(ek) | {"Fraction": Fraction}) == diagram
    if exact and diagrams:
        sizes = {"z": group.n, "p": 2} if "p" in text else group.n
        assert np.array_equal(np.array(space.gram(sizes), float), flat @ flat.T)
    gains = [float(gain) for gain in mean_square_gains(space.diagrams, {"z": group.n, "p": 2})]
    assert np.allclose(gains, np.sum(np.abs(dense) ** 2, axis=(1, 2)) / dense.shape[1])


@pytest.mark.parametrize("group", GROUPS, ids=str)
def test_maps_commute(group):
    rng = np.random.default_rng(0)
    dense = hom("z z -> z", z=group).matrices()
    for element in [*group.generators(), *(group.random_element(rng) for _ in range(3))]:
        g = group.matrix(element)
        assert np.allclose(g @ dense, dense @ np.kron(g, g), atol=1e-9)


def test_duals():
    space = hom("z z* -> z* z", z=STRETCH)
    for element in STRETCH.generators():
        g, dual = STRETCH.matrix(element), STRETCH.dual_element(element)
        assert np.allclose(np.kron(dual, g) @ space.matrices(), space.matrices() @ np.kron(g, dual))
    assert hom("z z* -> ", z=STRETCH).dim == 1
    assert hom("z z -> ", z=STRETCH).dim == 0


def test_dimensions_too_large_to_list():
    assert hom("z z z z z z -> z z z z", z=Z(8)).dim == 8**9
    # The rotations of the cube have the traces 3 (once), -1 (9 times), 1 (6 times) and 0 (8 times).
    assert hom(" ".join("x" * 20) + " -> ()", x=CUBE).dim == (3**20 + 9 + 6) // 24


def test_pictures_show_what_holds_the_axes_together():
    diagram = hom("p z z -> z p", z=Z(3), p=S(2)).diagrams[3]
    assert "tensor 4 of a c d" in ek.draw.diagram_text(diagram)
    assert ek.draw.diagram_svg(diagram).count('class="head"') == 2
    assert str(diagram) == "p z z -> z p: 2 1' | #4 1 2' 3'"


def test_groups_are_values():
    for group in GROUPS:
        assert pickle.loads(pickle.dumps(group)) == group
        assert hash(group) == hash(pickle.loads(pickle.dumps(group)))
    for group in (CUBE, SU2, TRIANGLE_FLOAT, MatrixGroup(n=2)):
        assert eval(repr(group), vars(ek)) == group
    assert str(MatrixGroup([[[0, 1], [1, 0]]])) == "MatrixGroup(1 generator, n=2)"
    assert MatrixGroup([[[1.0]]]) == MatrixGroup([[[1]]])
    assert invariants(MatrixGroup(n=2), 2) == 4


def test_exact_and_floating_entries_are_different_groups():
    floating, exact = (MatrixGroup([[[0, 1], [1, 0]], [[half, 0], [0, half]]]) for half in (0.5, Fraction(1, 2)))
    assert floating != exact
    assert hom("x -> x", x=floating).matrices().dtype == np.float64
    assert hom("x -> x", x=exact).matrices().dtype == np.int64
    assert MatrixGroup([[[2, 1], [1, 1]]], exact=False) != MatrixGroup([[[2, 1], [1, 1]]])


def test_large_entries_of_generators():
    """Fractions that one prime cannot hold, and integers past 64 bits in the constraints."""
    assert hom("u u* -> u u*", u=MatrixGroup([[[1, 0], [2001, -1]]])).dim == 8
    assert hom("x x x x -> ", x=MatrixGroup(lie_algebra=[[[2**61]]])).dim == 0
    assert MatrixGroup([[[1, 10**8], [0, 1]]]).n == 2
    big = MatrixGroup([[[1, 0], [20000001, -1]]])
    with pytest.raises(TooLargeError, match="would not fit in 64 bits"):
        hom(" -> a b c", a=big, b=big, c=big).matrices()
    commutant = np.random.default_rng(3).integers(-9, 10, (8, 8))
    with pytest.raises(TooLargeError, match=r"write MatrixGroup\(..., exact=False\)"):
        hom("x -> x", x=MatrixGroup([commutant])).matrices()
    assert hom("x -> x", x=MatrixGroup([commutant], exact=False)).dim == 8


def test_numerical_null_spaces_are_told_by_their_gap():
    def turn(angle):
        return np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])

    def both(one, other):
        return np.block([[turn(one), np.zeros((2, 2))], [np.zeros((2, 2)), turn(other)]])

    assert [hom("x -> x", x=MatrixGroup([both(1, 1 + d)])).dim for d in (0.0, 1e-8, 1e-6)] == [8, 4, 4]
    assert hom("x x -> ", x=MatrixGroup([turn(1).round(4)], tolerance=1e-3)).dim == 2
    assert hom("x -> x", x=MatrixGroup(lie_algebra=[[[0, -1.1e-11], [1.1e-11, 0]]])).dim == 2
    skewed = np.diag([1.0, 1.0, 100.0]) @ np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))[0]
    algebra = [skewed @ np.array(matrix) @ np.linalg.inv(skewed) for matrix in ROTATIONS]
    assert hom("x x -> x x", x=MatrixGroup(lie_algebra=algebra)).dim == 3


def test_norms_are_kept_exactly_or_not():
    assert not MatrixGroup([[[Fraction(1000001, 1000000)]]]).keeps_norm
    assert not MatrixGroup([[[1.000004]]]).keeps_norm


def test_no_entries():
    for group in (MatrixGroup(n=0), MatrixGroup([np.zeros((0, 0))]), Z(0), D(0)):
        assert hom("x -> x", x=group).dim == 0
        assert len(list(hom("x -> x", x=group).diagrams)) == 0
        assert hom("() -> ()").dim == 1
    assert eval(repr(MatrixGroup([np.zeros((0, 0))])), vars(ek)) == MatrixGroup([np.zeros((0, 0))])


def test_large_groups_are_quick():
    twenty = [np.eye(20, dtype=int)[order] for order in (np.roll(np.arange(20), 1), [1, 0, *range(2, 20)])]
    assert hom("x -> x", x=MatrixGroup(twenty)).dim == 2
    assert hom("z -> ", z=Z(50000)).matrices().shape == (1, 1, 50000)
    assert hom("z -> z", z=D(50000)).dim == 25001
    assert str(hom(" ".join("z" * 24) + " -> ", z=Z(2)).diagrams[0]).endswith("24'")


def test_only_starred_axes():
    quarter = MatrixGroup([[[0, -1], [1, 0]]])
    assert hom("x* -> x*", x=quarter).matrices().shape == (2, 2, 2)
    assert hom(" -> x* x*", x=quarter).matrices().shape == (2, 4, 1)


def test_spaces_that_are_not_of_integers_are_listed_without_matrices():
    assert "matrices left out: they are not integers" in hom("x -> x", x=TRIANGLE_FLOAT)._repr_html_()


def test_elements_do_not_explode():
    rng = np.random.default_rng(0)
    for group in (MatrixGroup([[[2, 1], [1, 1]]]), MatrixGroup([[[3, 0], [0, 1]]]), STRETCH):
        assert all(np.linalg.norm(group.random_element(rng), 2) <= 7 for _ in range(50))


one = hom("z -> z", z=Z(3)).diagrams[0]


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: one @ one, ek.OptionError, "composition is not defined for Z(3), which has no diagrams"),
        (lambda: one.tensor(one), ek.OptionError, "the tensor product is not defined"),
        (lambda: one.flip(), ek.OptionError, "the flip is not defined"),
        (lambda: one.factor(), ek.OptionError, "the factorization is not defined"),
        (lambda: one.matrix(3, basis="orbit"), ek.OptionError, "the orbit map is not defined"),
        (lambda: one.matrix(4), ek.DiagramError, "has no such invariant tensor"),
        (lambda: hom("z -> z", z=Z(3)).diagrams.array(), ek.OptionError, "do not tell the diagrams"),
        (lambda: Diagram.parse("z -> z: #9 1 1'", z=Z(3)), ek.DiagramError, "a number up to 3"),
        (lambda: Diagram.parse("z -> z: #x 1 1'", z=Z(3)), ek.DiagramError, "cannot be read"),
        (lambda: Diagram.parse("z -> z: #1 1 1'", z=S(3)), ek.DiagramError, "do not fit the group of 'z'"),
        (lambda: Diagram.parse("z z -> z: #1 1 1' | 2'", z=Z(3)), ek.DiagramError, "do not fit the group"),
        (lambda: Diagram(("z",), ("z",), (0, 0), elements=(("z", Z(3), 0),)), ek.DiagramError, "held together"),
        (lambda: Z(), GroupError, "Z needs a size"),
        (lambda: D(), GroupError, "D needs a size"),
        (lambda: MatrixGroup([]), GroupError, "do not settle the size"),
        (lambda: MatrixGroup([np.eye(2), np.eye(3)]), GroupError, "do not settle the size"),
        (lambda: MatrixGroup([[[1, 1], [1, 1]]]), GroupError, "a generator is not invertible"),
        (lambda: MatrixGroup([[[1, 2, 3], [1, 1, 1]]]), GroupError, "is not a square matrix"),
        (lambda: MatrixGroup([[[1, 0], [0]]]), GroupError, "is not a square matrix"),
        (lambda: MatrixGroup(5), GroupError, "is not a square matrix"),
        (lambda: MatrixGroup([[["1"]]]), GroupError, "is not a square matrix of finite numbers"),
        (lambda: MatrixGroup([[[2**70]]]), GroupError, "up to 2^62"),
        (lambda: MatrixGroup([[[1]]], name=5), GroupError, "the name is not a text"),
        (lambda: MatrixGroup([[[0.5]]], exact=True), GroupError, "can be exact for integers and fractions only"),
        (lambda: MatrixGroup([[[1, 0], [0, 1]]]).dual_element(np.ones((2, 2))), GroupError, "is not invertible"),
        (lambda: hom("u u* -> ", u=ek.U).matrices({"u": 3, "u*": 4}), ek.ShapeError, "a label and its dual"),
        (lambda: MatrixGroup([[["a"]]]), GroupError, "is not a square matrix of finite numbers"),
        (lambda: MatrixGroup([[[float("nan")]]]), GroupError, "is not a square matrix of finite numbers"),
        (lambda: MatrixGroup([[[1]]], tolerance=-1), GroupError, "tolerance= must be a number > 0"),
        (lambda: MatrixGroup([[[1.0, 0], [0, 1 + 5e-10]]]).invariants((False,)), GroupError, "cannot be determined"),
        (lambda: STRETCH.invariants((False,) * 12), TooLargeError, "too large to be found"),
        (lambda: Z(16).invariants((False,) * 6), TooLargeError, "too large to be found"),
        (lambda: Z(16).invariants((False,) * 5), TooLargeError, "too large to be found"),
        (lambda: ek.diagrams.count_walks(Z(3), 2), GroupError, "are not known here"),
        (lambda: ek.diagrams.mckay_quiver(D(3)), GroupError, "are not known here"),
    ],
)
def test_what_cannot_be_is_said(call, error, message):
    with pytest.raises(error) as caught:
        call()
    assert message in str(caught.value)
    assert "next step" in str(caught.value)
