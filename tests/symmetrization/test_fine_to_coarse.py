"""Partitions from fine to coarse: farthest points, clusters, votes that merge them, and blobs that are found."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from helpers import assert_error
from jax.test_util import check_grads

import equikit as ek
from equikit.symmetrization import FineToCoarse, piecewise
from equikit.symmetrization.frames import PCA
from equikit.symmetrization.parts._mixture import clustered, farthest_points

pytestmark = pytest.mark.usefixtures("x64")

BLOB = np.repeat([0, 1], [7, 6])


def blobs(seed=0, distance=10.0):
    """Two elongated blobs, apart from each other."""
    rng = np.random.default_rng(seed)
    stretch = np.array([2.0, 0.7, 0.3])
    return rng.uniform(-1, 1, (13, 3)) * stretch + distance * BLOB[:, None] * np.array([0, 0.6, 0.8])


def centroids(**options):
    """Votes of points for the centroid of their part."""
    return piecewise(jnp.zeros_like, "p x -> p x", p=ek.S, x=ek.SO(3), translate="x", channels=False, how=[], **options)


def partition(weights):
    """Which pairs of points are in one part."""
    part = np.argmax(np.asarray(weights), axis=-1)
    return part[..., :, None] == part[..., None, :]


def moved(x, seed=0):
    """Each blob moved by a rotation and a small translation of its own."""
    rng = np.random.default_rng(seed)
    result = x.copy()
    for blob in (0, 1):
        own = x[blob == BLOB]
        middle = own.mean(axis=0)
        result[blob == BLOB] = (own - middle) @ ek.SO(3).random_element(rng).T + middle + rng.normal(size=3) / 4
    return result


SAME = BLOB[:, None] == BLOB[None, :]


def test_farthest_points():
    places = jnp.array([[0.0], [1.0], [9.0], [10.0], [4.0], [50.0]])
    there = jnp.array([True] * 5 + [False])
    chosen, squares = farthest_points(places, there, 6)
    assert chosen[:3].tolist() == [3, 0, 4]  # the first is the farthest from 4.8, the mean
    np.testing.assert_array_equal(squares, [np.inf, 100, 16, 1, 1, 0])
    nothing = farthest_points(places, jnp.zeros(6, bool), 2)[1]
    assert (nothing == -np.inf).all()


class TestClusters:
    def test_far_blobs_are_clusters_and_far_groups_stay_empty(self):
        weights = FineToCoarse(6, [3.0], channels=False)(blobs())
        assert weights.shape == (13, 6)
        np.testing.assert_allclose(weights.sum(-1), 1)
        np.testing.assert_array_equal(partition(weights), SAME)
        assert int(np.sum(np.any(weights > 1e-6, axis=0))) == 2

    def test_narrow_clusters_are_finer(self):
        weights = FineToCoarse(6, [0.4], channels=False)(blobs())
        assert (partition(weights) <= SAME).all()
        assert int(np.sum(np.any(weights > 1e-4, axis=0))) > 2

    def test_motions_of_the_whole_and_the_order_of_points(self):
        rng, x = np.random.default_rng(0), blobs()
        parts = FineToCoarse(6, [3.0], channels=False)
        weights, order = np.asarray(parts(x)), rng.permutation(13)
        turned = x @ ek.O(3).random_element(rng).T + 5
        np.testing.assert_allclose(parts(turned), weights, atol=1e-10)
        np.testing.assert_allclose(parts(x[order]), weights[order], atol=1e-10)

    def test_masked_points_count_for_nothing(self):
        x, there = blobs(), np.arange(13) != 3
        parts = FineToCoarse(6, [3.0], channels=False)
        one, two = (parts(np.where(there[:, None], x, far), mask={"p": there}) for far in (1e6, np.nan))
        np.testing.assert_array_equal(one[there], two[there])

    @pytest.mark.parametrize("count", [0, 1, 13])
    def test_points_that_are_equal_or_not_there(self, count):
        weights = FineToCoarse(6, [3.0], channels=False)(np.ones((13, 3)), mask={"p": np.arange(13) < count})
        np.testing.assert_allclose(weights.sum(-1), 1)
        assert len({*np.argmax(weights, -1).tolist()}) == 1
        assert FineToCoarse(6, [3.0], channels=False)(np.ones((0, 3))).shape == (0, 6)

    def test_small_clusters_are_dropped(self):
        x = blobs()
        x[0] = 90
        kept, dropped = (FineToCoarse(6, [3.0], channels=False, threshold=t)(x) for t in (1e-4, 0.1))
        assert len({*np.argmax(kept, -1).tolist()}) == 3
        assert len({*np.argmax(dropped, -1).tolist()}) == 2

    @pytest.mark.slow
    def test_derivatives_are_finite_differences(self):
        def function(x):
            options = {"parts": 3, "width": 1.5, "distance": 1.0, "steps": 1, "threshold": 1e-4}
            return clustered(x, jnp.ones(13, bool), **options)

        x = jnp.asarray(blobs(distance=3.0))
        function = jax.jit(function)
        assert np.min(np.max(function(x), -1)) < 0.95  # not hard, so that there is something to differ
        check_grads(function, (x,), order=1, modes=["rev"], rtol=1e-4, atol=1e-5)


class TestVotes:
    def test_votes_for_the_centroid_merge_two_blobs(self):
        """Fine clusters first; then clusters whose centroids are close are one, and the blobs are left."""
        parts = FineToCoarse(8, [0.4, 1.0], merge=[0.3, 4.0], votes=[centroids()], channels=False)
        for x in (blobs(), moved(blobs())):
            weights = parts(x)
            np.testing.assert_array_equal(partition(weights), SAME)
            np.testing.assert_allclose(weights.max(-1), 1, atol=1e-6)

    def test_the_whole_is_equivariant_to_motions_of_the_blobs(self):
        def backbone(x):
            y = x @ jnp.array([[1.0, 0.3, -0.2], [0.5, -1.0, 0.7], [0.1, 0.4, 0.9]])
            return jnp.sum(jnp.sin(y + jnp.sum(y**2, axis=-2, keepdims=True) + 0.3), -1)

        parts = FineToCoarse(8, [0.4, 1.0], merge=[0.3, 4.0], votes=[centroids()], channels=False)
        sym = piecewise(
            backbone, "p x -> p", p=ek.S, x=ek.SO(3), translate="x", channels=False, how=PCA(), parts=parts, hard=True
        )
        assert isinstance(sym, nnx.Module)
        np.testing.assert_allclose(sym(moved(blobs())), sym(blobs()), atol=1e-10)

    def test_votes_are_learned(self):
        """The derivative of the final weights goes through votes into their network."""
        network = nnx.Linear(3, 3, rngs=nnx.Rngs(0), param_dtype=jnp.float64)
        votes = piecewise(network, "p x -> p x", p=ek.S, x=ek.SO(3), translate="x", channels=False, how=[])
        parts = FineToCoarse(4, [1.0, 1.0], votes=[votes], steps=1, channels=False)
        x = blobs(distance=4.0)
        slopes = nnx.jit(nnx.grad(lambda parts: jnp.sum(parts(x) ** 2)))(parts)
        kernel, bias = (slopes["votes"][0]["symmetrized"]["backbone"][name].get_value() for name in ("kernel", "bias"))
        assert np.isfinite(kernel).all()
        assert np.abs(kernel).max() > 1e-6
        np.testing.assert_allclose(bias, 0, atol=1e-12)  # which moves all places alike


class TestInputs:
    def test_channels_terms_and_batches(self):
        x = np.stack([blobs(0), blobs(1)])
        plain = FineToCoarse(6, [3.0], channels=False)(x)
        assert plain.shape == (2, 13, 6)
        np.testing.assert_array_equal(FineToCoarse(6, [3.0])(x[..., None]), plain)
        named = FineToCoarse(6, [3.0], term="x")({"x": x[..., None], "h": x})
        np.testing.assert_array_equal(named, plain)
        np.testing.assert_array_equal(FineToCoarse(6, [3.0], channels=False)({"x": x}), plain)
        assert FineToCoarse(6, [3.0], channels=False)(x.astype(np.float32)).dtype == jnp.float32

    def test_errors(self):
        x = jnp.ones((3, 2))
        assert_error(ek.OptionError, lambda: FineToCoarse(0, [1.0]), "parts", "0", "≥ 1", "parts=1")
        assert_error(ek.OptionError, lambda: FineToCoarse(2, [-1.0]), "each entry of widths=", "-1.0", "> 0", "0.5")
        assert_error(ek.OptionError, lambda: FineToCoarse(2, [1.0], merge=0), "each entry of merge=", "0", "> 0", "0.5")
        assert_error(ek.OptionError, lambda: FineToCoarse(2, [1.0], steps=0), "steps", "0", "≥ 1", "steps=4")
        assert_error(
            ek.OptionError, lambda: FineToCoarse(2, [1, 2]), "one more than", "2 widths", "first partition", "widths="
        )
        assert_error(
            ek.ShapeError,
            lambda: FineToCoarse(2, [1.0])(x),
            "x must have shape [*batch, p, d, channels]",
            "[3, 2]",
            "channels",
            "pass the positions of points in space",
        )
        one = FineToCoarse(2, [1.0], term="y")
        assert_error(
            ek.OptionError,
            lambda: one({"x": x, "h": x}),
            "unknown value for term=",
            "'y'",
            '"h" or "x"',
            'write term="h"',
        )
        bad = FineToCoarse(2, [1.0, 1.0], votes=[lambda x, parts: x[:1]], channels=False)
        assert_error(ek.ShapeError, lambda: bad(x), "votes must have shape [3, 2]", "[1, 2]", "[3, 2]", "piecewise")
