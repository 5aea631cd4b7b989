"""Principal axes: exact where they are determined, refused, drawn or averaged where they are not."""

import functools
import pickle

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
    "square": SQUARE,
    "prism": np.concatenate([TRIANGLE + np.array([0, 0, z]) for z in (2.0, -2.0)]),
    "cube": CORNERS,
    "tetrahedron": CORNERS[[0, 3, 5, 6]],
}
"""Clouds two of whose principal axes, or all, are equal, though the points determine every direction."""

FLAT = {
    "planar": np.array([[1.0, 2, 0], [0, 1, 0], [3, -1, 0], [2, 2, 0], [-1, 0, 0], [0, -2, 0]]),
    "collinear": np.outer([1.0, -2, 4, 3, 0, 7], [1, 2, 3]),
    "all equal": np.ones((6, 3)),
    "all zero": np.zeros((6, 3)),
    "one point": np.array([[1.0, 2, 3]]),
    "no points": np.zeros((0, 3)),
}
"""Clouds that have no extent in some direction."""

CLOUDS = {"random": np.random.default_rng(3).normal(size=(6, 3)), **SYMMETRIC, **FLAT}
MOTIONS, BATCH = 3, 32
SLOW, QUICK = pytest.mark.slow, [(0, True), (2, False), (3, True)]


def cases(names, *groups):
    """Clouds of six points, which share a program, in the quick run; the others have masks in a second program."""
    quick = [(name, group) for name in names if len(CLOUDS[name]) == 6 for group in (ek.O(3), *groups)]
    return pytest.mark.parametrize(
        ("name", "group"),
        [
            pytest.param(name, group, id=f"{name}-{group}", marks=() if (name, group) in quick else pytest.mark.slow)
            for name in names
            for group in (ek.O(3), ek.SO(3))
        ],
    )


def mixing(x, mask=None):
    """A backbone of points `[*batch, p, x]` that knows nothing of rotations, but treats all points alike."""
    moved = x @ jnp.array([[1.0, 0.3, -0.2], [0.5, -1.0, 0.7], [0.1, 0.4, 0.9]], x.dtype)
    return jnp.sin(moved + jnp.sum(moved**2, axis=-2, keepdims=True) + 0.3) + x**2


def tensors(x):
    y = mixing(x)
    return y[..., :, None] * jnp.cos(y[..., None, :]) + 0.1


def identity(x):
    return x


@functools.cache
def wrapped(group, output="p x", function=mixing, translate="x", **options):
    return ek.symmetrize(
        function, f"p x -> {output}", p=ek.S, x=group, translate=translate, channels=False, how=PCA(**options)
    )


@functools.cache
def compiled(group, **options):
    """Outputs and reports, and the gradient of an energy."""
    sym = wrapped(group, **options)

    def energy(x, mask):
        y, info = sym(x, mask=mask, with_info=True)
        return jnp.sum(jnp.cos(y)), (y, info.degenerate)

    return jax.jit(lambda x, mask=None: jax.grad(energy, has_aux=True)(x, mask))


def evaluated(group, clouds, there=None, **options):
    """Outputs, reports and gradients for clouds, in a batch of one size for all tests."""
    x, there = (None if a is None else np.resize(a, (BATCH, *a.shape[1:])) for a in (clouds, there))
    slope, found = compiled(group, **options)(x, None if there is None else {"p": there})
    return [np.asarray(array)[: len(clouds)] for array in (*found, slope)]


@functools.cache
def clouds_like(name):
    """All clouds with six points, or all others with zeros after their points; and which points are there."""
    few = len(CLOUDS[name]) != 6
    names = [other for other, cloud in CLOUDS.items() if (len(cloud) != 6) == few]
    if not few:
        return names, np.stack([CLOUDS[name] for name in names]), None
    padded = np.stack([np.pad(CLOUDS[name], ((0, 8 - len(CLOUDS[name])), (0, 0))) for name in names])
    return names, padded, np.stack([np.arange(8) < len(CLOUDS[name]) for name in names])


def moved(group, clouds, there=None, seed=0):
    """Each cloud and copies after random motions, and these motions."""
    rng, n = np.random.default_rng(seed), clouds.shape[1]
    motions = [(group.random_element(rng), rng.normal(size=3), rng.permutation(n)) for _ in range(MOTIONS)]
    copies = [(clouds @ turn.T + shift)[:, order] for turn, shift, order in motions]
    masks = None if there is None else np.concatenate([there, *(there[:, order] for _, _, order in motions)])
    return np.concatenate([clouds, *copies]), masks, motions


def misses(y, motions, there=None):
    """By how much the output of each cloud misses, relative to its largest entry."""
    before, *after = y.reshape(1 + MOTIONS, -1, *y.shape[1:])
    there = np.ones(before.shape[:2], bool) if there is None else there
    axes, worst = tuple(range(1, before.ndim)), np.zeros(len(before))
    for found, (turn, shift, order) in zip(after, motions, strict=True):
        tensor = np.einsum("ia,jb,npab->npij", turn, turn, before) if before.ndim == 4 else before @ turn.T + shift
        wanted = np.where(np.expand_dims(there, axes[1:]), tensor, 0)[:, order]
        off = np.abs(np.where(wanted == 0, 0, found) - wanted).max(axes, initial=0)
        worst = np.maximum(worst, off / np.maximum(1e-9, np.abs(wanted).max(axes)))
    return worst


@functools.cache
def measured(group, name, choice):
    """By how much the output for a cloud misses when it moves, whether the cloud is reported, and the gradient."""
    names, clouds, there = clouds_like(name)
    copies, masks, motions = moved(group, clouds, there)
    y, degenerate, slopes = evaluated(group, copies, masks, on_degenerate=choice)
    place = names.index(name)
    return misses(y, motions, there)[place], degenerate[place], slopes[place]


@cases(["random", *FLAT], ek.SO(3))
def test_motions_of_the_input_move_the_output(x64, name, group):
    miss, degenerate, _ = measured(group, name, "flag")
    assert miss < 1e-11
    assert not degenerate


@cases(SYMMETRIC)
def test_symmetric_inputs_are_exact_by_alignments_with_their_points(x64, name, group):
    assert measured(group, name, "weighted")[0] < 1e-11
    # What the others do: the usual frame is wrong, and it would not tell.
    miss, degenerate, _ = measured(group, name, "flag")
    assert miss > 1e-3
    assert degenerate


@pytest.mark.slow
def test_an_input_of_no_points():
    assert wrapped(ek.O(3))(np.zeros((0, 3), np.float32)).shape == (0, 3)


def test_on_an_octahedron_the_usual_frame_is_wrong_by_as_much_as_the_output(x64):
    turns = np.stack([np.eye(3), *(ek.O(3).random_element(np.random.default_rng(seed)) for seed in range(8))])
    before, *after = evaluated(ek.O(3), OCTAHEDRON @ turns.mT, on_degenerate="flag")[0]
    misses = [np.linalg.norm(y - before @ g.T) for y, g in zip(after, turns[1:], strict=True)]
    assert max(misses) / np.linalg.norm(before) > 1


def test_tensors_of_inputs_without_extent_are_degenerate():
    """Signs average a vector in the plane across a line to zero, but not a tensor to one that all turns leave."""
    clouds = np.float32([FLAT["collinear"], FLAT["all zero"]])
    of_tensors = wrapped(ek.O(3), "p x x", tensors, None)
    assert of_tensors.info(clouds).degenerate.tolist() == [True, True]
    assert wrapped(ek.O(3)).info(clouds).degenerate.tolist() == [False, False]
    with pytest.raises(ek.FrameError, match="symmetric itself"):
        of_tensors(clouds)


def test_terms_that_are_not_read_may_have_an_extent_there():
    sym = ek.symmetrize(
        lambda x: x["a"] + jnp.sin(x["b"]), {"a": "x", "b": "x"}, {"y": "x"}, x=ek.O(3), channels=False,
        how=PCA(terms=("a",)),
    )  # fmt: skip
    assert bool(sym.info({"a": jnp.array([1.0, 0, 0]), "b": jnp.array([1.0, 2, 3])}).degenerate)


def test_tensors_of_planar_inputs_are_exact(x64):
    copies, _, motions = moved(ek.O(3), FLAT["planar"][None])
    sym = wrapped(ek.O(3), "p x x", tensors, on_degenerate="error")
    assert misses(np.asarray(jax.jit(sym)(copies)), motions) < 1e-11


@pytest.mark.parametrize("group", [ek.O(3)], ids=str)
def test_symmetric_inputs_are_refused_by_default(group):
    clouds = np.float32([np.random.default_rng(0).normal(size=(6, 3)), OCTAHEDRON])
    sym = wrapped(group)
    with pytest.raises(ek.FrameError) as caught:
        sym(clouds)
    error = caught.value
    assert error.got.startswith("1 of 2 inputs for PCA; the first of them is number 1: doubt ")
    assert "on_degenerate=" in error.step
    assert repr(PCA()) in error.how
    assert error.refused == (1,)
    assert error.values["rank"] == 3
    assert error.values["gap"] < 1e-3
    again = pickle.loads(pickle.dumps(error))
    assert (str(again), again.values, again.refused) == (str(error), error.values, error.refused)
    outputs = np.asarray(jax.jit(sym)(clouds))
    assert np.all(np.isfinite(outputs[0]))
    assert np.all(np.isnan(outputs[1]))
    info = sym.info(clouds)
    assert info.degenerate.tolist() == info.refused.tolist() == [False, True]
    assert info.rank.tolist() == [3, 3]
    assert info.gap[0] > 1e-3 > info.gap[1]


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_not_finite_is_refused(bad):
    clouds = np.ones((2, 6, 3), np.float32)
    clouds[:, 0, 0] = bad
    with pytest.raises(ek.FrameError, match="not finite"):
        wrapped(ek.O(3))(clouds)
    assert np.all(np.isnan(wrapped(ek.O(3), on_degenerate="flag")(clouds)))


@pytest.mark.parametrize("group", [ek.SO(3)], ids=str)
def test_random_axes_of_a_symmetric_input_are_equivariant_on_average(group):
    sym = wrapped(group, translate=None, on_degenerate="sample")
    with pytest.raises(ek.OptionError, match="needs key="):
        sym(OCTAHEDRON.astype(np.float32))
    keys = jax.random.split(jax.random.key(0), 4000)
    cloud = OCTAHEDRON.astype(np.float32)
    draws = np.asarray(jax.jit(jax.vmap(lambda key: sym(cloud, key=key)))(keys))
    mean, spread = draws.mean(0), draws.std(0).max() / np.sqrt(len(keys))
    # Every point lies on an axis of symmetry, which its output must keep to.
    assert np.abs(np.where(cloud != 0, 0, mean)).max() < 5 * spread
    assert draws.std(0).max() > 0.05


def test_chirality_is_seen_by_rotations_and_not_by_reflections(x64):
    """A scalar triple product changes its sign under a reflection: SO keeps it, O averages it to zero."""

    def volume(x):
        return jnp.linalg.det(x[..., :3, :])[..., None] + 0.1 * x[..., 0, :1]

    def invariant(group):
        return ek.symmetrize(
            volume, "p x -> c", p=ek.S, x=group, c=ek.Fixed(1), channels=False, how=PCA(), translate=None
        )

    clouds = np.random.default_rng(0).normal(size=(100, 3, 3))
    mirrored = clouds * np.array([1.0, 1.0, -1.0])
    rotations, reflections = jax.jit(invariant(ek.SO(3))), jax.jit(invariant(ek.O(3)))
    assert np.allclose(rotations(clouds), np.linalg.det(clouds)[:, None])
    assert np.allclose(rotations(mirrored), -np.linalg.det(clouds)[:, None])
    assert np.abs(reflections(clouds)).max() < 1e-12


@pytest.mark.parametrize(
    ("d", "special"),
    [
        pytest.param(d, special, id=f"{'SO' if special else 'O'}-{d}", marks=() if (d, special) in QUICK else SLOW)
        for special in (False, True)
        for d in range(5)
    ],
)
def test_elements_are_the_group_and_all_different(x64, d, special):
    group = (ek.SO if special else ek.O)(d)
    sym = ek.symmetrize(lambda x: x, "p x -> p x", p=ek.S, x=group, channels=False, how=PCA())
    frame = sym.frame(np.random.default_rng(0).normal(size=(6, d)))
    assert isinstance(frame, Frame)
    matrices = np.asarray(frame.elements.linear["x"])
    assert len(matrices) == (max(1, 2 ** (d - 1)) if special else 2**d)
    assert np.allclose(np.swapaxes(matrices, -1, -2) @ matrices, np.eye(d))
    assert len({tuple(np.round(m, 6).ravel()) for m in matrices}) == len(matrices)
    if special:
        assert np.allclose(np.linalg.det(matrices), 1)
    assert np.allclose(frame.weights.sum(0), 1)


every_dtype = pytest.mark.parametrize("dtype", [jnp.bfloat16, pytest.param(jnp.float16, marks=SLOW), jnp.float32])


@every_dtype
def test_the_output_has_the_dtype_of_the_input(dtype):
    clouds, sym = np.random.default_rng(0).normal(size=(2, 6, 3)).astype(dtype), wrapped(ek.O(3))
    y, exact = sym(clouds), np.asarray(sym(clouds.astype(np.float32)))
    assert y.dtype == dtype
    bound = 40 * float(jnp.finfo(dtype).eps)
    assert np.abs(np.float32(y) - exact).max() < bound * np.abs(exact).max()


@every_dtype
def test_what_is_equal_to_the_rounding_of_the_input_is_equal(dtype):
    """Entries of an input with few bits are computed with in float32, but are no better known for it."""
    rng = np.random.default_rng(0)
    sym = wrapped(ek.O(3))
    clouds = np.stack([OCTAHEDRON, SQUARE * [1, 0.5, 0]])
    for _ in range(5):
        info = sym.info((clouds @ ek.O(3).random_element(rng).T).astype(dtype))
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
        known = info(np.float32(clouds))
        assert known.degenerate.tolist() == [True, distance > 1e3]  # an error of the axes of 1e-4 and more


def test_the_backbone_sees_the_dtype_of_the_input():
    found = []
    jax.eval_shape(wrapped(ek.O(3), function=lambda x: found.append(x.dtype) or x), jnp.zeros((6, 3), jnp.bfloat16))
    assert set(found) == {jnp.dtype(jnp.bfloat16)}


@pytest.mark.parametrize("scale", [1e-30, 1e-6, 1e6, 1e18])
def test_the_size_of_the_input_does_not_matter(scale):
    clouds = np.float32(scale) * np.random.default_rng(0).normal(size=(2, 6, 3)).astype(np.float32)
    y, info = wrapped(ek.O(3), function=identity)(clouds, with_info=True)
    assert info.degenerate.tolist() == [False, False]
    assert info.rank.tolist() == [3, 3]
    assert np.allclose(y, clouds, rtol=1e-4, atol=1e-5 * scale)


def test_absent_points_do_not_count():
    rng = np.random.default_rng(0)
    cloud = rng.normal(size=(6, 3)).astype(np.float32)
    there = np.array([True, True, False, True, True, False])

    def masked(x, mask):
        return jnp.where(mask["p"][..., None], mixing(jnp.where(mask["p"][..., None], x, 0)), 0)

    sym = jax.jit(wrapped(ek.O(3), function=masked))
    y = np.asarray(sym(cloud, mask={"p": there}))[there]
    short = sym(cloud[there], mask={"p": np.ones(4, bool)})
    assert np.allclose(y, short, atol=1e-5)
    for absent in (100.0, np.nan, np.inf):
        other = np.asarray(sym(np.where(there[:, None], cloud, np.float32(absent)), mask={"p": there}))
        assert np.allclose(y, other[there], atol=1e-5)


def test_derivatives_do_not_see_absent_points():
    there = np.array([True, True, False, True, True])
    sym = wrapped(ek.O(3), function=lambda x, mask: jnp.where(mask["p"][..., None], x + x**2, 0))
    slope = jax.jit(jax.grad(lambda x: jnp.sum(sym(x, mask={"p": there})[there] ** 2)))
    x = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)
    found = np.asarray(slope(np.where(there[:, None], x, np.float32(np.nan))))
    assert np.all(found[2] == 0)
    assert np.allclose(found, slope(x), atol=1e-4)


def along(clouds, direction, evaluate, step=1e-5):
    """The derivative along a direction: by the gradients, and by the finite differences of the energy."""
    energies, slopes = evaluate(np.concatenate([clouds, clouds + step * direction, clouds - step * direction]))
    _, above, below = np.split(energies, 3)
    return np.sum(slopes[: len(clouds)] * direction, (1, 2)), (above - below) / (2 * step)


def test_derivatives_are_those_of_finite_differences(x64):
    def evaluate(clouds):
        y, _, slopes = evaluated(ek.O(3), clouds, on_degenerate="flag")
        return np.sum(np.cos(y), (1, 2)), slopes

    cloud, direction = np.random.default_rng(1).normal(size=(2, 1, 6, 3))
    exact, finite = along(cloud, direction, evaluate)
    assert abs(exact / finite - 1) < 1e-6


def test_detached_frames_and_weights_have_no_derivatives(x64):
    options = {"on_degenerate": "weighted", "differentiable": False}
    sym = wrapped(ek.O(3), "p x x", lambda x: 0 * x[..., None] + np.arange(9.0).reshape(3, 3), None, **options)

    def energy(x):
        return jnp.sum(sym(x) * np.sin(np.arange(54.0)).reshape(6, 3, 3), (1, 2, 3))

    run = jax.jit(lambda x: (energy(x), jax.grad(lambda x: jnp.sum(energy(x)))(x)))
    cloud, direction = np.random.default_rng(1).normal(size=(2, 1, 6, 3))
    detached, finite = along(np.stack([cloud[0], OCTAHEDRON]), direction, lambda x: map(np.asarray, run(x)))
    assert not np.any(detached)
    assert abs(finite[0]) > 1e-3


@cases([*SYMMETRIC, *FLAT])
@pytest.mark.parametrize("choice", ["flag", "weighted"])
def test_derivatives_are_finite_on_every_input(x64, name, group, choice):
    assert np.isfinite(measured(group, name, choice)[2]).all()


def test_the_part_of_a_sequence_that_needs_a_key_is_named():
    how = [ek.frames.PCA(on_degenerate="sample"), ek.frames.Sort()]
    sym = ek.symmetrize(jnp.sin, "p x -> p x", p=ek.S, x=ek.O(3), channels=False, how=how)
    with pytest.raises(ek.OptionError, match="PCA needs key="):
        sym(jnp.ones((5, 3)))
