"""`Linear` with groups other than the symmetric one."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from helpers import every, partly_slow
from in_numpy import by_numpy

import equikit as ek
from equikit import SO, A, Bistochastic, H, Lorentz, O, S, Sp

GROUPS = [O(3), SO(3), SO(1, 3), Sp(4), H(4), Bistochastic(4), A(3), Lorentz]


def linear(text, channels=4, out_channels=8, **options):
    return ek.nn.Linear(text, channels, out_channels, rngs=nnx.Rngs(0), **options)


@pytest.mark.parametrize("group", GROUPS, ids=str)
def test_layers_commute_in_single_precision(group):
    layer = linear("x x -> x x", x=group)
    ek.testing.assert_equivariant(
        by_numpy(layer),
        "x x -> x x",
        x=group,
        channels=4,
        key=jax.random.key(0),
        tolerance=1e-4 if group.form else None,
    )


@pytest.mark.parametrize(
    ("group", "text"),
    partly_slow(every(GROUPS, ["x x -> x x", "x x x -> x"]), lambda place: place % 4 in (0, 3)),  # by turns
)
def test_initial_variance_is_kept(group, text):
    if not ek.hom(text, x=group).dim:
        with pytest.raises(ek.SignatureError):
            linear(text, x=group)
        return
    shape = (8, *(group.n,) * (len(text.split("->")[0].split())), 16)

    def output(key):
        layer = ek.nn.Linear(text, 16, 16, x=group, rngs=nnx.Rngs(key), normalize="sum")
        return layer(jax.random.normal(jax.random.fold_in(key, 1), shape))

    outputs = jax.jit(jax.vmap(output))(jax.random.split(jax.random.key(0), 60))
    assert 0.85 < np.mean(np.square(outputs)) < 1.15


def test_a_free_group_serves_every_size():
    layer = linear("x x -> x x", x=O)
    for n in (1, 2, 3, 5):
        ek.testing.assert_equivariant(by_numpy(layer), "x x -> x x", x=O(n), channels=4, key=jax.random.key(n))
    assert layer.kernel["x x -> x x"].shape == (3, 4, 8)


def test_a_point_cloud_is_one_layer():
    layer = linear("p x -> p x", p=S, x=O(3))
    assert layer.kernel["p x -> p x"].shape == (2, 4, 8)
    ek.testing.assert_equivariant(by_numpy(layer), "p x -> p x", p=S(6), x=O(3), channels=4, key=jax.random.key(0))
    mask = jnp.arange(6) < jnp.array([[4], [6]])
    assert layer(jnp.ones((2, 6, 3, 4)), mask={"p": mask}).shape == (2, 6, 3, 8)
    particles = ek.nn.Linear("h m -> h m", 2, 2, h=S, m=Lorentz, rngs=nnx.Rngs(0))
    assert particles(jnp.ones((5, 4, 2))).shape == (5, 4, 2)


@pytest.mark.parametrize("beta", [0.1, 0.5, 0.9])
def test_boosts(beta):
    """Lorentz boosts along every axis, in single precision, relative to the largest entry."""
    layer = linear("m m -> m m", m=Lorentz)
    gamma = 1 / np.sqrt(1 - beta**2)
    x = jax.random.normal(jax.random.key(0), (64, 4, 4, 4))
    for axis in (1, 2, 3):
        boost = np.eye(4)
        boost[[0, axis], [0, axis]] = gamma
        boost[0, axis] = boost[axis, 0] = -gamma * beta

        def act(array, boost=boost):
            return Lorentz.act(boost, Lorentz.act(boost, array, 1), 2)

        first, second = act(layer(x)), layer(act(x))
        error = float(jnp.max(jnp.abs(first - second)) / jnp.max(jnp.abs(first)))
        assert error < 1e-5


def test_no_map_is_said_with_the_reason():
    with pytest.raises(ek.SignatureError, match="no linear map but zero") as error:
        linear("x x -> x", x=O(3))
    assert "the axes of 'x' are 3 in all, and O(3) joins an even number" in str(error.value)


def test_layers_are_pytrees_and_pickle():
    import pickle

    layer = linear("p x x -> x", p=S, x=SO(3))
    x = jax.random.normal(jax.random.key(0), (2, 5, 3, 3, 4))
    again = pickle.loads(pickle.dumps(layer))
    np.testing.assert_array_equal(again(x), layer(x))
    y = jax.jit(lambda module, x: module(x))(layer, x)
    np.testing.assert_allclose(y, layer(x), rtol=2e-5, atol=2e-5)


@pytest.mark.parametrize("group", [O(3), H(3), Sp(2), Bistochastic(3)], ids=str)
def test_pooling_is_for_permutations(group):
    with pytest.raises(ek.OptionError, match="pooling over 'x' would not give invariants"):
        ek.nn.Pool("p x", p=S, x=group)


@pytest.mark.parametrize("group", GROUPS, ids=str)
def test_invariants(group):
    head = ek.nn.Invariant("x x", 4, 2, x=group, rngs=nnx.Rngs(0))
    ek.testing.assert_equivariant(
        by_numpy(head), "x x -> ()", x=group, channels=4, key=jax.random.key(0), tolerance=1e-4 if group.form else None
    )
