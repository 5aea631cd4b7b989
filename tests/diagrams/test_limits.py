"""Symbolic operations either end in seconds or are refused at once."""

import time

import numpy as np
import pytest
from flax import nnx
from helpers import partly_slow

import equikit as ek
from equikit import GL, SO, A, Bistochastic, D, Fixed, H, MatrixGroup, O, S, Sp, TooLargeError, U, Z, hom, spherical
from equikit.diagrams import Diagrams, compose, count_walks, mean_square_gains
from equikit.diagrams.counting._effort import count_halves, count_joined
from equikit.plans import plan, weight_places
from equikit.plans.compilation._transposition import transposition
from equikit.plans.compilation._unshared import unshared


def space(k, l, group):
    return hom(" ".join("p" * k) + " -> " + " ".join("p" * l), p=group)


def exchanged(word, m, group, between=" "):
    return hom(f"{word}({between.join('x' * m)}) -> x", x=group)


def generator():
    return np.random.default_rng(0)


def rotation(n, kind=float):
    """A random orthogonal or unitary matrix, whose entries are not exact."""
    parts = generator().normal(size=(2, n, n))
    return np.linalg.qr(parts[0] if kind is float else parts[0] + 1j * parts[1])[0]


def invariants(matrices, order):
    return MatrixGroup(matrices).invariants((False,) * order)


def levi_civita(n):
    return hom("() -> " + "x " * n, x=SO(n)).diagrams[-1]


def linear(k, l, channels):
    return ek.nn.Linear(" ".join("p" * k) + " -> " + " ".join("p" * l), channels, channels, p=S, rngs=nnx.Rngs(0))


REFUSED = {
    "change of basis 5 to 5": lambda: space(5, 5, S).change_of_basis("diagram", "orbit"),
    "inverse change of basis 5 to 5": lambda: space(5, 5, S).change_of_basis("orbit", "diagram"),
    "no change of basis 8 to 8": lambda: space(8, 8, S).change_of_basis("orbit", "orbit"),
    "gram 4 to 4": lambda: space(4, 4, S).gram(),
    "gram 4 to 4 of numbers": lambda: space(4, 4, S).gram(5),
    "gram 8 to 8": lambda: space(8, 8, S).gram(),
    "gram of signs": lambda: space(5, 5, Sp).gram(),
    "determinant of Bistochastic 4 to 4": lambda: space(4, 4, Bistochastic).gram_determinant(),
    "determinant with too many digits": lambda: space(8, 8, S).gram_determinant(100),
    "plan 8 to 8": lambda: space(8, 8, S).plan(),
    "plan of O 10 to 0": lambda: space(10, 0, O).plan(),
    "no matrices of a huge size": lambda: space(2, 1, O(10**30)).matrices(),
    "matrices of sums": lambda: hom("sym(sym(p p p), sym(p p p)) -> p p", p=S).matrices(5),
    "multilinear plan": lambda: hom("p p p p, p p p p -> p p p", p=S).plan(),
    "multilinear plan of more maps": lambda: hom("p p p p, p p p p, p p p p -> p p p p", p=S).plan(),
    "transpose of S 5 to 5": lambda: transposition(space(5, 5, S).diagrams, space(5, 5, S).diagrams),
    "plan with bias": lambda: plan(space(0, 12, S), bias=True),
    "unshared plan 6 to 6": lambda: unshared(space(6, 6, S)),
    "cores 8 to 8": lambda: space(8, 8, S).diagrams.cores,
    "cores of H 6 to 6": lambda: space(6, 6, H).diagrams.cores,
    "the array of diagrams": lambda: space(7, 7, S).diagrams.array(),
    "a diagram far down the list": lambda: space(8, 8, S).diagrams[10**9],
    "a list of diagrams": lambda: space(8, 8, S).diagrams[: 10**7],
    "a list from the back": lambda: reversed(space(8, 8, S).diagrams),
    "matrices 5 to 5": lambda: space(5, 5, S).matrices(1),
    "dimension of O(10) 50 to 50": lambda: space(50, 50, O(10)).dim,
    "dimension with many axes": lambda: space(3000, 0, S).dim,
    "a basis of dependent diagrams": lambda: space(7, 7, O(1)).diagrams[0],
    "tensor product of sums": lambda: (
        levi_civita(6).tensor(levi_civita(6)).tensor(levi_civita(6).tensor(levi_civita(6)))
    ),
    "product of Levi-Civita tensors": lambda: compose(levi_civita(8), levi_civita(8).flip()),
    "projection 4 to 4": lambda: space(4, 4, S).project(np.zeros((16, 16)), 2),
    "permutation": lambda: S(10**9).random_element(generator()),
    "signed permutation": lambda: H(10**9).generators(),
    "rotation": lambda: Z(10**9).random_element(generator()),
    "orthogonal matrix": lambda: O(10**5).random_element(generator()),
    "unitary matrix": lambda: U(10**5).random_element(generator()),
    "invertible matrix": lambda: GL(10**5).generators(),
    "Lie algebra": lambda: SO(1000).lie_algebra(),
    "plan with thousands of axes": lambda: space(4000, 0, S).plan(),
    "cores with thousands of axes": lambda: space(2000, 0, O).diagrams.cores,
    "determinant with large powers": lambda: space(1999, 0, S).gram_determinant(),
    "null space of a large rotation": lambda: invariants([rotation(42)], 2),
    "null space of complex matrices": lambda: invariants([rotation(2, complex)], 10),
    "null space of many rotations": lambda: invariants([rotation(2)] * 60, 10),
    "matrix of a permutation": lambda: S(10**6).matrix(np.arange(10**6)),
    "matrix of a signed permutation": lambda: H(10**6).matrix(np.arange(1, 10**6 + 1)),
    "matrix of a form": lambda: Sp(10**6).form.matrix(10**6),
    "signs of a metric": lambda: O(10**30, 1).form.signs(),
    "metric": lambda: O(10**30).metric(),
    "features of plain axes": lambda: hom("f f -> p", f=Fixed(10**10), p=S).plan(),
    "irreps of order 60": lambda: spherical.decompose(60).pieces,
    "exact change of basis of order 7": lambda: spherical.decompose(7).to_sympy(),
    "shape of a layer 8 to 8": lambda: nnx.eval_shape(lambda: linear(8, 8, 1)),
    "layer 8 to 8": lambda: linear(8, 8, 1),
    "orbits of twelve inputs of SO": lambda: exchanged("sym", 12, SO(3), ", ").dim,
    "orbits of twelve inputs of S": lambda: exchanged("sym", 12, S(3), ", ").diagrams,
    "plan of eleven inputs of S": lambda: exchanged("sym", 11, S(3), ", ").plan(),
    "orbits of dependent diagrams": lambda: exchanged("sym", 13, O(1)).basis,
    "orbits of eight vectors and dual vectors": lambda: hom(f"sym({'u ' * 8}) -> sym({'u ' * 8})", u=U).dim,
    "antisymmetric tensor of SO": lambda: exchanged("alt", 10, SO(3)).dim,
    "antisymmetric tensor of Bistochastic": lambda: exchanged("alt", 10, Bistochastic(3)).dim,
}

ANSWERED = {
    "determinant of O 4 to 4": lambda: space(4, 4, O).gram_determinant(),
    "determinant of O 15 to 15": lambda: space(15, 15, O).gram_determinant(),
    "determinant of S 8 to 8": lambda: space(8, 8, S).gram_determinant(),
    "change of basis 4 to 4": lambda: space(4, 4, S).change_of_basis("orbit", "diagram"),
    "gram 4 to 3": lambda: space(4, 3, S).gram(),
    "plan 5 to 5": lambda: space(5, 5, S).plan(),
    "plan of O 7 to 7": lambda: space(7, 7, O).plan(),
    "even permutation": lambda: A(10**5).random_element(generator()),
    "generators of A": lambda: A(10**5).generators(),
    "dimension 100 to 100": lambda: space(100, 100, S).dim,
    "shapes of weights 8 to 8": lambda: weight_places(space(8, 8, S).signature, ((1,), (1,)), False),
    "first diagram 8 to 8": lambda: space(8, 8, S).diagrams[0],
    "first diagram of a huge Levi-Civita tensor": lambda: space(1, 1, A(10**30)).diagrams[0],
    "dimension of a large SO": lambda: space(10, 10, SO(1, 10**6)).dim,
    "walks of a large SO": lambda: count_walks(SO(10**6), 20),
    "walks of a large A": lambda: count_walks(A(10**6), 20),
    "plan of many invariant tensors": lambda: space(10, 10, D(10**6)).plan(),
    "first of many small blocks": lambda: space(60, 0, Bistochastic).diagrams[0],
    "no diagram among millions": lambda: next(iter(space(10, 10, O(0)).diagrams), None),
    "symmetric irreps of order 500": lambda: spherical.count_irreps(500, "sym"),
    "irreps of order 500": lambda: spherical.count_irreps(500),
    "symmetric tensors of order 11": lambda: spherical.decompose(11, "sym").rows(),
    "array at a huge size": lambda: space(2, 2, S(10**30)).diagrams.array(),
    "null space of a rotation": lambda: invariants([rotation(24)], 2),
    "null space with a large basis": lambda: invariants([np.diag([1.0] * 23 + [0.5])], 2),
    "null space of complex rotations": lambda: invariants([rotation(2, complex)], 9),
    "invariants of a trivial group": lambda: MatrixGroup(n=10**6).count_invariants(10),
    "norms under a trivial group": lambda: MatrixGroup(n=10**6).keeps_norm,
    "matrices 8 to 8 at n = 1": lambda: space(8, 8, S(1)).matrices(),
    "alternating tensor of O": lambda: exchanged("alt", 11, O(2)).dim,
    "no map of fourteen inputs of H": lambda: exchanged("sym", 14, H(3), ", ").plan(),
    "no half diagrams of H": lambda: list(space(14, 1, H(3)).diagrams),
    "no mean squares of SO": lambda: mean_square_gains(
        Diagrams(("x",) * 11 + ("y",), ("x",) * 5, (("x", SO(3)), ("y", O(3)))), {"x": 3, "y": 3}
    ),
}


@pytest.mark.parametrize("call", REFUSED.values(), ids=REFUSED)
def test_refused_at_once(call):
    start = time.process_time()
    with pytest.raises(TooLargeError) as caught:
        call()
    assert None not in (caught.value.got, caught.value.expected, caught.value.step)
    assert time.process_time() - start < 2


LONGEST = [*ANSWERED].index("alternating tensor of O")


@pytest.mark.parametrize(
    "call", partly_slow([(call,) for call in ANSWERED.values()], lambda place: place != LONGEST, [*ANSWERED])
)
def test_answered_in_seconds(call):
    start = time.process_time()
    call()
    assert time.process_time() - start < 10


def test_the_shape_of_a_huge_layer_needs_neither_a_plan_nor_its_arrays():
    with pytest.raises(TooLargeError, match="the plan has too many diagrams"):
        space(8, 3, S).plan()
    layer = nnx.eval_shape(lambda: linear(8, 3, 2**20))
    assert layer.kernel["p p p p p p p p -> p p p"].shape == (678_570, 2**20, 2**20)
    places = weight_places(space(8, 8, S).signature, ((1,), (1,)), False)
    assert places == {"p p p p p p p p -> p p p p p p p p": ((0, 0), (10_480_142_147, 1, 1))}


@pytest.mark.parametrize(
    ("text", "groups"),
    [
        ("p p -> p p p", {"p": S}),
        ("p q -> q p", {"p": S, "q": O}),
        ("u u* -> u u*", {"u": U}),
        ("x x x -> x x x", {"x": O}),
        ("x x -> x x", {"x": Sp}),
        ("x x -> x", {"x": Bistochastic}),
        ("p p -> p p", {"p": S(2)}),
        ("p p p -> p", {"p": H}),
        ("x x -> x", {"x": SO(3)}),
        ("p p -> p", {"p": A(3)}),
    ],
)
def test_estimates_are_upper_bounds(text, groups):
    diagrams = hom(text, groups=groups).diagrams
    assert isinstance(diagrams, Diagrams)
    rows = diagrams.top, diagrams.bottom, diagrams.groups
    halves = sum(len(core.tops) + len(core.bottoms) for core in diagrams.cores)
    joined = sum(sum(map(len, core.allowed)) * len(core.wires) for core in diagrams.cores)
    assert halves <= count_halves(*rows)
    assert joined <= count_joined(*rows) or any(group.legs for _, group in diagrams.groups)
    if all(group.n is None and group.blocks != "even" for _, group in diagrams.groups):
        assert (halves, joined) == (count_halves(*rows), count_joined(*rows))


LONG = {
    "S": lambda: space(1000, 999, S),
    "O": lambda: space(4000, 4000, O),
    "Z": lambda: space(8000, 0, Z(5)),
    "plain axes": lambda: hom("f " * 200 + "-> p", f=Fixed(10**30), p=S),
    "multilinear": lambda: hom("p " * 1000 + ", " + "p " * 999 + "->", p=S),
}


@pytest.mark.parametrize("make", LONG.values(), ids=LONG)
def test_counts_with_thousands_of_digits_have_a_text(make):
    space = make()
    assert space.dim > 10**4300
    assert "dimension about 10^" in repr(space)
    sizes = {label: size or 4 for label, size in space.signature.sizes.items()}
    calls = [lambda: space.matrices(sizes), space.plan]
    if isinstance(space, ek.HomSpace):
        calls.append(lambda: space.coefficients([[1.0]], sizes))
    for call in calls:
        with pytest.raises(ek._errors.EquikitError):
            call()


@pytest.mark.parametrize("make", [S, O, Sp, Z, GL, Fixed, Bistochastic, H, U, lambda n: MatrixGroup(n=n)])
def test_sizes_with_thousands_of_digits_are_refused(make):
    with pytest.raises(ek.GroupError, match=r"below about 10\^100"):
        make(10**5000)


@pytest.mark.parametrize("group", [MatrixGroup([[[0, -1], [1, 0]]]), Z(4), S(3)])
@pytest.mark.parametrize("n", [float("nan"), "4", 10**5000], ids=["nan", "text", "huge"])
def test_a_wrong_size_where_every_label_is_bound_is_to_be_left_out(group, n):
    with pytest.raises(ek.GroupError) as caught:
        hom("x -> x", x=group).matrices(n)
    assert caught.value.step == "leave n out: every label is bound"
