"""The compiled parts of a training: a step, an epoch over arrays in memory, and an evaluation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jax.sharding import NamedSharding

from equikit import _checks
from equikit._errors import OptionError, ShapeError

Carry = tuple[Any, Any, Any]
"""The parameters, the other state of the model, and the state of the optimizer."""

_constrained: Callable[..., Any] = jax.lax.with_sharding_constraint  # JAX gives it no type


def row_count(rows: Any) -> int:
    """Return the number of rows of the first array that has rows."""
    return next((int(leaf.shape[0]) for leaf in jax.tree.leaves(rows) if leaf.ndim), 1)


@dataclass(frozen=True, slots=True, eq=False)
class Program:
    """What one training computes.

    Attributes:
        graphdef: the model without its arrays.
        wrt: the filter of the variables that are trained.
        loss: takes the model and a batch, and a key if `keyed`; returns the loss, or the loss and a measure.
        keyed: whether the loss takes a key.
        measured: whether the loss has to return a measure too.
        optimizer: the optimizer of the parameters.
        augment: takes a batch and a key, and returns another batch.
        shared: how each batch is sharded over devices.
    """

    graphdef: Any
    wrt: Any
    loss: Callable[..., Any]
    keyed: bool
    measured: bool
    optimizer: optax.GradientTransformationExtraArgs
    augment: Callable[..., Any] | None
    shared: NamedSharding | None

    def step(self, carry: Carry, batch: Any, key: jax.Array) -> tuple[Carry, jax.Array]:
        """Update the parameters for one batch; also return its measure."""
        params, rest, memory = carry
        turn, draw = jax.random.split(key)
        if self.augment is not None:
            batch = self.augment(batch, key=turn)
            found, got = jax.tree.leaves(batch), _checks.shown(batch)
            _checks.some("arrays in the batch of augment=", found, got=got, step="return the batch from augment")
        if self.shared is not None:
            batch = _constrained(batch, self.shared)

        def value(params: Any) -> tuple[jax.Array, tuple[jax.Array, Any]]:
            model = nnx.merge(self.graphdef, params, rest, copy=True)
            model.train()
            loss, measure = self._values(model, batch, draw)
            parts: Any = nnx.split(model, self.wrt, ...)
            return loss, (measure, parts[2])

        (loss, (measure, rest)), slope = jax.value_and_grad(value, has_aux=True)(params)
        slope = jax.tree.map(jnp.conj, slope)  # the direction of ascent, if parameters are complex
        whole = {"value": loss, "grad": slope, "value_fn": lambda params: value(params)[0]}  # for line searches
        updates, memory = self.optimizer.update(slope, memory, params, **whole)
        measure = jnp.where(jnp.isfinite(loss), measure, jnp.nan)
        return (optax.apply_updates(params, updates), rest, memory), measure

    def epoch(self, carry: Carry, rows: Any, key: jax.Array, batch: int) -> tuple[Carry, jax.Array]:
        """Take one step for each whole batch of the rows in random order; also return the mean of the measure."""
        count = row_count(rows)
        steps = count // batch
        order, draws = jax.random.split(key)
        chosen = jax.random.permutation(order, count)[: steps * batch].reshape(steps, batch)

        def step(carry: Carry, of: tuple[jax.Array, jax.Array]) -> tuple[Carry, jax.Array]:
            return self.step(carry, jax.tree.map(lambda array: array[of[0]], rows), of[1])

        carry, measures = jax.lax.scan(step, carry, (chosen, jax.random.split(draws, steps)))
        return carry, jnp.mean(measures)

    def measure(self, carry: Carry, batch: Any, key: jax.Array) -> jax.Array:
        """Return the measure of a batch in evaluation."""
        model = nnx.merge(self.graphdef, *carry[:2], copy=True)
        model.eval()
        return self._values(model, batch, key)[1]

    def mean_measure(self, carry: Carry, rows: Any, key: jax.Array, batch: int) -> jax.Array:
        """Return the mean of the measure over all rows, in evaluation, one batch at a time."""
        count = row_count(rows)
        whole = count // batch
        head = jax.tree.map(lambda array: array[: whole * batch].reshape(whole, batch, *array.shape[1:]), rows)
        sums = batch * jnp.sum(jax.lax.map(lambda part: self.measure(carry, part, key), head))
        if left := count % batch:
            tail = jax.tree.map(lambda array: array[whole * batch :], rows)
            sums = sums + left * self.measure(carry, tail, key)
        return sums / count

    def _values(self, model: Any, batch: Any, key: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Return the loss, and the measure in the default precision, in which measures are added."""
        found = self.loss(model, batch, key=key) if self.keyed else self.loss(model, batch)
        if self.measured and not isinstance(found, tuple):
            raise OptionError(
                'mode="max" needs a measure: the loss itself is minimized',
                got="a loss= that returns one number",
                expected="a pair of the loss and a measure of which higher is better",
                step="return loss, accuracy",
            )
        pair = found if isinstance(found, tuple) else (found, found)
        real = len(pair) == 2 and all(map(_is_number, pair))
        if not real or not jnp.issubdtype(pair[0].dtype, jnp.floating):
            raise ShapeError(
                "loss= does not return one real number",
                got=_checks.shown(jax.tree.map(lambda value: getattr(value, "aval", value), found)),
                expected="the mean over the batch, or a pair of the loss and a measure",
                step="return jnp.mean(errors)",
            )
        return pair[0], pair[1].astype(jnp.result_type(float))


def _is_number(value: Any) -> bool:
    real = isinstance(value, jax.Array | np.ndarray | np.generic) and not jnp.iscomplexobj(value)
    return real and jnp.shape(value) == ()
