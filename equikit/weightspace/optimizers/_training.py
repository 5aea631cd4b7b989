"""Training with an optimizer: problems, and losses during training."""

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
        init: a key to parameters.
        loss: parameters and a key, which draws a batch, to a number.
    """

    init: Callable[[jax.Array], Any]
    loss: Callable[[Any, jax.Array], jax.Array]

    def __post_init__(self) -> None:
        _checks.function("init", self.init, example="lambda key: ...")
        _checks.function("loss", self.loss, arguments=2, example="lambda params, key: ...")


def train(
    optimizer: optax.GradientTransformation, problem: Problem, steps: int, *, key: jax.Array
) -> tuple[Any, jax.Array]:
    """Train from random parameters; may be compiled and mapped.

    Args:
        optimizer: any of optax, or `LearnedOptimizer(...).transformation()`.
        problem: what is minimized.
        steps: of training.
        key: of the parameters and the batches.

    Returns:
        The parameters, and the loss before every step, `[steps]`; where training diverges it is not a number.

    Raises:
        OptionError: if there is no optimizer, problem or key, or the loss is no number.
        OptionError: if the steps are not a whole number.

    Cost: a value, a gradient and an update a step.
    """
    steps = _checks.count("steps", steps, most=2**31 - 1, example=1000)
    _checks.key(key)
    _checks.instance("problem", problem, Problem, "Problem(init, loss)")
    refuse_no_optimizer(optimizer)

    def loss(params: Any, key: jax.Array) -> Any:
        return checked_loss(problem.loss(params, key), "loss(params, key)")

    start, draws = jax.random.split(key)
    params = problem.init(start)

    def step(carry: Any, key: jax.Array) -> tuple[Any, jax.Array]:
        params, state = carry
        value, grads = jax.value_and_grad(loss)(params, key)
        updates, state = optimizer.update(grads, state, params)
        return (optax.apply_updates(params, updates), state), value

    (params, _), losses = jax.lax.scan(step, (params, optimizer.init(params)), jax.random.split(draws, steps))
    return params, losses


def refuse_no_optimizer(optimizer: Any) -> None:
    """Raise `OptionError` unless it is an optax optimizer."""
    if not (callable(getattr(optimizer, "init", None)) and callable(getattr(optimizer, "update", None))):
        learned = callable(getattr(optimizer, "transformation", None))
        raise OptionError(
            "optimizer= is no optimizer of optax",
            got=type(optimizer).__name__ if learned else repr(optimizer)[:80],
            expected="an optax.GradientTransformation",
            step="pass optimizer.transformation()" if learned else "write optimizer=optax.adam(1e-3)",
        )
