"""Averages over whole groups: listed and exact where they are finite, drawn from the Haar distribution where not."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import assert_error

import equikit as ek
from equikit.symmetrization.finite._haar import draw_element
from equikit.symmetrization.frames import Directions, GroupAverage, Stochastic

HALF, LONG = 0.5, math.sqrt(0.75)
GOLDEN = (1 + math.sqrt(5)) / 2
FIFTH = np.array([[GOLDEN - 1, -GOLDEN, 1], [GOLDEN, 1, GOLDEN - 1], [-1, GOLDEN - 1, GOLDEN]]) / 2
MATRIX_GROUPS = [
    ek.MatrixGroup([[[0, -1], [1, 0]]], name="C4"),
    ek.MatrixGroup([[[-HALF, -LONG], [LONG, -HALF]]], name="C3"),
    ek.MatrixGroup([[[0, 1, 0], [0, 0, 1], [1, 0, 0]], FIFTH], name="icosahedron"),
    ek.MatrixGroup([[[1j, 0], [0, -1j]], [[0, 1], [-1, 0]]], name="Q8"),
    ek.MatrixGroup([[[0, -2], [0.5, 0]]], name="stretched"),
    ek.MatrixGroup(n=2, name="trivial"),
]


def mixing(x):
    """A backbone of one axis that treats no two entries alike."""
    steps = jnp.arange(1, x.shape[-2] + 1, dtype=x.real.dtype)[:, None]
    return jnp.cumsum(x * steps, axis=-2) * (1 + x) + jnp.roll(x, 1, axis=-2) ** 2


@pytest.mark.parametrize(
    "group",
    [ek.D(4), ek.H(2), *(pytest.param(g, marks=pytest.mark.slow) for g in [*MATRIX_GROUPS, ek.S(4), ek.A(4)])],
    ids=str,
)
def test_it_is_exact(x64, group):
    sym = ek.symmetrize(mixing, "z -> z", z=group, how=GroupAverage())
    ek.testing.assert_equivariant(jax.jit(sym), "z -> z", z=group, channels=2, key=jax.random.key(0))
    x = np.random.default_rng(1).normal(size=(group.n, 2)) + (1j if group.is_complex else 0)
    matrices = np.stack([group.matrix(element) for element in group.elements()])
    copies = np.asarray(jax.jit(mixing)(np.linalg.inv(matrices) @ x))
    y, info = jax.jit(lambda x: sym(x, with_info=True))(x)
    np.testing.assert_allclose(y, np.mean(matrices @ copies, axis=0), atol=1e-12)
    assert not info.degenerate


@pytest.mark.parametrize("group", [ek.S(3), ek.H(3)], ids=str)
def test_masks_move_with_the_entries(group):
    def masked(x, mask):
        there = mask["z"][..., None]
        return jnp.where(there, jnp.cumsum(jnp.where(there, x, 0), axis=-2) + x**3, 0)

    sym = ek.symmetrize(masked, "z -> z", z=group, how=GroupAverage())
    ek.testing.assert_equivariant(
        jax.jit(sym), "z -> z", z=group, channels=1, mask=True, samples=2, key=jax.random.key(0)
    )


def test_the_size_of_a_free_group_is_that_of_the_axis():
    sym = ek.symmetrize(lambda x: x[..., 0] ** 2, "p -> ", p=ek.S, channels=False, how=GroupAverage())
    assert sym.frame(jnp.ones((2, 3))).weights.shape == (6, 2)
    assert sym(jnp.array([1.0, 2, 3])) == pytest.approx(14 / 3)
    assert_error(
        ek.TooLargeError,
        lambda: sym(jnp.ones(8)),
        "S has too many",
        "40,320 elements on an axis of size 8",
        "5,040",
        "samples=64, or allow more, max_size=",
    )


def test_images_are_turned_by_quarters_exactly():
    def net(image):
        weights = jnp.arange(25.0).reshape(5, 5) / 25
        return {"y": jnp.sum(weights * jnp.sin(image), axis=(-1, -2)), "z": jnp.cumsum(image * weights, axis=-1)}

    sym = ek.symmetrize(
        lambda x: net(x["x"]),
        {"x": "i j"},
        {"y": "", "z": "i j"},
        i=ek.Fixed(5),
        j=ek.Fixed(5),
        channels=False,
        how=GroupAverage(axes=("i", "j"), group=ek.D(4)),
    )
    x = np.random.default_rng(0).normal(size=(2, 5, 5)).astype(np.float32)
    assert jax.eval_shape(sym.frame, {"x": x}).size == 8
    run = jax.jit(sym)
    before = run({"x": x})
    for turn in (lambda a: np.rot90(a, axes=(-2, -1)), lambda a: a[..., ::-1], lambda a: np.swapaxes(a, -1, -2)):
        after = run({"x": turn(x)})
        np.testing.assert_allclose(after["y"], before["y"], rtol=1e-5)
        np.testing.assert_allclose(after["z"], turn(before["z"]), atol=1e-6)
    draws = ek.symmetrize(
        jnp.sin, "i j -> i j", i=ek.Fixed(2), j=ek.Fixed(3), channels=False,
        how=GroupAverage(axes=("i", "j"), group=ek.D(2), samples=7),
    ).frame(jnp.ones((2, 3)), key=jax.random.key(0))  # fmt: skip
    assert draws.elements.grid[("i", "j")].shape == (7, 2, 2)


def moments(group, n, function, count=20000, dtype=jnp.float32):
    """The mean of a function of a random element, and how far it lies from one that is claimed, in standard errors."""
    draws = jax.vmap(lambda key: draw_element(group, key, n, dtype))
    found = np.asarray(jax.jit(lambda keys: function(draws(keys)))(jax.random.split(jax.random.key(2), count)))
    return np.mean(found, 0), np.std(found, axis=0) / math.sqrt(count)


def test_draws_of_orthogonal_matrices_have_the_moments_of_the_haar_distribution():
    """Products of four entries, and powers of the trace, against exact integrals."""

    def powers(g):
        trace = jnp.trace(g, axis1=1, axis2=2)
        return jnp.stack(
            [
                *(trace**k for k in (1, 2, 3, 4)),
                g[:, 0, 0] ** 4,
                g[:, 0, 0] ** 2 * g[:, 1, 1] ** 2,
                g[:, 0, 0] * g[:, 0, 1] * g[:, 1, 0] * g[:, 1, 1],
                g[:, 0, 2] ** 2,
                jnp.linalg.det(g),
            ],
            axis=-1,
        )

    n = 3
    fourth = [3 / (n * (n + 2)), (n + 1) / (n * (n - 1) * (n + 2)), -1 / (n * (n - 1) * (n + 2)), 1 / n]
    for group, traces, det in ((ek.O(3), [0, 1, 0, 3], 0), (ek.SO(3), [0, 1, 1, 3], 1)):
        mean, error = moments(group, n, powers)
        assert np.all(np.abs(mean - np.array([*traces, *fourth, det])) < 4.5 * error + 1e-5), group
    angles, error = moments(
        ek.SO(2), 2, lambda g: jnp.exp(1j * jnp.arctan2(g[:, 1, 0], g[:, 0, 0])[:, None] * np.arange(1, 5))
    )
    assert np.all(np.abs(angles) < 4.5 * error)


def test_draws_of_unitary_and_bistochastic_matrices():
    def powers(g):
        trace = jnp.trace(g, axis1=1, axis2=2)
        return jnp.stack([trace, trace**2, jnp.abs(trace) ** 2, jnp.abs(trace) ** 4, trace**2 * trace.conj()], axis=-1)

    mean, error = moments(ek.U(2), 2, powers, dtype=jnp.complex64)
    assert np.all(np.abs(mean - np.array([0, 0, 1, 2, 0])) < 4.5 * error)
    group = ek.Bistochastic(3)
    mean, error = moments(group, 3, lambda g: jnp.stack([jnp.trace(g, axis1=1, axis2=2) ** k for k in (1, 2)], -1))
    assert np.all(np.abs(mean - np.array([1, 2])) < 4.5 * error)  # the trivial representation, and that of O(2)
    matrix = draw_element(group, jax.random.key(0), 3, jnp.float32)
    np.testing.assert_allclose(matrix.sum(0), 1, atol=1e-6)
    np.testing.assert_allclose(matrix @ matrix.T, np.eye(3), atol=1e-6)


@pytest.mark.parametrize("group", [ek.S(3), ek.A(4), ek.Z(4), ek.D(4), ek.H(2)], ids=str)
def test_draws_of_permutations_are_uniform(group):
    count = 4000
    draw = jax.vmap(lambda key: draw_element(group, key, group.n, jnp.float32))
    draws = jax.jit(lambda key: draw(jax.random.split(key, count)))(jax.random.key(0))
    kinds, counts = np.unique(np.asarray(draws).reshape(count, -1), axis=0, return_counts=True)
    elements = group.elements()
    listed = [group.matrix(element).ravel() for element in elements] if isinstance(group, ek.H) else elements
    assert {tuple(element) for element in listed} == {tuple(kind) for kind in kinds.astype(int)}
    squares = np.sum((counts - count / len(kinds)) ** 2) / (count / len(kinds))
    assert squares < len(kinds) + 4.5 * math.sqrt(2 * len(kinds))


def test_random_elements_tell_their_error():
    """The average of a square of a coordinate is a third of the squared length; and the errors are as large as said."""
    sym = ek.symmetrize(lambda x: x[..., 0] ** 2, "x -> ", x=ek.SO(3), channels=False, how=GroupAverage(samples=16))
    x = np.tile(np.array([1, 2, 2], np.float32), (3000, 1))
    y, info = jax.tree.map(np.asarray, jax.jit(lambda x, key: sym(x, key=key, with_info=True))(x, jax.random.key(0)))
    (errors,) = info.standard_error.values()
    assert np.abs(np.mean(y) - 3) < 4.5 * np.std(y) / math.sqrt(3000)
    assert np.sqrt(np.mean(errors**2)) == pytest.approx(float(np.std(y)), rel=0.05)
    assert info.size.tolist() == [16.0] * 3000
    assert_error(ek.OptionError, lambda: sym(x), "GroupAverage needs key=", "key=None", "key=", "key=jax.random.key(0)")


@pytest.mark.parametrize("chunk_size", [None, 5])
def test_errors_of_positions_far_from_the_origin_are_those_of_positions_near(chunk_size):
    how = GroupAverage("x", samples=16)
    options = {"translate": "x", "channels": False, "how": how, "chunk_size": chunk_size}
    sym = ek.symmetrize(jnp.sin, "p x -> p x", p=ek.S, x=ek.SO(2), **options)
    x = np.array([[1.0, 2], [-1, 0.5], [0, -2.5]], np.float32)
    run = jax.jit(lambda x: sym(x, key=jax.random.key(0), with_info=True)[1].standard_error["p x"])
    np.testing.assert_allclose(run(x + 2**15), run(x), rtol=0.05)


def test_one_element_in_training_and_all_in_evaluation():
    sym = ek.symmetrize(mixing, "p -> p", p=ek.S, how=Stochastic(GroupAverage(), samples=2))
    assert jax.eval_shape(sym.frame, np.ones((4, 1), np.float32)).size == 24
    frame = sym.frame(jnp.ones((3, 30, 1)), key=jax.random.key(0))  # 30! are never listed
    assert frame.elements.linear["p"].shape == (2, 3, 30)
    assert frame.drawn
    assert np.all(np.sort(frame.elements.linear["p"], axis=-1) == np.arange(30))


@pytest.mark.parametrize("of", [Stochastic(GroupAverage(), samples=1), Directions(samples=1)], ids=str)
def test_draws_from_draws_are_independent(of):
    """Those among a few draws would be alike, and their standard error too small."""
    sym = ek.symmetrize(mixing, "p -> p", p=ek.S, how=Stochastic(of, samples=20))
    orders = sym.frame(jnp.asarray([[1.0, 2], [3, 1], [2, 3], [0, 0]]), key=jax.random.key(0)).elements.linear["p"]
    assert len(np.unique(orders, axis=0)) > 5


def test_derivatives_and_precision():
    sym = ek.symmetrize(mixing, "z -> z", z=ek.D(3), how=GroupAverage())
    gradient = jax.jit(jax.grad(lambda x: jnp.sum(jnp.sin(sym(x)))))
    x = np.random.default_rng(0).normal(size=(3, 1)).astype(np.float32)
    np.testing.assert_allclose(gradient(x[::-1]), np.asarray(gradient(x))[::-1], atol=1e-5)
    assert sym(x.astype(jnp.bfloat16)).dtype == jnp.bfloat16
    assert np.isnan(jax.jit(sym)(np.array([[np.nan], [1], [2]], np.float32))).all()


@pytest.mark.parametrize(
    ("how", "signature", "groups"),
    [
        (GroupAverage(), "z -> z", {"z": ek.H(3)}),
        (GroupAverage(), "z -> z", {"z": ek.A(3)}),
        (GroupAverage(), "z -> z", {"z": MATRIX_GROUPS[2]}),
        (GroupAverage(axes=("i", "j"), group=ek.D(4)), "i j -> i j", {"i": ek.Fixed(3), "j": ek.Fixed(3)}),
    ],
    ids=["signed permutations", "permutations", "matrices", "images"],
)
def test_double_precision_leaves_nothing_behind(how, signature, groups):
    """JAX keeps constants of 64 bits, and warns of them where double precision is off."""
    sym = ek.symmetrize(jnp.sin, signature, how=how, channels=False, **groups)
    x = np.random.default_rng(0).normal(size=[3] * len(groups))
    with jax.enable_x64(True):
        precise = sym(x)
    y = sym(x.astype(np.float32))
    assert (precise.dtype, y.dtype) == (np.float64, np.float32)
    np.testing.assert_allclose(y, precise, atol=1e-6)


@pytest.mark.slow
def test_with_translations(x64):
    net = ek.symmetrize(
        lambda x: jnp.cumsum(jnp.sin(x), axis=-2) * x, "p x -> p x", p=ek.S, x=ek.H(3), translate="x", channels=False,
        how=[GroupAverage("p"), GroupAverage("x")],
    )  # fmt: skip
    x = np.random.default_rng(0).normal(size=(3, 3))
    assert jax.eval_shape(net.frame, x).size == 6 * 48
    run, turn = jax.jit(net), ek.H(3).matrix(np.array([-2, 3, 1]))
    np.testing.assert_allclose(run((x @ turn.T + 5)[::-1]), (run(x) @ turn.T + 5)[::-1], atol=1e-12)


def make(group, **options):
    return ek.symmetrize(jnp.sin, "x -> x", x=group, how=GroupAverage(**options))


def test_groups_without_an_average_are_refused():
    compact = "only a compact group has a uniform (Haar) probability"
    for group in (ek.Lorentz, ek.GL(2), ek.Sp(2)):
        step = "ek.frames.QR" if group is ek.Lorentz else "bind the label to a compact group"
        assert_error(
            ek.GroupError, lambda group=group: make(group, samples=3), str(group), "not compact", compact, step
        )
    turns = ek.MatrixGroup(lie_algebra=[[[0, -1], [1, 0]]], name="turns")
    assert_error(
        ek.GroupError, lambda: make(turns, samples=3), "turns", "no uniform sampler is known", compact, "another"
    )
    assert_error(
        ek.GroupError,
        lambda: make(ek.O(3)),
        "GroupAverage does not work with O(3)",
        "x=O(3)",
        "a finite group, or samples=",
        "samples=64",
    )
    turn = ek.MatrixGroup([[[0.6, -0.8], [0.8, 0.6]]], name="turn")
    sym = make(turn, max_size=50)
    assert_error(ek.TooLargeError, lambda: sym(jnp.ones((2, 1))), "turn has", "more than 50", "at most 50", "max_size")
    stretch = ek.MatrixGroup([[[2, 0], [0, 1]]], name="stretch")
    assert_error(
        ek.GroupError, lambda: make(stretch)(jnp.ones((2, 1))), "not finite", "1e+08", "finite", "finite order"
    )


def test_errors():
    image = {"i": ek.Fixed(4), "j": ek.Fixed(6)}
    assert_error(
        ek.OptionError,
        lambda: GroupAverage(axes=("i", "j")),
        "axes= and group= must be given together",
        "group=None",
        "all of them, or none",
        "leave axes out",
    )
    assert_error(
        ek.OptionError,
        lambda: GroupAverage(group=ek.D(4)),
        "axes= and group= must be given together",
        "axes=None",
        "all of them, or none",
        "leave group out",
    )
    assert_error(
        ek.GroupError,
        lambda: GroupAverage(axes=("i", "j"), group=ek.S(4)),
        "this group does not turn images",
        "S(4)",
        "Z(n)",
        "D",
    )
    assert_error(ek.OptionError, lambda: GroupAverage(samples=0), "whole number ≥ 1", "0", "≥ 1", "samples=1")

    def turned(signature, axes, n=4, **bindings):
        return ek.symmetrize(jnp.sin, signature, how=GroupAverage(axes=axes, group=ek.Z(n)), **bindings)

    assert_error(
        ek.ShapeError, lambda: turned("i j -> i j", ("i", "j"), **image), "not square", "i=4, j=6", "Z(2)", "pad"
    )
    assert turned("i j -> i j", ("i", "j"), n=2, **image) is not None
    assert_error(
        ek.SignatureError,
        lambda: turned("i j -> ", ("i", "k"), **image),
        "no axis has the label 'k'",
        "axes=('i', 'k') for 'i j -> ",
        "the labels of the rows and of the columns",
        'write axes=("i", "j")',
    )
    assert_error(
        ek.SignatureError,
        lambda: turned("i -> ", ("i", "k"), i=ek.Fixed(4)),
        "no axis has the label 'k'",
        "axes=('i', 'k') for 'i -> ",
        "the labels of the rows and of the columns",
        'as in "i k -> "',
    )
    assert_error(
        ek.OptionError,
        lambda: turned("i j -> ", ("i", "i"), **image),
        "two different labels",
        "('i', 'i')",
        "the rows",
        "i",
    )
    assert_error(
        ek.SignatureError,
        lambda: turned("i j -> i", ("i", "j"), **image),
        "'i' is not an image",
        "'j' 0 times",
        "once",
        "correct the signature",
    )
    assert_error(
        ek.OptionError,
        lambda: ek.symmetrize(jnp.sin, "x -> p", x=ek.Fixed(3), p=ek.S, how=GroupAverage())(jnp.ones((3, 1))),
        "no input has the label 'p', whose size is unknown",
        "x -> p",
        "an input term with the label 'p', whose size is unknown",
        "S(5)",
    )
