"""Orbit distance in training: the residual falls, and what was learned holds for moved inputs."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

import equikit as ek
from equikit.symmetrization import MatrixMLP, MatrixNetwork, OrbitDistance, matrix_equivariance_loss, orbit_loss

ETA = np.diag([1.0, -1, -1, -1])


def residual(sym, x):
    return np.asarray(nnx.jit(lambda sym, x: sym.info(x).more["orbit_residual"])(sym, x))


@nnx.jit
def outputs(model, x):
    return model(x)


class Bent(nnx.Module):
    """A backbone that commutes with nothing, as a module."""

    def __call__(self, x):
        return jnp.cumsum(jnp.sin(x) + x**2, axis=-2)


class Dense(nnx.Module):
    """A perceptron of all entries of the input."""

    def __init__(self, entries, outputs, shape):
        self.layers = nnx.List([nnx.Linear(entries, 64, rngs=nnx.Rngs(1)), nnx.Linear(64, outputs, rngs=nnx.Rngs(2))])
        self.shape = shape

    def __call__(self, x):
        first, last = self.layers
        return last(nnx.silu(first(x.reshape(*x.shape[:-2], -1)))).reshape(*x.shape[:-2], *self.shape)


def trained(model, losses, steps, rate, *batch):
    """Adam on some losses of a model."""
    static, parameters = nnx.split(model)
    optimizer = optax.adam(rate)

    @jax.jit
    def train(parameters, *batch):
        def step(state, _):
            parameters, momenta = state
            slope = jax.grad(lambda parameters: losses(nnx.merge(static, parameters), *batch))(parameters)
            updates, momenta = optimizer.update(slope, momenta)
            return (optax.apply_updates(parameters, updates), momenta), None

        return jax.lax.scan(step, (parameters, optimizer.init(parameters)), length=steps)[0][0]

    nnx.update(model, train(parameters, *batch))


def of_task_and_orbit(model, x, y):
    found, info = model(x, with_info=True)
    return jnp.mean((found - y) ** 2) + orbit_loss(info)


def error(model, x, y):
    return float(np.mean((np.asarray(outputs(model, x)) - y) ** 2) / np.mean(y**2))


def test_training_for_the_rotations_of_the_plane():
    """The residual falls, and what was learned of inputs is learned of turned inputs."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(128, 2, 2)).astype(np.float32)
    y = (x[..., 0] * np.sum(x[..., 0] * x[..., 1], -1, keepdims=True) + x[..., 1])[..., None]
    turns = np.stack([ek.SO(2).random_element(rng) for _ in x]).astype(np.float32)
    network = MatrixNetwork({"x": 2}, "x", x=ek.SO(2), hidden=[{"": 16, "x": 4}], products=2, rngs=nnx.Rngs(0))
    sym = ek.symmetrize(Dense(4, 2, (2, 1)), "x -> x", x=ek.SO(2), how=OrbitDistance(network))
    before = residual(sym, x).mean()
    trained(sym, of_task_and_orbit, 200, 0.02, x, y)
    assert residual(sym, x).mean() < before / 2
    assert error(sym, turns @ x, turns @ y) < 0.1
    np.testing.assert_allclose(error(sym, x, y), error(sym, turns @ x, turns @ y), rtol=1e-3)


def momenta(rng, count):
    """Four vectors near a basis of their own, and an invariant of them."""
    x = (np.eye(4) + 0.3 * rng.normal(size=(count, 4, 4))).astype(np.float32)
    inner = x.mT @ ETA.astype(np.float32) @ x
    return x, (inner[:, 0, 1] * inner[:, 2, 3] + inner[:, 0, 2])[:, None]


@pytest.mark.slow
def test_training_for_the_lorentz_group():
    """A perceptron fails on boosted inputs; with the matrix of a network it does not, and its residual falls."""
    rng = np.random.default_rng(0)
    (x, y), (test, wanted) = momenta(rng, 256), momenta(rng, 256)
    boosts = np.stack([ek.Lorentz.random_element(rng) for _ in test]).astype(np.float32)
    network = MatrixNetwork({"m": 4}, "m", m=ek.Lorentz, hidden=[{"": 16, "m": 8}], rngs=nnx.Rngs(0))
    bare = Dense(16, 1, (1,))
    sym = ek.symmetrize(Dense(16, 1, (1,)), "m -> ", m=ek.Lorentz, how=OrbitDistance(network))
    before = residual(sym, test).mean()
    trained(sym, of_task_and_orbit, 300, 0.01, x, y)
    trained(bare, lambda model, x, y: jnp.mean((model(x) - y) ** 2), 300, 0.01, x, y)
    assert residual(sym, test).mean() < 0.65 * before
    assert error(bare, test, wanted) < 0.3
    assert error(bare, boosts @ test, wanted) > 2
    assert error(sym, boosts @ test, wanted) < 0.15
    np.testing.assert_allclose(error(sym, test, wanted), error(sym, boosts @ test, wanted), rtol=1e-3)


def test_a_perceptron_learns_to_move_with_the_input():
    """Its matrix does not at first; two losses make it do so, and draw it into the group."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(256, 2, 1)).astype(np.float32)
    turns = np.stack([ek.SO(2).random_element(rng) for _ in x]).astype(np.float32)
    network = MatrixMLP(2, 2, hidden=(32, 32), rngs=nnx.Rngs(0))
    sym = ek.symmetrize(Bent(), "x -> x", x=ek.SO(2), how=OrbitDistance(network))

    def losses(model, x, turns):
        infos = [model(z, with_info=True)[1] for z in (x, turns @ x)]
        return sum(orbit_loss(info) for info in infos) + 3 * matrix_equivariance_loss(*infos, turns)

    def apart():
        return np.abs(np.asarray(outputs(sym, turns @ x)) - turns @ np.asarray(outputs(sym, x))).mean()

    before = apart()
    trained(sym, losses, 400, 0.01, x, turns)
    assert apart() < before / 10
    assert residual(sym, x).mean() < 0.2
