"""The network of group convolutions: its activations move as the group multiplies."""

import pickle

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from helpers import assert_error
from in_numpy import in_numpy

import equikit as ek
from equikit.symmetrization.finite._turned import turned


@jax.jit
def spun(matrix, x):
    """Images, whose rows are axis 1, turned by one matrix."""
    return turned(matrix, x, (1, 2))


def test_every_axis_of_the_group_convolution_moves_as_it_should():
    for group, vectors in ((ek.Z(4), False), (ek.D(4), True)):
        network = ek.nn.GroupConvolution(2, group, hidden=(3, 2), vectors=vectors, rngs=nnx.Rngs(0))
        run = jax.jit(lambda x, network=network: network(x))
        x = jnp.asarray(np.random.default_rng(0).normal(size=(2, 5, 5, *((2,) if vectors else ()), 2)), jnp.float32)
        straight, places = run(x), group.plane_quotients()
        for h, matrix in enumerate(group.plane_matrices()):
            moved = spun(jnp.asarray(matrix), x)
            if vectors:
                moved = jnp.einsum("ab,nijbc->nijac", jnp.asarray(matrix, jnp.float32), moved)
            assert jnp.allclose(run(moved), straight[:, places[h]], atol=2e-6)
        assert float(jnp.std(straight, axis=1).min()) > 1e-3


def test_eighth_turns_are_as_good_as_interpolation():
    """What the docstring says: at most half of the standard deviation of the activations, for what is smooth."""
    group, place, seeds = ek.Z(8), np.mgrid[:20, :20] - 9.5, np.random.default_rng(3)
    x = np.zeros((16, 20, 20, 1), np.float32)
    for image in x:
        for center in seeds.uniform(-5, 5, (5, 2)):
            image[..., 0] += np.exp(-np.sum((place - center[:, None, None]) ** 2, 0) / 4.5)
    run = jax.jit(ek.nn.GroupConvolution(1, group, rngs=nnx.Rngs(0)))
    activations, misses = run(x), []
    for h, matrix in enumerate(jnp.asarray(group.plane_matrices(), jnp.float32)):
        if h % 2:
            misses.append(run(spun(matrix, jnp.asarray(x))) - activations[:, group.plane_quotients()[h]])
    error = jnp.sqrt(jnp.mean(jnp.array(misses) ** 2)) / jnp.mean(jnp.std(activations, axis=1))
    assert 0.01 < error < 0.5


def test_precisions():
    network = ek.nn.GroupConvolution(1, ek.Z(4), hidden=(3,), rngs=nnx.Rngs(0))
    x = jnp.asarray(np.random.default_rng(0).normal(size=(2, 5, 5, 1)), jnp.float32)
    assert network(x.astype(jnp.bfloat16)).dtype == jnp.float32
    with jax.enable_x64(True):
        wide = jnp.asarray(x, jnp.float64)
        moved = network(jnp.rot90(wide, axes=(1, 2)))
        assert moved.dtype == jnp.float64
        assert jnp.allclose(moved, jnp.roll(network(wide), 1, axis=-1), atol=1e-14)


def test_it_can_be_pickled():
    network = ek.nn.GroupConvolution(1, ek.Z(2), hidden=(2,), rngs=nnx.Rngs(0))
    assert nnx.split(pickle.loads(pickle.dumps(network)))[0] == nnx.split(network)[0]


def test_what_does_not_fit_is_refused_with_the_next_step():
    rngs = nnx.Rngs(0)
    for options, texts in (
        ({"kernel_size": 4}, ("without a middle", "kernel_size=4", "odd", "kernel_size=3")),
        ({"hidden": ()}, ("hidden= must be a list of widths", "()", "one width a layer", "hidden=(8, 8)")),
        ({"hidden": (0,)}, ("each entry of hidden=", "0", "≥ 1", "8")),
    ):
        assert_error(
            ek.OptionError, lambda options=options: ek.nn.GroupConvolution(1, ek.Z(4), rngs=rngs, **options), *texts
        )
    network = ek.nn.GroupConvolution(1, ek.Z(4), rngs=rngs)
    for shape in ((2, 5, 5, 2), (2, 5, 6, 1), (5, 1), (0, 0, 1)):
        assert_error(
            ek.ShapeError,
            lambda shape=shape: network(jnp.zeros(shape)),
            "cannot read",
            f"{list(shape)}",
            "1]",
            "vectors",
        )


@pytest.mark.parametrize("shape", [(6, 6, 0), (6, 6, 2, 0)])
def test_images_without_channels_have_equal_activations(shape):
    network = ek.nn.GroupConvolution(0, ek.Z(4), hidden=(2,), vectors=len(shape) == 4, rngs=nnx.Rngs(0))
    assert not in_numpy(network, np.ones((1, *shape), np.float32)).any()
