"""Frames say how far rounding may have taken them, hand this on to the next, and refuse what rounding decides."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import equikit as ek
from equikit.symmetrization.canonicalization import PermutationCanonicalization
from equikit.symmetrization.engine._sample import Sample, moved_back
from equikit.symmetrization.frames import PCA, Alignment, Directions, Sort

MIX = np.random.default_rng(7).normal(size=(3, 3)).astype(np.float32)
NETWORK = ek.nn.DeepSets(3, [16, 16], 1, out="p", rngs=nnx.Rngs(0))
OCTAHEDRON = np.concatenate([np.eye(3), -np.eye(3)])
SLOW = pytest.mark.slow


@jax.jit
def of_order(x):
    """A vector that depends on the order of the points."""
    weights = jnp.cos(0.7 * jnp.arange(x.shape[-2], dtype=x.dtype))[:, None]
    return jnp.sum(weights * jnp.sin(x @ jnp.asarray(MIX, x.dtype)), axis=-2) / x.shape[-2] ** 0.5


def wrapped(how, backbone=of_order, output="x"):
    return ek.symmetrize(backbone, f"p x -> {output}", p=ek.S, x=ek.O(3), translate="x", channels=False, how=how)


def copies(x, rng):
    """Clouds turned and reflected in float64, in another order, and rounded; how they were turned; and the order."""
    turns = np.linalg.qr(rng.normal(size=(len(x), 3, 3)))[0]
    order = rng.permutation(x.shape[1])
    return np.einsum("bij,bnj->bni", turns, x.astype(float))[:, order].astype(x.dtype), turns, order


@pytest.mark.compiled
@pytest.mark.parametrize(
    ("points", "reported"), [pytest.param(5, 0.0, marks=SLOW), pytest.param(20, 0.005, marks=SLOW), (100, 0.02)]
)
def test_no_order_that_rounding_decides_is_silent(points, reported):
    rng = np.random.default_rng(0)
    sym = jax.jit(lambda x: wrapped([PCA(on_degenerate="flag"), Sort(on_degenerate="flag")])(x, with_info=True))
    x = rng.normal(size=(400, points, 3)).astype(np.float32)
    moved, turns, _ = copies(x, rng)
    (y, info), (z, other) = sym(x), sym(moved)
    off = np.abs(np.einsum("bij,bj->bi", turns, y) - z).max(-1) > 1e-4
    degenerate = np.asarray(info.degenerate | other.degenerate)
    assert not np.any(off & ~degenerate)
    assert info.degenerate.mean() <= reported


@pytest.mark.compiled
@pytest.mark.slow
@pytest.mark.parametrize(("points", "reported"), [(20, 0.002), (100, 0.04)])
def test_no_order_of_scores_that_rounding_decides_is_silent(points, reported):
    rng = np.random.default_rng(0)
    sym = wrapped([PCA(on_degenerate="flag"), PermutationCanonicalization(NETWORK, on_degenerate="flag")])
    sym.eval()
    run, silent, degenerate = jax.jit(lambda x: sym(x, with_info=True)), 0, []
    for _ in range(8):
        x = rng.normal(size=(250, points, 3)).astype(np.float32)
        moved, turns, _ = copies(x, rng)
        (y, one), (z, two) = run(x), run(moved)
        off = np.abs(np.einsum("bij,bj->bi", turns, y) - z).max(-1) > 1e-4
        silent += np.sum(off & ~np.asarray(one.degenerate | two.degenerate))
        degenerate.append(one.degenerate)
    assert silent == 0
    assert np.mean(degenerate) <= reported


@pytest.mark.compiled
def test_errors_of_scores_are_those_of_moved_copies():
    """Standard deviations of what scores of clouds differ by in a copy, after what all scores have in common."""
    rng, pca, how = np.random.default_rng(0), PCA(on_degenerate="flag"), PermutationCanonicalization(NETWORK)
    action = wrapped([pca, how]).action

    @jax.jit
    def run(x):
        sample = Sample({"p x": x}, {})
        frame = pca.frame(action, sample, None)
        moved = moved_back(action, sample, frame.elements, frame.tail, frame.turns)
        scores = how._scores(action, "p", moved)
        return scores, how._errors(action, "p", moved, scores)

    x = rng.normal(size=(32, 50, 3)).astype(np.float32)
    moved, _, order = copies(x, rng)
    (one, errors), (two, _) = (jax.tree.map(np.asarray, run(array)) for array in (x, moved))
    apart = (one[:, None, :, order] - two[None]).transpose(2, 0, 1, 3)  # signs of axes may come in another order
    apart -= apart.mean(-1, keepdims=True)
    actual = np.sqrt((apart**2).mean(-1) / 2).min(2)
    ratio = np.sqrt((errors**2).mean(-1)).T / actual
    assert 0.8 < np.median(ratio) < 1.4
    assert np.quantile(ratio, 0.01) > 0.5


def test_scores_that_differ_by_the_tolerance_are_reported_where_they_have_errors():
    x = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)
    lengths = np.sum(np.square(x - x.mean(0), dtype=float), axis=-1)
    step = np.min(np.diff(np.sort(lengths))) / lengths.max()

    def squares(x):
        return jnp.sum(x[..., 0] ** 2, axis=-1, keepdims=True)

    def plain(tolerance):
        return PermutationCanonicalization(squares, tolerance=tolerance, on_degenerate="flag")

    @jax.jit
    def infos(x):
        centered = ek.symmetrize(of_order, "p x -> x", p=ek.S, x=ek.Fixed(3), channels=False, how=plain(step))
        return [*(wrapped([PCA(), plain(size)]).info(x) for size in (step, 1.001 * step)), centered.info(x - x.mean(0))]

    near, apart, exact = infos(x)
    assert near.degenerate
    assert near.doubt == np.inf
    assert not apart.degenerate
    assert not exact.degenerate  # numbers that no frame moved are exact


def test_an_order_that_rounding_decides_is_refused_and_the_error_says_what_helps():
    clouds = np.random.default_rng(0).normal(size=(40, 1000, 3)).astype(np.float32)  # one in twelve of such
    sym = wrapped([PCA(), Sort()])
    info = sym.info(clouds)
    unsure = np.flatnonzero(np.asarray(info.degenerate))
    assert 0 < len(unsure) < 10
    assert np.all(np.isinf(np.asarray(info.doubt)[unsure]))
    with pytest.raises(ek.FrameError) as caught:
        sym(clouds)
    assert "rounding to float32 decides" in caught.value.problem
    for helps in ("ek.frames.Directions", "float64"):
        assert helps in caught.value.step


def test_equal_coordinates_are_ties_and_not_reported():
    """Corners of a box have equal coordinates, but for what rounding makes of them."""
    rng = np.random.default_rng(0)
    box = np.array([[s, 1.5 * t, 2.5 * u] for s in (1, -1) for t in (1, -1) for u in (1, -1)], np.float32)
    moved, turns, _ = copies(np.broadcast_to(box, (20, 8, 3)), rng)
    y = np.asarray(wrapped([PCA(), Sort()])(jnp.asarray(moved)))
    back = np.einsum("bji,bj->bi", turns, y)
    np.testing.assert_allclose(back, np.broadcast_to(back[0], back.shape), atol=1e-5)


@pytest.mark.parametrize("distance", [0.0, 1e3, 1e4])
def test_equal_coordinates_far_from_the_origin_are_ties_in_float64(x64, distance):
    """The two hydrogen atoms of water are as far along one axis, and all atoms along another."""
    rng = np.random.default_rng(0)
    water = np.array([[0, 0, 0], [0.757, 0.586, 0], [-0.757, 0.586, 0]])
    moved, turns, _ = copies(np.broadcast_to(water, (20, 3, 3)), rng)
    shift = distance * np.array([0.48, -0.6, 0.64])
    y = np.asarray(wrapped([PCA(), Sort()])(jnp.asarray(moved + shift))) - shift
    back = np.einsum("bji,bj->bi", turns, y)
    np.testing.assert_allclose(back, np.broadcast_to(back[0], back.shape), atol=1e-15 * (10 + 10 * distance))


@pytest.mark.parametrize("thin", [1e-1, 1e-2])
def test_rods_are_not_refused(thin):
    rng = np.random.default_rng(0)
    x = (rng.normal(size=(50, 20, 3)) * [thin, thin, 1]).astype(np.float32)
    sym = wrapped(PCA(), lambda x: jnp.sin(x @ jnp.asarray(MIX, x.dtype)), "p x")
    moved, turns, order = copies(x, rng)
    np.testing.assert_allclose(sym(moved), np.einsum("bij,bnj->bni", turns, sym(x))[:, order], atol=2e-6)


def test_the_doubt_grows_with_the_distance_from_the_origin_and_with_small_gaps():
    x = np.random.default_rng(0).normal(size=(6, 3))
    turn = np.linalg.qr(np.random.default_rng(1).normal(size=(3, 3)))[0]
    far = [x + distance for distance in (0, 1e2, 1e4)]
    close = [OCTAHEDRON * [1, 1 + gap, 2] @ turn for gap in (1e-1, 1e-3, 0)]
    doubts = wrapped(PCA(on_degenerate="flag")).info(np.float32(far + close)).doubt
    here, there, furthest, near, nearer, equal = np.asarray(doubts)
    assert 0 < here < there / 10 < furthest / 500
    assert near < nearer / 30
    assert nearer < 1e-3 < equal


LINEAR = {
    "CO2": np.outer([-1.16, 0.0, 1.16], [0, 0, 1.0]),
    "C2H2": np.outer([-1.66, -0.6, 0.6, 1.66], [0, 0, 1.0]),
    "N2": np.outer([-0.55, 0.55], [0, 0, 1.0]),
}


class TestWeighted:
    """`PCA(on_degenerate="weighted")`."""

    sym = wrapped(PCA(on_degenerate="weighted"), jax.jit(lambda x, mask: jnp.sin(x) + x**2), "p x")
    tensors = wrapped(
        PCA(on_degenerate="weighted"), lambda x: jnp.sin(x)[..., :, None] * jnp.cos(x[..., None, :] + 0.2), "p x x"
    )

    @pytest.mark.parametrize("distance", [0.0, 100.0])
    @pytest.mark.parametrize("name", LINEAR)
    def test_linear_molecules_are_exact(self, name, distance):
        cloud, rng = LINEAR[name], np.random.default_rng(0)
        turns = np.linalg.qr(rng.normal(size=(10, 3, 3)))[0]
        moved = np.einsum("bij,nj->bni", turns, cloud) + distance * rng.normal(size=(10, 1, 3))
        padded = np.pad(moved, ((0, 0), (0, 4 - len(cloud)), (0, 0))).astype(np.float32)
        there = np.broadcast_to(np.arange(4) < len(cloud), (10, 4))
        centers = padded[:, : len(cloud)].mean(1, keepdims=True)
        y = np.asarray(self.sym(padded, mask={"p": there}), float)[:, : len(cloud)] - centers
        back = np.einsum("bji,bnj->bni", turns, y)
        atol = 3e-6 * (1 + distance)
        np.testing.assert_allclose(back, np.broadcast_to(back[0], back.shape), atol=atol)

    def test_five_collinear_points_with_tensors_are_exact(self):
        rng = np.random.default_rng(0)
        x = np.outer([-2.0, -0.7, 0.1, 1.1, 1.5], [1.0, 2, 3]) / 3
        turns = np.linalg.qr(rng.normal(size=(20, 3, 3)))[0]
        y = np.asarray(self.tensors(np.einsum("bij,nj->bni", turns, x).astype(np.float32)))
        back = np.einsum("bij,bnik,bkl->bnjl", turns, y, turns)
        np.testing.assert_allclose(back, np.broadcast_to(back[0], back.shape), atol=1e-5)

    @pytest.mark.parametrize("bad", [np.nan, np.inf])
    def test_what_is_not_finite_is_refused(self, bad):
        clouds = np.random.default_rng(0).normal(size=(20, 5, 3)).astype(np.float32)
        clouds[7, 2, 1] = bad
        info = self.tensors.info(clouds)
        assert np.flatnonzero(np.asarray(info.refused)).tolist() == [7]

    def test_the_average_is_continuous_where_alignments_take_over(self, x64):
        gaps = np.geomspace(1e-8, 1e-5, 400)
        stretch = np.stack([np.ones(400), 1 + gaps, np.full(400, 2.0)], -1)[:, None]
        turn = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))[0]
        sym = wrapped(PCA(on_degenerate="weighted"), lambda x: jnp.sin(x @ jnp.asarray(MIX, x.dtype)), "p x")
        y = np.asarray(sym(jnp.asarray(OCTAHEDRON * stretch @ turn)))
        steps = np.abs(np.diff(y, axis=0)).max((1, 2))
        assert np.abs(y[0] - y[-1]).max() > 0.01  # the two differ, but nowhere at once
        assert steps.max() < 0.05 * np.abs(y[0] - y[-1]).max()

    def test_alignments_are_computed_only_where_a_batch_needs_them_and_used_only_for_symmetric_clouds(self):
        counts = []

        def seen(y):
            counts.append(y.size // 18)  # clouds of 6 points
            return y

        def backbone(x):
            y = jax.pure_callback(seen, jax.ShapeDtypeStruct(x.shape, x.dtype), x, vmap_method="expand_dims")
            return jnp.sin(y) + y**2

        run = jax.jit(lambda x: wrapped(PCA(on_degenerate="weighted"), backbone, "p x")(x, with_info=True))
        x = np.random.default_rng(0).normal(size=(3, 6, 3)).astype(np.float32)
        alone, _ = jax.block_until_ready(run(x))
        few = sum(counts)
        x[1] = OCTAHEDRON
        together, info = jax.block_until_ready(run(x))
        assert sum(counts) - few > 3 * few
        # The other samples do not change.
        np.testing.assert_allclose(np.asarray(together)[[0, 2]], np.asarray(alone)[[0, 2]], atol=1e-6)
        assert info.size.tolist() == [8, 2 * 2 * 6 * 4, 8]


def test_derivatives_at_ties_are_the_mean_over_their_orders():
    sym = ek.symmetrize(lambda x: jnp.sum(jnp.cumsum(x, -1) ** 2, -1), "p -> ", p=ek.S, channels=False, how=Sort())
    slope, x = jax.jit(jax.grad(sym)), np.array([1.0, 2.0, 2.0, 0.5], np.float32)
    found = np.asarray(slope(x))
    assert found[1] == found[2]
    slopes = [slope(x + np.float32([0, -step, step, 0])) for step in (1e-3, -1e-3)]  # one of the two is a little less
    np.testing.assert_allclose(found, np.mean(slopes, axis=0), rtol=1e-2)


@pytest.mark.compiled
def test_directions_do_not_depend_on_the_order_far_from_the_origin():
    x = np.random.default_rng(0).normal(size=(6, 3)).astype(np.float32) + 1e5
    sym = ek.symmetrize(of_order, "p x -> x", p=ek.S, x=ek.Fixed(3), channels=False, how=Directions())
    orders = [np.random.default_rng(seed).permutation(6) for seed in range(8)]
    y = np.asarray(sym(np.stack([x[order] for order in orders])))
    np.testing.assert_allclose(y, np.broadcast_to(y[0], y.shape), atol=1e-5)


@pytest.mark.compiled
@pytest.mark.parametrize("how", [PCA(), pytest.param(Alignment(), marks=SLOW)], ids=lambda how: type(how).__name__)
def test_the_doubt_covers_the_error_of_elements(how):
    """Against float64 of the clouds before rounding; the benchmark `hard_inputs` has more methods and 10,000 clouds."""
    exact = np.random.default_rng(0).normal(size=(500, 8, 3))
    sym = wrapped(how)
    frame = sym.frame(exact.astype(np.float32))
    with jax.enable_x64(True):
        wide = np.asarray(sym.frame(exact).elements.linear["x"])
    found, weights = np.asarray(frame.elements.linear["x"], float), np.asarray(frame.weights)
    # Signs of axes may come in another order; alignments are listed in one.
    others = wide[None] if isinstance(how, PCA) else wide[:, None]
    apart = np.abs(found[:, None] - others).max((-1, -2)).min(1)
    error, doubt = np.sum(weights * apart, axis=0), np.asarray(frame.info.doubt)
    assert np.mean(doubt < error) <= 0.002
    assert np.median(doubt / error) < 20
