"""Random graphs whose label depends on the degrees of their nodes, and networks that read them."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

import equikit as ek
from benchmarks.models.networks import Perceptron


def graphs(n: int, count: int, seed: int) -> np.ndarray:
    """Adjacency matrices `[count, n, n]` of random graphs, whose edges are there with probability one half."""
    upper = np.triu(np.random.default_rng(seed).random((count, n, n)) < 0.5, 1)
    return (upper | upper.swapaxes(1, 2)).astype(np.float32)


def labels(kind: str, adjacency: np.ndarray, seed: int) -> np.ndarray:
    """Label graphs by the number of nodes whose degree is in a hidden set S, int32 `[count]`.

    *parity*: whether the number is odd. *threshold*: whether it is above its median.
    S has each degree with probability one half. It is drawn again until both parities have at least a third of the
    graphs: some sets have a parity that is known beforehand, since the number of nodes of odd degree is even.
    """
    n, random = adjacency.shape[1], np.random.default_rng(seed + 10_000)
    degrees, odd = adjacency.sum(-1).astype(int), np.zeros(len(adjacency))
    while not 1 / 3 <= np.mean(odd) <= 2 / 3:
        chosen = np.less(random.random(n), 0.5)
        number = chosen[degrees].sum(-1)
        odd = number % 2
    label: np.ndarray = np.asarray(odd if kind == "parity" else number > np.median(number), np.int32)
    return label


class MessagePassing(nnx.Module):
    """One layer of messages on one-hot degrees, a sum over nodes, and a perceptron: it can represent the parity.

    Args:
        n: nodes.
        width: hidden features.
        scaled: whether the sum over neighbors is divided by n.
        rngs: random keys.
    """

    def __init__(self, n: int, width: int, scaled: bool, rngs: nnx.Rngs) -> None:
        self.n, self.scale = n, 1 / n if scaled else 1.0
        self.own, self.sent = (nnx.Linear(n, width, use_bias=own, rngs=rngs) for own in (True, False))
        self.pool = ek.nn.Pool("p", how="sum", p=ek.S)
        self.head = Perceptron([width, width, width, 2], rngs, jax.nn.relu)

    def __call__(self, adjacency: jax.Array) -> jax.Array:
        """Map graphs `[batch, n, n]` to scores `[batch, 2]`."""
        degrees = jax.nn.one_hot(jnp.sum(adjacency, -1), self.n)
        nodes = jax.nn.relu(self.own(degrees) + self.scale * (adjacency @ self.sent(degrees)))
        return self.head(self.pool(nodes))


class Flat(nnx.Module):
    """A perceptron on all entries of an array, without symmetry."""

    def __init__(self, inputs: int, width: int, outputs: int, rngs: nnx.Rngs) -> None:
        self.network = Perceptron([inputs, width, width, outputs], rngs, jax.nn.relu)

    def __call__(self, x: Any) -> jax.Array:
        """Map `[batch, ...]` to `[batch, outputs]`."""
        return self.network(x.reshape(len(x), -1))
