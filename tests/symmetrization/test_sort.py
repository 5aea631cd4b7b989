"""Sets in lexicographic order: against an average over all orders, with ties, near ties, masks and rotations."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import assert_error

import equikit as ek
from equikit.symmetrization.frames import PCA, Laplacian, Sort, Stochastic
from equikit.symmetrization.permutations import _ties
from equikit.testing import assert_equivariant

TETRAHEDRON = np.array([[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]], float)

CLOUDS = {
    "box": np.array(list(itertools.product((-1, 1), (-2, 2), (-3, 3))), float),
    "cube": np.array(list(itertools.product((-1, 1), repeat=3)), float),
    "octahedron": np.concatenate([np.eye(3), -np.eye(3), np.zeros((2, 3))]),
    "tetrahedra": np.outer((1, 2), TETRAHEDRON).reshape(8, 3),
    "prism": np.array(
        [[np.cos(t), np.sin(t), z] for t in 2 * np.pi * np.arange(3) / 3 for z in (-1, 1)] + [[0, 0, 0]] * 2
    ),
    "hexagon": np.array([[np.cos(t), np.sin(t)] for t in 2 * np.pi * np.arange(6) / 6]),
    "twice": np.repeat(np.random.default_rng(1).normal(size=(4, 3)), 2, axis=0),
}
"""Clouds in space have eight points, so that they share one program; two of them may lie in the center."""


def weights(*shape):
    return np.random.default_rng(0).normal(size=shape)


def blind(x, shape):
    """A function of all entries in the order in which they come, with as many outputs as asked for."""
    flat, sin = x.reshape(*x.shape[:-2], -1), np.sin if isinstance(x, np.ndarray) else jnp.sin
    return sin(flat @ weights(flat.shape[-1], int(np.prod(shape)))).reshape((*x.shape[:-2], *shape))


SORT = Sort()
OUTPUTS = {"one": "()", "each": "p", "pairs": "p p"}


def of_set(how=SORT, width=2):
    """A function of sets of vectors, made of a blind one: a number, one for each point, and one for each pair."""

    def backbone(x):
        return {name: blind(x["set"], (x["set"].shape[-2],) * order) for order, name in enumerate(OUTPUTS)}

    return ek.symmetrize(backbone, {"set": "p f"}, OUTPUTS, p=ek.S, f=ek.Fixed(width), channels=False, how=how)


@functools.cache
def run_set(how=SORT):
    """The outputs, what is known of the frame, and the sum of its weights."""
    sym = of_set(how)

    @jax.jit
    def run(x):
        y, info = sym({"set": x}, with_info=True)
        return y, info, jnp.sum(sym.frame({"set": x}).weights, axis=0)

    return run


def permuted(y, p):
    """Outputs for the points in another order."""
    return {"one": y["one"], "each": y["each"][p], "pairs": np.asarray(y["pairs"])[np.ix_(p, p)]}


def of_pairs(how):
    """A function of sets of pairs of numbers, of which only the first are compared: ties of these matter."""

    def backbone(x):
        both = jnp.stack([x["first"], x["second"]], axis=-1)
        return blind(both, (both.shape[-2],))

    sym = ek.symmetrize(backbone, {"first": "p", "second": "p"}, "p", p=ek.S, channels=False, how=how)

    def call(x, **options):
        y, info = sym({"first": x[..., 0], "second": x[..., 1]}, with_info=True, **options)
        return y["p"], info

    return call


def of_cloud(how, d=3):
    """Two functions of a point cloud, a number and one for each point."""

    def backbone(x):
        return {"one": blind(x["cloud"], ()), "each": blind(x["cloud"] ** 2, x["cloud"].shape[-2:-1])}

    signature = {"cloud": "p x"}, {"one": "()", "each": "p"}
    return ek.symmetrize(backbone, *signature, p=ek.S, x=ek.O(d), translate={"cloud": "x"}, channels=False, how=how)


@functools.cache
def compiled(d):
    """With frames that are exact for every cloud; once for all clouds of a shape."""
    return jax.jit(of_cloud([PCA(on_degenerate="weighted"), Sort()], d))


def over_all_orders(x, order, points, compared=None):
    """The mean over all permutations that sort the rows of x, or their first numbers, each one made by brute force."""
    rows = [tuple(row[:compared]) for row in x]
    sorting = [list(p) for p in itertools.permutations(range(points)) if [rows[i] for i in p] == sorted(rows)]
    total = 0
    for p in sorting:
        y = blind(x[np.array(p)], (points,) * order)
        back = np.argsort(p)
        total = total + (y[np.ix_(*[back] * order)] if order else y)
    return total / len(sorting), len(sorting)


@pytest.mark.parametrize("order", [0, 1, 2])
@pytest.mark.parametrize("ties", ["none", "pairs", "three", "first number"])
def test_it_is_the_mean_over_all_orders_that_sort(x64, order, ties):
    x = np.random.default_rng(1).integers(0, 9, (5, 2)).astype(float)
    if ties == "pairs":
        x[[1, 3]], x[4] = x[0], x[2]
        x[3, 1] += 1
    elif ties == "three":
        x[1:4] = x[1]
    elif ties == "first number":
        x[:, 0] = x[0, 0]
        x[:, 1] = np.arange(5)
    wanted, size = over_all_orders(x, order, 5)
    y, info, total = run_set()(x)
    name = [*OUTPUTS][order]
    np.testing.assert_allclose(y[name], wanted, atol=1e-13)
    np.testing.assert_allclose(info.size, size, rtol=1e-6)
    np.testing.assert_allclose(total, 1, rtol=1e-12)
    assert not info.degenerate
    assert info.ties == {"none": 0, "pairs": 2, "three": 2, "first number": 0}[ties]
    shuffled = np.array([3, 0, 4, 1, 2])
    np.testing.assert_allclose(run_set()(x[shuffled])[0][name], permuted(y, shuffled)[name], atol=1e-13)


def test_random_sets():
    for signature, order in (("p -> p", 1), ("p -> p p", 2)):
        sym = ek.symmetrize(
            lambda x, order=order: blind(x, (x.shape[-2],) * order + (1,)), signature, p=ek.S, how=Sort()
        )
        assert_equivariant(jax.jit(sym), signature, p=ek.S(5), channels=3, key=jax.random.key(0))


def test_the_order_is_lexicographic(x64):
    x = np.random.default_rng(0).integers(0, 3, (40, 50, 4)).astype(float)
    order = np.asarray(of_set(width=4).frame({"set": x}).elements.linear["p"][0])
    for rows, found in zip(x, order, strict=True):
        np.testing.assert_array_equal(rows[found], rows[np.lexsort(rows.T[::-1])])


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow) if name == "hexagon" else name for name in CLOUDS]
)
def test_clouds_do_not_depend_on_the_order_of_their_points(x64, name):
    """Symmetric clouds have eigenvalues, coordinates and points in common, all of them up to rounding only."""
    cloud = CLOUDS[name] + 0.3
    points, d = cloud.shape
    sym = compiled(d)
    generator = np.random.default_rng(0)
    permutations = np.stack([np.arange(points), *(generator.permutation(points) for _ in range(11))])
    turns = np.stack([np.eye(d), *(ek.O(d).random_element(generator) for _ in range(11))])
    moved = np.stack([cloud[p] @ turn.T + 5 for p, turn in zip(permutations, turns, strict=True)])
    y = jax.tree.map(np.asarray, sym({"cloud": moved}))
    assert np.abs(y["one"]).max() > 0.01
    np.testing.assert_allclose(y["one"], np.broadcast_to(y["one"][0], 12), atol=1e-10)
    np.testing.assert_allclose(y["each"], y["each"][0][permutations], atol=1e-10)


def test_without_a_tolerance_rounding_decides_and_this_is_reported():
    rng = np.random.default_rng(0)
    turns, orders = [ek.O(3).random_element(rng) for _ in range(9)], rng.permuted([range(8)] * 9, axis=1)
    moved = np.stack([CLOUDS["box"][p] @ turn.T for p, turn in zip(orders, turns, strict=True)])
    sym = of_cloud([PCA(), Sort(tolerance=0.0, on_degenerate="flag")])
    y, info = jax.jit(lambda x: sym(x, with_info=True))({"cloud": moved.astype(np.float32)})
    assert np.ptp(y["one"]) > 0.01
    assert np.all(info.degenerate)


@pytest.mark.parametrize("distance", [1e-5, 1e-7, 1e-9, 1e-11, 1e-15, 0])
def test_points_that_nearly_coincide_are_no_ties(x64, distance):
    """Ties are exchanged freely, so that what is tied must be equal to rounding and not to a tolerance."""
    x = np.random.default_rng(0).normal(size=(4, 2))
    x[1] = x[0] + distance * np.array([1, -1])
    p, run = np.array([1, 0, 3, 2]), run_set(Sort(max_size=2))
    y, moved = run(x)[0], run(x[p])[0]
    for name, wanted in permuted(y, p).items():
        np.testing.assert_allclose(moved[name], wanted, atol=1e-13)


def test_the_margin_is_the_distance_to_the_next_jump(x64):
    x = np.array([[0.0, 1.0], [1e-3, 0.0], [1.0, 0.5]])
    run = run_set(Sort(tolerance=0.01))
    for first, wanted in ((1e-3, 9e-3), (9.9e-3, 1e-4), (1.01e-2, 1e-4), (1.7e-2, 7e-3)):
        x[1, 0] = first
        np.testing.assert_allclose(run(x)[1].more["margin"], wanted)
    jump = [float(run(np.where(x == x[1, 0], 0.01 + s * 1e-9, x))[0]["one"]) for s in (-1, 1)]
    assert abs(jump[0] - jump[1]) > 0.01


def test_ties_that_are_no_symmetry_of_the_whole_input(x64):
    """Where only a part of the input is compared, exchanging ties changes the rest, and all orders are listed."""

    def backbone(x):
        join = np.concatenate if isinstance(x["nodes"], np.ndarray) else jnp.concatenate
        return blind(join([x["nodes"][..., None], x["edges"]], -1), (1,))[..., 0]

    generator = np.random.default_rng(0)
    nodes, edges = np.array([1.0, 0.0, 1.0, 0.0, 2.0]), generator.normal(size=(5, 5))
    signature = {"nodes": "p", "edges": "p p"}, {"y": "()"}
    run = jax.jit(ek.symmetrize(backbone, *signature, p=ek.S, channels=False, how=Sort(max_size=4)))
    p = np.array([4, 3, 1, 0, 2])
    one = run({"nodes": nodes, "edges": edges})["y"]
    two = run({"nodes": nodes[p], "edges": edges[np.ix_(p, p)]})["y"]
    np.testing.assert_allclose(one, two, atol=1e-13)
    sorting = [q for q in itertools.permutations(range(5)) if list(nodes[list(q)]) == sorted(nodes)]
    every = [backbone({"nodes": nodes[q,], "edges": edges[np.ix_(q, q)]}) for q in sorting]
    np.testing.assert_allclose(one, np.mean(every), atol=1e-13)
    assert len(sorting) == 4
    with pytest.raises(ek.FrameError, match="size 4"):
        ek.symmetrize(backbone, *signature, p=ek.S, channels=False, how=Sort())({"nodes": nodes, "edges": edges})


def test_masks(x64):
    """Absent entries come last, whatever they hold, and are tied with nothing."""
    x = np.random.default_rng(0).integers(0, 2, (6, 2)).astype(float)
    there = np.array([True, False, True, True, False, True])
    x[1], x[4] = np.nan, -7

    def backbone(x, mask):
        x = jnp.where(mask["p"][..., None], x, 0)
        return blind(x, (6,)) + 100 * jnp.sum(mask["p"] * jnp.arange(6))

    sym = ek.symmetrize(backbone, "p f -> p", p=ek.S, f=ek.Fixed(2), channels=False, how=Sort())
    run = jax.jit(lambda x, there: sym(x, mask={"p": there}, with_info=True))
    y, info = run(x, there)
    assert not info.degenerate
    assert info.ties == len(x[there]) - len(np.unique(x[there], axis=0))
    p = np.array([5, 4, 2, 1, 3, 0])
    again, _ = run(x[p], there[p])
    np.testing.assert_allclose(np.asarray(again)[there[p]], np.asarray(y)[p][there[p]], atol=1e-12)
    assert np.all(np.asarray(y) > 500)  # the first four places are those that are there: 100 * (0 + 1 + 2 + 3)


def test_many_ties_where_they_matter():
    equal = np.ones((2, 4, 2), np.float32)
    equal[1, :, 0] = np.arange(4)
    different = equal.copy()
    different[0, :, 1] = np.arange(4)
    y, info, _ = run_set()(equal)
    assert not info.degenerate.any()
    assert list(info.ties) == [3, 0]
    np.testing.assert_allclose(info.size, [24, 1], rtol=1e-6)
    each = np.asarray(y["each"])
    np.testing.assert_allclose(each[0], np.broadcast_to(each[0, 0], (4,)))  # equal points, equal outputs
    assert_error(
        ek.FrameError,
        lambda: of_pairs(Sort(terms=("first",)))(different),
        "an input has no frame",
        "1 of 2 inputs for Sort",
        "without symmetries",
        "on_degenerate=",
    )
    _, info = of_pairs(Sort(terms=("first",), max_size=24))(different)
    assert not info.degenerate.any()
    flagged, info = of_pairs(Sort(terms=("first",), on_degenerate="flag"))(different)
    assert list(info.degenerate) == [True, False]
    assert not np.isnan(flagged).any()


def test_random_orders_of_ties(x64):
    """Where ties cannot all be listed they are drawn, with a standard error; other inputs of the batch have none."""
    x = np.stack([np.stack([np.ones(4), np.arange(4.0)], axis=1), np.arange(8.0).reshape(4, 2)])
    exact = np.stack([over_all_orders(each, 1, 4, compared=1)[0] for each in x])
    few = Sort(terms=("first",), max_size=23, on_degenerate="sample")
    y, info = of_pairs(few)(x, key=jax.random.key(0))
    errors = np.asarray(info.standard_error["p"])
    assert np.all(errors[1] == 0)
    assert np.all(np.abs(y - exact) < 4 * errors + 1e-12)
    assert list(info.degenerate) == [True, False]
    many = Stochastic(Sort(terms=("first",)), samples=400)
    y, info = of_pairs(many)(x, key=jax.random.key(1))
    errors = np.asarray(info.standard_error["p"])
    assert np.all(np.abs(y - exact) < 4 * errors + 1e-12)
    assert np.max(errors[1]) < 1e-7 < np.min(errors[0])
    assert not info.degenerate.any()


@pytest.mark.parametrize("points", [0, 1])
def test_few_points(points):
    x = np.ones((points, 2), np.float32)
    y, info, _ = run_set(Sort(max_size=2))(x)
    for order, name in enumerate(OUTPUTS):
        np.testing.assert_allclose(y[name], blind(x, (points,) * order), rtol=1e-6)
    assert not info.degenerate
    assert info.size == 1
    assert info.ties == 0


def test_what_is_no_number():
    x = np.arange(24, dtype=np.float32).reshape(4, 3, 2)
    bad = x.copy()
    bad[0, 1, 1], bad[1, 0, 0], bad[2, 2, 1] = np.nan, np.inf, -np.inf
    y, good = (jax.tree.map(np.asarray, run_set()(each)[0]) for each in (bad, x))
    for name in OUTPUTS:
        assert np.isnan(y[name][:3]).all()
        np.testing.assert_array_equal(y[name][3], good[name][3])
    with pytest.raises(ek.FrameError, match="3 of 4 inputs"):
        of_set()({"set": bad})


def test_half_precision():
    """Halves are compared as they are: those next to each other differ by more than the tolerance of float32."""
    dtype = jnp.bfloat16
    x = (1 + jnp.finfo(dtype).eps * jnp.asarray([3.0, 1.0, 2.0, 0.0, 1.0]))[:, None].astype(dtype)
    sym = ek.symmetrize(lambda x: jnp.cumsum(x, -2), "p -> p", p=ek.S, how=Sort())
    y, info = sym(x, with_info=True)
    assert y.dtype == dtype
    assert info.ties == 1
    assert list(sym.frame(x).elements.linear["p"][0]) == [3, 1, 4, 2, 0]
    assert jnp.array_equal(sym(x[::-1]), y[::-1])


def test_half_precision_in_a_frame_of_rotations():
    """Corners of a box have equal coordinates, but for what rounding makes of them: the next one decides."""
    box = np.array([[s, 1.5 * t, 2.5 * u] for s in (1, -1) for t in (1, -1) for u in (1, -1)])
    sym = ek.symmetrize(
        lambda x: jnp.sum(jnp.sin(x * jnp.arange(1.0, 9).astype(x.dtype)[:, None] / 4), (-1, -2)),
        "p x -> ",
        p=ek.S,
        x=ek.O(3),
        channels=False,
        how=[PCA(), Sort()],
    )
    rng = np.random.default_rng(0)
    turned = np.stack([(box @ ek.O(3).random_element(rng).T)[rng.permutation(8)] for _ in range(20)])
    y = np.asarray(jax.jit(sym)(turned.astype(jnp.bfloat16)), np.float64)
    np.testing.assert_allclose(y, np.median(y), rtol=0.1)


def test_derivatives(x64):
    """The order is constant near an input without ties; with ties derivatives are finite, the mean over all orders."""
    sym = of_set()

    @jax.jit
    @jax.vmap
    def slope(x, direction):
        def along(t):
            return sum(jnp.sum(y**3) for y in sym({"set": x + t * direction}).values())

        return jax.grad(along)(0.0), jax.jvp(along, (0.0,), (1.0,))[1], (along(1e-6) - along(-1e-6)) / 2e-6

    x, directions = np.random.default_rng(0).normal(size=(2, 2, 4, 2))
    x[1, 2] = x[1, 0]
    backward, forward, wanted = slope(x, directions)
    np.testing.assert_allclose(backward[0], wanted[0], rtol=1e-6)
    np.testing.assert_allclose(forward, backward)
    assert np.all(np.isfinite(backward))


def test_sets_in_sets(x64):
    """Each of two axes is sorted by terms of its own."""
    how = [Sort("p", terms=("a",)), Sort("q", terms=("b",))]
    sym = ek.symmetrize(
        lambda x: jnp.cumsum(x["a"])[:, None] * jnp.cumsum(x["b"] ** 2),
        {"a": "p", "b": "q"},
        {"y": "p q"},
        p=ek.S,
        q=ek.S,
        channels=False,
        how=how,
    )
    a, b = np.array([3.0, 1, 2]), np.array([1.0, 4, 3, 2])
    run = jax.jit(sym)
    y = np.asarray(run({"a": a, "b": b})["y"])
    np.testing.assert_allclose(run({"a": a[::-1], "b": b[::-1]})["y"], y[::-1, ::-1])


def test_refusals():
    def made(how, signature="p f -> p", **groups):
        groups = {"p": ek.S, "f": ek.Fixed(2), "x": ek.O(2), **groups}
        groups = {label: what for label, what in groups.items() if label in signature.split()}
        return ek.symmetrize(jnp.sin, signature, groups=groups, channels=False, how=how)

    assert_error(
        ek.GroupError,
        lambda: made(Sort(), p=ek.Z(4)),
        "Sort does not work with Z(4)",
        "p=Z(4)",
        "S",
        "ek.frames.GroupAverage",
    )
    assert_error(
        ek.OptionError,
        lambda: made(Sort(), "p p f -> p"),
        "no input has 'p' once",
        "p p f -> p",
        "'p' once",
        "Laplacian",
    )
    assert_error(
        ek.OptionError,
        lambda: made(Sort(terms=("q",))),
        "unknown value for terms=",
        "'q'",
        '"p f"',
        'write terms="p f"',
    )
    assert_error(ek.OptionError, lambda: Sort(max_size=0), "whole number ≥ 1", "0", "≥ 1", "max_size=1")
    assert_error(ek.OptionError, lambda: Sort(max_size=2.5), "whole number", "2.5", "an integer", "max_size=1")
    assert_error(
        ek.OptionError, lambda: Sort(on_degenerate="weighted"), "on_degenerate=", "weighted", '"flag"', "error"
    )
    with pytest.raises(ek.OptionError, match="reads 'x'"):
        made([Sort(), PCA()], "p x -> p")
    with pytest.raises(ek.OptionError, match="both act on 'p'"):
        made([Sort(), Laplacian()], "p + p p -> p")


def test_permutations_of_ties():
    blocks = np.array([0, 0, 1, 2, 2, 2], np.int32)
    size_up_to = jax.jit(_ties.size_up_to, static_argnums=1)
    assert size_up_to(blocks, 12) == 12
    assert size_up_to(blocks, 11) == 12  # one more than asked for
    assert size_up_to(blocks, 3) == 4
    assert size_up_to(np.zeros(40, np.int32), 50_000_000) == 50_000_001  # 40! would not fit
    listed = np.asarray(jax.jit(_ties.listed, static_argnums=1)(blocks, 12))
    assert len({tuple(p) for p in listed}) == 12
    assert all(np.array_equal(np.asarray(blocks)[p], blocks) for p in listed)
    drawn = jax.jit(lambda key: jax.vmap(_ties.drawn, (0, None))(jax.random.split(key, 600), blocks))(jax.random.key(0))
    found, counts = np.unique(drawn, axis=0, return_counts=True)
    assert len(found) == 12
    assert counts.min() > 25  # of 50, seven standard deviations of which are 47 below or above
