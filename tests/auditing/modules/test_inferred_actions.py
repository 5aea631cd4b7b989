"""Actions on activations are inferred from pairs of arrays, and broken or unknown ones are told apart."""

import numpy as np
import pytest

import equikit as ek
from equikit.auditing.modules._infer import Moved, Padded, Shifted, batch_first, infer
from equikit.auditing.modules._match import divided, is_determined, matrix_error, permutation_error, subsets

SAMPLES, NOISE = 24, 1e-12
RANDOM = np.random.default_rng(0)
O3 = Moved("x", ek.O(3), (*(ek.O(3).random_element(RANDOM) for _ in range(2)), -np.eye(3)))
S4 = Moved("p", ek.S(4), tuple(ek.S(4).random_element(RANDOM) for _ in range(3)))
GL = Moved("x", ek.GL(2), tuple(ek.GL(2).random_element(RANDOM) for _ in range(2)))


U2 = Moved("x", ek.U(2), tuple(ek.U(2).random_element(RANDOM) for _ in range(2)))


def of(change, function, *shape, samples=SAMPLES, noise=NOISE, axis=1):
    """Infer the action of elements on the axis of x on a function of x `[samples, *shape]`."""
    x = RANDOM.normal(size=(samples, *shape))
    moved = [change.group.act(element, x, axis) for element in change.elements]
    return infer(change, function(x), [function(a) for a in moved], noise, (samples,))


def determinant(x):
    return np.linalg.det(x)[:, None]


@pytest.mark.parametrize(
    ("function", "shape", "text"),
    [
        (lambda x: np.sum(x**2, 1), (3, 2), "invariant"),
        (lambda x: x * np.linalg.norm(x, axis=1, keepdims=True), (3, 2), "x on axis 1"),
        (lambda x: np.einsum("bxc,byc->bxyc", x, x), (3, 2), "x on axis 1, 2"),
        (determinant, (3, 3), "invariant up to the determinant"),
        (lambda x: np.cross(x[..., 0], x[..., 1]), (3, 2), "x on axis 1, times the determinant"),
        (lambda x: x.reshape(len(x), -1), (3, 2), "x on axis 1 of axis 1 as [3, 2]"),
        (lambda x: np.swapaxes(x, 1, 2).reshape(len(x), -1), (3, 2), "x on axis 2 of axis 1 as [2, 3]"),
        (lambda x: np.einsum("bx,yx->by", x[..., 0], np.vander([1.0, 2, 3])), (3, 2), "a matrix on axis 1"),
        (lambda x: np.ones((len(x), 5)), (3, 2), "invariant"),
        (lambda x: x.reshape(-1, 2), (3, 2), "x on axis 1"),  # samples and coordinates in one axis
        (lambda x: np.moveaxis(x, 0, 1), (3, 2), "x on axis 1"),  # samples on the second axis
    ],
)
def test_rotations(function, shape, text):
    found = of(O3, function, *shape)
    assert (found.state, found.text) == ("kept", text)
    assert found.error <= 1e-10


@pytest.mark.parametrize(
    ("function", "text"),
    [
        (lambda x: np.tanh(x - x.mean(1, keepdims=True)), "p on axis 1"),
        (lambda x: np.sort(x, 1), "invariant"),
        (lambda x: x[:, :, None] * x[:, None], "p on axis 1, 2"),
        (lambda x: (x[:, :, None] * x[:, None])[:, *np.triu_indices(4, 1)], "permutes axis 1"),  # edges
        (lambda x: (x[:, :, None] - x[:, None])[:, *np.triu_indices(4, 1)], "a matrix on axis 1"),  # with directions
        (lambda x: (x[:, :, None] * x[:, None]).reshape(len(x), 16, -1), "p on axis 1, 2 of axis 1 as [4, 4]"),
    ],
)
def test_permutations(function, text):
    found = of(S4, function, 4, 2)
    assert (found.state, found.text) == ("kept", text)


def test_dual_vectors_of_a_group_that_stretches():
    inverse = np.linalg.inv(RANDOM.normal(size=(2, 2)))
    assert of(GL, lambda x: x, 2, 3).text == "x on axis 1"
    assert (
        of(GL, lambda x: np.linalg.inv(x[..., :2]).transpose(0, 2, 1) @ inverse, 2, 3).text == "the dual of x on axis 1"
    )


@pytest.mark.parametrize(
    ("function", "state", "text"),
    [
        (lambda x: x * np.linalg.norm(x, axis=1, keepdims=True), "kept", "x on axis 1"),
        (lambda x: np.linalg.norm(x, axis=1, keepdims=True), "kept", "invariant"),
        (np.abs, "broken", "no action"),
        (lambda x: x.real, "broken", "no action"),
    ],
)
def test_real_activations_of_complex_inputs(function, state, text):
    x = RANDOM.normal(size=(SAMPLES, 2, 2)) + 1j * RANDOM.normal(size=(SAMPLES, 2, 2))
    moved = [function(ek.U(2).act(element, x, 1)) for element in U2.elements]
    found = infer(U2, function(x), moved, NOISE, (SAMPLES,))
    assert (found.state, found.text) == (state, text)


@pytest.mark.parametrize(
    ("change", "shape", "function"),
    [
        (O3, (3, 2), lambda x: np.maximum(x, 0)),
        (O3, (3, 2), lambda x: x + 0.1),
        (O3, (3, 2), lambda x: x - x.mean(1, keepdims=True)),
        (O3, (3, 2), lambda x: x[:, :2]),
        (S4, (4, 2), lambda x: x + np.arange(4.0)[:, None]),
        (S4, (4, 2), lambda x: np.cumsum(np.tanh(x), 1)[:, 1:]),
        (S4, (4, 2), lambda x: x[:, 0]),
    ],
)
def test_faults_are_broken(change, shape, function):
    assert of(change, function, *shape).state == "broken"


@pytest.mark.parametrize("change", [O3, S4])
def test_small_faults_are_compared_with_rounding(change):
    shape = change.group.n, 2

    def function(x):
        return np.maximum(x, 0) + np.arange(x.shape[1])[:, None]

    whole = of(change, lambda x: x + 1e-6 * function(x), *shape, noise=1e-9)
    assert whole.state == "broken"
    assert of(change, lambda x: x + 1e-6 * function(x), *shape, noise=1e-5).state == "kept"


def test_what_cannot_be_decided_is_unknown():
    few = of(O3, lambda x: np.maximum(x.reshape(len(x), -1), 0), 3, 4, samples=3)
    assert (few.state, few.text) == ("unknown", "too few samples to fit a matrix")
    assert of(O3, lambda x: np.full_like(x, np.nan), 3, 2).text == "not finite"
    x = RANDOM.normal(size=(SAMPLES, 3))
    assert infer(O3, x, [x[:, :2]], NOISE, (SAMPLES,)).text == "its shape changes"


def test_translations_leave_or_shift_activations():
    x, shift = RANDOM.normal(size=(SAMPLES, 4, 3)), RANDOM.normal(size=3)
    change = Shifted("translation")

    def text(function):
        return infer(change, function(x), [function(x + shift)], 1e-12, (SAMPLES,)).text

    assert text(lambda x: x - x.mean(1, keepdims=True)) == "invariant"
    assert text(lambda x: x @ RANDOM_MATRIX) == "shifted"
    assert text(np.sin) == "no action"


RANDOM_MATRIX = RANDOM.normal(size=(3, 5))


def test_padding_keeps_present_entries():
    x = RANDOM.normal(size=(SAMPLES, 4, 3))
    longer = np.concatenate([x, RANDOM.normal(size=(SAMPLES, 2, 3))], 1)
    change = Padded("padding", 4, 2)

    def state(function):
        return infer(change, function(x), [function(longer)], 1e-12, (SAMPLES,)).state

    assert state(np.sin) == "kept"
    assert state(lambda x: x[:, :, None] - x[:, None]) == "kept"
    assert state(lambda x: x.reshape(-1, 3)) == "kept"  # flattened with the samples
    assert state(lambda x: x.sum(1)) == "broken"
    assert state(lambda x: x.reshape(len(x), -1)) == "unknown"


def test_samples_are_found():
    assert batch_first(np.zeros((6, 2)), (6,)).shape == (6, 2)
    assert batch_first(np.zeros((2, 3, 5)), (2, 3)).shape == (6, 5)
    assert batch_first(np.zeros((5, 6, 2)), (6,)).shape == (6, 5, 2)
    assert batch_first(np.zeros((18, 2)), (6,)).shape == (6, 3, 2)
    assert batch_first(np.zeros((4, 2)), (6,)).shape == (1, 4, 2)
    assert batch_first(np.zeros((4, 2)), ()).shape == (1, 4, 2)
    assert batch_first(np.zeros(()), (6,)).shape == (1,)


def test_fits_are_checked_on_other_samples():
    for samples in (1, 2, 3, 10):
        fit, check = (set(range(samples)[part]) for part in divided(samples))
        assert fit | check == set(range(samples))
        assert samples == 1 or not fit & check
    assert [*subsets((9, 3, 2))] == [(2,), (1,), (1, 2)]
    assert is_determined((9, 3, 2), (1,))
    assert not is_determined((9, 3, 2), (1, 2))
    first, other = RANDOM.normal(size=(2, 9, 6))
    assert matrix_error(first, first @ np.diag(range(6)), (1,), 0.0)[0] < 1e-12
    assert matrix_error(first, other, (1,), 0.0)[0] > 0.1  # six unknowns fit six samples, and not the others
    assert permutation_error(first, first[:, ::-1], 1) == 0
    assert permutation_error(first, other, 1) > 0.1
