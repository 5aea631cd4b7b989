"""The rivals without symmetrization: a network as it is, and trained on moved batches."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import nnx

from benchmarks.core.fitting import Apply, Rows
from benchmarks.core.trained import Rival
from benchmarks.models.networks import ImageNetwork, ParticleNetwork, Perceptron
from benchmarks.models.perceptron import perceptron


def particle_network(seed: int) -> ParticleNetwork:
    """Messages between charges, 4 rounds of width 64."""
    return ParticleNetwork(nnx.Rngs(seed))


def apply_to_particles(module: ParticleNetwork, inputs: Rows, key: jax.Array) -> jax.Array:
    """Charges, positions and velocities to later positions."""
    charges, x, v = inputs
    return module(charges, x, v)


def inertia_network(seed: int) -> Perceptron:
    """The perceptron that all tasks on vectors share."""
    return perceptron(20, 9, seed)


def apply_to_bodies(module: Perceptron, inputs: Rows, key: jax.Array) -> jax.Array:
    """Masses `[N, 5]` and positions `[N, 5, 3]` to matrices `[N, 3, 3]`."""
    masses, x = inputs
    return module(jnp.concatenate([masses, x.reshape(len(x), -1)], axis=-1)).reshape(-1, 3, 3)


def scattering_network(seed: int) -> Perceptron:
    """The perceptron that all tasks on vectors share."""
    return perceptron(16, 1, seed)


def apply_to_momenta(module: Perceptron, inputs: Rows, key: jax.Array) -> jax.Array:
    """Momenta `[N, 4, 4]` to numbers `[N]`; momenta are drawn at a quarter of the unit in which the network learns."""
    return module(4 * inputs.reshape(len(inputs), -1))[:, 0]


def image_network(seed: int) -> ImageNetwork:
    """Two convolutions and a hidden layer."""
    return ImageNetwork(nnx.Rngs(seed))


def apply_to_images(module: ImageNetwork, inputs: Rows, key: jax.Array) -> jax.Array:
    """Images `[N, 8, 8]` to scores `[N, 10]`."""
    return module(inputs)


def cloud_network(seed: int) -> Perceptron:
    """Hidden layers of 150, 100 and 50."""
    return Perceptron([100, 150, 100, 50, 10], nnx.Rngs(seed), jax.nn.relu)


def apply_to_clouds(module: Perceptron, inputs: Rows, key: jax.Array) -> jax.Array:
    """Clouds `[N, 50, 2]` to scores `[N, 10]`."""
    return module(inputs.reshape(len(inputs), -1))


class StraightLine(nnx.Module):
    """x + t v, with one parameter."""

    def __init__(self) -> None:
        self.time = nnx.Param(jnp.ones(()))

    def __call__(self, x: jax.Array, v: jax.Array) -> jax.Array:
        """Positions and velocities to later positions."""
        return x + self.time[...] * v


BACKBONES: dict[str, tuple[Callable[[int], nnx.Module], Apply]] = {
    "n-body": (particle_network, apply_to_particles),
    "inertia": (inertia_network, apply_to_bodies),
    "scattering": (scattering_network, apply_to_momenta),
    "digits": (image_network, apply_to_images),
    "digit clouds": (cloud_network, apply_to_clouds),
}


def straight_line(task: str, seed: int) -> Rival:
    """Charges move at constant velocity, for a time that is trained."""
    return Rival(StraightLine(), lambda module, inputs, key: module(*inputs[1:]))


def bare(task: str, seed: int) -> Rival:
    """The network of a task as it is."""
    make, apply = BACKBONES[task]
    return Rival(make(seed), apply)


def augmented(task: str, seed: int) -> Rival:
    """The same, every row of every batch moved by a random element."""
    make, apply = BACKBONES[task]
    return Rival(make(seed), apply, augmented=True)
