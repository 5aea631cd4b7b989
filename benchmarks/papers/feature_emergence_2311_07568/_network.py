"""The network with one hidden layer, its normalized margin, and which feature each neuron has."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from benchmarks.papers.feature_emergence_2311_07568._tasks import Task

ALIVE = 1e-3
"""Share of the largest neuron's norm, to the power, below which a neuron is not counted."""


class Powers(nnx.Module):
    r"""The network \(f(x) = \sum_i w_i (u_i \cdot x)^{\mathrm{power}}\).

    Args:
        task: for its sizes.
        width: hidden neurons.
        regularizer: the power of the norm of each neuron in the penalty.
        rngs: random keys.
    """

    def __init__(self, task: Task, width: int, regularizer: int, rngs: nnx.Rngs) -> None:
        inputs, power = task.inputs.shape[1], task.power
        row = np.linalg.norm(task.inputs[0])
        draw = jax.random.normal(rngs.params(), (inputs + task.classes, width)) / (2 * row)
        self.weights = nnx.Param(draw)
        self.penalty = nnx.Variable(jnp.zeros(()))  # its factor
        self.inputs, self.power, self.regularizer = inputs, power, regularizer

    def __call__(self, x: jax.Array) -> jax.Array:
        weights = self.weights[...]
        scores: jax.Array = (x @ weights[: self.inputs]) ** self.power @ weights[self.inputs :].T
        return scores

    def norms(self, power: int) -> jax.Array:
        """The norm of each neuron, to a power."""
        return jnp.sum(self.weights[...] ** 2, axis=0) ** (power / 2)

    def margin(self, scores: jax.Array, labels: jax.Array) -> jax.Array:
        r"""The least margin over the inputs, over \(\sum_i \|\theta_i\|^{\mathrm{power} + 1}\)."""
        right = jax.nn.one_hot(labels, scores.shape[-1], dtype=bool)
        best = jnp.max(jnp.where(right, -jnp.inf, scores), axis=-1)
        least = jnp.min(jnp.sum(jnp.where(right, scores, 0), axis=-1) - best)
        return least / jnp.sum(self.norms(self.power + 1))


def loss(task: Task):  # type: ignore[no-untyped-def]
    """Return the loss, with the margin over the margin of theory, which is recorded."""

    def of(model: Powers, batch: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        inputs, labels = batch
        scores = model(inputs)
        entropy = jnp.mean(optax.softmax_cross_entropy_with_integer_labels(scores, labels))
        penalty = model.penalty[...] * jnp.sum(model.norms(model.regularizer))
        return entropy + penalty, model.margin(scores, labels) / task.margin

    return of


def shares(task: Task, model: Powers) -> tuple[np.ndarray, np.ndarray]:
    """Return the share of each feature in the square of each neuron's norm, `[features, neurons]`, and their norms."""
    weights = np.asarray(model.weights[...], np.float64)
    squares = np.stack([np.sum((basis @ weights) ** 2, axis=0) for basis in task.features.values()])
    total = np.sum(weights**2, axis=0)
    return squares / total, total ** ((task.power + 1) / 2)


def phases(task: Task, model: Powers, alive: np.ndarray) -> float:
    r"""The mean of \(|\theta_u + \theta_v - \theta_w|\) of the neurons of Z_p, in radians."""
    p = task.classes
    spectra = np.fft.fft(np.asarray(model.weights[...], np.float64).reshape(3, p, -1), axis=1)[:, 1 : (p + 1) // 2]
    first = np.argmax(np.sum(np.abs(spectra) ** 2, axis=0), axis=0)
    u, v, w = spectra[:, first, np.arange(len(first))]
    return float(np.mean(np.abs(np.angle(u * v * np.conj(w)))[alive]))


def scores(task: Task, model: Powers) -> dict[str, float]:
    """Accuracy, margin, and the features of all neurons."""
    out = model(jnp.asarray(task.inputs))
    share, norms = shares(task, model)
    alive = norms > ALIVE * norms.max()
    names = list(task.features)
    kind = np.argmax(share, axis=0)
    useful = [i for i, name in enumerate(names) if name not in task.constant]
    used = sum(bool(np.any(alive & (kind == i))) for i in useful)
    found = {
        "accuracy": float(np.mean(np.argmax(out, axis=-1) == task.labels)),
        "margin over theory": float(model.margin(out, jnp.asarray(task.labels))) / task.margin,
        "features used": used / len(useful),
        "share of one feature": float(np.sum(norms * share.max(axis=0)) / np.sum(norms)),
        "least share": float(np.min(share.max(axis=0)[alive])),
        "share of the constant": float(
            np.sum(norms * share[[names.index(one) for one in task.constant]].sum(0)) / norms.sum()
        ),
        "neurons alive": float(np.sum(alive)),
    }
    if task.name.startswith("Z"):
        found["phase error"] = phases(task, model, alive)
    return found


def limit(margins: list[float]) -> float:
    """Return the limit of the margins of the last three stages, if they approach it as one over the stage does.

    The margin misses its limit by one over the logarithm of the penalty. This is Wynn's rho algorithm.
    """
    one, two, three = margins[-3:]
    if math.isclose(one, two, rel_tol=1e-4) or math.isclose(two, three, rel_tol=1e-4):
        return three  # it has arrived
    return two + 2 / (1 / (three - two) - 1 / (two - one))
