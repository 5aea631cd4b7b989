"""Two neighbors of the paper, on limits of training algorithms with symmetry: quasimetrics, and pointers."""

from __future__ import annotations

import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from scipy.sparse.csgraph import shortest_path

from benchmarks.papers.hardness_2401_01869._graphs import Flat

NODES, DEGREE, LATENTS = 48, 3, 32
POSITIONS, WINDOW = 8, 3


def distances(seed: int) -> np.ndarray:
    """Lengths of shortest paths between the nodes of a random directed graph, `[nodes, nodes]`, at most one."""
    random = np.random.default_rng(seed)
    weights = np.zeros((NODES, NODES))
    for node in range(NODES):
        weights[node, (node + 1) % NODES] = random.random() + 0.5  # a cycle, so that all paths exist
        weights[node, random.choice(NODES, DEGREE, replace=False)] = random.random(DEGREE) + 0.1
    np.fill_diagonal(weights, 0)
    found: np.ndarray = shortest_path(weights)
    scaled: np.ndarray = (found / found.max()).astype(np.float32)
    return scaled


class Quasimetric(nnx.Module):
    r"""The quasimetric \(d(x, y) = \sum_j a_j \max_i \mathrm{relu}(f_{ij}(y) - f_{ij}(x))\) of features of both nodes.

    It satisfies the triangle inequality and need not be symmetric, whatever the features are.
    """

    def __init__(self, rngs: nnx.Rngs) -> None:
        self.features = nnx.Linear(NODES, LATENTS * 4, rngs=rngs)
        self.scale = nnx.Param(jnp.full(4, -3.0))

    def __call__(self, pairs: jax.Array) -> jax.Array:
        """Map one-hot pairs `[batch, 2, nodes]` to `[batch, 1]`."""
        one, two = self.features(pairs).reshape(len(pairs), 2, 4, LATENTS).swapaxes(0, 1)
        parts = jnp.max(jax.nn.relu(two - one), axis=-1)
        return (parts @ jax.nn.softplus(self.scale[...]))[:, None]


def quasimetric(rival: str, rngs: nnx.Rngs) -> Any:
    """Return the network of a rival."""
    return Quasimetric(rngs) if rival == "quasimetric" else Flat(2 * NODES, 256, 1, rngs)


def violation(d: np.ndarray) -> float:
    """Return the largest relative violation of the triangle inequality, d(x, z) / (d(x, y) + d(y, z)) - 1, or zero."""
    through = np.min(d[:, :, None] + d[None, :, :], axis=1)
    return float(max(0.0, np.max(d / np.maximum(through, 1e-9)) - 1))


def pointers(kind: str) -> tuple[np.ndarray, np.ndarray]:
    """All inputs of pointer value retrieval, ±1 `[2^11, 11]`, and the labels.

    Three signs name one of eight positions; the label is the parity, or the majority, of the three values that begin
    there, around a circle.
    """
    signs = np.array(list(itertools.product((-1, 1), repeat=3 + POSITIONS)), np.float32)
    start = ((signs[:, :3] > 0) @ [4, 2, 1]).astype(int)
    places = 3 + (start[:, None] + np.arange(WINDOW)) % POSITIONS
    values = np.take_along_axis(signs, places, axis=1)
    return signs, ((values.prod(1) if kind == "parity" else values.sum(1)) > 0).astype(np.int32)
