"""Piecewise frames: each part moves on its own, soft weights nearly so, and degenerate parts are answered for."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from helpers import assert_error
from jax.test_util import check_grads

import equikit as ek
from equikit.symmetrization import piecewise
from equikit.symmetrization.engine._sample import Sample
from equikit.symmetrization.frames import PCA, Sort, Stochastic
from equikit.symmetrization.parts._parts import settled_weights

pytestmark = pytest.mark.usefixtures("x64")

PARTS = np.repeat(np.eye(2), [5, 4], axis=0)
"""Nine points, the first five in one part."""


def test_weights_of_any_size_are_taken_in_proportion():
    given = jnp.array([[3e38, 1e38, 0], [3e-37, 1e-37, 0], [3, 1, 1e-5], [0, 0, 0]], jnp.float32)
    wanted = [[0.75, 0.25, 0]] * 3 + [[0, 0, 0]]
    np.testing.assert_allclose(settled_weights(given, None, 1e-4, False), wanted, rtol=1e-6)


@jax.jit
def mixing(x):
    """A backbone of points `[*batch, p, x]` that knows nothing of rotations, but treats all points alike."""
    moved = x @ jnp.array([[1.0, 0.3, -0.2], [0.5, -1.0, 0.7], [0.1, 0.4, 0.9]], x.dtype)
    return jnp.sin(moved + jnp.sum(moved**2, axis=-2, keepdims=True) + 0.3) + x**2


@jax.jit
def tensors(x):
    y = mixing(x)
    return y[..., :, None] * jnp.cos(y[..., None, :]) + 0.1


def wrapped(group=None, output="p x", function=mixing, how=None, translate="x", channels=False, **options):
    return piecewise(
        function,
        f"p x -> {output}",
        p=ek.S,
        x=group or ek.SO(3),
        translate=translate,
        channels=channels,
        how=PCA() if how is None else how,
        **options,
    )


@functools.cache
def compiled():
    return jax.jit(lambda x, parts: wrapped()(x, parts=parts))


def cloud(seed=0, batch=()):
    """Two blobs apart."""
    return np.random.default_rng(seed).normal(size=(*batch, 9, 3)) + 8 * PARTS @ np.array([[0.0, 0, 1], [1, 1, 0]])


def motions(rng, group, parts):
    """A rotation and a translation of each part, for every point."""
    turns = np.stack([group.random_element(rng) for _ in range(parts.shape[-1])])
    shifts = rng.normal(size=(parts.shape[-1], 3))
    return np.einsum("pk,kij->pij", parts, turns), parts @ shifts


def error(sym, x, weights, parts=PARTS, group=None, order=1, tries=3, seed=0):
    """By how much the result misses when each part moves on its own, relative to its largest entry."""
    rng = np.random.default_rng(seed)
    worst = 0.0
    before = np.asarray(sym(x, parts=weights), np.float64)
    for _ in range(tries):
        turns, shifts = motions(rng, group or ek.SO(3), parts)
        moved = np.einsum("pij,...pj->...pi", turns, x) + shifts
        after = np.asarray(sym(moved.astype(x.dtype), parts=weights), np.float64)
        spec = {0: "...->...", 1: "pij,...pj->...pi", 2: "pij,pkl,...pjl->...pik"}[order]
        wanted = np.einsum(spec, *[turns] * order, before) + (shifts if order == 1 else 0)
        worst = max(worst, np.abs(after - wanted).max() / np.abs(wanted).max())
    return worst


class TestParts:
    def test_two_blobs_move_on_their_own(self):
        assert error(wrapped(), cloud(), jnp.asarray(PARTS)) < 1e-12

    @pytest.mark.slow
    def test_two_blobs_are_reflected_on_their_own(self):
        sym, group = wrapped(ek.O(3)), ek.O(3)
        assert error(sym, cloud(batch=(2,)), jnp.asarray(np.stack([PARTS, PARTS])), group=group) < 1e-12

    @pytest.mark.parametrize(("output", "order", "function"), [("p", 0, None), ("p x x", 2, tensors)])
    def test_invariants_and_tensors_of_the_points(self, output, order, function):
        sym = wrapped(output=output, function=function or (lambda x: jnp.sum(mixing(x), -1)))
        assert error(sym, cloud(), jnp.asarray(PARTS), order=order) < 1e-12

    def test_in_single_precision(self):
        assert error(wrapped(), cloud().astype(np.float32), jnp.asarray(PARTS, jnp.float32)) < 1e-5

    @pytest.mark.slow
    def test_in_half_precision(self):
        parts = jnp.asarray(PARTS, jnp.float32)
        x = cloud() * np.array([0.25, 0.5, 1])  # rounding to eight bits leaves no doubt of its axes
        half = wrapped()(jnp.asarray(x, jnp.bfloat16), parts=parts)
        assert half.dtype == jnp.bfloat16
        np.testing.assert_allclose(half.astype(float), wrapped()(x, parts=PARTS), atol=0.3)

    def test_a_part_is_its_points_and_zeros(self):
        """What the backbone makes of a part alone: the frame average of its points, and of zeros for the others."""
        x = cloud()
        alone = ek.symmetrize(
            lambda x: mixing(jnp.concatenate([x, jnp.zeros((4, 3))]))[:5],
            "p x -> p x", p=ek.S, x=ek.SO(3), translate="x", channels=False, how=PCA(),
        )  # fmt: skip
        np.testing.assert_allclose(wrapped()(x, parts=PARTS)[:5], alone(x[:5]), atol=1e-12)

    def test_the_order_of_points_and_of_parts_does_not_matter(self):
        x, order = cloud(), np.random.default_rng(0).permutation(9)
        soft = np.random.default_rng(1).dirichlet([1, 1], 9)
        sym = wrapped()
        y = np.asarray(sym(x, parts=soft))
        np.testing.assert_allclose(sym(x[order], parts=soft[order]), y[order], atol=1e-10)
        np.testing.assert_allclose(sym(x, parts=soft[:, ::-1]), y, atol=1e-10)

    def test_one_motion_of_all_is_exact_with_soft_weights_too(self):
        soft = np.random.default_rng(0).dirichlet([1, 1], 9)
        assert error(wrapped(), cloud(), soft, parts=np.ones((9, 1))) < 1e-10


class TestSoftWeights:
    def test_the_error_goes_to_zero_as_weights_harden(self):
        """Where each part moves on its own; it falls with the weight that points have in the other part."""
        sym, x = wrapped(threshold=0.0), cloud()
        errors = []
        for sharpness in (0.5, 1, 2, 4, 8, 16, 32, 40):
            weights = np.exp(sharpness * PARTS) / np.exp(sharpness * PARTS).sum(-1, keepdims=True)
            errors.append(error(sym, x, weights, tries=1))
        assert errors[0] > 0.1
        assert all(later < earlier for earlier, later in itertools.pairwise(errors[2:]))
        assert errors[-1] < 1e-12

    def test_weights_below_the_threshold_are_dropped(self):
        leak = 0.9e-4
        weights = np.abs(PARTS - leak)
        assert error(wrapped(), cloud(), weights) < 1e-12
        assert error(wrapped(threshold=1e-5), cloud(), weights) > 1e-6
        _, info = wrapped()(cloud(), parts=weights, with_info=True)
        np.testing.assert_array_equal(info.more["part_weights"], PARTS)

    def test_only_proportions_count(self):
        soft = np.random.default_rng(0).dirichlet([1, 1], 9)
        sym, x = wrapped(), cloud()
        np.testing.assert_allclose(sym(x, parts=7 * soft), sym(x, parts=soft), atol=1e-12)

    @pytest.mark.slow
    def test_hard_weights_keep_derivatives(self):
        sym, x = wrapped(hard=True), cloud()
        soft = np.abs(PARTS - 0.3)
        assert error(sym, x, soft) < 1e-12
        np.testing.assert_array_equal(sym(x, parts=soft), wrapped()(x, parts=PARTS))
        slopes = jax.jit(jax.grad(lambda w: jnp.sum(sym(x, parts=w) ** 2)))(soft)
        assert np.isfinite(slopes).all()
        assert (np.abs(slopes) > 0).all()

    @pytest.mark.slow
    def test_derivatives_are_finite_differences(self):
        sym, rng = wrapped(), np.random.default_rng(0)
        x, soft = jnp.asarray(rng.normal(size=(4, 3))), jnp.asarray(rng.dirichlet([2, 2], 4))
        check_grads(jax.jit(lambda x, w: sym(x, parts=w)), (x, soft), order=1, modes=["rev"], rtol=1e-4)

    def test_a_partition_that_is_wrong_with_some_probability(self):
        """The expectation misses by at most the probability times what a wrong partition misses by."""
        sym, wrong, x = wrapped(), np.roll(PARTS, 1, axis=0), cloud()
        largest = error(sym, x, wrong, tries=1) * 3  # the error is relative to the largest entry, which differs
        assert largest > 0.1
        for chance in (0.5, 0.1, 0.01):

            def expected(x, parts, chance=chance):
                return (1 - chance) * sym(x, parts=PARTS) + chance * sym(x, parts=wrong)

            assert 0 < error(expected, x, None, tries=1) <= chance * largest


def beside(part):
    """Nine points, the last of which make a part, and the weights."""
    rest = 9 - len(part)
    x = np.concatenate([np.random.default_rng(0).normal(size=(rest, 3)), part + 4])
    return x, np.repeat(np.eye(2), [rest, len(part)], axis=0)


OCTAHEDRON = np.concatenate([np.eye(3), -np.eye(3)])


class TestDegenerateParts:
    @pytest.mark.parametrize(
        "part",
        [np.zeros((1, 3)), np.outer([1.0, -2, 4, 0], [1, 2, 3]), np.ones((3, 3)), np.zeros((0, 3))],
        ids=["one point", "collinear", "all equal", "empty"],
    )
    def test_parts_without_extent_are_exact(self, part):
        x, parts = beside(part)
        info = wrapped()(x, parts=parts, with_info=True)[1]
        assert info.degenerate.tolist() == [False, False]
        assert error(wrapped(), x, parts, parts=parts, tries=1) < 1e-12

    def test_a_symmetric_part_is_refused_alone(self):
        x, parts = beside(OCTAHEDRON)
        assert_error(ek.FrameError, lambda: wrapped()(x, parts=parts), "a part of", "1 of 2 parts", "finite", "info")
        alone = [False] * 3 + [True] * 6
        assert np.isnan(compiled()(x, parts)).any(axis=-1).tolist() == alone
        x = cloud()
        x[8] = np.nan
        assert np.isnan(compiled()(x, parts)).any(axis=-1).tolist() == alone

    @pytest.mark.slow
    def test_a_symmetric_part_is_flagged_or_averaged(self):
        x, parts = beside(OCTAHEDRON)
        flags = wrapped(how=PCA(on_degenerate="flag"))(x, parts=parts, with_info=True)[1]
        assert flags.degenerate.tolist() == [False, True]
        exact = wrapped(how=PCA(on_degenerate="weighted"))
        assert error(exact, x, parts, parts=parts, tries=1) < 1e-12

    def test_an_empty_part_is_not_degenerate_for_tensors(self):
        parts = np.repeat(np.eye(2), [9, 0], axis=0)
        sym = wrapped(output="p x x", function=tensors)
        assert not sym(cloud(), parts=parts, with_info=True)[1].refused.any()

    def test_no_points(self):
        assert wrapped()(jnp.zeros((0, 3)), parts=jnp.ones((0, 2))).shape == (0, 3)


class TestOptions:
    def test_masked_points_count_for_nothing(self):
        x, there = cloud(), np.array([True] * 4 + [False] + [True] * 4)
        sym, soft = wrapped(function=lambda x, mask: mixing(x)), np.random.default_rng(0).dirichlet([1, 1], 9)
        y, z = (sym(np.where(there[:, None], x, value), parts=soft, mask={"p": there}) for value in (7.0, np.nan))
        np.testing.assert_array_equal(y, z)
        assert (y[4] == 0).all()

    def test_what_the_backbone_is_told(self):
        told = {}

        def backbone(x, mask=None, weights=None):
            told.update(mask=mask, weights=weights, x=x)
            return x

        sym = wrapped(function=backbone, tell=("mask", "weights"))
        sym(cloud(), parts=PARTS)
        assert told["weights"].shape == (9,)
        assert told["mask"]["p"].dtype == bool
        assert told["x"].shape == (9, 3)
        wrapped(function=lambda x: x)(cloud(), parts=PARTS)  # which takes no mask

    @pytest.mark.slow
    def test_layers_with_masks(self):
        network = ek.nn.Linear("p x -> p x", 1, 1, p=ek.S, x=ek.Fixed(3), rngs=nnx.Rngs(0), param_dtype=jnp.float64)
        sym = wrapped(function=lambda x, mask: network(x, mask=mask) ** 2, channels=True, tell="mask")
        x, parts = cloud()[..., None], jnp.asarray(PARTS)
        flat = lambda x, parts: sym(x[..., None], parts=parts)[..., 0]  # noqa: E731
        assert error(flat, x[..., 0], parts) < 1e-12

    def test_features_and_several_terms(self):
        def backbone(x):
            y = mixing(x["x"] + x["h"][..., None])
            return {"v": y, "s": jnp.sum(y, -1)}

        sym = piecewise(
            backbone,
            {"x": "p x", "h": "p"},
            {"v": "p x", "s": "p"},
            p=ek.S,
            x=ek.SO(3),
            translate={"x": "x"},
            channels=False,
            how=PCA(),
        )
        h = np.random.default_rng(0).normal(size=9)
        turns, shifts = motions(np.random.default_rng(1), ek.SO(3), PARTS)
        y = sym({"x": cloud(), "h": h}, parts=PARTS)
        moved = sym({"x": np.einsum("pij,pj->pi", turns, cloud()) + shifts, "h": h}, parts=PARTS)
        np.testing.assert_allclose(moved["s"], y["s"], atol=1e-11)
        np.testing.assert_allclose(moved["v"], np.einsum("pij,pj->pi", turns, y["v"]), atol=1e-11)

    def test_parts_from_a_function_or_a_module(self):
        x = jnp.asarray(cloud())

        def by_place(x):
            return jax.nn.softmax(x @ jnp.ones((3, 2)), axis=-1)

        np.testing.assert_array_equal(wrapped(parts=by_place)(x), wrapped()(x, parts=by_place(x)))
        module = nnx.Sequential(nnx.Linear(3, 2, param_dtype=float, rngs=nnx.Rngs(0)), nnx.softmax)
        sym = wrapped(parts=module)
        assert isinstance(sym, nnx.Module)
        slopes = nnx.jit(nnx.grad(lambda model: jnp.sum(model(x) ** 2)))(sym)
        assert all(np.isfinite(leaf).all() and np.any(leaf) for leaf in jax.tree.leaves(slopes))

    def test_one_frame_at_random_and_its_error(self, key):
        x = cloud()
        sym = wrapped(how=Stochastic(PCA(), samples=2))
        _, info = jax.eval_shape(functools.partial(sym, with_info=True), x, parts=PARTS, key=key)
        assert info.standard_error["p x"].shape == (9, 3)
        assert info.size.shape == (2,)
        frame = jax.eval_shape(sym.frame, x, parts=PARTS, key=key)
        assert frame.elements.linear["x"].shape == (2, 2, 3, 3)

    def test_centroids_alone(self):
        x = cloud()
        y = wrapped(how=[], function=jnp.zeros_like)(x, parts=PARTS)
        np.testing.assert_allclose(y, PARTS @ np.stack([x[:5].mean(0), x[5:].mean(0)]), rtol=1e-5)

    def test_under_jit_and_vmap_and_in_chunks(self):
        wanted = wrapped()(cloud(), parts=PARTS)
        mapped = jax.jit(jax.vmap(lambda x: wrapped(chunk_size=1, remat=True)(x, parts=PARTS)))(cloud()[None])
        np.testing.assert_allclose(mapped[0], wanted, rtol=1e-10, atol=1e-10)

    def test_a_function_is_a_pytree(self):
        sym = wrapped()
        leaves, tree = jax.tree.flatten(sym)
        assert leaves == []
        assert jax.tree.unflatten(tree, leaves).points == "p"
        assert repr(sym).startswith("piecewise(symmetrize(")


class TestWeightsOfPoints:
    """Principal axes and centroids with weights for masks: as many copies of each point."""

    def test_whole_weights_are_copies_of_points(self):
        x, times = np.random.default_rng(0).normal(size=(5, 3)), np.array([2, 1, 0, 3, 1])
        sym = ek.symmetrize(mixing, "p x -> p x", p=ek.S, x=ek.O(3), translate="x", channels=False, how=PCA())
        one = sym.how.frame(sym.action, Sample({"p x": jnp.asarray(x)}, {"p": jnp.asarray(times, float)}), None)
        two = sym.how.frame(sym.action, Sample({"p x": jnp.asarray(np.repeat(x, times, axis=0))}, {}), None)
        np.testing.assert_allclose(one.elements.shift["x"], two.elements.shift["x"], atol=1e-14)
        np.testing.assert_allclose(np.abs(one.elements.linear["x"]), np.abs(two.elements.linear["x"]), atol=1e-12)
        np.testing.assert_allclose(one.info.gap, two.info.gap, atol=1e-12)

    def test_little_weight_is_weight(self):
        """A centroid is one of all weights, however small they are."""
        x = np.random.default_rng(0).normal(size=(5, 3))
        sym = ek.symmetrize(mixing, "p x -> p x", p=ek.S, x=ek.O(3), translate="x", channels=False, how=[])
        frame = sym.how.frame(sym.action, Sample({"p x": jnp.asarray(x)}, {"p": jnp.full(5, 1e-3)}), None)
        np.testing.assert_allclose(frame.elements.shift["x"][0], x.mean(0), atol=1e-12)


class TestErrors:
    def test_of_the_signature(self):
        assert_error(ek.SignatureError, lambda: wrapped(output="x"), "no value for each", "p x -> x", "'p'", "mean")
        assert_error(
            ek.GroupError, lambda: wrapped(points="q"), "no axis of points", "points='q'", "a label", 'points="p"'
        )

        def two():
            return piecewise(mixing, "p q x -> p q x", p=ek.S, q=ek.S, x=ek.O(3), how=PCA())

        assert_error(ek.GroupError, two, "several axes", "p=S, q=S", "exactly one", 'points="p"')

    def test_of_options(self):
        assert_error(ek.OptionError, lambda: wrapped(how=Sort()), "does not weigh", "how=Sort()", "PCA", "how=")
        assert_error(
            ek.OptionError, lambda: wrapped(how=[PCA(), Sort()]), "does not weigh", "[PCA(), Sort()]", "PCA", "how="
        )
        assert_error(ek.OptionError, lambda: wrapped(parts=3), "cannot be called", "int", "function", "parts=weights")
        assert_error(ek.OptionError, lambda: wrapped(tell="x"), "tell", "'x'", "mask", "tell=")
        assert_error(ek.OptionError, lambda: wrapped(hard="yes"), "hard", "yes", "a bool", "hard=")
        assert_error(ek.OptionError, lambda: wrapped(threshold=2), "threshold", "2", "≥ 0 and < 1", "threshold=")

    def test_of_weights(self):
        sym, x = wrapped(function=lambda x: x), jnp.ones((9, 3))

        def call(parts):
            return lambda: sym(x, parts=parts)

        assert_error(ek.OptionError, call(None), "piecewise needs parts=", "parts=None", "parts=", "one_hot")
        assert_error(
            ek.ShapeError,
            call(jnp.ones((8, 2))),
            "the weights of the parts must have shape [9, parts]",
            "[8, 2]",
            "[9, parts]",
            "pass jax.nn.one_hot(part_of_each_point, number_of_parts)",
        )
        assert_error(
            ek.OptionError,
            call(jnp.ones((9, 0))),
            "there are no parts",
            "[9, 0]",
            "one or more parts",
            "pass jax.nn.one_hot(part_of_each_point, number_of_parts)",
        )
        assert_error(
            ek.ShapeError,
            call(jnp.ones(())),
            "the weights of the parts must have shape [9, parts]",
            "[]",
            "[9, parts]",
            "pass jax.nn.one_hot(part_of_each_point, number_of_parts)",
        )
        assert_error(
            ek.DTypeError,
            call(jnp.ones((9, 2), int)),
            "the weights of the parts must be an array of real floati",
            "int",
            "float32",
            "one_hot",
        )
        assert_error(
            ek.DTypeError,
            call([[1.0]]),
            "the weights of the parts must be an array of real floati",
            "list",
            "float32",
            "one_hot",
        )
        assert_error(ek.OptionError, call(-jnp.ones((9, 2))), "negative", "18 of 18", "zero or more", "softmax")
        assert_error(ek.OptionError, call(jnp.full((9, 2), jnp.nan)), "negative", "nan", "zero or more", "softmax")
        assert np.isnan(compiled()(np.ones((9, 3)), -np.ones((9, 2)))).all()
