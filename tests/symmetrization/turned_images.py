"""What the tests of canonical forms of images share: random images, their orbits, networks."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

import equikit as ek
from equikit.symmetrization.canonicalization import GroupConvolution
from equikit.symmetrization.finite._turned import turned

SIZE = 6
PIXELS = {"i": ek.Fixed(SIZE), "j": ek.Fixed(SIZE)}


def images(count, size=SIZE, channels=1, seed=0, dtype=jnp.float32):
    return jnp.asarray(np.random.default_rng(seed).normal(size=(count, size, size, channels)), dtype)


@jax.jit
def spun(matrix, x):
    """Images, whose rows are axis 1, turned by one matrix."""
    return turned(matrix, x, (1, 2))


def orbit(group, x):
    """Every element of the group as a matrix, and the images it makes of x."""
    return [(matrix, spun(jnp.asarray(matrix), x)) for matrix in group.plane_matrices()]


@functools.cache
def network_for(group):
    """One network for all tests that do not change it: its parameters take long to draw."""
    return GroupConvolution(1, group, hidden=(3,), rngs=nnx.Rngs(0))


class NNXNetwork(nnx.Module):
    def __init__(self, rngs):
        self.first = nnx.Conv(1, 4, (3, 3), rngs=rngs)
        self.second = nnx.Linear(4 * SIZE * SIZE, 2, rngs=rngs)

    def __call__(self, x):
        x = nnx.relu(self.first(x))
        return self.second(x.reshape(*x.shape[:-3], -1))
