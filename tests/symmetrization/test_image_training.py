"""Canonical forms of images in training: derivatives through the choice, and learning what upright is."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from turned_images import PIXELS, NNXNetwork, images, network_for, orbit

import equikit as ek
from equikit.symmetrization.canonicalization import GroupConvolution, ImageCanonicalization, prior_loss
from equikit.symmetrization.finite._turned import turned


class Dense(nnx.Module):
    """Activations without any symmetry, for derivatives alone."""

    def __init__(self, count, dtype):
        self.weight = nnx.Param(jnp.asarray(np.random.default_rng(2).normal(size=(25, count)) / 5, dtype))

    def __call__(self, x):
        return x.reshape(x.shape[0], -1) @ self.weight[...]


@pytest.mark.usefixtures("x64")
def test_straight_through_derivatives_are_those_of_the_soft_matrix():
    x, beta = images(3, 5, dtype=jnp.float64), 2.0
    network, weights = Dense(4, jnp.float64), images(1, 5, seed=9, dtype=jnp.float64)[0]

    def backbone(x):
        return jnp.sum(jnp.sin(x) * weights, axis=(-3, -2))

    five = {"i": ek.Fixed(5), "j": ek.Fixed(5)}
    sym = ek.symmetrize(backbone, "i j -> ", **five, how=ImageCanonicalization(network, ek.Z(4), beta=beta))
    found = nnx.jit(nnx.grad(lambda sym, x: jnp.sum(sym(x) ** 2)))(sym, x)["how"]["network"]["weight"][...]
    start, group = network.weight[...], jnp.asarray(ek.Z(4).plane_matrices(), jnp.float64)

    @jax.jit
    def soft(weight):
        """The loss with the matrix that is taken, and the change of the mean of all matrices."""
        here, there = (jax.nn.softmax(beta * x.reshape(3, 25) @ w, axis=-1) for w in (weight, start))
        matrix = group[jnp.argmax(x.reshape(3, 25) @ start, axis=-1)] + jnp.einsum("ng,gij->nij", here - there, group)
        moved = jax.vmap(lambda matrix, image: turned(matrix.T, image, (0, 1)))(matrix, x)
        return jnp.sum(backbone(moved) ** 2)

    for seed in range(3):
        change, step = jnp.asarray(np.random.default_rng(seed).normal(size=(25, 4))), 1e-7
        slope = (soft(start + step * change) - soft(start - step * change)) / (2 * step)
        assert abs(jnp.vdot(found, change) - slope) < 1e-4 * max(1, abs(slope))
    assert float(jnp.abs(found).max()) > 1e-3


def test_gradients_reach_all_parameters_and_do_not_depend_on_how_the_image_is_turned():
    group, x = ek.D(4), images(4)
    how = ImageCanonicalization(network_for(group), group)
    sym = ek.symmetrize(NNXNetwork(nnx.Rngs(1)), "i j -> ", **PIXELS, how=how)
    slope = nnx.jit(nnx.grad(lambda sym, x: jnp.sum(jnp.sin(sym(x)))))
    turned_x = np.flip(np.rot90(x, axes=(1, 2)), 1)
    straight, others = (jax.tree.leaves(jax.tree.map(np.asarray, slope(sym, each))) for each in (x, turned_x))
    sizes = [float(np.abs(a).max()) for a in straight]
    assert all(np.isfinite(sizes))
    # The last bias of the network is the same for all elements, so that no choice depends on it.
    assert sum(size == 0 for size in sizes) <= 1
    for one, other in zip(straight, others, strict=True):
        assert np.allclose(one, other, atol=1e-4 * max(1, float(np.abs(one).max())))


def test_only_differentiable_selections_have_gradients_and_evaluation_has_none():
    x, key = images(2, 5), jax.random.key(0)
    five = {"i": ek.Fixed(5), "j": ek.Fixed(5)}

    def sizes(selection, deterministic=False):
        how = ImageCanonicalization(Dense(4, jnp.float32), ek.Z(4), selection=selection)
        sym = ek.symmetrize(lambda x: jnp.cumsum(x, -3) ** 2, "i j -> i j", **five, how=how)
        if deterministic:
            sym.eval()
        slope = nnx.jit(nnx.grad(lambda sym: jnp.sum(jnp.sin(sym(x, key=key)))))(sym)
        return float(np.abs(slope["how"]["network"]["weight"][...]).max())

    assert sizes("argmax") == sizes("straight-through", deterministic=True) == 0
    assert sizes("gumbel") > 1e-3


def glyphs(count, seed):
    """Three letters with strokes of one pixel, upright, with noise: L, T and F, which no half turn maps to itself."""
    letters = np.zeros((3, 7, 7), np.float32)
    letters[0, 1:6, 2] = letters[0, 5, 2:5] = 1
    letters[1, 1, 1:6] = letters[1, 1:6, 3] = 1
    letters[2, 1:6, 2] = letters[2, 1, 2:5] = letters[2, 3, 2:4] = 1
    seeds = np.random.default_rng(seed)
    classes = seeds.integers(0, 3, count)
    return jnp.asarray((letters[classes] + 0.1 * seeds.normal(size=(count, 7, 7)))[..., None], jnp.float32), classes


def test_a_network_learns_what_upright_is():
    group = ek.Z(4)
    how = ImageCanonicalization(GroupConvolution(1, group, hidden=(6, 6), rngs=nnx.Rngs(0)), group)
    seven = {"i": ek.Fixed(7), "j": ek.Fixed(7)}
    sym = ek.symmetrize(lambda x: x, "i j -> i j", **seven, how=how)
    optimizer = nnx.Optimizer(sym, optax.adam(0.03), wrt=nnx.Param)

    @nnx.jit
    def step(sym, optimizer, x):
        loss, slope = nnx.value_and_grad(lambda sym: prior_loss(sym.info(x), beta=5.0))(sym)
        optimizer.update(sym, slope)
        return loss

    x, _ = glyphs(48, 0)
    losses = [float(step(sym, optimizer, x)) for _ in range(15)]
    assert abs(losses[0] - np.log(4)) < 0.7
    assert losses[-1] < 0.2
    test, _ = glyphs(64, 1)
    chosen = jax.jit(lambda x: sym.frame(x).elements.grid["i", "j"][0])
    for matrix, moved in orbit(group, test):
        right = (np.asarray(chosen(moved)) == matrix).all((-2, -1))
        assert right.mean() > 0.95
