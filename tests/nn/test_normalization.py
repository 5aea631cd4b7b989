"""Normalization by the mean square, where the group keeps it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from in_numpy import by_numpy

import equikit as ek
from equikit import SO, A, Bistochastic, H, Lorentz, O, S, Sp


@pytest.mark.parametrize("group", [O(3), SO(3), H(3), Bistochastic(3), A(3), S(4)], ids=str)
def test_it_commutes(group):
    features = {"": 3, "x": 2, "x x": 2, "p x": 4}
    norm = ek.nn.RMSNorm(features, x=group, p=S)
    norm.scale["x"][...] = jnp.array([2.0, -1.0])
    bound = {"x": group, "p": S(5)}
    ek.testing.assert_equivariant(
        by_numpy(norm), features, features, groups=bound, key=jax.random.key(0), tolerance=2e-5
    )


def test_the_mean_square_is_one_and_nodes_are_apart():
    norm = ek.nn.RMSNorm({"p x": 4}, p=S, x=O(3))
    x = 7 * jax.random.normal(jax.random.key(0), (2, 5, 3, 4))
    y = norm({"p x": x.at[0, 0].set(0.0)})["p x"]
    mean = jnp.mean(y**2, (2, 3))
    assert float(mean[0, 0]) == 0.0
    np.testing.assert_allclose(mean.ravel()[1:], 1.0, rtol=1e-4)
    again = norm({"p x": 100 * x})["p x"]
    np.testing.assert_allclose(again, norm({"p x": x})["p x"], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16, jnp.float32, jnp.complex64])
def test_dtypes(dtype):
    y = ek.nn.RMSNorm({"x": 1}, x=O(400))({"x": jnp.full((400, 1), 300.0, dtype)})["x"]
    assert y.dtype == dtype
    np.testing.assert_allclose(np.asarray(y, np.complex64), 1.0, rtol=1e-2)


def test_groups_without_an_invariant_sum_of_squares_are_refused():
    for group in (Lorentz, Sp(4)):
        with pytest.raises(ek.OptionError, match="is not invariant under"):
            ek.nn.RMSNorm({"x": 1}, x=group)


def test_bad_arrays_and_modules():
    norm = ek.nn.RMSNorm({"x": 1, "": 2}, x=O(3), rngs=nnx.Rngs(0))
    with pytest.raises(ek.ShapeError, match="do not fit the features"):
        norm({"x": jnp.ones((3, 1))})
    graph, state = nnx.split(norm)
    assert {leaf.shape for leaf in jax.tree.leaves(state)} == {(1,), (2,)}
    assert nnx.merge(graph, state)({"x": jnp.ones((3, 1)), "": jnp.ones(2)})["x"].shape == (3, 1)
