"""Training of rivals on a task: whole epochs in one compiled program, one loop for all rivals."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jax import lax

Rows = Any
"""A tree of arrays that have one row an example."""
Apply = Callable[[Any, Rows, jax.Array], jax.Array]
"""Maps a module, rows of inputs and a key to outputs."""
Loss = Callable[[Any, Rows, jax.Array], jax.Array]
"""Maps a module, the rows of a batch and a key to a number."""


@dataclass(frozen=True)
class Recipe:
    """How all rivals of a task are trained.

    Attributes:
        epochs: passes over the training rows, each in an order of its own; the rows that fill no batch are left out.
        batch: rows a step.
        rate: of Adam; it falls to zero as a cosine.
        calls: of the compiled program; a number of epochs that it does not divide is made up to one that it does.
    """

    epochs: int
    batch: int
    rate: float
    calls: int = 10

    @property
    def epochs_a_call(self) -> int:
        """The number of epochs in the compiled program."""
        return -(-self.epochs // self.calls)

    def steps(self, rows: int) -> int:
        """The total number of steps."""
        return self.calls * self.epochs_a_call * (rows // self.batch)


@dataclass(frozen=True)
class Fitted:
    """A module after training.

    Attributes:
        module: with the parameters of the last step.
        seconds: of training, without those to compile.
        compile_seconds: to trace and compile a step.
        losses: the mean over each call of the program.
    """

    module: Any
    seconds: float
    compile_seconds: float
    losses: tuple[float, ...]


def rows_of(tree: Rows) -> int:
    """The number of examples."""
    return int(jax.tree.leaves(tree)[0].shape[0])


def fit(
    module: nnx.Module,
    loss: Loss,
    rows: Rows,
    recipe: Recipe,
    seed: int,
    tell: Callable[[float], None] | None = None,
) -> Fitted:
    """Train a module.

    Args:
        module: left as it is.
        loss: of a module, a batch and a key, which is another one in every step.
        rows: a tree of arrays, one row an example.
        recipe: see `Recipe`.
        seed: of the order of rows and of the keys.
        tell: called with the share that is done.
    """
    static, parameters, *rest = nnx.split(module, nnx.Param, ...)
    rows = jax.tree.map(jnp.asarray, rows)
    count = rows_of(rows)
    batches = count // recipe.batch
    optimizer = optax.adam(optax.cosine_decay_schedule(recipe.rate, recipe.steps(count)))

    def value(p: Any, batch: Rows, key: jax.Array) -> jax.Array:
        return loss(nnx.merge(static, p, *rest), batch, key)

    def step(carry: Any, of: tuple[jax.Array, jax.Array], rows: Rows) -> tuple[Any, jax.Array]:
        (p, memory), (chosen, key) = carry, of
        found, slope = jax.value_and_grad(value)(p, jax.tree.map(lambda a: a[chosen], rows), key)
        updates, memory = optimizer.update(slope, memory, p)
        return (optax.apply_updates(p, updates), memory), found

    def epoch(carry: Any, key: jax.Array, rows: Rows) -> tuple[Any, jax.Array]:
        order, draws = jax.random.split(key)
        chosen = jax.random.permutation(order, count)[: batches * recipe.batch].reshape(batches, recipe.batch)
        return lax.scan(lambda c, of: step(c, of, rows), carry, (chosen, jax.random.split(draws, batches)))

    def run(carry: Any, rows: Rows, key: jax.Array) -> tuple[Any, jax.Array]:
        keys = jax.random.split(key, recipe.epochs_a_call)
        carry, found = lax.scan(lambda c, one: epoch(c, one, rows), carry, keys)
        return carry, jnp.mean(found)

    keys = jax.random.split(jax.random.key(seed), recipe.calls)
    # Without weak types, so that what comes out can go in again.
    carry = jax.tree.map(jnp.asarray, (parameters, optimizer.init(parameters)))
    start = time.perf_counter()
    compiled = jax.jit(run).lower(carry, rows, keys[0]).compile()
    compile_seconds, losses = time.perf_counter() - start, []
    start = time.perf_counter()
    for done, key in enumerate(keys, start=1):
        carry, found = compiled(carry, rows, key)
        losses.append(float(found))
        if tell is not None:
            tell(done / recipe.calls)
    seconds = time.perf_counter() - start
    return Fitted(nnx.merge(static, carry[0], *rest), seconds, compile_seconds, tuple(losses))


def predict(module: nnx.Module, apply: Apply, rows: Rows, seed: int = 0, batch: int = 250) -> np.ndarray:
    """Apply a module to rows, one batch at a time and each with its own key; outputs have one row per example."""
    static, state = nnx.split(module)
    count = rows_of(rows)
    parts = -(-count // batch)

    def cut(a: Any) -> np.ndarray:
        padded = np.asarray(a)[np.arange(parts * batch) % count]  # the first rows fill up the last batch
        return padded.reshape(parts, batch, *padded.shape[1:])

    keys = jax.random.split(jax.random.key(seed), parts)
    found = np.asarray(_predicted(static, apply, state, jax.tree.map(cut, rows), keys))
    return found.reshape(parts * batch, *found.shape[2:])[:count]


@functools.partial(jax.jit, static_argnums=(0, 1))
def _predicted(static: Any, apply: Apply, state: Any, cut: Rows, keys: jax.Array) -> jax.Array:
    """Return the outputs for all batches; a module before and after training shares the program."""
    found: jax.Array = lax.map(lambda of: apply(nnx.merge(static, state), *of), (cut, keys))
    return found
