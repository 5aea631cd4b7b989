"""Estimate gradients of long unrolls by antithetic evolution strategies that persist between truncations."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp


class Unroll(NamedTuple):
    """A process that depends on the perturbed weights in every step.

    Attributes:
        begin: a function `begin(key)` that returns an initial state and the keys of all steps, `[steps]`.
        proceed: a function `proceed(theta, state, keys)` that returns the state and the losses after a step per key.
        steps: number of steps of a process.
        truncation: number of steps between two estimates; it divides `steps`.
    """

    begin: Callable[[jax.Array], tuple[Any, jax.Array]]
    proceed: Callable[[jax.Array, Any, jax.Array], tuple[Any, jax.Array]]
    steps: int
    truncation: int

    @property
    def windows(self) -> int:
        """The number of truncated unrolls in a process."""
        return self.steps // self.truncation


class Pair(NamedTuple):
    """Two processes with the same key and opposite perturbations; `estimate` takes many, stacked.

    Attributes:
        states: the state of both, `[2, ...]`.
        first: the first loss of both, `[2]`; infinite before it is known.
        total: the sum of the perturbations since the start, `[size]`.
        window: number of truncated unrolls since the start, `[]`.
        key: the key of the process.
    """

    states: Any
    first: jax.Array
    total: jax.Array
    window: jax.Array
    key: jax.Array


class Estimate(NamedTuple):
    """An estimate.

    Attributes:
        slope: the estimated gradient, `[size]`.
        loss: the mean loss of all processes, `[]`.
        pairs: the pairs after the truncated unroll.
    """

    slope: jax.Array
    loss: jax.Array
    pairs: Pair


def staggered(unroll: Unroll, theta: jax.Array, keys: jax.Array) -> Pair:
    """Return a pair per key, at ages that are spread evenly over the windows, with untrained states.

    The first process of each pair is therefore shorter than the others; the first pair starts a new one at once.
    """
    count = len(keys)

    def one(number: jax.Array, key: jax.Array) -> Pair:
        fresh, _ = _fresh(unroll, theta, key)
        return fresh._replace(window=unroll.windows - number * unroll.windows // count)

    return jax.vmap(one)(jnp.arange(count), keys)


def estimate(unroll: Unroll, theta: jax.Array, noise: jax.Array, pairs: Pair, keys: jax.Array) -> Estimate:
    r"""Continue all pairs by a truncated unroll, and estimate the gradient of the mean loss of a process.

    With the mean losses \(L_i^\pm\) of the window, the estimate is the mean over pairs of
    \((L_i^+ - L_i^-)\, \xi_i / (2 \sigma^2)\), where \(\xi_i\) is the sum of all perturbations since the start of the
    process. Pairs at the end of their process begin a new one with their entry of `keys`.

    Args:
        unroll: the process.
        theta: the weights, `[size]`.
        noise: the perturbations of the positive members, `[pairs, size]`, not divided by their deviation.
        pairs: from `staggered` or the previous estimate.
        keys: a key per pair for new processes.

    Returns:
        The estimate, to be divided by the variance of the noise.
    """

    def one(noise: jax.Array, pair: Pair, key: jax.Array) -> tuple[jax.Array, jax.Array, Pair]:
        ended = pair.window == unroll.windows
        fresh, draws = _fresh(unroll, theta, jnp.where(ended, key, pair.key))
        pair = jax.tree.map(lambda new, old: jnp.where(ended, new, old), fresh, pair)
        now = jax.lax.dynamic_slice_in_dim(draws, pair.window * unroll.truncation, unroll.truncation)
        both = jnp.stack([theta + noise, theta - noise])
        states, losses = jax.vmap(unroll.proceed, in_axes=(0, 0, None))(both, pair.states, now)
        first = jnp.where(jnp.isinf(pair.first), losses[:, 0], pair.first)
        # A loss that is NaN, or above the first one, counts as the first one: diverged runs would dominate the mean.
        means = jnp.mean(jnp.where(losses < first[:, None], losses, first[:, None]), axis=1)
        total = pair.total + noise
        return (means[0] - means[1]) / 2 * total, means, Pair(states, first, total, pair.window + 1, pair.key)

    slopes, means, pairs = jax.vmap(one)(noise, pairs, keys)
    return Estimate(jnp.mean(slopes, axis=0), jnp.mean(means), pairs)


def _fresh(unroll: Unroll, theta: jax.Array, key: jax.Array) -> tuple[Pair, jax.Array]:
    """Return a pair that has not begun, and the keys of its steps."""
    state, draws = unroll.begin(key)
    both = jax.tree.map(lambda leaf: jnp.stack([leaf, leaf]), state)
    none = jnp.full(2, jnp.inf, theta.dtype)
    return Pair(both, none, jnp.zeros_like(theta), jnp.zeros((), jnp.int32), key), draws
