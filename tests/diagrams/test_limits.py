"""Symbolic operations either end in seconds or are refused at once."""

import time

import numpy as np
import pytest
from flax import nnx

import equikit as ek
from equikit import GL, SO, A, Bistochastic, H, O, S, Sp, TooLargeError, U, Z, hom
from equikit.diagrams import Diagrams, compose
from equikit.diagrams._effort import count_halves, count_joined
from equikit.plans import plan
from equikit.plans._apply import weight_places
from equikit.plans._unshared import unshared


def space(k, l, group):
    return hom(" ".join("p" * k) + " -> " + " ".join("p" * l), p=group)


def generator():
    return np.random.default_rng(0)


def levi_civita(n):
    return hom("() -> " + "x " * n, x=SO(n)).diagrams[-1]


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
    "multilinear plan": lambda: hom("p p p p, p p p p -> p p p", p=S).plan(),
    "multilinear plan of more maps": lambda: hom("p p p p, p p p p, p p p p -> p p p p", p=S).plan(),
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
    "product of Levi-Civita tensors": lambda: compose(levi_civita(8), levi_civita(8).flip()),
    "projection 4 to 4": lambda: space(4, 4, S).project(np.zeros((16, 16)), 2),
    "permutation": lambda: S(10**9).random_element(generator()),
    "signed permutation": lambda: H(10**9).generators(),
    "rotation": lambda: Z(10**9).random_element(generator()),
    "orthogonal matrix": lambda: O(10**5).random_element(generator()),
    "unitary matrix": lambda: U(10**5).random_element(generator()),
    "invertible matrix": lambda: GL(10**5).generators(),
    "Lie algebra": lambda: SO(1000).lie_algebra(),
    "layer 8 to 8": lambda: ek.nn.Linear("p p p p p p p p -> p p p p p p p p", 1, 1, p=S, rngs=nnx.Rngs(0)),
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
}


@pytest.mark.parametrize("call", REFUSED.values(), ids=REFUSED)
def test_refused_at_once(call):
    start = time.process_time()
    with pytest.raises(TooLargeError) as caught:
        call()
    assert None not in (caught.value.got, caught.value.expected, caught.value.step)
    assert time.process_time() - start < 2


@pytest.mark.parametrize("call", ANSWERED.values(), ids=ANSWERED)
def test_answered_in_seconds(call):
    start = time.process_time()
    call()
    assert time.process_time() - start < 10


def test_the_shape_of_a_huge_layer_needs_no_plan():
    layer = nnx.eval_shape(lambda: ek.nn.Linear("p p p p -> p p p p", 2**20, 2**20, p=S, rngs=nnx.Rngs(0)))
    assert layer.kernel["p p p p -> p p p p"].shape == (4140, 2**20, 2**20)
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
