"""Networks on sets: sums of features, equivariant layers, recurrent rivals, and kernel means."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from scipy.spatial.distance import cdist, pdist

import equikit as ek
from benchmarks.models.networks import Activation, Perceptron

SCALE = 10.0
"""The unit of sums of digits, in which networks compute them."""


class SumNetwork(nnx.Module):
    r"""The network \(\rho(\sum_i \phi(x_i))\).

    Args:
        phi, rho: widths of both perceptrons.
        activation: after every layer of φ, and between the layers of ρ.
        how: `"sum"`, or `"mean"` for bags of one size.
        rngs: random keys.
    """

    def __init__(
        self, phi: Sequence[int], rho: Sequence[int], activation: Activation, how: str, rngs: nnx.Rngs
    ) -> None:
        self.phi, self.rho = Perceptron(phi, rngs, activation), Perceptron(rho, rngs, activation)
        self.pool = ek.nn.Pool("p", how=how, p=ek.S)  # type: ignore[arg-type]
        self.activation = activation

    def __call__(self, x: jax.Array, lengths: jax.Array | None = None) -> jax.Array:
        """Map sets `[batch, n, features]` with `lengths` points each to `[batch]`."""
        mask = None if lengths is None else jnp.arange(x.shape[1]) < lengths[:, None]
        return self.rho(self.pool(self.activation(self.phi(x)), mask=mask))[..., 0]


class Recurrent(nnx.Module):
    """A GRU or an LSTM that reads features of one point after another.

    Args:
        widths: of the perceptron that is applied to each point first.
        cell: of the recurrent layer.
        state, head: its width, and the hidden layer of the head.
        rngs: random keys.
    """

    def __init__(self, widths: Sequence[int], cell: str, state: int, head: Sequence[int], rngs: nnx.Rngs) -> None:
        self.features = Perceptron(widths, rngs, jnp.tanh)
        kind = {"GRU": nnx.GRUCell, "LSTM": nnx.OptimizedLSTMCell}[cell]
        self.state, self.step = state, kind(widths[-1], state, rngs=rngs)
        self.head = Perceptron([state, *head, 1], rngs, jnp.tanh)
        self.cell = cell

    def __call__(self, x: jax.Array, lengths: jax.Array | None = None) -> jax.Array:
        """Map sequences `[batch, n, features]` of the given lengths to `[batch]`."""
        zero = jnp.zeros((len(x), self.state))
        start = (zero, zero) if self.cell == "LSTM" else zero

        def read(carry: Any, place: tuple[jax.Array, jax.Array]) -> tuple[Any, None]:
            number, point = place
            there = True if lengths is None else number < lengths[:, None]
            return jax.tree.map(lambda new, old: jnp.where(there, new, old), self.step(carry, point)[0], carry), None

        points = jnp.tanh(self.features(x)).swapaxes(0, 1)
        carry, _ = jax.lax.scan(read, start, (jnp.arange(len(points)), points))
        state: Any = carry
        return self.head(state[1] if self.cell == "LSTM" else state)[..., 0]


class Alone(nnx.Module):
    """A perceptron for each point that sees no other: what remains of `ek.nn.DeepSets` without its sums."""

    def __init__(self, widths: Sequence[int], rngs: nnx.Rngs) -> None:
        self.points = Perceptron(widths, rngs, jax.nn.relu)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Map `[batch, n, features]` to `[batch, n, 1]`."""
        return self.points(x)


class Expansion(nnx.Module):
    r"""The score \(\rho(\phi(x), \sum_i \phi(x_i))\) of a point x for a set, as in the authors' code.

    Args:
        phi, rho: widths of both perceptrons; the second one takes twice the features.
        rngs: random keys.
    """

    def __init__(self, phi: Sequence[int], rho: Sequence[int], rngs: nnx.Rngs) -> None:
        self.phi, self.rho = Perceptron(phi, rngs, jax.nn.relu), Perceptron(rho, rngs, jax.nn.relu)
        self.pool = ek.nn.Pool("p", how="sum", p=ek.S)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Map a set with the point in its last row `[batch, n + 1, features]` to `[batch]`."""
        features = jax.nn.relu(self.phi(x))
        pair = jnp.concatenate([features[:, -1], self.pool(features[:, :-1])], axis=-1)
        return self.rho(pair)[..., 0]


class KernelMean:
    """Kernel ridge regression on bags: a Gaussian kernel of the distance between their means in a feature space.

    The features are random Fourier features of a Gaussian kernel of points. Both widths are medians of distances, times
    factors that are chosen on validation bags, as is the ridge.
    """

    def __init__(self, seed: int, features: int = 128) -> None:
        self.random, self.features = np.random.default_rng(seed), features

    def fit_and_predict(
        self, train: np.ndarray, y: np.ndarray, held: tuple[np.ndarray, np.ndarray], test: np.ndarray
    ) -> np.ndarray:
        """Return the predictions for the test bags `[bags, points, features]`."""
        some = train[:: max(1, len(train) // 32), ::16].reshape(-1, train.shape[-1])
        width = float(np.median(pdist(some)))
        best, found = np.inf, np.zeros(len(test))
        directions = self.random.normal(size=(train.shape[-1], self.features)).astype(np.float32)
        shifts = self.random.uniform(0, 2 * np.pi, self.features).astype(np.float32)
        for factor in (0.5, 1.0, 2.0):
            means = [
                np.cos(bags @ (directions / np.float32(factor * width)) + shifts).mean(1, dtype=np.float64)
                for bags in (train, held[0], test)
            ]
            apart = [cdist(each, means[0], "sqeuclidean") for each in means]
            for scale in (1.0, 10.0, 100.0):
                own, of_held, of_test = (np.exp(-each / (scale * np.median(apart[0]))) for each in apart)
                for ridge in (1e-6, 1e-4, 1e-2):
                    weights = np.linalg.solve(own + ridge * np.eye(len(own)), y - y.mean())
                    error = float(np.mean((of_held @ weights + y.mean() - held[1]) ** 2))
                    if error < best:
                        best, found = error, of_test @ weights + y.mean()
        return found
