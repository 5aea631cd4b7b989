"""A planted model of power sums, and a Deep Sets student that is trained by gradient flow."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from scipy.integrate import solve_ivp

import equikit as ek
from benchmarks.papers.single_index_2310_02117._power_sums import power_sums

SUPPORT, START, REACHED = 5, 0.1, 0.9
"""Power sums that the planted direction has, the overlap at the start, and the overlap that counts as recovery."""


class Student(nnx.Module):
    r"""Deep Sets: \(f(\sum_m \bar u_m \sum_i \sigma(a_m x_i))\) with \(\sigma(t) = \sum_k t^k / \sqrt k\).

    The first layer a has the roots of unity. The second layer u is trained and normalized. A unitary matrix maps it to
    the direction w in the space of the normalized power sums \(p_k / \sqrt k\), so that gradient flow is the same in
    both.

    Args:
        exponent: of the link function \(f(z) = z^s / \sqrt{s!}\), which is its information exponent.
        direction: w at the start, complex `[support]`.
    """

    def __init__(self, exponent: int, direction: np.ndarray) -> None:
        self.exponent = exponent
        self.pool = ek.nn.Pool("p", how="sum", p=ek.S)
        k = np.arange(1, SUPPORT + 1)
        self.roots = np.exp(2j * np.pi * np.arange(SUPPORT) / SUPPORT).astype(np.complex64)
        self.matrix = (self.roots[None, :].conj() ** k[:, None] / math.sqrt(SUPPORT)).astype(np.complex64)
        self.u = nnx.Param(jnp.asarray(self.matrix.conj().T @ direction, jnp.complex64))

    def features(self, x: jax.Array) -> jax.Array:
        """Map points `[count, n]` to the first layer, summed over points, `[count, support]`."""
        turned = x[..., None] * self.roots
        terms = [turned**k / math.sqrt(k) for k in range(1, SUPPORT + 1)]
        summed: jax.Array = self.pool(sum(terms, start=jnp.zeros_like(turned))) / math.sqrt(SUPPORT)
        return summed

    @property
    def direction(self) -> jax.Array:
        """The direction w, of length one."""
        w = jnp.asarray(self.matrix) @ self.u[...]
        unit: jax.Array = w / jnp.linalg.norm(w)
        return unit

    def __call__(self, features: jax.Array) -> jax.Array:
        """Map the first layer to outputs `[count]`."""
        u = self.u[...] / jnp.linalg.norm(self.u[...])
        return link(features @ u.conj(), self.exponent)


def link(z: jax.Array, exponent: int) -> jax.Array:
    r"""Return \(z^s / \sqrt{s!}\)."""
    return z**exponent / math.sqrt(math.factorial(exponent))


def planted(x: np.ndarray, exponent: int, direction: np.ndarray) -> jax.Array:
    """Return the labels of points, from their power sums."""
    sums = power_sums(x, SUPPORT) / np.sqrt(np.arange(1, SUPPORT + 1))
    return link(jnp.asarray(sums @ direction.conj(), jnp.complex64), exponent)


def directions(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return a random planted direction, and a direction whose overlap with it is the overlap at the start."""
    random = np.random.default_rng(seed + 30_000)
    one, two = random.normal(size=(2, SUPPORT)) + 1j * random.normal(size=(2, SUPPORT))
    one /= np.linalg.norm(one)
    two -= np.vdot(one, two) * one
    return one, START * one + math.sqrt(1 - START**2) * two / np.linalg.norm(two)


def recover(x: np.ndarray, exponent: int, steps: int, rate: float, seed: int) -> np.ndarray:
    r"""Train on all points at once by small steps of gradient descent, and return the overlap after each.

    It is an absolute value: the link function determines w up to an s-th root of unity.
    """
    goal, first = directions(seed)
    student = Student(exponent, first)
    rows = (student.features(jnp.asarray(x)), planted(x, exponent, goal))

    def loss(model: Student, batch: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        features, labels = batch
        overlap = jnp.abs(jnp.vdot(jnp.asarray(goal, jnp.complex64), model.direction))
        return jnp.mean(jnp.abs(model(features) - labels) ** 2), overlap

    key = jax.random.key(seed)
    fitted = ek.train.fit(student, loss, rows, epochs=steps, key=key, optimizer=optax.sgd(rate))
    found: np.ndarray = fitted.losses[:, 0]
    return found


def flow(exponent: int, times: np.ndarray) -> np.ndarray:
    r"""Return the overlap of theory, \(\dot m = 2 s m^{s - 1} (1 - m^2)\), for infinitely many samples."""
    found: np.ndarray = solve_ivp(
        lambda t, m: 2 * exponent * m ** (exponent - 1) * (1 - m**2), (0, times[-1]), [START], t_eval=times, rtol=1e-8
    ).y[0]
    return found


def reached(times: np.ndarray, overlaps: np.ndarray) -> float:
    """Return the first time at which the overlap counts as recovery; infinite if there is none."""
    there = np.flatnonzero(overlaps >= REACHED)
    return float(times[there[0]]) if len(there) else math.inf
