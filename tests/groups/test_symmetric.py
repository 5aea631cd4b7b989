"""The symmetric group and the plain axis as values, and the action of permutations."""

import copy
import itertools
import math
import pickle
from collections import Counter

import numpy as np
import pytest

from equikit import Fixed, GroupError, S, ShapeError


@pytest.mark.parametrize("n", range(6))
def test_generators_generate_the_whole_group(n):
    found = {tuple(range(n))}
    edge = set(found)
    while edge:
        edge = {tuple(int(x) for x in g[list(h)]) for g in S(n).generators() for h in edge} - found
        found |= edge
    assert found == set(itertools.permutations(range(n)))
    assert len(found) == math.factorial(n)


@pytest.mark.parametrize("n", [0, 1, 2, 3, 7])
def test_random_elements_are_permutations_and_seeded(n):
    drawn = [S(n).random_element(np.random.default_rng(3)) for _ in range(2)]
    assert np.array_equal(*drawn)
    assert sorted(drawn[0].tolist()) == list(range(n))
    assert drawn[0].dtype.kind == "i"
    assert np.array_equal(S().random_element(np.random.default_rng(3), n), drawn[0])


def test_random_elements_are_uniform():
    generator, draws = np.random.default_rng(0), 24_000
    counts = Counter(tuple(S(4).random_element(generator).tolist()) for _ in range(draws))
    assert len(counts) == 24
    expected = draws / 24
    assert sum((c - expected) ** 2 / expected for c in counts.values()) < 50  # 23 degrees: above it once in 1000


@pytest.mark.parametrize("n", [1, 2, 5])
def test_matrix_and_act_agree_and_are_left_actions(n):
    generator = np.random.default_rng(1)
    for _ in range(5):
        g, h = S(n).random_element(generator), S(n).random_element(generator)
        x = generator.integers(0, 100, (3, n, 2))
        matrix = S(n).matrix(g)
        assert matrix.dtype == np.int64
        assert np.array_equal(matrix @ np.eye(n, dtype=int)[:, 0], np.eye(n, dtype=int)[:, g[0]])
        assert np.array_equal(S(n).act(g, x, 1), np.einsum("ij,bjc->bic", matrix, x))
        assert np.array_equal(S(n).act(g, x, -2), S(n).act(g, x, 1))
        assert np.array_equal(S(n).act(g, x, 1)[:, g], x)
        assert np.array_equal(S(n).act(g, S(n).act(h, x, 1), 1), S(n).act(g[h], x, 1))
        assert np.array_equal(matrix @ S(n).matrix(h), S(n).matrix(g[h]))
        assert np.array_equal(matrix.T @ matrix, np.eye(n, dtype=int))


def test_act_on_jax_arrays():
    jax = pytest.importorskip("jax")
    x = np.arange(24, dtype=np.float32).reshape(2, 4, 3)
    g = np.array([2, 0, 3, 1])
    moved = S(4).act(g, jax.numpy.asarray(x), 1)
    assert isinstance(moved, jax.Array)
    assert np.array_equal(moved, S(4).act(g, x, 1))
    assert np.array_equal(jax.jit(lambda a: S(4).act(g, a, -2))(x), moved)
    assert moved.dtype == np.float32


@pytest.mark.parametrize("dtype", [np.int8, np.uint64, np.int64])
def test_elements_of_any_integer_dtype(dtype):
    g = np.array([1, 2, 0], dtype)
    assert S(3).act(g, np.array([10, 20, 30]), 0).tolist() == [30, 10, 20]
    assert S(3).matrix(g).tolist() == [[0, 0, 1], [1, 0, 0], [0, 1, 0]]


def test_the_empty_permutation():
    assert S(0).act(np.zeros(0, int), np.zeros((2, 0)), 1).shape == (2, 0)
    assert S(0).matrix(np.zeros(0, int)).shape == (0, 0)
    assert S(0).generators() == S(1).generators() == []


@pytest.mark.parametrize(
    "element", [[0, 0, 1], [1, 2, 3], [-1, 0, 1], [0.0, 1.0, 2.0], [[0, 1, 2]], 1, [True, False], None], ids=repr
)
def test_what_is_not_a_permutation_is_refused(element):
    with pytest.raises(GroupError, match="not a permutation"):
        S(3).act(element, np.zeros(3), 0)
    with pytest.raises(GroupError, match="not a permutation"):
        S(3).matrix(element)


@pytest.mark.parametrize(("shape", "axis"), [((5,), 0), ((2,), 0), ((3, 4), 1), ((3,), 1), ((3,), -2), ((), 0)])
def test_an_axis_that_does_not_fit_is_refused(shape, axis):
    with pytest.raises(ShapeError, match="does not fit the axis"):
        S(3).act(np.array([1, 0, 2]), np.zeros(shape), axis)


@pytest.mark.parametrize("size", [-1, 2.5, True, False, "5", None, np.float64(3), np.True_, [3], 1j], ids=repr)
@pytest.mark.parametrize("kind", [S, Fixed])
def test_sizes_that_are_refused(kind, size):
    if kind is S and size is None:
        assert S(None) == S()
        return
    with pytest.raises(GroupError, match=f"{kind.__name__} needs a whole number of points") as caught:
        kind(size)
    assert f"got:       {size!r}" in str(caught.value)
    assert f"{kind.__name__}(4)" in str(caught.value)


@pytest.mark.parametrize("size", [0, 1, 5, np.int8(5), np.uint64(5), 10**30], ids=repr)
def test_sizes_that_are_taken(size):
    assert type(S(size).n) is type(Fixed(size).size) is int
    assert (S(size).n, Fixed(size).size) == (int(size), int(size))


@pytest.mark.parametrize("method", ["generators", "random_element"])
@pytest.mark.parametrize(
    ("group", "n"), [(S(), None), (S(3), 4), (S(3), 3.0), (S(), -1), (S(), 2.5), (S(), True)], ids=repr
)
def test_a_size_that_is_not_settled(method, group, n):
    arguments = (np.random.default_rng(0), n) if method == "random_element" else (n,)
    with pytest.raises(GroupError):
        getattr(group, method)(*arguments)


def test_a_bound_group_takes_its_own_size_again():
    assert len(S(3).random_element(np.random.default_rng(0), 3)) == 3


VALUES = [S(), S(0), S(5), Fixed(0), Fixed(7)]


@pytest.mark.parametrize("value", VALUES, ids=repr)
def test_values_are_frozen_hashable_and_picklable(value):
    name = "n" if isinstance(value, S) else "size"
    with pytest.raises(AttributeError):
        setattr(value, name, 3)
    with pytest.raises((AttributeError, TypeError)):
        value.other = 3
    for twin in (pickle.loads(pickle.dumps(value)), copy.copy(value), copy.deepcopy(value)):
        assert twin == value
        assert hash(twin) == hash(value)
        assert repr(twin) == repr(value)
    assert eval(repr(value), {"S": S, "Fixed": Fixed}) in (value, type(value))


def test_values_are_different_and_ordered():
    assert len(set(VALUES)) == len(VALUES)
    assert S(5) != Fixed(5)
    assert sorted([S(3), S(), S(1)]) == [S(), S(1), S(3)]
    assert S() < S(0) <= S(0) < S(2)
    assert S(2) > S(1)
    assert sorted([Fixed(3), Fixed(1)]) == [Fixed(1), Fixed(3)]
    with pytest.raises(TypeError):
        _ = S(1) < Fixed(1)


def test_a_bound_group_has_elements_of_its_size_only():
    for use in (lambda g: S(5).matrix(g), lambda g: S(5).act(g, np.arange(3), 0)):
        with pytest.raises(GroupError, match="not a permutation"):
            use([1, 0, 2])
    assert S().matrix([1, 0, 2]).shape == (3, 3)
