"""Permutation groups hidden in functions and data: planted groups are found exactly, and nothing else is."""

import itertools
import math

import numpy as np
import pytest
from helpers import assert_error

import equikit as ek
from equikit.discover import permutations as found_permutations
from equikit.discover.finite._names import action_name, generated_order

OPTION, SHAPE = ek.OptionError, ek.ShapeError


def permutations(source, data=None, **options):
    """Find the group of a function or of data without channels; other data are passed as they are."""

    def single(values):
        return values[..., None] if np.ndim(values) == 2 and np.asarray(values).dtype.kind == "f" else values

    if callable(source):
        given = single(data)
        plain = given is not data
        function = (lambda x: single_if(source(x[..., 0]))) if plain else source
        single_if = single if options.get("equivariant") else lambda y: y
        return found_permutations(function, given, **options)
    if isinstance(source, tuple):
        outputs = single(source[1]) if options.get("equivariant") else source[1]
        return found_permutations((single(source[0]), outputs), **options)
    return found_permutations(single(source), **options)


def ring(x):
    return np.sum(x**2 * np.roll(x, 1, axis=1), axis=1)


def necklace(x):
    return np.sum(x * np.roll(x, 1, axis=1), axis=1)


def two_parts(x):
    return np.sum(x[:, :3] ** 2, axis=1) * np.sum(x[:, 3:], axis=1)


def couples(x):
    return np.sum(np.tanh(x[:, ::2] * x[:, 1::2]), axis=1)


def even(x):
    return np.sum(x**4, axis=1) + np.prod(np.abs(x), axis=1)


def weighted(x):
    return x @ np.arange(1.0, x.shape[1] + 1) ** 2


def of_all(x):
    return np.sum(x, axis=1) ** 2 + np.sum(x, axis=1) ** 3


FUNCTIONS = {
    "Z(7)": (ring, 7, False, 7),
    "D(6)": (necklace, 6, False, 12),
    "S(4) x S(3)": (two_parts, 7, False, 144),
    "S(2) wr S(3)": (couples, 6, False, 48),
    "(Z(2) x Z(2)) wr S(2)": (couples, 4, True, 32),
    "H(3)": (even, 3, True, 48),
    "S(5)": (of_all, 5, False, 120),
    "trivial": (weighted, 5, False, 1),
}


def drawn(n, count=400, seed=0):
    return np.random.default_rng(seed).normal(size=(count, n))


def shaken(function):
    """A function plus 5 % of its spread of an even function without symmetry."""

    def with_noise(x):
        y = function(x)
        noise = np.cos(x @ np.random.default_rng(7).normal(size=(x.shape[1], 16))).sum(1)
        return y + 0.05 * np.std(y) * noise / np.std(noise)

    return with_noise


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("noise", [False, True], ids=["exact", "with-noise"])
def test_a_planted_group_of_a_function_is_found(name, noise):
    function, n, signs, order = FUNCTIONS[name]
    found = permutations(shaken(function) if noise else function, drawn(n), signs=signs, samples=8192)
    assert (found.name, found.order) == (name, order)
    assert found.defect < (0.125 if noise else 1e-12)
    assert found.rejected > 0.1
    assert (found.group.order(n) or len(found.group.elements())) == order
    acts = ek.H(n) if signs else ek.S(n)
    x = drawn(n, 50, seed=9)
    for element in found.generators:
        assert np.allclose(function(acts.act(element, x, 1)), function(x))


def test_the_order_of_the_points_is_the_given_one():
    places = np.array([3, 0, 4, 1, 2])
    found = permutations(lambda x: ring(x[:, places]), drawn(5))
    assert found.name == "Z(5)"
    assert str(found.group) == "Z(5) in another order of the points"
    assert isinstance(found.group, ek.MatrixGroup)  # the shift of Z(5) is another permutation
    assert isinstance(permutations(ring, drawn(5)).group, ek.Z)
    assert permutations(two_parts, drawn(5)).orbits == ((0, 1, 2), (3, 4))
    cycle = found.generators[0]
    step = {int(places[i]): int(places[(i + 1) % 5]) for i in range(5)}
    powers = [cycle]
    for _ in range(3):
        powers.append(cycle[powers[-1]])
    assert any([int(g[i]) for i in range(5)] == [step[i] for i in range(5)] for g in powers)


def test_the_group_goes_into_a_layer():
    found = permutations(couples, drawn(6))
    assert ek.hom("x -> x", x=found.group).dim == 3  # itself, its partner, the others


def test_a_group_that_pairs_of_points_do_not_show_is_found():
    """The seven lines of the Fano plane: pairs of points are all alike, triples are not."""
    lines = [(0, 1, 2), (0, 3, 4), (0, 5, 6), (1, 3, 5), (1, 4, 6), (2, 3, 6), (2, 4, 5)]
    found = permutations(lambda x: sum(x[:, a] * x[:, b] * x[:, c] for a, b, c in lines), drawn(7), samples=4096)
    assert (found.order, found.name) == (168, "PSL(2,7)")
    assert {frozenset(int(g[i]) for i in line) for g in found.generators for line in lines} == {*map(frozenset, lines)}


def test_equivariant_functions_and_points_with_channels():
    def smooth(x):
        return np.roll(x, 1, axis=1) * 2 + x**2

    assert permutations(smooth, drawn(5), equivariant=True).name == "Z(5)"
    points = np.random.default_rng(0).normal(size=(400, 4, 3))
    found = permutations(lambda x: np.sum(x[:, :3, 0] * x[:, :3, 1], axis=1), points)
    assert found.name == "S(3)"
    turned = permutations(lambda x: np.cross(x, np.roll(x, 1, axis=1)), points, equivariant=True)
    assert turned.name == "Z(4)"


def directed(generator, count, n):
    noise = generator.exponential(size=(count, n)) - 1
    return noise + 0.4 * np.roll(noise, 1, axis=1)


def undirected(generator, count, n):
    noise = generator.normal(size=(count, n))
    return noise + 0.6 * np.roll(noise, 1, axis=1)


def paired(generator, count, n):
    return generator.normal(size=(count, n)) + np.repeat(generator.normal(size=(count, n // 2)), 2, axis=1)


def sharp(generator, count, n):
    return generator.laplace(size=(count, n))


def two_kinds(generator, count, n):
    x = generator.normal(size=(count, n))
    x[:, 3:] = x[:, 3:] ** 2
    return x


def scaled(generator, count, n):
    return generator.normal(size=(count, n)) * 1.4 ** np.arange(n)


DATA = {
    "Z(5)": (directed, 5, False),
    "D(6)": (undirected, 6, False),
    "S(2) wr S(2)": (paired, 4, False),
    "S(3) x S(2)": (two_kinds, 5, False),
    "H(3)": (sharp, 3, True),
    "trivial": (scaled, 4, False),
}


@pytest.mark.parametrize("name", DATA)
def test_a_planted_group_of_a_distribution_is_found(name):
    draw, n, signs = DATA[name]
    generator = np.random.default_rng(2)
    x = draw(generator, 4000, n)
    x = x + 0.05 * np.std(x) * generator.normal(size=x.shape)
    found = permutations(x, signs=signs)
    expected = {"S(2) wr S(2)": "D(4)"}.get(name, name)  # the same group
    assert found.name == expected
    assert found.defect < 1.25
    assert found.resolution == pytest.approx(4.5 / math.sqrt(2000))


def test_outputs_tell_points_apart_that_inputs_do_not():
    x = drawn(5, 4000)
    assert permutations(x).name == "S(5)"
    assert permutations((x, np.sum(x[:, :2], axis=1) * np.sum(x[:, 2:] ** 2, axis=1))).name == "S(3) x S(2)"
    assert permutations((x, x + 2 * np.roll(x, 1, axis=1)), equivariant=True).name == "Z(5)"


@pytest.mark.parametrize("row", [[1, 1, 2, 3, 3], [2, 1, 1, 3, 3], [0.1, 0.1, 1e6, 3, 3]], ids=str)
def test_entries_that_are_equal_in_all_samples_are_exchanged(row):
    assert permutations(np.tile(np.array(row, float), (4000, 1))).name == "S(2) x S(2)"


@pytest.mark.parametrize("offset", [1e3, 1e7])
def test_entries_are_told_apart_by_what_varies(offset):
    x = offset + drawn(5, 4000) * np.array([1, 1, 1, 2, 2])
    found = permutations(x)
    assert found.name == "S(3) x S(2)"
    assert 0.1 < found.defect < 1


def test_three_entries_together_are_seen_where_pairs_show_nothing():
    x = np.random.default_rng(0).choice([-1.0, 1.0], size=(4000, 4))
    x[:, 2] = x[:, 0] * x[:, 1]
    found = permutations(x)
    assert found.orbits == ((0, 1, 2), (3,))
    assert found.name == "S(3)"
    assert 1 < found.rejected < np.inf


@pytest.mark.parametrize("n", [0, 1])
def test_no_points_and_one_point_have_the_trivial_group(n):
    for found in (permutations(lambda x: x.sum(1), np.zeros((100, n))), permutations(drawn(n, 4000))):
        assert (found.order, found.name, found.generators.shape) == (1, "trivial", (0, n))
        assert found.orbits == tuple((i,) for i in range(n))
    if n == 1:
        assert permutations(lambda x: x[:, 0] ** 2, drawn(1), signs=True).name == "H(1)"
        assert repr(permutations(drawn(1, 4000))) == "<trivial of order 1, error 0>"


def test_wrong_input_is_refused():
    x = drawn(4)
    errors = [
        (OPTION, lambda: permutations(ring), "a function needs data=", "None", "data=", "pass data=x"),
        (OPTION, lambda: permutations(ring, x[:20]), "too few samples", "20", "64 or more", "more samples"),
        (OPTION, lambda: permutations(x), "too few samples", "400", "2,592 or more", "more samples"),
        (OPTION, lambda: permutations(ring, x, tolerance=0), "tolerance= must be", "0", "> 0", "tolerance=0.1"),
        (OPTION, lambda: permutations(ring, x, signs=1), "signs= must be", "1", "a bool", "signs=True"),
        (
            OPTION,
            lambda: permutations(ring, x, samples=10),
            "samples= must be",
            "10",
            "≥ 1000",
            "samples=16384",
        ),
        (
            ek.TooLargeError,
            lambda: permutations(ring, x, samples=10**30),
            "shuffled inputs are too large",
            "entries",
            "134,217,728",
            "a smaller samples=",
        ),
        (SHAPE, lambda: permutations(x[0]), "samples of n points", "shape [4]", "[samples, n, channels]", "one row"),
        (
            SHAPE,
            lambda: found_permutations(ring, x),
            "samples of n points",
            "shape [400, 4]",
            "[samples, n, channels]",
            "an axis of one channel: x[..., None]",
        ),
        (SHAPE, lambda: permutations(ring, "abc"), "samples of n points", "<U3", "real numbers", "one row"),
        (
            SHAPE,
            lambda: permutations(ring, x + 1j),
            "samples of n points",
            "complex",
            "real numbers",
            "one row",
        ),
        (
            OPTION,
            lambda: permutations(np.where(x > 1, np.nan, x)),
            "samples are not finite",
            "NaN",
            "finite",
            "drop",
        ),
        (
            OPTION,
            lambda: permutations(np.ones((4000, 3))),
            "samples are constant",
            "12000",
            "distribution",
            "differ",
        ),
        (
            OPTION,
            lambda: permutations(lambda x: x[:, 0] * 0, x),
            "function is constant",
            "0",
            "differ",
            "varies",
        ),
        (
            OPTION,
            lambda: permutations(lambda x: np.log(x[:, 0]), abs(x) - 9),
            "not finite",
            "400",
            "finite",
            "pass",
        ),
        (
            OPTION,
            lambda: permutations(lambda x: 1 / 0, x),
            "raises an exception",
            "ZeroDivisionError",
            "arrays",
            "traceback",
        ),
        (SHAPE, lambda: permutations(np.sum, x), "outputs of the function", "shape []", "[samples]", "vmap"),
        (
            SHAPE,
            lambda: permutations(ring, x, equivariant=True),
            "outputs of the function",
            "shape [400] for inputs of shape [400, 4, 1]",
            "[samples, n, channels]",
            "vmap",
        ),
        (
            SHAPE,
            lambda: permutations((drawn(3, 4000), x)),
            "the outputs must have",
            "[400, 4]",
            "[4000",
            "pass",
        ),
        (
            SHAPE,
            lambda: permutations((drawn(3, 4000), drawn(4, 4000)), equivariant=True),
            "the outputs must have",
            "[4000, 4, 1]",
            "[4000, 3, channels]",
            "one output for each point",
        ),
        (ek.TooLargeError, lambda: permutations(ring, drawn(65)), "too many points", "65", "at most 64", "fewer"),
    ]
    for kind, call, *texts in errors:
        with np.errstate(all="ignore"):
            assert_error(kind, call, *texts)


@pytest.mark.parametrize("weights", [(1, 1.1, 1.2, 1), tuple(np.linspace(1, 1.3, 8))])
def test_products_of_generators_are_within_the_tolerance(weights):
    """Neighboring weights differ by less than the tolerance, the first and the last one by more."""

    def almost(x):
        return x @ np.array(weights)

    x = drawn(len(weights), 600)
    with pytest.raises(ek.GroupError, match="do not form a group") as caught:
        permutations(almost, x)
    assert "of a product of generators" in caught.value.got
    larger = permutations(almost, x, tolerance=0.25)
    assert (larger.order, larger.name) == (math.factorial(len(weights)), f"S({len(weights)})")
    assert 0.1 < larger.defect < 0.25
    if len(weights) == 4:
        assert permutations(almost, x, tolerance=0.02).order == 2


def test_moments_that_tell_nothing_are_refused():
    """The sign of a product of six entries: every moment of two entries is zero, and a sum hides the order."""

    def hidden(x):
        return np.sign(np.prod(x, axis=1)) * np.sum(x[:, :1] > x[:, 1:2], axis=1) * np.sum(x**2, axis=1)

    found = permutations(hidden, drawn(4))
    assert found.name == "S(2)"


def test_orders_of_groups_with_transpositions_are_those_of_sympy():
    def moves(n, *words):
        found = []
        for word in words:
            images = np.arange(n)
            images[list(word)] = [*word[1:], word[0]]
            found.append(images)
        return found

    cases = {
        "S(3) x S(2)": (moves(6, (0, 1), (1, 2), (3, 4), (0, 1, 2)), 12),
        "exchanged blocks": ([*moves(4, (0, 1)), np.array([2, 3, 0, 1])], 8),
        "a cycle beside": (moves(5, (0, 1), (2, 3, 4)), 6),
        "no transposition": (moves(5, (0, 1, 2, 3, 4)), 5),
        "a cycle across": (moves(5, (0, 1), (0, 1, 2, 3, 4)), 120),
    }
    for generators, order in cases.values():
        assert generated_order(generators) == order
    many = [*moves(64, *((i, i + 1) for i in range(63)))]
    assert (generated_order(many), action_name(many, 64)) == (math.factorial(64), "S(64)")


def test_the_worst_element_of_a_large_group_is_found():
    """Weights that hardly differ: of 40,320 permutations some exceed the tolerance, few of them by 13 %."""
    random = np.random.default_rng(4)
    x, weights = random.normal(size=(120, 8)), 1 + 0.035 * random.normal(size=8)
    places = np.array([*itertools.permutations(range(8))])
    y, changes = x**2 @ weights, x**2 @ (weights[places] - weights).T
    largest = np.sqrt(np.mean(changes**2, axis=0)).max() / np.std(y)
    assert 0.1 < largest < 0.12
    with pytest.raises(ek.GroupError, match="do not form a group"):
        permutations(lambda x: x**2 @ weights, x)
    assert permutations(lambda x: x**2 @ weights, x, tolerance=0.12).defect == pytest.approx(largest, rel=0.05)


def test_too_many_candidates_are_refused_with_what_helps():
    random = np.random.default_rng(3)
    x, weights = random.normal(size=(120, 8)), 1 + random.normal(size=8) * random.uniform(0.05, 0.14)
    with pytest.raises(ek.TooLargeError, match="too many candidates") as caught:
        permutations(lambda x: x**2 @ weights, x)
    assert caught.value.step == "evaluate the function at more inputs, by a larger samples="
    with pytest.raises(ek.GroupError, match="do not form a group"):  # more candidates are told apart
        permutations(lambda x: x**2 @ weights, x, samples=200_000)
