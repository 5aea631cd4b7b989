"""Training and tests of each task."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from benchmarks.core.fitting import Recipe, fit, predict
from benchmarks.papers.hardness_2401_01869 import _graphs as graphs, _neighbors as neighbors, _targets as targets

WIDTH = 64
Scores = dict[str, float]


def _outputs(module: Any, x: jax.Array, key: jax.Array) -> jax.Array:
    found: jax.Array = module(x)
    return found


def _classes(module: Any, rows: Any, key: jax.Array) -> jax.Array:
    return jnp.mean(optax.softmax_cross_entropy_with_integer_labels(module(rows[0]), rows[1]))


def _squares(module: Any, rows: Any, key: jax.Array) -> jax.Array:
    return jnp.mean((module(rows[0])[:, 0] - rows[1]) ** 2)


def _accuracy(module: Any, x: np.ndarray, y: np.ndarray) -> float:
    return float(np.mean(np.argmax(predict(module, _outputs, x), -1) == y))


def classified(network: nnx.Module, x: np.ndarray, y: np.ndarray, train: int, recipe: Recipe, seed: int) -> Scores:
    """Train on the first rows, and test on the others."""
    fitted = fit(network, _classes, (x[:train], y[:train]), recipe, seed)
    return {
        "accuracy": _accuracy(fitted.module, x[train:], y[train:]),
        "accuracy, train": _accuracy(fitted.module, x[:train], y[:train]),
        "share of the larger class": float(max(np.mean(y), 1 - np.mean(y))),
        "seconds": fitted.seconds,
    }


def degrees(kind: str, n: int, rival: str, sizes: tuple[int, int], recipe: Recipe, seed: int) -> Scores:
    """Tell the parity, or whether a threshold is passed, of the number of nodes with a hidden degree."""
    rngs = nnx.Rngs(seed)
    if rival == "bare":
        network: nnx.Module = graphs.Flat(n * n, 4 * WIDTH, 2, rngs)
    else:
        network = graphs.MessagePassing(n, WIDTH, rival == "scaled messages", rngs)
    x = graphs.graphs(n, sum(sizes), seed)
    return classified(network, x, graphs.labels(kind, x, seed), sizes[0], recipe, seed)


def pointer(kind: str, rival: str, recipe: Recipe, seed: int) -> Scores:
    """Learn from half of all inputs to follow a pointer."""
    x, y = neighbors.pointers(kind)
    order = np.random.default_rng(seed).permutation(len(x))
    network = graphs.Flat(x.shape[1], 2 * WIDTH, 2, nnx.Rngs(seed))
    return classified(network, x[order], y[order], len(x) // 2, recipe, seed)


def regressed(kind: str, inputs: int, rival: str, sizes: tuple[int, int], recipe: Recipe, seed: int) -> Scores:
    """Learn a hard network, averaged, by a wide one."""
    x, y = targets.samples(kind, inputs, sum(sizes), seed)
    network = targets.student(kind, rival, 4 * WIDTH, nnx.Rngs(seed))
    fitted = fit(network, _squares, (x[: sizes[0]], y[: sizes[0]]), recipe, seed)
    found = predict(fitted.module, _outputs, x)[:, 0]
    left = [float(np.mean((found - y)[part] ** 2)) for part in (slice(sizes[0], None), slice(0, sizes[0]))]
    return {
        "explained variance": 1 - left[0],
        "explained variance, train": 1 - left[1],
        "seconds": fitted.seconds,
    }


def quasimetric(rival: str, recipe: Recipe, seed: int) -> Scores:
    """Complete the matrix of distances in a directed graph from three tenths of its entries."""
    d = neighbors.distances(seed)
    n = len(d)
    pairs = np.stack(np.divmod(np.arange(n * n), n), 1)
    eye = np.eye(n, dtype=np.float32)
    x, y = eye[pairs], d.ravel()
    order = np.random.default_rng(seed).permutation(n * n)
    train, test = order[: 3 * n * n // 10], order[3 * n * n // 10 :]
    fitted = fit(neighbors.quasimetric(rival, nnx.Rngs(seed)), _squares, (x[train], y[train]), recipe, seed)
    found = predict(fitted.module, _outputs, x)[:, 0]
    return {
        "explained variance": 1 - float(np.mean((found - y)[test] ** 2) / np.var(y[test])),
        "explained variance, train": 1 - float(np.mean((found - y)[train] ** 2) / np.var(y[train])),
        "violation of the triangle": neighbors.violation(found.reshape(n, n)),
        "seconds": fitted.seconds,
    }
