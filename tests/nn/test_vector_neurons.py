"""The network of vectors: equivariant, of degree one, and with vectors of centered points."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from helpers import assert_error
from in_numpy import by_numpy, in_numpy

import equikit as ek
import equikit.testing


@pytest.mark.parametrize("dtype", [jnp.float64, jnp.bfloat16])
def test_vector_neurons_commute_with_everything(dtype):
    with jax.enable_x64(dtype == jnp.float64):
        features = {"at": ("p x", 1), "speed": ("p x", 2), "charge": ("p", 1), "field": ("x", 1), "time": ("", 1)}
        network = ek.nn.VectorNeurons(features, 3, channels=2, layers=1, p=ek.S, x=ek.O(3), rngs=nnx.Rngs(0))
        equikit.testing.assert_equivariant(
            by_numpy(network),
            features,
            {"p x": 3},
            p=ek.S(5),
            x=ek.O(3),
            dtype=dtype,
            key=jax.random.key(0),
            tolerance=1e3 * float(jnp.finfo(dtype).eps),
            mask=True,
        )


def test_vector_neurons_are_of_degree_one_and_see_centered_points():
    network = jax.jit(ek.nn.VectorNeurons({"p x": 1}, 3, channels=4, layers=2, p=ek.S, x=ek.O(3), rngs=nnx.Rngs(0)))
    x = np.random.default_rng(1).normal(size=(6, 3)).astype(np.float32)[..., None]
    x = x - x.mean(0)
    for size in map(np.float32, (1e-30, 1e-3, 1e25)):
        np.testing.assert_allclose(network(size * x) / size, network(x), rtol=1e-3, atol=1e-4)
    assert np.all(np.linalg.norm(np.asarray(network(x)).mean(0), axis=0) > 1e-3)
    assert network(x[:0]).shape == (0, 3, 3)
    assert bool(jnp.all(network(0 * x) == 0))


def test_features_that_are_not_vectors_and_invariants_are_refused():
    assert_error(
        ek.OptionError,
        lambda: ek.nn.VectorNeurons({"p x x": 1}, 3, p=ek.S, x=ek.O(3), rngs=nnx.Rngs(0)),
        "the features are not vectors and invariants",
        "p x x, with p=S, x=O(3)",
        "one label bound to O or SO, that no term has twice, all others bound to S",
        "pass an ek.nn.Network, which takes tensors and every group",
    )
    with pytest.raises(ek.SignatureError, match="not a dictionary"):
        ek.nn.VectorNeurons("p x", 3, p=ek.S, x=ek.O(3), rngs=nnx.Rngs(0))


@pytest.mark.parametrize("scale", [1e-20, 1e20])
def test_derivatives_of_vectors_of_any_length_are_those_at_one(scale):
    net = ek.nn.VectorNeurons({"p x": 1}, 2, p=ek.S, x=ek.O(3), rngs=nnx.Rngs(0))
    x = np.random.default_rng(0).normal(size=(5, 3, 1)).astype(np.float32)
    wanted, found = (in_numpy(jax.jacobian(net), each) for each in (x, np.float32(scale) * x))
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5 * np.max(np.abs(wanted)))
