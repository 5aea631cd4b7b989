"""Objectives of teleportation: maximize the gradient norm, or minimize the sharpness."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.flatten_util
import jax.numpy as jnp

Loss = Callable[[Any], jax.Array]
"""A function `loss(params)` that returns a scalar."""
Objective = Callable[[Loss, Any], jax.Array]
"""A function `objective(loss, params)` that returns a scalar, which teleportation maximizes."""

LANCZOS_STEPS = 12
"""Number of Lanczos iterations for the largest eigenvalue of the Hessian."""


def _inner(one: Any, two: Any) -> jax.Array:
    return sum((jnp.vdot(a, b) for a, b in zip(*map(jax.tree.leaves, (one, two)), strict=True)), jnp.zeros(()))


def squared_gradient_norm(loss: Loss, params: Any) -> jax.Array:
    r"""Return \(\|\nabla L\|^2\), the rate at which gradient flow decreases the loss."""
    gradient = jax.grad(loss)(params)
    return _inner(gradient, gradient)


def minus_sharpness(loss: Loss, params: Any) -> jax.Array:
    r"""Return \(-\lambda\), where \(\lambda\) is the largest Hessian eigenvalue after a fixed number of Lanczos steps.

    It is differentiated as \(-v^\top H v\) with a constant eigenvector v, which is exact for a simple eigenvalue.
    """
    flat, back = jax.flatten_util.ravel_pytree(params)
    gradient = jax.grad(lambda flat: loss(back(flat)))

    def times_hessian(flat: jax.Array, vector: jax.Array) -> jax.Array:
        image: jax.Array = jax.jvp(gradient, (flat,), (vector,))[1]
        return image

    def unit(vector: jax.Array) -> jax.Array:
        size = jnp.linalg.norm(vector)
        return jnp.where(size > 0, vector / jnp.where(size > 0, size, 1), 0)

    def step(number: int, state: tuple[jax.Array, jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array, jax.Array]:
        vector, basis, images = state
        image = times_hessian(still, vector)
        basis, images = basis.at[number].set(vector), images.at[number].set(image)
        for _ in range(2):  # orthogonalize twice: once is not enough in finite precision
            image = image - basis.T @ (basis @ image)
        return unit(image), basis, images

    still, count = jax.lax.stop_gradient(flat), min(LANCZOS_STEPS, flat.size)
    start = unit(jax.random.normal(jax.random.key(0), flat.shape, flat.dtype))  # a fixed key: reproducible
    empty = jnp.zeros((count, flat.size), flat.dtype)
    _, basis, images = jax.lax.fori_loop(0, count, step, (start, empty, empty))
    projected = basis @ images.T
    largest = jnp.linalg.eigh((projected + projected.T) / 2)[1][:, -1]
    vector = jax.lax.stop_gradient(largest @ basis)
    found: jax.Array = -jnp.vdot(vector, times_hessian(flat, vector))
    return found


OBJECTIVES: dict[str, Objective] = {"gradient_norm": squared_gradient_norm, "sharpness": minus_sharpness}
