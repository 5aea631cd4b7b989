"""Weighted frames: exact on every input, and continuous along paths on which other frames jump."""

import functools
import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import assert_error

import equikit as ek
from equikit.symmetrization.frames import PCA, QR, Alignment, Directions, Sort, Stochastic
from equikit.symmetrization.permutations._directions import general_directions

POINTS, BATCH = 4, 401
CLOUDS = {
    "random": np.random.default_rng(0).normal(size=(4, 3)),
    "tetrahedron": np.array([[1.0, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]]),
    "square": np.array([[1.0, 0, 0], [-1, 0, 0], [0, 1, 0], [0, -1, 0]]),
    "planar": np.array([[1.0, 2, 0], [0, 1, 0], [3, -1, 0]]),
    "collinear": np.outer([1.0, -2, 4], [1, 2, 3]),
    "one point": np.array([[1.0, 2, 3]]),
    "all zero": np.zeros((4, 3)),
}


def outputs(x):
    """A scalar, a vector for each point, and a tensor, none of which knows of rotations or permutations."""
    d = x.shape[-1]
    mixing = np.random.default_rng(1).normal(size=(d, d)).astype(x.dtype)
    weights = np.arange(1.0, x.shape[-2] + 1)[:, None].astype(x.dtype)
    each = jnp.sin(x @ mixing + 0.3 * jnp.sum(weights * x**2, axis=-2, keepdims=True) + 0.3) + x
    one = jnp.sum(each * weights, axis=-2)
    two = one[..., :, None] * jnp.cos(one)[..., None, :]
    return {"scalar": jnp.sum(jnp.cos(one), axis=-1), "each": each, "two": two}


SIGNATURES = {"scalar": "", "each": "p x", "two": "x x"}


@functools.lru_cache
def run(how, group=None, names=("scalar", "each")):
    """A program for a batch of clouds: rotations of points that keep their places, or permutations in a fixed space."""
    sym = ek.symmetrize(
        lambda x: {name: outputs(x["x"])[name] for name in names},
        {"x": "p x"},
        {name: SIGNATURES[name] for name in names},
        x=ek.Fixed(3) if group is None else group,
        p=ek.S if group is None else ek.Fixed(POINTS),
        channels=False,
        how=how,
    )
    program = jax.jit(lambda x: sym({"x": x}, with_info=True))

    def evaluate(clouds):
        """Of one shape for all tests: vectors that are zero change nothing for rotations."""
        x = np.stack([np.pad(x, ((0, POINTS - len(x)), (0, 0))) for x in clouds])
        y, info = program(np.concatenate([x, np.repeat(x[:1], BATCH - len(x), axis=0)]))
        return jax.tree.map(lambda array: np.asarray(array)[: len(x)], (y, info))

    return evaluate


def aligned(group=None):
    return run(Alignment(on_degenerate="flag"), ek.O(3) if group is None else group, tuple(SIGNATURES))


def jumps(evaluate, path):
    """For each output, the largest change between neighboring points of a path over the largest entry, for 200 steps
    and for 400."""
    y = evaluate([path(t) for t in np.linspace(-0.2, 0.2, BATCH)])[0]
    changes = {name: [np.abs(np.diff(y[name][::every], axis=0)).max() for every in (2, 1)] for name in y}
    return {name: np.array(both) / np.abs(y[name]).max() for name, both in changes.items()}


def assert_continuous(evaluate, path, *names):
    """Half the step, half the jump."""
    found = jumps(evaluate, path)
    for name in names:
        coarse, fine = found[name]
        assert fine < 0.6 * coarse
        assert fine < 0.06


def assert_jumps(evaluate, path, *names):
    found = jumps(evaluate, path)
    for name in names:
        coarse, fine = found[name]
        assert fine > 0.8 * coarse
        assert fine > 0.08


def crossing(t):
    """Two principal axes change their order in the middle."""
    return np.array([[1 + 0.5 * t, 0, 0], [-0.8 - 0.4 * t, 0, 0], [0, 1.28 - 0.3 * t, 0], [0.0, 0.1, 0.5]])


def through_a_line(t):
    """Four points that come to lie on a line in the middle, and leave it in another direction."""
    across = np.outer([1, -1, 2, 0.5], [0, 1, 0.2]) if t < 0 else np.outer([1, 0.5, -1, 1], [0, -0.3, 1])
    return np.outer([1, -2, 0.5, 3], [1, 2, 0.5]) / 3 + abs(t) * across


def through_the_origin(t):
    """The first point passes the origin."""
    return np.array([[t, 0.3 * t, -0.5 * t], [1, 0.2, 0], [0.3, -1, 0.4], [0.5, 0.4, 1]])


def passing(t):
    """Two points pass each other in their first coordinate."""
    return np.array([[t, 0.5, 1], [-t, -1, 0.3], [2, 0.1, -1], [-2, 1, 0.4]])


def meeting(t):
    """Two points meet in the middle, and leave each other in another direction."""
    apart = np.array([1, 0.5, -0.3]) if t < 0 else np.array([-0.2, 0.4, 1])
    return np.array([[0.3, 0.5, 1] + t * apart, [0.3, 0.5, 1] - t * apart, [2, 0.1, -1], [-2, 1, 0.4]])


def test_where_principal_axes_cross(x64):
    assert_jumps(run(PCA(on_degenerate="flag"), ek.O(3)), crossing, "scalar", "each")
    assert_continuous(aligned(), crossing, "scalar", "each")


def test_where_points_become_collinear(x64):
    assert_jumps(run(QR(on_degenerate="flag"), ek.O(3)), through_a_line, "each")
    assert_continuous(aligned(), through_a_line, *SIGNATURES)


def test_where_a_point_vanishes(x64):
    assert_jumps(run(QR(on_degenerate="flag"), ek.O(3)), through_the_origin, "scalar")
    assert_continuous(aligned(), through_the_origin, *SIGNATURES)


def test_where_two_points_pass_each_other(x64):
    assert_jumps(run(Sort()), passing, "scalar", "each")
    assert_continuous(run(Directions()), passing, "scalar", "each")


def test_where_two_points_meet_there_is_a_jump(x64):
    """What the documentation says: a sum over finitely many orders, weighted by gaps, is not continuous there."""
    assert_jumps(run(Directions()), meeting, "scalar")


@pytest.mark.parametrize("group", [ek.O(3), pytest.param(ek.SO(3), marks=pytest.mark.slow)], ids=str)
def test_turns_of_the_input_turn_the_output(x64, group):
    rng, clouds = np.random.default_rng(2), [*CLOUDS.values()]
    turns = [np.eye(3), *(group.random_element(rng) for _ in range(3))]
    found, info = aligned(group)([x @ g.T for g in turns for x in clouds])
    known = {"scalar": lambda y, g: y, "each": lambda y, g: y @ g.T, "two": lambda y, g: g @ y @ g.T}
    for name, array in found.items():
        before, *others = np.split(array, len(turns))
        for g, after in zip(turns[1:], others, strict=True):
            np.testing.assert_allclose(after, known[name](before, g), atol=1e-12)
    assert info.rank.tolist() == [2, 2, 2, 2, 1, 1, 0] * len(turns)
    assert not info.degenerate.any()
    mirrored = 1 if isinstance(group, ek.SO) else 2
    assert info.size[0] == 4 * 3 * 3 * mirrored


def test_permutations_of_the_input_permute_the_output(x64):
    clouds = [*CLOUDS.values(), np.ones((4, 3)), CLOUDS["random"][[0, 1, 0, 2]], CLOUDS["random"] * 1e-30]
    clouds = [np.pad(x, ((0, POINTS - len(x)), (0, 0))) for x in clouds]
    orders = [[0, 1, 2, 3], *map(list, itertools.islice(itertools.permutations(range(4)), 1, 24, 5))]
    found, info = run(Directions(on_degenerate="flag"))([x[order] for order in orders for x in clouds])
    scalars, vectors = (np.split(found[name], len(orders)) for name in ("scalar", "each"))
    for order, scalar, each in zip(orders, scalars, vectors, strict=True):
        np.testing.assert_allclose(scalar, scalars[0], atol=1e-12)
        np.testing.assert_allclose(each, vectors[0][:, order], atol=1e-12)
    assert info.ties.tolist() == [0, 0, 0, 0, 0, 2, 3, 3, 1, 0] * len(orders)
    assert not info.degenerate.any()
    assert info.gap[0] > 0.01


@pytest.mark.parametrize(("n", "d"), [(3, 2), (4, 3), (3, 4)])
def test_directions_are_in_general_position_and_enough(n, d):
    """Any d of them are independent, and for the worst of inputs one of them tells all entries apart."""
    number = n * (n - 1) // 2 * (d - 1) + 1
    directions = general_directions(number, d)
    volumes = [abs(np.linalg.det(directions[list(some)])) for some in itertools.combinations(range(number), d)]
    assert min(volumes) > 1e-4
    # Points whose differences from the first are each orthogonal to d - 1 directions, which therefore tie them.
    points = np.zeros((n, d))
    for i in range(1, n):
        points[i] = np.linalg.svd(directions[(i - 1) * (d - 1) : i * (d - 1)])[2][-1]
    gaps = [np.diff(np.sort(points @ a)).min() for a in directions]
    assert sum(gap < 1e-12 for gap in gaps) == (n - 1) * (d - 1)
    assert max(gaps) > 1e-3


def test_with_too_few_directions_weights_may_vanish(x64):
    direction = general_directions(1, 3)[0]
    tied = np.stack([np.zeros(3), np.cross(direction, [1.0, 0, 0]), direction, -direction])
    sym = ek.symmetrize(jnp.sin, "p x -> p x", p=ek.S, x=ek.Fixed(3), channels=False, how=Directions(number=1))
    with pytest.raises(ek.FrameError, match="gap 0, ties 0"):
        sym(tied)
    assert not sym.info(CLOUDS["random"]).degenerate


def test_equal_entries_and_outputs_with_two_axes():
    sym = ek.symmetrize(
        lambda x: x[..., :, :1] * x[..., None, :, 0] ** 2, "p x -> p p", p=ek.S, x=ek.Fixed(3), channels=False,
        how=Directions(on_degenerate="flag"),
    )  # fmt: skip
    x = np.float32([CLOUDS["random"], CLOUDS["random"][[0, 1, 0, 2]]])
    assert sym.info(x).degenerate.tolist() == [False, True]


def scalar(how, group=None):
    return ek.symmetrize(
        lambda x: outputs(x)["scalar"],
        "p x -> ",
        p=ek.S if group is None else ek.Fixed(POINTS),
        x=ek.Fixed(3) if group is None else group,
        channels=False,
        how=how,
    )


@pytest.mark.parametrize(
    ("how", "group"),
    [(Alignment(), ek.SO(3)), pytest.param(Directions(), None, marks=pytest.mark.slow)],
    ids=["points", "directions"],
)
def test_random_draws_have_the_probabilities_of_the_weights(how, group):
    """The average over many draws is that over all elements, within the error that it tells."""
    cloud = CLOUDS["random"].astype(np.float32)
    many = scalar(Stochastic(how, 20000), group)
    found, info = jax.jit(lambda x, key: many(x, key=key, with_info=True))(cloud, jax.random.key(0))
    (error,) = info.standard_error.values()
    assert 0 < error < 0.02
    assert abs(found - jax.jit(scalar(how, group))(cloud)) < 4.5 * error


@pytest.mark.slow
def test_random_directions_are_invariant_in_expectation():
    cloud, many = CLOUDS["random"].astype(np.float32), scalar(Directions(samples=20000))
    assert_error(ek.OptionError, lambda: many(cloud), "Directions needs key=", "key=None", "key=", "key=")
    run = jax.jit(lambda x, key: many(x, key=key, with_info=True))
    results = [run(x, jax.random.key(i)) for i, x in enumerate((cloud, cloud[::-1]))]
    error = math.hypot(*(float(*info.standard_error.values()) for _, info in results))
    assert abs(float(results[0][0]) - float(results[1][0])) < 4.5 * error


def test_many_points_are_drawn_and_not_listed():
    clouds = np.random.default_rng(0).normal(size=(2, 500, 3)).astype(np.float32)

    def sym(how):
        return ek.symmetrize(jnp.sin, "p x -> p x", p=ek.S, x=ek.SO(3), channels=False, how=how)

    frame = jax.eval_shape(sym(Alignment(samples=5)).frame, clouds, key=jax.random.key(1))
    assert frame.elements.linear["x"].shape == (5, 2, 3, 3)
    assert_error(
        ek.TooLargeError, lambda: sym(Alignment())(clouds), "too many alignments", "500 points", "16,384", "samples=64"
    )
    long = ek.symmetrize(jnp.sin, "p x -> p x", p=ek.S, x=ek.Fixed(3), channels=False, how=Directions())
    assert_error(
        ek.TooLargeError, lambda: long(clouds), "too many directions", "249,501 directions", "16,384", "samples=64"
    )


@pytest.mark.parametrize(
    "how", [Alignment(), pytest.param(Directions(), marks=pytest.mark.slow)], ids=["points", "directions"]
)
def test_derivatives(x64, how):
    """Finite on every input, and those of finite differences on one that is not degenerate."""
    rotations = isinstance(how, Alignment)
    sym = ek.symmetrize(
        lambda x: outputs(x)["scalar"], "p x -> ", channels=False, how=how,
        **({"p": ek.Fixed(4), "x": ek.O(3)} if rotations else {"p": ek.S, "x": ek.Fixed(3)}),
    )  # fmt: skip
    x = np.stack([np.pad(x, ((0, POINTS - len(x)), (0, 0))) for x in CLOUDS.values()])
    both = jax.jit(jax.value_and_grad(lambda x: (jnp.sum(y := sym(x)), y), has_aux=True))
    gradient = np.asarray(both(x)[1])
    assert np.isfinite(gradient).all()
    direction = np.random.default_rng(0).normal(size=x.shape)
    above, below = (np.asarray(both(x + sign * 1e-6 * direction)[0][1]) for sign in (1, -1))
    slopes = (above - below) / 2e-6
    np.testing.assert_allclose(np.sum(gradient * direction, (1, 2))[0], slopes[0], rtol=1e-6)


@functools.cache
def slope_of_directions():
    """A scalar by `Directions`, and its gradient."""
    return jax.jit(jax.value_and_grad(scalar(Directions())))


def test_symmetric_points_have_the_mean_of_one_sided_derivatives(x64):
    """Gaps of a square are equal in pairs, and rounding does not choose the one that has the derivative."""
    run, rng = slope_of_directions(), np.random.default_rng(0)
    x = CLOUDS["square"] @ ek.O(3).random_element(rng).T + [0.3, 0.5, -0.1]
    force = np.asarray(run(x)[1])
    for direction in rng.normal(size=(4, *x.shape)):
        slope = (float(run(x + 1e-6 * direction)[0]) - float(run(x - 1e-6 * direction)[0])) / 2e-6
        np.testing.assert_allclose(np.sum(force * direction), slope, rtol=1e-5)


def test_coincident_points_have_the_same_derivatives_in_every_order(x64):
    run, x = slope_of_directions(), CLOUDS["random"][[0, 1, 0, 2]]
    force = np.asarray(run(x)[1])
    np.testing.assert_allclose(force[0], force[2], rtol=1e-12)
    for order in ([2, 1, 0, 3], [3, 0, 2, 1], [1, 2, 3, 0]):
        np.testing.assert_allclose(run(x[order])[1], force[order], rtol=1e-10)


@pytest.mark.slow
@pytest.mark.parametrize("group", [ek.O(2), ek.SO(2)], ids=str)
def test_in_the_plane(x64, group):
    sym = ek.symmetrize(
        lambda x: outputs(x)["each"], "p x -> p x", p=ek.S, x=group, translate="x", channels=False, how=Alignment()
    )  # fmt: skip
    program, rng = jax.jit(sym), np.random.default_rng(0)
    clouds = np.stack([rng.normal(size=(4, 2)), np.outer([1.0, 2, 4, 4], [1, 2]), np.ones((4, 2))])
    for cloud in (clouds, np.ones((1, 2))):
        g = group.random_element(rng)
        np.testing.assert_allclose(program(cloud @ g.T + 3), np.asarray(program(cloud)) @ g.T + 3, atol=1e-12)
    frame = jax.eval_shape(sym.frame, np.zeros((0, 2)))
    assert frame.size == (1 if isinstance(group, ek.SO) else 2)


@pytest.mark.slow
def test_rotations_and_permutations_together(x64):
    """A frame of rotations and then one of permutations: continuous along all paths on which no points meet."""
    sym = ek.symmetrize(
        lambda x: outputs(x)["scalar"], "p x -> ", p=ek.S, x=ek.SO(3), channels=False, how=[Alignment(), Directions()]
    )
    program, cloud = jax.jit(sym), CLOUDS["square"]
    g = ek.SO(3).random_element(np.random.default_rng(0))
    before, after, _ = program(np.stack([cloud, (cloud @ g.T)[::-1], cloud]))
    np.testing.assert_allclose(after, before, atol=1e-12)
    for path in (crossing, through_a_line, passing):
        jumps = []
        for step in (1e-3, 1e-4):
            y = program(np.stack([path(t) for t in (-step, 0, step)]))
            jumps.append(np.abs(np.diff(y)).max())
        assert jumps[1] < 0.2 * jumps[0]


@pytest.mark.slow
def test_with_translations_sorting_and_random_elements(x64):
    sym = ek.symmetrize(
        lambda x: outputs(x)["each"],
        "p x -> p x",
        p=ek.S,
        x=ek.SO(3),
        translate="x",
        channels=False,
        how=[Stochastic(Alignment(), samples=3), Sort()],
    )
    run, g = jax.jit(sym), ek.SO(3).random_element(np.random.default_rng(0))
    x = np.stack([CLOUDS["tetrahedron"], np.outer([1.0, -2, 4, 4], [1, 2, 3]), np.tile([1.0, 2, 3], (4, 1))])
    np.testing.assert_allclose(run((x @ g.T + 1)[:, ::-1]), (np.asarray(run(x)) @ g.T + 1)[:, ::-1], atol=1e-11)
    assert jax.eval_shape(sym.frame, x, key=jax.random.key(0)).size == 3


@pytest.mark.slow
def test_masks():
    def masked(x, mask):
        there = mask["p"][..., None, None]
        return jnp.where(there, jnp.cumsum(jnp.where(there, x, 0), axis=-3) + x**2, 0)

    for how, groups in ((Directions(), {"x": ek.Fixed(2)}), (Alignment(), {"x": ek.SO(2)})):
        methods = [how, Sort()] if isinstance(how, Alignment) else how
        sym = ek.symmetrize(masked, "p x -> p x", p=ek.S, how=methods, **groups)
        options = {"p": ek.S(4), "channels": 1, "mask": True, "key": jax.random.key(0), "tolerance": 1e-4}
        ek.testing.assert_equivariant(jax.jit(sym), "p x -> p x", **groups, **options)


@pytest.mark.slow
def test_precision_and_what_is_not_finite():
    x = CLOUDS["random"].astype(jnp.bfloat16)
    bad = np.where(np.eye(4, 3) > 0, jnp.bfloat16(np.nan), x)
    for how, groups in ((Alignment(), {"x": ek.SO(3)}), (Directions(), {"x": ek.Fixed(3)})):
        sym = ek.symmetrize(jnp.sin, "p x -> p x", p=ek.S, channels=False, how=how, **groups)
        assert sym(x).dtype == jnp.bfloat16
        with pytest.raises(ek.FrameError, match="not finite"):
            sym(bad)
        assert np.isnan(np.float32(jax.jit(sym)(bad))).all()


@pytest.mark.slow
def test_terms_that_do_not_count_may_be_left_to_be_turned():
    sym = ek.symmetrize(
        lambda x: x["a"] + x["b"], {"a": "x", "b": "x"}, {"y": "x"}, x=ek.SO(3), channels=False,
        how=Alignment(terms=("a",)),
    )  # fmt: skip
    with pytest.raises(ek.FrameError, match="rank 1"):
        sym({"a": jnp.array([1.0, 2, 3]), "b": jnp.array([1.0, 0, 0])})


def test_errors():
    def make(how, signature="p x -> p x", p=ek.S, x=None):
        return ek.symmetrize(jnp.sin, signature, p=p, x=ek.SO(3) if x is None else x, how=how)

    assert_error(ek.GroupError, lambda: make(Alignment(), x=ek.Lorentz), "O(1, 3)", "x=O(1, 3)", "definite", 'QR("x")')
    assert_error(ek.OptionError, lambda: make(Alignment(), x=ek.O(4)), "whole number ≤ 3", "4", "2 to 3", "PCA")
    assert_error(ek.OptionError, lambda: make(Alignment(samples=0)), "whole number ≥ 1", "0", "≥ 1", "samples=1")
    assert_error(
        ek.OptionError, lambda: make(Alignment(on_degenerate="sample")), "on_degenerate", "'sample'", '"flag"', "="
    )
    assert_error(
        ek.OptionError,
        lambda: make([Alignment("x"), Directions("p")], signature="p p x -> p x"),
        "no input has 'p' once",
        "p p x",
        "'p' once",
        "terms=",
    )
    assert_error(
        ek.GroupError,
        lambda: make(Directions("p"), p=ek.Z(4)),
        "does not work with Z(4)",
        "p=Z(4)",
        "S",
        "GroupAverage",
    )
    assert_error(
        ek.OptionError,
        lambda: make([Directions("p"), Alignment("x")]),
        "Directions comes before",
        "how=",
        "one method",
        "put",
    )
    assert_error(
        ek.OptionError,
        lambda: Directions(number=3, samples=4),
        "cannot be given together",
        "number=3",
        "at most one of",
        "leave samples out",
    )
