"""Canonical forms of images: exact on orbits, honest about ties, trained through, and loud about what does not fit."""

import dataclasses
import itertools

import equinox
import flax.linen
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from helpers import assert_error
from turned_images import PIXELS, SIZE, NNXNetwork, images, network_for, orbit, spun

import equikit as ek
from equikit.symmetrization.canonicalization import GroupConvolution, ImageCanonicalization, prior_loss
from equikit.symmetrization.engine._sample import Sample
from equikit.symmetrization.finite._turned import turned


def told(*numbers):
    """A network that knows the activations beforehand."""
    return lambda x: jnp.broadcast_to(jnp.array(numbers), (x.shape[0], len(numbers)))


# Backbones of several libraries, none of which knows of rotations.


class LinenNetwork(flax.linen.Module):
    @flax.linen.compact
    def __call__(self, x):
        x = flax.linen.relu(flax.linen.Conv(4, (3, 3))(x))
        return flax.linen.Dense(2)(x.reshape(x.shape[0], -1))


class EquinoxNetwork(equinox.Module):
    weight: jax.Array

    def __call__(self, x):
        return jnp.tanh(x.reshape(*x.shape[:-3], -1) @ self.weight)


WEIGHT = np.random.default_rng(7).normal(size=(SIZE * SIZE, 2)).astype(np.float32)


def plain(x):
    return jnp.sin(x.reshape(*x.shape[:-3], -1)) @ WEIGHT


def backbone(kind):
    if kind == "linen":
        network = LinenNetwork()
        parameters = network.init(jax.random.key(0), jnp.zeros((1, SIZE, SIZE, 1)))
        return lambda x: network.apply(parameters, x)
    return {"plain": lambda: plain, "nnx": lambda: NNXNetwork(nnx.Rngs(1)), "equinox": lambda: EquinoxNetwork(WEIGHT)}[
        kind
    ]()


@pytest.mark.parametrize("kind", ["plain", "nnx", "linen", "equinox"])
def test_predictions_are_the_same_to_the_last_bit_on_quarter_turns(kind):
    group = ek.D(4) if kind in ("plain", "nnx") else ek.Z(4)
    how = ImageCanonicalization(network_for(group), group)
    sym = ek.symmetrize(backbone(kind), "i j -> ", **PIXELS, how=how)
    run, x = jax.jit(sym), images(3)
    straight = run(x)
    assert straight.shape == (3, 2)
    assert float(jnp.std(straight)) > 0.01
    for _, moved in orbit(group, x):
        assert np.array_equal(run(moved), straight)


@pytest.mark.parametrize("selection", ["straight-through", "argmax"])
def test_images_and_vector_fields_turn_back_exactly(selection):
    group = ek.D(4)
    how = ImageCanonicalization(network_for(group), group, vectors="x", selection=selection)

    def shifted(x):
        """An image, and a field with components (row, column) at every pixel: nothing of it is equivariant."""
        return {"image": jnp.cumsum(x, -3), "field": jnp.stack([x, jnp.roll(x, 1, -2)], -2), "mean": x.mean((-3, -2))}

    outputs = {"image": "i j", "field": "i j x", "mean": ""}
    sym = ek.symmetrize(shifted, {"in": "i j"}, outputs, **PIXELS, x=ek.O(2), how=how)
    run, x = jax.jit(sym), images(2)
    straight = run(x)
    for matrix, moved in orbit(group, x):
        found = run(moved)
        by = jnp.asarray(matrix)
        assert np.array_equal(found["image"], spun(by, straight["image"]))
        field = jnp.einsum("ab,nijbc->nijac", by.astype(jnp.float32), spun(by, straight["field"]))
        assert np.array_equal(found["field"], field)
        assert np.array_equal(found["mean"], straight["mean"])


def test_fields_of_vectors_are_read_by_a_network_that_turns_them():
    group = ek.Z(4)
    network = GroupConvolution(2, group, hidden=(3,), vectors=True, rngs=nnx.Rngs(0))
    how = ImageCanonicalization(network, group, vectors="x")
    sym = ek.symmetrize(lambda v: v[..., 0, 1, :, :], "i j x -> x", **PIXELS, x=ek.SO(2), how=how)
    run = jax.jit(sym)
    x = jnp.asarray(np.random.default_rng(0).normal(size=(2, SIZE, SIZE, 2, 2)), jnp.float32)
    straight = run(x)
    for matrix, moved in orbit(group, x):
        by = jnp.asarray(matrix, jnp.float32)
        moved = jnp.einsum("ab,nijbc->nijac", by, moved)
        assert np.array_equal(run(moved), jnp.einsum("ab,nbc->nac", by, straight))


def test_rectangles_are_turned_by_half_turns_and_reflections():
    group = ek.D(2)
    how = ImageCanonicalization(network_for(group), group)
    sym = ek.symmetrize(lambda x: jnp.cumsum(x, -3), "i j -> i j", i=ek.Fixed(4), j=ek.Fixed(7), how=how)
    run, x = jax.jit(sym), images(2, 7)[:, :4]
    straight = run(x)
    for matrix, moved in orbit(group, x):
        assert np.array_equal(run(moved), spun(jnp.asarray(matrix), straight))


def test_the_canonical_image_is_that_of_the_largest_activation():
    x = images(2)
    for place, matrix in enumerate(ek.D(4).plane_matrices()):
        numbers = np.where(np.arange(8) == place, 2.0, np.linspace(0, 1, 8))
        sym = ek.symmetrize(lambda x: x, "i j -> i j", **PIXELS, how=ImageCanonicalization(told(*numbers), ek.D(4)))
        frame = sym.frame(x)
        assert np.array_equal(frame.elements.grid["i", "j"], np.broadcast_to(matrix, (1, 2, 2, 2)))
        # The gap is that of the two largest over that of the largest and the smallest.
        second, smallest = np.sort(numbers)[[-2, 0]]
        assert np.allclose(frame.info.gap, (2 - second) / (2 - smallest))


def strokes(count, size=20, width=1.5):
    seeds, rows = np.random.default_rng(3), np.mgrid[:size, :size]
    result = np.zeros((count, size, size, 1), np.float32)
    for image in result:
        corners = seeds.uniform(0.25 * size, 0.75 * size, (4, 2))
        for start, end in itertools.pairwise(corners):
            along = np.clip(
                np.tensordot(end - start, rows - start[:, None, None], 1) / np.sum((end - start) ** 2), 0, 1
            )
            away = rows - start[:, None, None] - (end - start)[:, None, None] * along
            image[..., 0] = np.maximum(image[..., 0], np.exp(-np.sum(away**2, 0) / (2 * width**2)))
    return jnp.asarray(result)


def test_eighth_turns_are_as_good_as_interpolation():
    """What the docstring says: 7 % of the image."""
    group, x = ek.Z(8), strokes(16)
    listed = jnp.asarray(group.plane_matrices(), jnp.float32)
    place = jnp.arange(20.0) - 9.5

    def direction(x):
        """Activations that are equivariant up to interpolation: where the center of mass lies."""
        center = jnp.stack([jnp.einsum("nijc,i->n", x, place), jnp.einsum("nijc,j->n", x, place)], -1)
        return jnp.einsum("gk,nk->ng", listed[:, :, 0], center) / 20

    twenty = {"i": ek.Fixed(20), "j": ek.Fixed(20)}
    sym = ek.symmetrize(lambda x: x, "i j -> i j", **twenty, how=ImageCanonicalization(direction, group))

    @jax.jit
    def seen(x):
        """What the backbone sees: the image turned back by its element."""
        frame = sym.frame(x)
        back = jnp.swapaxes(frame.elements.grid["i", "j"][0], -1, -2)
        return jax.vmap(lambda matrix, image: turned(matrix, image, (0, 1)))(back, x), frame.info.gap

    straight, gap = seen(x)
    errors = []
    for h, moved in enumerate(spun(matrix, x) for matrix in listed):
        if h % 2 == 0:
            continue
        other, _ = seen(moved)
        sizes = jnp.linalg.norm(straight.reshape(16, -1), axis=1)
        off = jnp.linalg.norm((other - straight).reshape(16, -1), axis=1) / sizes
        errors.append(np.asarray(off)[np.asarray(gap) > 0.02])
    assert 0.01 < np.mean(errors) < 0.08


# Ties.


def half_symmetric():
    """An image that a half turn leaves as it is, and nothing else."""
    x = images(1)
    return x + spun(jnp.asarray(ek.Z(2).plane_matrices()[1]), x)


def running_sums(x):
    return jnp.cumsum(x, -3) + 2 * jnp.cumsum(x, -2)


def test_symmetric_images_are_reported_where_their_output_would_be_wrong():
    group, x = ek.Z(4), jnp.concatenate([half_symmetric(), images(1)])
    how = ImageCanonicalization(network_for(group), group)
    sym = ek.symmetrize(running_sums, "i j -> i j", **PIXELS, how=how)
    info = sym.info(x)
    assert info.degenerate.tolist() == info.refused.tolist() == [True, False]
    assert info.ties.tolist() == [1, 0]
    assert info.gap[0] < 1e-4 < info.gap[1]
    assert_error(
        ek.FrameError, lambda: sym(x), "has no frame", "inputs for ImageCanonicalization; the first", "", "flag"
    )
    compiled = jax.jit(sym)(x)
    assert jnp.isnan(compiled[0]).all()
    assert jnp.isfinite(compiled[1]).all()
    # An invariant output is right: both choices show the backbone one and the same image.
    invariant = ek.symmetrize(plain, "i j -> ", **PIXELS, how=how)
    assert not invariant.info(x).degenerate.any()
    run = jax.jit(invariant)
    assert np.array_equal(run(x), run(jnp.rot90(x, axes=(1, 2))))


@pytest.mark.parametrize("selection", ["straight-through", "argmax"])
def test_weighted_ties_are_equivariant_for_every_image(selection):
    group = ek.D(4)
    blank, cross = jnp.ones((1, SIZE, SIZE, 1)), jnp.zeros((1, SIZE, SIZE, 1)).at[:, 2:4].set(1.0)
    x = jnp.concatenate([half_symmetric(), blank, cross + jnp.rot90(cross, axes=(1, 2)), 0 * blank, images(1)])
    how = ImageCanonicalization(network_for(group), group, on_degenerate="weighted", selection=selection)
    sym = ek.symmetrize(running_sums, "i j -> i j", **PIXELS, how=how)
    run = jax.jit(sym)
    straight = run(x)
    for matrix, moved in orbit(group, x):
        assert jnp.allclose(run(moved), spun(jnp.asarray(matrix), straight), atol=1e-5)
    info = sym.info(x)
    assert info.size.tolist() == [2, 8, 8, 8, 1]
    assert not info.degenerate.any()
    # Where all are tied it is the average over the group.
    average = sum(spun(jnp.asarray(m), running_sums(spun(jnp.asarray(m.T), x[1:2]))) for m in group.plane_matrices())
    assert jnp.allclose(straight[1:2], average / 8, atol=1e-5)


def test_sampled_ties_take_each_choice_and_flagged_ones_the_first():
    group, x = ek.Z(4), jnp.concatenate([half_symmetric(), images(1)])
    how = ImageCanonicalization(network_for(group), group, on_degenerate="sample", selection="argmax")
    sym = ek.symmetrize(running_sums, "i j -> i j", **PIXELS, how=how)
    turns = jax.jit(jax.vmap(lambda key: sym.frame(x, key=key).elements.grid["i", "j"][0]))(
        jax.random.split(jax.random.key(0), 64)
    )
    corner = np.asarray(turns)[:, :, 0].reshape(64, 2, 2)
    chosen = {tuple(row) for row in corner[:, 0].tolist()}
    assert len(chosen) == 2
    assert tuple(np.negative(chosen.pop())) in chosen
    assert len({tuple(row) for row in corner[:, 1].tolist()}) == 1
    flagged = ek.symmetrize(
        running_sums, "i j -> i j", **PIXELS, how=ImageCanonicalization(network_for(group), group, on_degenerate="flag")
    )
    y, info = flagged(x, with_info=True)
    assert jnp.all(jnp.isfinite(y))
    assert info.degenerate.tolist() == [True, False]
    assert not info.refused.any()


def test_images_that_are_not_finite_are_refused():
    group = ek.Z(4)
    x = images(2).at[0, 1, 2].set(jnp.nan)
    sym = ek.symmetrize(plain, "i j -> ", **PIXELS, how=ImageCanonicalization(network_for(group), group))
    assert sym.info(x).refused.tolist() == [True, False]
    y = jax.jit(sym)(x)
    assert jnp.isnan(y[0]).all()
    assert jnp.isfinite(y[1]).all()


def test_gumbel_draws_by_the_softmax_of_the_activations_and_evaluates_the_largest():
    numbers, beta = np.array([0.5, 1.5, 0.0, 1.0]), 1.5
    how = ImageCanonicalization(told(*numbers), ek.Z(4), selection="gumbel", beta=beta)
    sym = ek.symmetrize(lambda x: x, "i j -> i j", **PIXELS, how=how)
    x = images(1)
    name = sym.action.inputs[0].name
    frame = jax.jit(lambda key: how.draw(sym.action, Sample({name: x}, {}), key, 4000))(jax.random.key(0))
    turns = np.asarray(frame.elements.grid["i", "j"])[:, 0]
    counts = [np.isclose(turns, matrix, atol=1e-6).all((-2, -1)).mean() for matrix in ek.Z(4).plane_matrices()]
    chances = np.exp(beta * numbers) / np.exp(beta * numbers).sum()
    assert np.abs(counts - chances).max() < 4 * 0.5 / np.sqrt(4000)
    assert frame.drawn
    assert_error(ek.OptionError, lambda: sym(x), "needs key=", "key=None", "key=", "key=")
    sym.eval()
    assert np.array_equal(sym.frame(x).elements.grid["i", "j"][0, 0], ek.Z(4).plane_matrices()[1])


# Other inputs.


def test_other_axes_precisions_and_batches():
    group = ek.Z(4)
    network = GroupConvolution(3, group, hidden=(3,), rngs=nnx.Rngs(0))

    def gray(x):  # [images, i, j, k, channels], with a plain axis of three colors
        return network(x[..., 0])

    # Axes in another order, no batch, no channels.
    how = ImageCanonicalization(gray, group, selection="argmax")
    sym = ek.symmetrize(lambda x: x[..., 0, 0], "k i j -> k", k=ek.Fixed(3), **PIXELS, channels=False, how=how)
    x = jnp.asarray(np.random.default_rng(0).normal(size=(2, 3, SIZE, SIZE)), jnp.float32)
    run = jax.jit(sym)
    straight = run(x)
    assert np.array_equal(run(jnp.rot90(x, axes=(-2, -1))), straight)
    assert np.array_equal(run(x[0]), straight[0])
    assert np.array_equal(jax.jit(jax.vmap(sym))(x), straight)
    assert run(jnp.zeros((0, 3, SIZE, SIZE))).shape == (0, 3)
    half = run(x.astype(jnp.bfloat16))
    assert half.dtype == jnp.bfloat16
    assert np.array_equal(half, straight.astype(jnp.bfloat16))


@pytest.mark.usefixtures("x64")
def test_double_precision_is_kept():
    group = ek.Z(4)
    how = ImageCanonicalization(network_for(group), group, on_degenerate="weighted")
    run = jax.jit(ek.symmetrize(running_sums, "i j -> i j", **PIXELS, how=how))
    x = jnp.concatenate([half_symmetric().astype(jnp.float64), images(1, dtype=jnp.float64)])
    straight = run(x)
    assert straight.dtype == jnp.float64
    for matrix, moved in orbit(group, x):
        assert jnp.allclose(run(moved), spun(jnp.asarray(matrix), straight), atol=1e-13)


@pytest.mark.slow
def test_sets_of_images_are_turned_together_and_sorted_afterwards():
    group, p = ek.Z(4), ek.S
    inner = network_for(group)

    def network(x):  # [sets, i, j, images, channels]: the mean over the images of a set
        stacked = jnp.moveaxis(x, -2, 1)
        return inner(stacked).mean(1)

    def build(network):
        how = [ImageCanonicalization(network, group, invariant_to=("p",)), ek.frames.Sort("p")]
        return ek.symmetrize(lambda x: jnp.cumsum(x[..., 0, 0, :], -2), "p i j -> p", p=p, **PIXELS, how=how)

    run = jax.jit(build(network))
    x = jnp.asarray(np.random.default_rng(0).normal(size=(3, SIZE, SIZE, 1)), jnp.float32)
    order = jnp.array([2, 0, 1])
    assert jnp.allclose(run(jnp.rot90(x, axes=(1, 2))[order]), run(x)[order], atol=1e-5)
    # Absent images are zero for the network, whatever they hold.
    mask = {"p": jnp.array([True, True, False])}

    how = [ImageCanonicalization(network, group, invariant_to=("p",), on_degenerate="flag"), ek.frames.Sort("p")]
    sym = ek.symmetrize(lambda x, mask: x[..., 0, 0, :], "p i j -> p", p=p, **PIXELS, how=how)
    info = jax.jit(lambda x: sym.info(x, mask=mask).more["activations"])
    assert np.array_equal(info(x), info(x.at[2].set(7.0)))


def test_prior_loss_is_the_cross_entropy_against_the_identity():
    numbers = np.array([0.5, 1.5, 0.0, 1.0])
    sym = ek.symmetrize(lambda x: x, "i j -> i j", **PIXELS, how=ImageCanonicalization(told(*numbers), ek.Z(4)))
    info = sym.info(images(2))
    expected = np.log(np.exp(2 * numbers).sum()) - 2 * numbers[0]
    assert np.isclose(prior_loss(info, beta=2.0), expected)
    matrix = jnp.eye(3) + 0.3
    assert np.isclose(prior_loss(dataclasses.replace(info, more={"matrix": matrix[None]})), 0.09)
    both = dataclasses.replace(info, more={**info.more, "matrix": matrix[None]})
    assert np.isclose(prior_loss(both, beta=2.0), expected + 0.09)
    nothing = dataclasses.replace(info, more={})
    assert_error(
        ek.OptionError,
        lambda: prior_loss(nothing),
        "the info has no 'activations' or 'matrix'",
        "info with []",
        "the info of ek.Canonicalize(network, group=ek.D(4))",
        "how=",
    )
    assert_error(ek.OptionError, lambda: prior_loss(info, beta=-1), "beta= must be a number > 0", "-1", "> 0", "beta=1")


# Bad input.


def symmetrized(how, signature="i j -> i j", **bindings):
    return ek.symmetrize(lambda x: x, signature, **{**PIXELS, **bindings}, how=how)


def test_what_does_not_fit_is_refused_with_the_next_step():
    four, x = told(1.0, 0.0, 0.0, 0.0), images(2)
    make = ImageCanonicalization
    wrong = symmetrized(make(told(1.0, 0.0), ek.Z(4)))
    assert_error(
        ek.ShapeError,
        lambda: wrong(x),
        "activations of images [2, 6, 6, 1] must have shape [2, 4]",
        "[2, 2]",
        "[2, 4]",
        "each of the 4 elements of Z(4)",
    )
    whole = symmetrized(make(lambda x: jnp.zeros((2, 4), int), ek.Z(4)))
    assert_error(
        ek.DTypeError,
        lambda: whole(x),
        "activations of images [2, 6, 6, 1] must be an array of r",
        "int32",
        "float32, bfloat16, float16 or float64",
        "GroupConvolution",
    )
    none = symmetrized(make(lambda x: None, ek.Z(4)))
    assert_error(
        ek.DTypeError,
        lambda: none(x),
        "activations of images [2, 6, 6, 1] must be an array of r",
        "NoneType",
        "float32, bfloat16, float16 or float64",
        "GroupConvolution",
    )
    assert_error(
        ek.ShapeError,
        lambda: symmetrized(make(four, ek.Z(4)), j=ek.Fixed(7)),
        "not square",
        "i=6, j=7",
        "D(2)",
        "jnp.pad",
    )
    for axes, *texts in (
        (("i", "k"), "no axis has the label 'k'", "axes=('i', 'k')", "rows", 'write axes=("i", "j")'),
        (("i", "x"), "x= must be a Fixed", "O(2)", "a Fixed", "write x=ek.Fixed(28)"),
    ):
        how = make(four, ek.Z(4), axes)
        assert_error(ek.SignatureError, lambda how=how: symmetrized(how, "i j x -> i j x", x=ek.O(2)), *texts)
    assert_error(
        ek.SignatureError,
        lambda: symmetrized(make(four, ek.Z(4)), "i j -> i"),
        "is not an image",
        "'j' 0 times",
        "once",
        "rows",
    )
    assert_error(
        ek.SignatureError,
        lambda: symmetrized(make(four, ek.Z(4)), "k -> i j", k=ek.Fixed(2)),
        "no input has the labels 'i' and 'j'",
        "k -> i j",
        "'i' and 'j'",
        "i j -> ",
    )
    reflected = make(told(*range(8)), ek.D(4), vectors="x")
    assert_error(
        ek.GroupError,
        lambda: symmetrized(reflected, "i j -> x", x=ek.SO(2)),
        "does not turn",
        "x=SO(2)",
        "O(2)",
        "ek.O(2)",
    )
    assert_error(
        ek.GroupError,
        lambda: symmetrized(make(four, ek.Z(4), vectors="y")),
        "does not turn",
        "y=nothing",
        "SO(2)",
        "ek.O(2)",
    )
    named = make(four, ek.Z(4), term="other")
    assert_error(ek.OptionError, lambda: symmetrized(named), "unknown value for term=", "'other'", '"i j"', "term=")


def test_options_are_checked():
    four, make = told(1.0, 0.0, 0.0, 0.0), ImageCanonicalization
    for group in (ek.S(4), "C4", ek.Z(0)):
        assert_error(
            ek.GroupError, lambda group=group: make(four, group), "does not turn", repr(group), "D(n)", "ek.D(4)"
        )
    for axes in ("ij", ("i", "i"), ("i",), ("i", 2)):
        assert_error(
            ek.OptionError,
            lambda axes=axes: make(four, ek.Z(4), axes),
            "two different labels",
            repr(axes),
            "rows",
            '"j"',
        )
    assert_error(
        ek.OptionError, lambda: make(four, ek.Z(4), selection="hard"), "selection", "'hard'", "argmax", "straight"
    )
    assert_error(
        ek.OptionError, lambda: make(four, ek.Z(4), on_degenerate="no"), "on_degenerate", "'no'", "flag", "error"
    )
    assert_error(
        ek.OptionError, lambda: make(four, ek.Z(4), beta=0), "beta= must be a number > 0", "0", "> 0", "beta=1"
    )
    assert_error(
        ek.OptionError,
        lambda: make(four, ek.Z(4), tolerance="x"),
        "tolerance",
        "'x'",
        "≥ 0, or None",
        "tolerance=0.001",
    )
    assert_error(ek.OptionError, lambda: make(3, ek.Z(4)), "cannot be called", "int", "module", "array")
    sampled = symmetrized(make(four, ek.Z(4), on_degenerate="sample"))
    assert_error(
        ek.OptionError, lambda: sampled(images(1)), "ImageCanonicalization needs key=", "key=None", "key=", "key="
    )


def test_text_is_short():
    assert repr(ImageCanonicalization(network_for(ek.D(4)), ek.D(4))) == "ImageCanonicalization(GroupConvolution, D(4))"
