"""Small models in double precision, invariant under different groups, and inputs for them."""

import jax.numpy as jnp
import numpy as np

RNG = np.random.default_rng(0)
FIRST, SECOND, LAST = (RNG.normal(size=shape) for shape in ((2, 4), (2, 4), (4, 3)))
PLACES = RNG.normal(size=(6, 2))
TARGETS = np.array([0, 2, 1])


def inputs(*shape):
    return np.random.default_rng(1).normal(size=(3, *shape))


def of_points(x):
    """Hidden values, one row for each entry of the axis: equivariant under permutations."""
    return jnp.tanh(2 * x @ FIRST + jnp.mean(x, axis=0) @ SECOND)


def of_set(x):
    """Scores of three classes, invariant under permutations."""
    return jnp.mean(of_points(x), axis=0) @ LAST


def of_neighbors(x):
    return jnp.tanh(x @ FIRST + jnp.roll(x, 1, axis=0) @ SECOND)


def of_cycle(x):
    """Invariant under cyclic shifts, and not under other permutations."""
    return jnp.mean(of_neighbors(x) ** 2, axis=0) @ LAST


def broken(x):
    """Not invariant: entries have places."""
    return of_set(x + 2 * PLACES[: len(x)])


def of_lengths(x):
    """Invariant under orthogonal matrices on the axis of `[n, channels]`."""
    return jnp.tanh(x.T @ x).reshape(-1) @ jnp.array([1.0, 2.0, 2.0, -1.0])


def of_intervals(x):
    """Invariant under Lorentz transformations of `[4, channels]`."""
    return jnp.tanh(jnp.sum(x * jnp.array([1.0, -1.0, -1.0, -1.0])[:, None] * x))
