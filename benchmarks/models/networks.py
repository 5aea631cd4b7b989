"""The networks without symmetry that are symmetrized, and the random elements that move their batches."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from flax import nnx

Activation = Callable[[jax.Array], jax.Array]
LECUN = nnx.initializers.lecun_normal()


class Perceptron(nnx.Module):
    """A multilayer perceptron.

    Args:
        widths: of the input, the hidden layers and the output.
        rngs: of the weights.
        activation: after every layer but the last.
        init: of the matrices.
        norm: whether there is a layer norm before every activation.
    """

    def __init__(
        self,
        widths: Sequence[int],
        rngs: nnx.Rngs,
        activation: Activation = jax.nn.silu,
        init: nnx.Initializer = LECUN,
        norm: bool = False,
    ) -> None:
        pairs = itertools.pairwise(widths)
        self.layers = nnx.List([nnx.Linear(a, b, kernel_init=init, rngs=rngs) for a, b in pairs])
        self.norms = nnx.List([nnx.LayerNorm(width, rngs=rngs) for width in widths[1:-1]] if norm else [])
        self.activation = activation

    def __call__(self, x: jax.Array) -> jax.Array:
        """Map `[..., widths[0]]` to `[..., widths[-1]]`."""
        for number, layer in enumerate(self.layers[:-1]):
            x = layer(x)
            x = self.activation(self.norms[number](x) if self.norms else x)
        return self.layers[-1](x)


class Message(nnx.Module):
    """One round of messages between all points of a cloud.

    The first layer on a pair is linear in its two nodes, so that it is applied to nodes and added up for pairs.
    """

    def __init__(self, width: int, edges: int, rngs: nnx.Rngs) -> None:
        self.sender = nnx.Linear(width, width, use_bias=False, rngs=rngs)
        self.receiver = nnx.Linear(width, width, rngs=rngs)
        self.edge = nnx.Linear(edges, width, use_bias=False, rngs=rngs)
        self.message = nnx.Linear(width, width, rngs=rngs)
        self.update = Perceptron([2 * width, width, width], rngs)

    def __call__(self, h: jax.Array, edges: jax.Array) -> jax.Array:
        """Map nodes `[..., p, width]` and edges `[..., p, p, features]` to nodes."""
        pairs = self.receiver(h)[..., :, None, :] + self.sender(h)[..., None, :, :] + self.edge(edges)
        messages = jax.nn.silu(self.message(jax.nn.silu(pairs)))
        others = 1 - jnp.eye(h.shape[-2], dtype=h.dtype)
        received = jnp.einsum("ij,...ijc->...ic", others, messages)
        return h + self.update(jnp.concatenate([h, received], axis=-1))


class ParticleNetwork(nnx.Module):
    """Message passing between charges, which sees coordinates: it commutes with permutations and translations alone.

    It predicts what x + v, a straight line for one unit of time, leaves over.
    """

    def __init__(self, rngs: nnx.Rngs, width: int = 64, rounds: int = 4) -> None:
        self.embed = nnx.Linear(7, width, rngs=rngs)
        self.rounds = nnx.List([Message(width, 5, rngs) for _ in range(rounds)])
        self.read = Perceptron([width, width, 3], rngs)
        last = self.read.layers[-1].kernel
        last[...] = jnp.zeros_like(last[...])  # it begins with the straight line

    def __call__(self, charges: jax.Array, x: jax.Array, v: jax.Array) -> jax.Array:
        """Map charges `[..., p]`, positions and velocities `[..., p, 3]` to later positions `[..., p, 3]`."""
        centered = x - x.mean(axis=-2, keepdims=True)
        h = self.embed(jnp.concatenate([centered, v, charges[..., None]], axis=-1))
        between = x[..., :, None, :] - x[..., None, :, :]
        squared = jnp.sum(between**2, axis=-1, keepdims=True)
        products = (charges[..., :, None] * charges[..., None, :])[..., None]
        # With the squared distance, far particles would have larger features than near ones.
        edges = jnp.concatenate([products, jnp.log(squared + 0.1), between / jnp.sqrt(squared + 0.1)], axis=-1)
        for one in self.rounds:
            h = one(h, edges)
        return x + v + self.read(h)


class ImageNetwork(nnx.Module):
    """A small convolutional network for images of 8 × 8 pixels."""

    def __init__(self, rngs: nnx.Rngs, width: int = 16, classes: int = 10) -> None:
        self.first = nnx.Conv(1, width, (3, 3), rngs=rngs)
        self.second = nnx.Conv(width, 2 * width, (3, 3), strides=(2, 2), rngs=rngs)
        self.read = Perceptron([2 * width * 16, 64, classes], rngs, jax.nn.relu)

    def __call__(self, images: jax.Array) -> jax.Array:
        """Map images `[N, 8, 8]` to scores `[N, classes]`."""
        h = jax.nn.relu(self.first(images[..., None]))
        h = jax.nn.relu(self.second(h))
        return self.read(h.reshape(len(images), -1))


def random_orthogonal(key: jax.Array, count: int) -> jax.Array:
    """Elements `[count, 3, 3]` of O(3) from the Haar distribution: unit quaternions, and the inversion with a coin."""
    turn, coin = jax.random.split(key)
    q = jax.random.normal(turn, (count, 4))
    w, x, y, z = jnp.moveaxis(q / jnp.linalg.norm(q, axis=1, keepdims=True), 1, 0)
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ]
    turns = jnp.stack([jnp.stack(row, axis=-1) for row in rows], axis=-2)
    return turns * jax.random.rademacher(coin, (count, 1, 1), turns.dtype)
