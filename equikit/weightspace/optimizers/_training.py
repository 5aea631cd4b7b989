"""Training by an optimizer: what is minimised, and the losses on the way."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import optax


@dataclass(frozen=True)
class Problem:
    """What is to be trained.

    Attributes:
        init: a key to parameters.
        loss: parameters and a key, which draws a batch, to a number.
    """

    init: Callable[[jax.Array], Any]
    loss: Callable[[Any, jax.Array], jax.Array]


def train(
    optimizer: optax.GradientTransformation, problem: Problem, steps: int, key: jax.Array
) -> tuple[Any, jax.Array]:
    """Train from random parameters; may be compiled and mapped.

    Args:
        optimizer: any of optax, or `LearnedOptimizer(...).transformation()`.
        problem: what is minimised.
        steps: of training.
        key: of the parameters and the batches.

    Returns:
        The parameters, and the loss before every step, `[steps]`.

    Cost: a value, a gradient and an update a step.
    """
    start, draws = jax.random.split(key)
    params = problem.init(start)

    def step(carry: Any, key: jax.Array) -> tuple[Any, jax.Array]:
        params, state = carry
        loss, grads = jax.value_and_grad(problem.loss)(params, key)
        updates, state = optimizer.update(grads, state, params)
        return (optax.apply_updates(params, updates), state), loss

    (params, _), losses = jax.lax.scan(step, (params, optimizer.init(params)), jax.random.split(draws, steps))
    return params, losses
