"""The timed functions of a layer: its output, or a loss with its gradients."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from benchmarks.core.harness import Entry
from benchmarks.speed._permutation_rivals import Layer


def half_squares(y: Any) -> jax.Array:
    """Return mean(relu(y)^2), summed over several outputs."""
    return sum((jnp.mean(jax.nn.relu(one) ** 2) for one in jax.tree.leaves(y)), jnp.zeros(()))


def _named(name: str, result: Any) -> dict[str, jax.Array]:
    if isinstance(result, Mapping):
        return {f"{name}, {key}": array for key, array in result.items()}
    return {name: result}


def entry(layer: Layer, x: Any, direction: str, loss: Callable[[Any], jax.Array] = half_squares) -> Entry:
    """Return the function to time: the layer, or a loss and its gradient with respect to weights and input."""
    inputs = layer.enter(x)
    if direction == "forward":
        return Entry(layer.apply, (layer.parameters, inputs), lambda y: _named("output", layer.leave_output(y)))

    def value(parameters: Any, x: Any) -> jax.Array:
        return loss(layer.apply(parameters, x))

    def comparable(result: tuple[jax.Array, tuple[Any, Any]]) -> Mapping[str, jax.Array]:
        value, (by_parameters, by_input) = result
        found = {"loss": value} | _named("gradient by input", layer.leave_input(by_input))
        return found if layer.weights is None else found | _named("gradient by weights", layer.weights(by_parameters))

    return Entry(jax.value_and_grad(value, argnums=(0, 1)), (layer.parameters, inputs), comparable)
