r"""Hard networks on Gaussian inputs, symmetrized or averaged over a frame, and students with the same symmetry."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

import equikit as ek
from benchmarks.papers.hardness_2401_01869._graphs import Flat

ROWS, COLUMNS = 4, 6

Average = Callable[[Any], Any]
"""Maps a function of `[batch, rows, columns]` to an invariant one."""


def averaged(kind: str) -> Average:
    """Return how functions become invariant: a mean over cyclic shifts of the rows, or a frame that sorts the rows."""
    if kind == "symmetrized":
        return lambda f: ek.symmetrize(f, "z -> ", z=ek.Z(ROWS), how=ek.frames.GroupAverage())
    return lambda f: ek.symmetrize(f, "p -> ", p=ek.S(ROWS), how=ek.frames.Sort(on_degenerate="flag"))


def hard(inputs: int, seed: int) -> Callable[[jax.Array], jax.Array]:
    r"""Return a network with one hidden layer that depends on few inputs, by \(2^k\) neurons whose signs cancel.

    \(h(x) = \sum_{w \in \{\pm 1\}^k} \prod_i w_i\, \mathrm{relu}(w \cdot x_S / \sqrt k)\) with a hidden set S of k
    inputs, where k is even.
    All its correlations with polynomials of degree below k are zero.

    Source:
        Goel et al., Superpolynomial lower bounds for learning one-layer neural networks using gradient descent,
        arXiv:2006.12011.
    """
    signs = np.array(list(itertools.product((-1, 1), repeat=inputs)), np.float32)
    weights, product = jnp.asarray(signs.T / np.sqrt(inputs)), jnp.asarray(signs.prod(1))
    hidden = np.random.default_rng(seed + 20_000).choice(ROWS * COLUMNS, inputs, replace=False)

    def network(x: jax.Array) -> jax.Array:
        return (jax.nn.relu(x.reshape(len(x), -1)[:, hidden] @ weights) @ product)[:, None]

    return network


def student(kind: str, rival: str, width: int, rngs: nnx.Rngs) -> Any:
    """Return a wide network with the symmetry of the target, or without."""
    network = Flat(ROWS * COLUMNS, width, 1, rngs)
    return network if rival == "bare" else averaged(kind)(network)


def samples(kind: str, inputs: int, count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Sample inputs `[count, rows, columns]` and targets of variance one and mean zero `[count]`, float32."""
    x = np.random.default_rng(seed).normal(size=(count, ROWS, COLUMNS)).astype(np.float32)
    y = np.asarray(averaged(kind)(hard(inputs, seed))(x))[:, 0]
    return x, (y - y.mean()) / y.std()
