"""Training of one model: Adam with a cosine schedule, compiled once for all sizes of the training set."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax

Augment = Callable[[jax.Array, jax.Array, jax.Array], tuple[jax.Array, jax.Array]]
"""A key, inputs and targets to inputs and targets."""


@dataclass(frozen=True)
class Budget:
    """The budget of every contender.

    Attributes:
        steps: of Adam.
        batch: rows a step, drawn with replacement.
        rate: the highest learning rate; it rises to it over a twentieth of the steps and falls to zero as a cosine.
        checks: how often the error on the validation rows is looked at; the best parameters are kept.
        seconds: of training; a contender whose steps would take longer makes fewer, on a schedule as short.
        prepare: seconds to build a model; one that takes longer is left out.
    """

    steps: int
    batch: int
    rate: float
    checks: int
    seconds: float
    prepare: float


@dataclass(frozen=True)
class Outcome:
    """The result of training: mean squared errors in the units of the given targets, and seconds per step."""

    test: float
    validation: float
    steps: int
    step_seconds: float
    parameters: Any


def rate_at(step: jax.Array, total: jax.Array, highest: float) -> jax.Array:
    """The learning rate of a step."""
    share = step / total
    return highest * jnp.where(share < 0.05, (step + 1) / (0.05 * total), 0.5 * (1 + jnp.cos(jnp.pi * share)))


class Trainer:
    """A compiled training loop.

    Args:
        apply: parameters and inputs to outputs.
        parameters: where training begins.
        train, validation, test: inputs and targets.
        budget: see `Budget`.
        augment: applied to every batch, if given.

    Attributes:
        compile_seconds: to trace and compile all.
    """

    def __init__(
        self,
        apply: Callable[[Any, jax.Array], jax.Array],
        parameters: Any,
        train: tuple[np.ndarray, np.ndarray],
        validation: tuple[np.ndarray, np.ndarray],
        test: tuple[np.ndarray, np.ndarray],
        budget: Budget,
        augment: Augment | None = None,
    ) -> None:
        self.budget = budget
        self.parameters = parameters
        self._train, self._validation, self._test = (tuple(map(jnp.asarray, p)) for p in (train, validation, test))
        optimizer = optax.chain(optax.clip_by_global_norm(1.0), optax.scale_by_adam())

        def loss(p: Any, x: jax.Array, y: jax.Array) -> jax.Array:
            return jnp.mean((apply(p, x) - y) ** 2)

        def step(i: jax.Array, carry: Any, rows: Any, count: Any, total: Any, key: Any) -> Any:
            p, memory = carry
            draw, turn = jax.random.split(jax.random.fold_in(key, i))
            chosen = jax.random.randint(draw, (budget.batch,), 0, count)
            x, y = rows[0][chosen], rows[1][chosen]
            if augment is not None:
                x, y = augment(turn, x, y)
            updates, memory = optimizer.update(jax.grad(loss)(p, x, y), memory)
            rate = rate_at(i, total, budget.rate)
            return optax.apply_updates(p, jax.tree.map(lambda u: -rate * u, updates)), memory

        def run(p: Any, memory: Any, rows: Any, count: Any, total: Any, first: Any, last: Any, key: Any) -> Any:
            return lax.fori_loop(first, last, lambda i, c: step(i, c, rows, count, total, key), (p, memory))

        def error(p: Any, x: jax.Array, y: jax.Array) -> jax.Array:
            parts = max(1, len(x) // 1000)
            x, y = (a.reshape(parts, -1, a.shape[-1]) for a in (x, y))
            return jnp.mean(lax.map(lambda part: loss(p, *part), (x, y)))

        start = time.perf_counter()
        self._memory = optimizer.init(parameters)
        # Parameters come as arrays on the device without weak types, so that every call meets the compiled program.
        self._start = jax.tree.map(jnp.asarray, (parameters, self._memory))
        number, key = jnp.int32(0), jax.random.key(0)
        numbers = (number, number, number, number, key)
        self._run = jax.jit(run).lower(*self._start, self._train, *numbers).compile()
        self._check = jax.jit(error).lower(self._start[0], *self._validation).compile()
        self._final = jax.jit(error).lower(self._start[0], *self._test).compile()
        self.compile_seconds = time.perf_counter() - start

    def _advance(self, state: Any, count: int, total: int, first: int, last: int, key: jax.Array) -> Any:
        numbers = [jnp.int32(number) for number in (count, total, first, last)]
        return jax.block_until_ready(self._run(*state, self._train, *numbers, key))

    def probe(self, count: int, steps: int = 5) -> float:
        """Return seconds per step, from a few steps that are then discarded."""
        self._advance(self._start, count, 100, 0, 1, jax.random.key(0))
        start = time.perf_counter()
        self._advance(self._start, count, 100, 0, steps, jax.random.key(0))
        return (time.perf_counter() - start) / steps

    def fit(self, count: int, seed: int) -> Outcome:
        """Train on the first `count` rows."""
        budget, key = self.budget, jax.random.key(seed)
        total = max(budget.checks, min(budget.steps, int(budget.seconds / self.probe(count))))
        state, best, found, spent = self._start, float("inf"), self._start[0], 0.0
        ends = np.linspace(0, total, budget.checks + 1).astype(int).tolist()
        for first, last in itertools.pairwise(ends):
            start = time.perf_counter()
            state = self._advance(state, count, total, first, last, key)
            spent += time.perf_counter() - start
            error = float(self._check(state[0], *self._validation))
            if error < best:
                best, found = error, state[0]
        test = float(self._final(found, *self._test))
        return Outcome(test, best, total, spent / total, found)
