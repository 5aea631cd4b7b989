"""Persistent evolution strategies are unbiased, and plain ones where a truncated unroll is the whole training."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from equikit.weightspace.optimizers._persistent import Estimate, Pair, Unroll, estimate, staggered

THETA = jnp.array([-1.0, 0.3])
CURVATURE = np.array([0.3, 1.0, 2.5])
STEPS, PAIRS = 8, 512


def begin(key):
    start, draws = jax.random.split(key)
    x = 1 + jax.random.normal(start, (3,)) / 4
    return (x, jnp.zeros(3)), jax.random.split(draws, STEPS)


def proceed(theta, state, keys):
    """Descent with momentum on a noisy quadratic function; weights are the log-rate and the decay."""

    def step(carry, key):
        x, momentum = carry
        curvature = jnp.asarray(CURVATURE, x.dtype)
        loss = jnp.sum(curvature * x**2) / 2
        momentum = theta[1] * momentum + curvature * x + jax.random.normal(key, (3,)) / 4
        return (x - jnp.exp(theta[0]) * momentum, momentum), loss

    return jax.lax.scan(step, state, keys)


def estimates(truncation: int, deviation: float, rounds: int) -> np.ndarray:
    """Estimates of the gradient at a fixed point, one per round, each with all pairs and as many windows as there are.

    The first round is left out: staggered pairs begin with shorter trainings.
    """
    unroll = Unroll(begin, proceed, STEPS, truncation)

    def one(pairs: Pair, key: jax.Array) -> tuple[Pair, jax.Array]:
        def window(pairs: Pair, key: jax.Array) -> tuple[Pair, jax.Array]:
            draw, other = jax.random.split(key)
            noise = deviation * jax.random.normal(draw, (PAIRS, 2))
            found = estimate(unroll, THETA, noise, pairs, jax.random.split(other, PAIRS))
            return found.pairs, found.slope / deviation**2

        pairs, slopes = jax.lax.scan(window, pairs, jax.random.split(key, unroll.windows))
        return pairs, jnp.mean(slopes, axis=0)

    @jax.jit
    def run():
        pairs = staggered(unroll, THETA, jax.random.split(jax.random.key(1), PAIRS))
        return jax.lax.scan(one, pairs, jax.random.split(jax.random.key(2), rounds + 1))[1]

    return np.asarray(run())[1:]


def smoothed_gradients(truncation: int, deviation: float, count: int) -> np.ndarray:
    """Gradients of the mean loss for new perturbations in every truncated unroll; their mean is the true gradient."""

    def loss(theta: jax.Array, key: jax.Array) -> jax.Array:
        other, draw = jax.random.split(key)
        state, keys = begin(other)
        total = jnp.zeros(())
        for window, noise in enumerate(deviation * jax.random.normal(draw, (STEPS // truncation, 2))):
            now = keys[window * truncation : (window + 1) * truncation]
            state, losses = proceed(theta + noise, state, now)
            total = total + jnp.sum(losses)
        return total / STEPS

    gradient = jax.jit(jax.vmap(jax.grad(loss), in_axes=(None, 0)))
    return np.asarray(gradient(THETA, jax.random.split(jax.random.key(3), count)))


def mean_and_error(samples: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return samples.mean(axis=0), samples.std(axis=0, ddof=1) / len(samples) ** 0.5


def test_the_estimate_is_unbiased() -> None:
    found, error = mean_and_error(estimates(2, 0.1, 40))
    wanted, own = mean_and_error(smoothed_gradients(2, 0.1, 4000))
    bound = 4 * np.hypot(error, own)
    assert np.all(np.abs(found - wanted) < bound)
    assert np.all(bound < 0.25 * np.abs(wanted)), "the bound is narrow enough to see a bias"


@pytest.mark.slow
def test_without_earlier_perturbations_it_would_be_biased() -> None:
    """The same with perturbations of one window only, which is truncated evolution: the bounds above exclude it."""
    unroll = Unroll(begin, proceed, STEPS, 2)

    @jax.jit
    def run(key):
        def window(pairs, key):
            draw, other = jax.random.split(key)
            noise = 0.1 * jax.random.normal(draw, (PAIRS, 2))
            forgetful = pairs._replace(total=jnp.zeros_like(pairs.total))
            found = estimate(unroll, THETA, noise, forgetful, jax.random.split(other, PAIRS))
            return found.pairs, found.slope / 0.1**2

        pairs = staggered(unroll, THETA, jax.random.split(jax.random.key(1), PAIRS))
        return jax.lax.scan(window, pairs, jax.random.split(key, 80))[1][4:]

    found, error = mean_and_error(np.asarray(run(jax.random.key(2))))
    wanted, own = mean_and_error(smoothed_gradients(2, 0.1, 4000))
    assert np.any(np.abs(found - wanted) > 4 * np.hypot(error, own))


def test_one_window_is_plain_evolution(x64: None) -> None:
    unroll, theta = Unroll(begin, proceed, STEPS, STEPS), jnp.asarray(THETA, float)
    noise = 0.1 * jax.random.normal(jax.random.key(4), (5, 2))
    first, second = (jax.random.split(jax.random.key(seed), 5) for seed in (5, 6))

    @jax.jit
    def run(keys) -> Estimate:
        pairs = staggered(unroll, theta, jax.random.split(jax.random.key(9), 5))
        pairs = estimate(unroll, theta, -noise, pairs, first).pairs  # nothing of it may remain
        return estimate(unroll, theta, noise, pairs, keys)

    mean = jax.jit(jax.vmap(lambda theta, key: jnp.mean(proceed(theta, *begin(key))[1])))
    plus, minus = (np.asarray(mean(theta + sign * noise, second)) for sign in (1, -1))
    found = run(second)
    wanted = np.mean((plus - minus)[:, None] * np.asarray(noise) / 2, axis=0)
    np.testing.assert_allclose(found.slope, wanted, rtol=1e-12)
    np.testing.assert_allclose(found.loss, np.mean([plus, minus]), rtol=1e-12)


def test_windows_continue_and_begin_again() -> None:
    """Without noise and with a fixed key, the losses of the windows are the losses of one training."""
    unroll = Unroll(begin, proceed, STEPS, 2)
    keys = jax.random.split(jax.random.key(7), 4)

    @jax.jit
    def run():
        def window(pairs, noise):
            found = estimate(unroll, THETA, noise, pairs, keys)
            return found.pairs, (found.loss, pairs, found.pairs)

        pairs = staggered(unroll, THETA, keys)
        return jax.lax.scan(window, pairs, jnp.zeros((8, 4, 2)).at[:, :, 0].set(1e-3))[1]

    loss, before, after = run()
    np.testing.assert_array_equal(before.window[0], [4, 3, 2, 1])
    np.testing.assert_array_equal(after.window[:, 0], [1, 2, 3, 4, 1, 2, 3, 4])
    np.testing.assert_allclose(after.total[:, 0, 0], 1e-3 * np.array([1, 2, 3, 4, 1, 2, 3, 4]), rtol=1e-5)
    np.testing.assert_allclose(after.states[0][4:, 0], after.states[0][:4, 0], rtol=1e-6)
    assert np.all(after.states[0][3, 0, 0] != after.states[0][3, 0, 1])  # both members have a state of their own
    whole = jax.jit(jax.vmap(lambda key: proceed(THETA, *begin(key))[1]))(keys)
    np.testing.assert_allclose(loss[4:].mean(), whole.mean(), rtol=1e-3)


@pytest.mark.parametrize("bad", [np.nan, 1e9])
def test_diverged_trainings_count_as_their_first_loss(bad: float) -> None:
    def diverge(theta, state, keys):
        return state, jnp.where(jnp.arange(len(keys)) > 0, bad, 2.0)

    unroll = Unroll(begin, diverge, STEPS, 4)
    keys = jax.random.split(jax.random.key(0), 2)
    run = jax.jit(lambda keys: estimate(unroll, THETA, jnp.ones((2, 2)), staggered(unroll, THETA, keys), keys))
    found = run(keys)
    assert float(found.loss) == 2.0
    np.testing.assert_array_equal(found.slope, 0)
