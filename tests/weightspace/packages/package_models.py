"""What a model of a package is here, and how its parameters are drawn."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

MODELS: dict[str, Callable[[], Model]] = {}
"""The models of all files, by the names of the functions that build them."""


class Model(NamedTuple):
    """A model as a pure function.

    Attributes:
        apply: `apply(params, *inputs)`.
        params: a tree of floating-point arrays.
        inputs: the example that is traced.
        longer: inputs with longer sequences, larger images or larger graphs, where the model takes them.
    """

    apply: Callable[..., Any]
    params: Any
    inputs: tuple[Any, ...]
    longer: tuple[Any, ...] | None = None


def model(function: Callable[[], Model]) -> Callable[[], Model]:
    MODELS[function.__name__] = function
    return function


def normal(*shape: int, seed: int = 0) -> jax.Array:
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape))


def tokens(length: int) -> jax.Array:
    """Two sequences `[2, length]` of tokens below 13."""
    return jnp.asarray(np.random.default_rng(length).integers(0, 13, (2, length)))


def drawn(params: Any) -> Any:
    """Parameters with random numbers added, those of normalizations too: their initial ones hide mistakes.

    What is added is positive, so that variances stay so.
    """
    generator = np.random.default_rng(0)  # in NumPy, which compiles nothing for every shape

    def move(leaf: jax.Array) -> jax.Array:
        return jnp.asarray(np.asarray(leaf, float) + 0.3 * np.abs(generator.normal(size=leaf.shape)))

    return jax.tree.map(move, params)


def of_nnx(module: Any, call: Callable[..., Any], *rest: Any) -> Model:
    """An NNX module, of which `call(module, *inputs)` is the output."""
    from flax import nnx

    graph, params, others = nnx.split(module, nnx.Param, ...)
    return Model(lambda p, *x: call(nnx.merge(graph, p, others, copy=True), *x), drawn(params), *rest)


def of_linen(module: Any, *rest: Any) -> Model:
    """A Linen module; what it stores in other collections than `params` is constant."""
    variables = jax.jit(module.init)(jax.random.key(0), *rest[0])
    fixed = {name: value for name, value in variables.items() if name not in ("params", "intermediates")}
    return Model(lambda p, *x: module.apply({"params": p, **fixed}, *x), drawn(variables["params"]), *rest)


def of_equinox(module: Any, call: Callable[..., Any], *rest: Any) -> Model:
    """An Equinox module, of which `call(module, *inputs)` is the output."""
    import equinox as eqx

    params, static = eqx.partition(module, eqx.is_inexact_array)
    return Model(lambda p, *x: call(eqx.combine(p, static), *x), drawn(params), *rest)
