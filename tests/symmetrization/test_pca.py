"""Principal axes: exact where they are determined, refused, drawn or averaged where they are not."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import equikit as ek
from equikit.symmetrization import Frame
from equikit.symmetrization.frames import PCA

CORNERS = np.array([[s, t, u] for s in (1.0, -1.0) for t in (1.0, -1.0) for u in (1.0, -1.0)])
OCTAHEDRON = np.concatenate([np.eye(3), -np.eye(3)])
SQUARE = np.array([[1.0, 0, 0], [-1, 0, 0], [0, 1, 0], [0, -1, 0], [0, 0, 0], [0, 0, 0]])
TRIANGLE = np.array([[1.0, 0, 0], [-0.5, np.sqrt(0.75), 0], [-0.5, -np.sqrt(0.75), 0]])
SYMMETRIC = {
    "octahedron": OCTAHEDRON,
    "cube": CORNERS,
    "tetrahedron": CORNERS[[0, 3, 5, 6]],
    "square": SQUARE,
    "prism": np.concatenate([TRIANGLE + np.array([0, 0, z]) for z in (2.0, -2.0)]),
}
"""Clouds two of whose principal axes, or all, are equal, though the points determine every direction.

Those of the quick run have six points, as other clouds in this file have, so that they share compiled programs.
"""

FLAT = {
    "planar": np.array([[1.0, 2, 0], [0, 1, 0], [3, -1, 0], [2, 2, 0], [-1, 0, 0], [0, -2, 0]]),
    "collinear": np.outer([1.0, -2, 4, 3, 0, 7], [1, 2, 3]),
    "one point": np.array([[1.0, 2, 3]]),
    "all equal": np.ones((6, 3)),
    "all zero": np.zeros((6, 3)),
    "no points": np.zeros((0, 3)),
}
"""Clouds that have no extent in some direction."""


def some(*names):
    """Names with both groups, most of them for the slow run only: every case has to be compiled."""
    quick = [*zip(names[:3], [ek.O(3), ek.SO(3), ek.O(3)], strict=True)]
    cases = [(name, group) for name in dict.fromkeys(names) for group in (ek.O(3), ek.SO(3))]
    return pytest.mark.parametrize(
        ("name", "group"),
        [
            pytest.param(name, group, id=f"{name}-{group}", marks=[] if (name, group) in quick else pytest.mark.slow)
            for name, group in cases
        ],
    )


def mixing(x):
    """A backbone of points `[*batch, p, x]` that knows nothing of rotations, but treats all points alike."""
    moved = x @ jnp.array([[1.0, 0.3, -0.2], [0.5, -1.0, 0.7], [0.1, 0.4, 0.9]], x.dtype)
    return jnp.sin(moved + jnp.sum(moved**2, axis=-2, keepdims=True) + 0.3) + x**2


def tensors(x):
    y = mixing(x)
    return y[..., :, None] * jnp.cos(y[..., None, :]) + 0.1


@functools.cache
def wrapped(group, output="p x", function=mixing, translate="x", **options):
    return ek.symmetrize(
        function, f"p x -> {output}", p=ek.S, x=group, translate=translate, channels=False, how=PCA(**options)
    )


@functools.cache
def compiled(group, **options):
    return jax.jit(wrapped(group, **options))


@functools.cache
def compiled_slopes(group, **options):
    """An energy and its gradient."""
    sym = wrapped(group, **options)
    return jax.jit(jax.value_and_grad(lambda x: jnp.sum(jnp.cos(sym(x)))))


def error(sym, group, cloud, seed=0, order=1, key=None):
    """By how much a symmetrized function misses, relative to its largest entry, over a few random motions."""
    rng = np.random.default_rng(seed)
    worst = 0.0
    for _ in range(3):
        turn = group.random_element(rng)
        shift = rng.normal(size=3)
        shuffle = rng.permutation(len(cloud))
        moved = (cloud @ turn.T + shift)[shuffle]
        options = {} if key is None else {"key": key}
        before, after = (np.asarray(sym(jnp.asarray(c), **options), np.float64) for c in (cloud, moved))
        if order == 0:
            wanted = before
        elif order == 1:
            wanted = (before @ turn.T + shift)[shuffle]
        else:
            wanted = np.einsum("ia,jb,pab->pij", turn, turn, before)[shuffle]
        worst = max(worst, float(np.abs(after - wanted).max(initial=0)) / max(1e-9, np.abs(wanted).max(initial=1e-9)))
    return worst


@some("random", "collinear", "no points", *FLAT)
def test_motions_of_the_input_move_the_output(x64, name, group):
    cloud = np.random.default_rng(3).normal(size=(6, 3)) if name == "random" else FLAT[name]
    assert error(compiled(group), group, cloud) < 1e-11


@some("octahedron", "square", "prism", *SYMMETRIC)
def test_symmetric_inputs_are_exact_by_alignments_with_their_points(x64, name, group):
    assert error(compiled(group, on_degenerate="weighted"), group, SYMMETRIC[name]) < 1e-11
    # What the others do: the usual frame is wrong, and it would not tell.
    assert error(compiled(group, on_degenerate="flag"), group, SYMMETRIC[name]) > 1e-3
    assert bool(wrapped(group, on_degenerate="flag").info(jnp.asarray(SYMMETRIC[name])).degenerate)


def test_on_an_octahedron_the_usual_frame_is_wrong_by_as_much_as_the_output(x64):
    usual = compiled(ek.O(3), on_degenerate="flag")
    turned = [ek.O(3).random_element(np.random.default_rng(seed)) for seed in range(8)]
    before = np.asarray(usual(jnp.asarray(OCTAHEDRON)))
    misses = [
        np.linalg.norm(np.asarray(usual(jnp.asarray(OCTAHEDRON @ g.T))) - before @ g.T) / np.linalg.norm(before)
        for g in turned
    ]
    assert max(misses) > 1


@pytest.mark.parametrize("name", ["collinear", "all zero"])
def test_tensors_of_inputs_without_extent_are_degenerate(name):
    """Signs average a vector in the plane across a line to zero, but not a tensor to one that all turns leave."""
    cloud = jnp.asarray(FLAT[name], jnp.float32)
    assert bool(wrapped(ek.O(3), "p x x", tensors, None).info(cloud).degenerate)
    assert not bool(wrapped(ek.O(3), "p x", mixing, None).info(cloud).degenerate)
    with pytest.raises(ek.FrameError, match="symmetric itself"):
        wrapped(ek.O(3), "p x x", tensors, None)(cloud)


def test_terms_that_are_not_read_may_have_an_extent_there():
    sym = ek.symmetrize(
        lambda x: x["a"] + jnp.sin(x["b"]), {"a": "x", "b": "x"}, {"y": "x"}, x=ek.O(3), channels=False,
        how=PCA(terms=("a",)),
    )  # fmt: skip
    assert bool(sym.info({"a": jnp.array([1.0, 0, 0]), "b": jnp.array([1.0, 2, 3])}).degenerate)


def test_tensors_of_planar_inputs_are_exact(x64):
    sym = wrapped(ek.O(3), "p x x", tensors, on_degenerate="error")
    assert error(jax.jit(sym), ek.O(3), FLAT["planar"], order=2) < 1e-11


@pytest.mark.parametrize("group", [ek.O(3)], ids=str)
def test_symmetric_inputs_are_refused_by_default(group):
    clouds = jnp.asarray(np.stack([np.random.default_rng(0).normal(size=(6, 3)), OCTAHEDRON]), jnp.float32)
    sym = wrapped(group)
    with pytest.raises(ek.FrameError) as caught:
        sym(clouds)
    text = str(caught.value)
    for part in ("1 of 2 inputs", "number 1", "rank 3", "on_degenerate="):
        assert part in text
    outputs = compiled(group)(clouds)
    assert jnp.all(jnp.isfinite(outputs[0]))
    assert jnp.all(jnp.isnan(outputs[1]))
    info = sym.info(clouds)
    assert info.degenerate.tolist() == info.refused.tolist() == [False, True]
    assert info.rank.tolist() == [3, 3]
    assert info.gap[0] > 1e-3 > info.gap[1]


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_not_finite_is_refused(bad):
    cloud = jnp.ones((6, 3)).at[0, 0].set(bad)
    with pytest.raises(ek.FrameError, match="not finite"):
        wrapped(ek.O(3))(cloud)
    assert jnp.all(jnp.isnan(wrapped(ek.O(3), on_degenerate="flag")(cloud)))


@pytest.mark.parametrize("group", [ek.SO(3)], ids=str)
def test_random_axes_of_a_symmetric_input_are_equivariant_on_average(group):
    sym = wrapped(group, translate=None, on_degenerate="sample")
    with pytest.raises(ek.OptionError, match="needs key="):
        sym(jnp.asarray(OCTAHEDRON, jnp.float32))
    keys = jax.random.split(jax.random.key(0), 4000)
    cloud = jnp.asarray(OCTAHEDRON, jnp.float32)
    draws = jax.jit(jax.vmap(lambda key: sym(cloud, key=key)))(keys)
    mean, spread = draws.mean(0), draws.std(0).max() / np.sqrt(len(keys))
    # Every point lies on an axis of symmetry, which its output must keep to.
    assert jnp.abs(jnp.where(cloud != 0, 0, mean)).max() < 5 * spread
    assert draws.std(0).max() > 0.05


def test_chirality_is_seen_by_rotations_and_not_by_reflections(x64):
    """A scalar triple product changes its sign under a reflection: SO keeps it, O averages it to zero."""

    def volume(x):
        return jnp.linalg.det(x[..., :3, :])[..., None] + 0.1 * x[..., 0, :1]

    def invariant(group):
        return ek.symmetrize(
            volume, "p x -> c", p=ek.S, x=group, c=ek.Fixed(1), channels=False, how=PCA(), translate=None
        )

    clouds = jnp.asarray(np.random.default_rng(0).normal(size=(100, 3, 3)))
    mirrored = clouds * jnp.array([1.0, 1.0, -1.0])
    rotations, reflections = jax.jit(invariant(ek.SO(3))), jax.jit(invariant(ek.O(3)))
    assert jnp.allclose(rotations(clouds), jnp.linalg.det(clouds)[:, None])
    assert jnp.allclose(rotations(mirrored), -jnp.linalg.det(clouds)[:, None])
    assert jnp.abs(reflections(clouds)).max() < 1e-12


@pytest.mark.parametrize("d", [0, 1, 2, 3, 4])
@pytest.mark.parametrize("special", [False, True], ids=["O", "SO"])
def test_elements_are_the_group_and_all_different(x64, d, special):
    group = (ek.SO if special else ek.O)(d)
    sym = ek.symmetrize(lambda x: x, "p x -> p x", p=ek.S, x=group, channels=False, how=PCA())
    frame = sym.frame(jax.random.normal(jax.random.key(0), (6, d)))
    assert isinstance(frame, Frame)
    matrices = np.asarray(frame.elements.linear["x"])
    assert len(matrices) == (max(1, 2 ** (d - 1)) if special else 2**d)
    assert np.allclose(np.swapaxes(matrices, -1, -2) @ matrices, np.eye(d))
    assert len({tuple(np.round(m, 6).ravel()) for m in matrices}) == len(matrices)
    if special:
        assert np.allclose(np.linalg.det(matrices), 1)
    assert np.allclose(frame.weights.sum(0), 1)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16, jnp.float32])
def test_the_output_has_the_dtype_of_the_input(dtype):
    cloud, sym = jax.random.normal(jax.random.key(0), (6, 3)).astype(dtype), compiled(ek.O(3))
    y = sym(cloud)
    assert y.dtype == dtype
    exact = sym(cloud.astype(jnp.float32))
    bound = 40 * float(jnp.finfo(dtype).eps)
    assert jnp.abs(y.astype(jnp.float32) - exact).max() < bound * jnp.abs(exact).max()


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16, jnp.float32])
def test_what_is_equal_to_the_rounding_of_the_input_is_equal(dtype):
    """Entries of an input with few bits are computed with in float32, but are no better known for it."""
    rng = np.random.default_rng(0)
    sym = wrapped(ek.O(3), function=lambda x: x, translate=None)
    clouds = np.stack([OCTAHEDRON, SQUARE * [1, 0.5, 0]])
    for _ in range(5):
        info = sym.info(jnp.asarray(clouds @ ek.O(3).random_element(rng).T).astype(dtype))
        assert info.degenerate.tolist() == [True, False]
        assert info.rank.tolist() == [3, 2]


@pytest.mark.parametrize("distance", [0.0, 1e2, 1e4, 1e6])
def test_rounding_errors_far_from_the_origin_do_not_tell_axes_apart(distance):
    """Positions are rounded where they are, and not about their centroid: on an octahedron that is all that differs."""
    info = wrapped(ek.O(3)).info
    rng = np.random.default_rng(0)
    there = distance * np.array([0.6, -0.5, 0.62])
    stretched = OCTAHEDRON * [1, 0.9, 0.8]
    for _ in range(8):
        turn = ek.O(3).random_element(rng)
        clouds = np.stack([OCTAHEDRON @ turn.T, stretched @ turn.T]) + there
        known = info(jnp.asarray(clouds, jnp.float32))
        assert known.degenerate.tolist() == [True, distance > 1e3]  # an error of the axes of 1e-4 and more


def test_the_backbone_sees_the_dtype_of_the_input():
    found = []
    x = jax.random.normal(jax.random.key(0), (6, 3), jnp.bfloat16)
    wrapped(ek.O(3), function=lambda x: found.append(x.dtype) or x)(x)
    assert set(found) == {jnp.dtype(jnp.bfloat16)}


@pytest.mark.parametrize("scale", [1e-30, 1e-6, 1e6, 1e18])
def test_the_size_of_the_input_does_not_matter(scale):
    cloud = jax.random.normal(jax.random.key(0), (6, 3))
    info = wrapped(ek.O(3), function=lambda x: x).info(scale * cloud)
    assert not bool(info.degenerate)
    assert int(info.rank) == 3
    y = wrapped(ek.O(3), function=lambda x: x)(scale * cloud)
    assert jnp.allclose(y, scale * cloud, rtol=1e-4, atol=1e-5 * scale)


def test_absent_points_do_not_count():
    rng = np.random.default_rng(0)
    cloud = jnp.asarray(rng.normal(size=(6, 3)), jnp.float32)
    there = jnp.array([True, True, False, True, True, False])

    def masked(x, mask):
        return jnp.where(mask["p"][..., None], mixing(jnp.where(mask["p"][..., None], x, 0)), 0)

    sym = wrapped(ek.O(3), function=masked)
    y = sym(cloud, mask={"p": there})
    short = sym(cloud[there], mask={"p": jnp.ones(4, bool)})
    assert jnp.allclose(y[there], short, atol=1e-5)
    for absent in (100.0, jnp.nan, jnp.inf):
        other = sym(jnp.where(there[:, None], cloud, absent), mask={"p": there})
        assert jnp.allclose(y[there], other[there], atol=1e-5)


def test_derivatives_do_not_see_absent_points():
    there = jnp.array([True, True, False, True, True])
    sym = wrapped(ek.O(3), function=lambda x, mask: jnp.where(mask["p"][..., None], x + x**2, 0))
    slope = jax.jit(jax.grad(lambda x: jnp.sum(sym(x, mask={"p": there})[there] ** 2)))
    x = jax.random.normal(jax.random.key(0), (5, 3))
    found = slope(jnp.where(there[:, None], x, jnp.nan))
    assert jnp.all(found[2] == 0)
    assert jnp.allclose(found, slope(x), atol=1e-4)


def test_derivatives_are_those_of_finite_differences_unless_frames_are_detached(x64):
    cloud, direction = np.random.default_rng(1).normal(size=(2, 6, 3))
    step, run = 1e-5, compiled_slopes(ek.O(3))
    finite = (run(cloud + step * direction)[0] - run(cloud - step * direction)[0]) / (2 * step)
    exact = np.vdot(run(cloud)[1], direction)
    detached = np.vdot(compiled_slopes(ek.O(3), differentiable=False)(cloud)[1], direction)
    assert abs(exact / finite - 1) < 1e-6 < 1e-3 < abs(detached / finite - 1)


def test_detached_weights():
    options = {"on_degenerate": "weighted", "differentiable": False}
    sym = wrapped(ek.O(3), function=lambda x: jnp.zeros_like(x) + jnp.arange(3.0), translate=None, **options)
    slope = jax.jit(jax.grad(lambda x: jnp.vdot(sym(x), jnp.sin(jnp.arange(18.0)).reshape(6, 3))))
    assert jnp.all(slope(jnp.asarray(OCTAHEDRON, jnp.float32)) == 0)


@some("octahedron", "collinear", "all equal", *SYMMETRIC, *FLAT)
@pytest.mark.parametrize("choice", ["flag", "weighted"])
def test_derivatives_are_finite_on_every_input(name, group, choice):
    cloud = jnp.asarray({**SYMMETRIC, **FLAT}[name], jnp.float32)
    assert np.isfinite(compiled_slopes(group, on_degenerate=choice)(cloud)[1]).all()
