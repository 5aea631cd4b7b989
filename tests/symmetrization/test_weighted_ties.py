"""Averages over tied elements: evaluated only for batches with ties, exact for symmetric inputs in every setting."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import assert_error
from turned_images import PIXELS, SIZE, images, network_for, spun

import equikit as ek
from equikit.symmetrization.canonicalization import EnergyCanonicalization, EnergyDescent, ImageCanonicalization

GROUP = ek.Z(4)
TURNS = [jnp.asarray(matrix) for matrix in GROUP.plane_matrices()]
STARTS = np.stack([[[np.cos(t), -np.sin(t)], [np.sin(t), np.cos(t)]] for t in np.arange(4) * np.pi / 2])


def sums(x):
    """A backbone that treats no two pixels, and no two points, alike."""
    return jnp.cumsum(x, -3) + 2 * jnp.cumsum(jnp.sin(x), -2)


def waves(x):
    """An energy that sees no symmetry of an image."""
    places = jnp.arange(SIZE)
    return jnp.einsum(
        "nijc,i,j->n", jnp.tanh(x), jnp.sin(1.0 + places).astype(x.dtype), jnp.cos(places**2).astype(x.dtype)
    )


def far_right(x):
    return -jnp.sum(jnp.tanh(x[:, :, 0, 0]), axis=1)


METHODS = {
    "image": lambda **options: ImageCanonicalization(network_for(GROUP), GROUP, **options),
    "energy": lambda **options: EnergyCanonicalization(waves, GROUP, **options),
    "descent": lambda **options: EnergyDescent(far_right, starts=STARTS, steps=2, **options),
}


def symmetrized(name, backbone=sums, **options):
    how = METHODS[name](**options)
    if name == "descent":
        return ek.symmetrize(backbone, "p x -> p x", p=ek.Fixed(4), x=ek.SO(2), how=how)
    return ek.symmetrize(backbone, "i j -> i j", **PIXELS, how=how)


@functools.cache
def inputs(name):
    """Two inputs without a symmetry, and one that is tied."""
    if name == "descent":
        x = np.random.default_rng(0).normal(size=(3, 4, 2, 1))
        x[2, :, :, 0] = STARTS[:, 0]
        return jnp.asarray(x, jnp.float32)
    x = images(3)
    return x.at[2].add(spun(TURNS[2], x[2:])[0])


@pytest.mark.parametrize("name", METHODS)
def test_tied_elements_are_evaluated_only_for_batches_with_ties(name):
    calls = []

    def seen(y):
        calls.append(1)
        return y

    def counted(x):
        y = jax.pure_callback(seen, jax.ShapeDtypeStruct(x.shape, x.dtype), x, vmap_method="sequential")
        return sums(y)

    run, x = jax.jit(symmetrized(name, counted, on_degenerate="weighted")), inputs(name)
    for batch, expected in ((x[jnp.array([0, 1, 0])], 1), (x, 1 + 4)):
        calls.clear()
        jax.block_until_ready(run(batch))
        assert len(calls) == expected


@pytest.mark.parametrize("name", METHODS)
def test_values_and_derivatives_are_those_of_one_element_or_of_the_mean_over_the_tied_ones(name):
    options = {} if name == "descent" else {"selection": "argmax"}
    flagged = symmetrized(name, on_degenerate="flag", **options)
    weighted, x = symmetrized(name, on_degenerate="weighted", **options), inputs(name)
    frame = jax.jit(weighted.frame)(x)
    used = np.asarray(frame.weights) > 0
    assert used.sum(axis=0).tolist() == frame.info.size.tolist()
    assert frame.info.size[:2].tolist() == [1, 1]
    assert frame.info.size[2] > 1
    assert not frame.info.degenerate.any()

    def loss(sym):
        """Return the loss of each input, and its derivative."""

        def of_each(x):
            losses = jnp.sum(jnp.sin(sym(x)) * (1 + x**2), range(1, x.ndim))
            return jnp.sum(losses), losses

        slopes, losses = jax.jit(jax.grad(of_each, has_aux=True))(x)
        return np.asarray(losses), np.asarray(slopes)

    found = loss(weighted)
    for one, two in zip(loss(flagged), found, strict=True):
        np.testing.assert_allclose(one[:2], two[:2], rtol=1e-5, atol=1e-5)
    if name == "descent":
        return

    def mean(x):
        turns = [turn for turn, share in zip(TURNS, used[1:, 2], strict=True) if share]
        return sum(spun(turn, sums(spun(turn.T, x))) for turn in turns) / len(turns)

    for one, two in zip(loss(mean), found, strict=True):
        np.testing.assert_allclose(one[2], two[2], rtol=1e-5, atol=1e-5)


def turned(name, turn, x):
    return spun(turn, x) if name != "descent" else jnp.einsum("xy,npyc->npxc", turn.astype(x.dtype), x)


@pytest.mark.parametrize(
    ("name", "dtype"),
    [
        *((name, "float32") for name in METHODS),
        ("energy", "bfloat16"),
        *(pytest.param(name, "bfloat16", marks=pytest.mark.slow) for name in ("image", "descent")),
    ],
)
def test_ties_of_symmetric_inputs_are_exact_in_both_precisions_and_under_vmap(name, dtype):
    sym, (free, _, tied) = symmetrized(name, on_degenerate="weighted"), inputs(name)
    x = jnp.stack([0 * free, 0 * free + (name != "descent"), tied, free]).astype(dtype)
    both = jax.jit(lambda x: sym(x, with_info=True))
    straight, info = both(x)
    assert info.size.tolist() == [4, 4, 4 if name == "descent" else 2, 1]
    assert straight.dtype == dtype
    close = functools.partial(np.testing.assert_allclose, rtol=0.02, atol=1e-5 if dtype == "float32" else 0.05)
    for turn in TURNS:
        expected = turned(name, turn, straight)
        close(np.float32(both(turned(name, turn, x))[0]), np.float32(expected))
    close(np.float32(jax.jit(jax.vmap(sym))(x)), np.float32(straight))
    assert jax.eval_shape(sym, x[:0]).shape == (0, *x.shape[1:])


def test_a_path_that_rounding_may_turn_aside_is_reported():
    """From the top of the energy both ways lead down: rounding decides, and is multiplied in each step."""

    def top(x):
        return jnp.cos(3 * jnp.arctan2(x[:, 0, 1, 0], x[:, 0, 0, 0]))

    def of(steps, **options):
        how = EnergyDescent(top, starts=np.eye(2)[None], steps=steps, learning_rate=0.1, **options)
        return ek.symmetrize(lambda x: x, "p x -> p x", p=ek.Fixed(1), x=ek.SO(2), how=how)

    on_top, beside = jnp.array([[[1.0], [1e-7]]]), jnp.array([[[1.0], [0.5]]])
    info = jax.jit(of(40, on_degenerate="flag").info)(jnp.stack([on_top, beside]))
    assert info.degenerate.tolist() == [True, False]
    assert jnp.isinf(info.doubt[0])
    assert info.doubt[1] < 1e-5
    assert not jax.jit(of(2, on_degenerate="flag").info)(on_top).degenerate
    assert_error(ek.FrameError, lambda: of(40)(on_top), "has no frame", "doubt inf", "", "flag")
