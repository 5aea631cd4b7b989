"""Train with an optimizer on a problem, and record the losses."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import optax

from equikit import _checks
from equikit._errors import OptionError
from equikit.weightspace.alignment._losses import checked_loss


@dataclass(frozen=True)
class Problem:
    """A training problem.

    Attributes:
        init: a function `init(key)` that returns initial parameters.
        loss: a function `loss(params, key)` that samples a batch with the key and returns a scalar.
    """

    init: Callable[[jax.Array], Any]
    loss: Callable[[Any, jax.Array], jax.Array]

    def __post_init__(self) -> None:
        _checks.function("init", self.init, example="lambda key: ...")
        _checks.function("loss", self.loss, arguments=2, example="lambda params, key: ...")


def train(
    optimizer: optax.GradientTransformation, problem: Problem, steps: int, *, key: jax.Array
) -> tuple[Any, jax.Array]:
    """Train from random initial parameters; works under `jit` and `vmap`.

    Args:
        optimizer: an optax optimizer, or `LearnedOptimizer(...).transformation()`.
        problem: the training problem.
        steps: number of training steps.
        key: JAX key for the initial parameters and the batches.

    Returns:
        The trained parameters, and the loss before every step, `[steps]`; NaN if training diverges.

    Raises:
        OptionError: if the optimizer, the problem or the key is invalid, or the loss is not a real scalar.
        OptionError: if `steps` is not an integer.

    Cost: a loss with its gradient and an update for each step.
    """
    steps = _checks.count("steps", steps, most=2**31 - 1, example=1000)
    _checks.key(key)
    _checks.instance("problem", problem, Problem, "Problem(init, loss)")
    refuse_no_optimizer(optimizer)
    params, keys = start_of(problem, steps, key)
    (params, _), losses = proceed(optimizer, problem, (params, optimizer.init(params)), keys)
    return params, losses


def start_of(problem: Problem, steps: int, key: jax.Array) -> tuple[Any, jax.Array]:
    """Return initial parameters, and the keys of all batches."""
    start, draws = jax.random.split(key)
    return problem.init(start), jax.random.split(draws, steps)


def proceed(
    optimizer: optax.GradientTransformation, problem: Problem, state: tuple[Any, Any], keys: jax.Array
) -> tuple[tuple[Any, Any], jax.Array]:
    """Train for a step per key: from parameters and a state of the optimizer to both afterwards, and the losses."""

    def loss(params: Any, key: jax.Array) -> Any:
        return checked_loss(problem.loss(params, key), "loss(params, key)")

    def step(carry: Any, key: jax.Array) -> tuple[Any, jax.Array]:
        params, state = carry
        value, grads = jax.value_and_grad(loss)(params, key)
        updates, state = optimizer.update(grads, state, params)
        return (optax.apply_updates(params, updates), state), value

    return jax.lax.scan(step, state, keys)


def refuse_no_optimizer(optimizer: Any) -> None:
    """Raise `OptionError` unless `optimizer` is an optax optimizer."""
    if not (callable(getattr(optimizer, "init", None)) and callable(getattr(optimizer, "update", None))):
        learned = callable(getattr(optimizer, "transformation", None))
        raise OptionError(
            "optimizer= is not an optax optimizer",
            got=type(optimizer).__name__ if learned else repr(optimizer)[:80],
            expected="an optax.GradientTransformation",
            step="pass optimizer.transformation()" if learned else "write optimizer=optax.adam(1e-3)",
        )
