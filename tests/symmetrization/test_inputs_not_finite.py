"""Inputs with NaN or infinity: every method refuses them, and leaves the other samples of the batch as they are."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import equikit as ek
from equikit.symmetrization import OrbitDistance, Probabilistic, canonicalization, frames

RNGS = nnx.Rngs(0)
KEY = jax.random.key(0)
POINTS = {"p": ek.Fixed(4), "x": ek.O(2)}
ENTRIES = {"p": ek.S(4), "x": ek.Fixed(3)}
PIXELS = {"i": ek.Fixed(9), "j": ek.Fixed(9)}
VECTORS = canonicalization.VectorNeurons({"p x": 1}, 2, channels=2, layers=1, rngs=RNGS, p=ek.S, x=ek.O(2))


def scores(channels):
    return ek.nn.DeepSets(channels, [2], 1, out="p", rngs=RNGS)


def on_images(how):
    return ek.symmetrize(lambda x: jnp.nan_to_num(x) ** 2, "i j -> i j", how=how, **PIXELS), (9, 9)


def on_entries(how):
    return ek.symmetrize(jnp.nan_to_num, "p x -> p x", how=how, **ENTRIES), (4, 3)


def on_points(how):
    return ek.symmetrize(jnp.nan_to_num, "p x -> p x", how=how, **POINTS), (4, 2)


def on_graphs(how):
    return ek.symmetrize(jnp.nan_to_num, "p p -> p p", how=how, p=ek.S), (4, 4)


def activations(x):
    """Finite for every image."""
    return jnp.nan_to_num(jnp.tanh(x)).reshape(x.shape[0], -1)[:, :4]


def energies(x):
    """Finite for every input."""
    weights = jnp.sin(jnp.arange(1.0, 1 + x[0].size))
    return jnp.nan_to_num(jnp.tanh(x)).reshape(x.shape[0], -1) @ weights


METHODS = {
    "average of images": lambda: on_images(frames.GroupAverage(axes=("i", "j"), group=ek.D(4))),
    "average": lambda: on_entries(frames.GroupAverage("p")),
    "drawn average": lambda: on_points(frames.GroupAverage("x", samples=3)),
    "image": lambda: on_images(canonicalization.ImageCanonicalization(activations, ek.Z(4))),
    "weighted image": lambda: on_images(
        canonicalization.ImageCanonicalization(activations, ek.Z(4), on_degenerate="weighted")
    ),
    "drawn image": lambda: on_images(canonicalization.ImageCanonicalization(activations, ek.Z(4), selection="gumbel")),
    "energy of images": lambda: on_images(canonicalization.EnergyCanonicalization(energies, ek.D(4))),
    "energy": lambda: on_entries(canonicalization.EnergyCanonicalization(energies, label="p")),
    "rotation": lambda: on_points(canonicalization.RotationCanonicalization(VECTORS)),
    "permutation": lambda: on_entries(canonicalization.PermutationCanonicalization(scores(3))),
    "descent": lambda: on_points(canonicalization.EnergyDescent(energies)),
    "drawn order": lambda: on_entries(Probabilistic(scores(4))),
    "principal axes": lambda: on_points(frames.PCA()),
    "Gram-Schmidt": lambda: on_points(frames.QR()),
    "alignment": lambda: on_points(frames.Alignment()),
    "sorted": lambda: on_entries(frames.Sort()),
    "directions": lambda: on_entries(frames.Directions()),
    "canonical": lambda: on_graphs(frames.Canonical()),
    "Laplacian": lambda: on_graphs(frames.Laplacian()),
}


def cloud_and_bad(shape):
    x = np.random.default_rng(1).normal(size=(4, *shape, 1)).astype(np.float32)
    bad = x.copy()
    bad[1], bad[2, 0, 0] = np.nan, np.inf
    return x, bad


@pytest.mark.parametrize("name", METHODS)
def test_an_input_that_is_not_finite_is_refused_and_the_other_samples_are_right(name):
    sym, shape = METHODS[name]()
    run = jax.jit(lambda x: sym(x, key=KEY, with_info=True))
    (expected, _), (y, info) = (jax.tree.map(np.asarray, run(x)) for x in cloud_and_bad(shape))
    assert info.refused.tolist() == info.degenerate.tolist() == [False, True, True, False]
    np.testing.assert_allclose(y[::3], expected[::3], rtol=1e-5, atol=1e-6)
    assert np.isnan(y[1:3]).all()
    assert np.isfinite(expected).all()


@pytest.mark.parametrize("name", ["average", "permutation", "sorted"])
def test_without_jit_an_error_counts_the_refused_inputs(name):
    sym, shape = METHODS[name]()
    with pytest.raises(ek.FrameError, match=r"not finite\n.*2 of 4 inputs.*is number 1: it has NaN") as caught:
        sym(cloud_and_bad(shape)[1], key=KEY)
    assert caught.value.expected == "finite entries"


@pytest.mark.parametrize("name", ["descent", "principal axes"])
def test_derivatives_without_jit_raise_the_error_of_the_call(name):
    sym, shape = METHODS[name]()
    square = np.array([[1, 0], [0, 1], [-1, 0], [0, -1]], np.float32)[..., None]
    for x in (cloud_and_bad(shape)[1], np.stack([square] * 4)):  # of one shape, which is compiled once
        with pytest.raises(ek.FrameError) as caught:
            sym(x)
        for derivative in (jax.grad(lambda x: jnp.sum(sym(x))), lambda x: jax.jvp(sym, (x,), (x,))):
            with pytest.raises(ek.FrameError) as again:
                derivative(jnp.asarray(x))
            assert str(again.value) == str(caught.value)


UNDEFINED = {
    "energy": lambda: on_entries(
        canonicalization.EnergyCanonicalization(lambda x: jnp.log(-1 - x[:, 0, 0, 0] ** 2), label="p")
    ),
    "permutation": lambda: on_entries(canonicalization.PermutationCanonicalization(lambda x: jnp.log(-1 - x**2)[:, 0])),
    "rotation": lambda: on_points(canonicalization.RotationCanonicalization(lambda x: jnp.log(-1 - x**2)[..., [0, 0]])),
    "orbit distance": lambda: on_points(
        OrbitDistance(lambda x: jnp.log(-1 - x[..., :2, :, 0] ** 2), on_degenerate="error")
    ),
}


@pytest.mark.parametrize("name", UNDEFINED)
def test_a_network_that_returns_nan_for_a_finite_input_is_named_as_the_reason(name):
    sym, shape = UNDEFINED[name]()
    with pytest.raises(ek.FrameError, match="it is finite, but the network or energy returned NaN") as caught:
        sym(np.ones((*shape, 1), np.float32))
    assert "in the network or energy" in caught.value.step
