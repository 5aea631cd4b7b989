"""Three losses with continuous symmetries: a regression, a classifier of digits, and a factorization of a matrix."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import optax

from benchmarks.data.digits import digits
from equikit.weightspace import Specification, trace

Params = Any
Data = Any
SLOPE = 0.1
"""Of the leaky ReLU for negative inputs, as in the authors' code."""
IMAGES = 1400
"""Digits to train on; the other 397 are for tests."""


@dataclass(frozen=True)
class Task:
    """A loss, and how it is minimized.

    Attributes:
        make: maps a key to initial parameters and data.
        loss: maps parameters, data and a key for a batch to the loss; without a key, on all data.
        spec: the symmetry of the parameters.
        small: the learning rate of gradient descent that the authors' code uses for this task, or a small one.
        rates: the ends of the grid of learning rates, by optimizer.
        steps: of descent; at the best rates, the factorization converges in 100.
        test: maps parameters to the loss on other data, where there are any.
    """

    make: Callable[[jax.Array], tuple[Params, Data]]
    loss: Callable[[Params, Data, jax.Array | None], jax.Array]
    spec: Specification
    small: float
    rates: dict[str, tuple[float, float]]
    steps: int = 300
    test: Callable[[Params], jax.Array] | None = None


def _perceptron(params: Params, x: jax.Array) -> jax.Array:
    *hidden, last = (params[name] for name in sorted(params))
    for weights in hidden:
        x = jax.nn.leaky_relu(x @ weights, SLOPE)
    scores: jax.Array = x @ last
    return scores


def _product(params: Params, x: jax.Array) -> jax.Array:
    found: jax.Array = x @ params["first"] @ params["second"]
    return found


def regression() -> Task:
    """The authors' multi_layer_regression.py: widths 5, 6, 7, 8, four points; everything uniform from zero to one."""
    shapes = {"w0": (5, 6), "w1": (6, 7), "w2": (7, 8)}

    def make(key: jax.Array) -> tuple[Params, Data]:
        one, two, *keys = jax.random.split(key, 2 + len(shapes))
        params = {name: jax.random.uniform(k, shape) for k, (name, shape) in zip(keys, shapes.items(), strict=True)}
        return params, (jax.random.uniform(one, (4, 5)), jax.random.uniform(two, (4, 8)))

    def loss(params: Params, data: Data, key: jax.Array | None) -> jax.Array:
        return jnp.sum((_perceptron(params, data[0]) - data[1]) ** 2) / 2

    spec = trace(_perceptron, jax.eval_shape(make, jax.random.key(0))[0], jnp.ones((4, 5)))
    return Task(make, loss, spec, 1e-4, {"gradient descent": (1e-5, 1e-2), "AdaGrad": (1e-2, 1.0)})


def classifier() -> Task:
    """A perceptron 64-16-10-10 without biases on digits, in batches of 20; the authors' is 784-16-10-10 on MNIST."""
    found, shapes = digits(0), {"w0": (64, 16), "w1": (16, 10), "w2": (10, 10)}
    x, y = jnp.asarray(found.inputs.reshape(len(found), -1)), jnp.asarray(found.labels)

    def make(key: jax.Array) -> tuple[Params, Data]:
        keys = jax.random.split(key, len(shapes))
        return {
            name: jax.random.uniform(k, shape, minval=-1, maxval=1) / shape[0] ** 0.5
            for k, (name, shape) in zip(keys, shapes.items(), strict=True)
        }, None

    def entropy(params: Params, x: jax.Array, y: jax.Array) -> jax.Array:
        return jnp.mean(optax.softmax_cross_entropy_with_integer_labels(_perceptron(params, x), y))

    def loss(params: Params, data: Data, key: jax.Array | None) -> jax.Array:
        rows = jnp.arange(IMAGES) if key is None else jax.random.randint(key, (20,), 0, IMAGES)
        return entropy(params, x[rows], y[rows])

    spec = trace(_perceptron, jax.eval_shape(make, jax.random.key(0))[0], x[:2])
    rates = {"gradient descent": (1e-2, 2.0), "AdaGrad": (1e-2, 1.0)}
    return Task(make, loss, spec, 1e-2, rates, test=lambda params: entropy(params, x[IMAGES:], y[IMAGES:]))


def factorization() -> Task:
    """A matrix 20 × 20 of rank 5, with noise of a tenth of its size, as a product of two matrices of rank 5."""
    size, rank = 20, 5

    def make(key: jax.Array) -> tuple[Params, Data]:
        keys = jax.random.split(key, 5)
        left, right = (jax.random.normal(k, (size, rank)) for k in keys[:2])
        matrix = left @ right.T / rank**0.5 + jax.random.normal(keys[2], (size, size)) / 10
        first, second = (
            jax.random.normal(k, shape) / 2 for k, shape in zip(keys[3:], ((size, rank), (rank, size)), strict=True)
        )
        return {"first": first, "second": second}, matrix

    def loss(params: Params, data: Data, key: jax.Array | None) -> jax.Array:
        return jnp.sum((params["first"] @ params["second"] - data) ** 2) / (2 * size)

    spec = trace(_product, jax.eval_shape(make, jax.random.key(0))[0], jnp.ones((2, size)))
    return Task(make, loss, spec, 1e-2, {"gradient descent": (3e-2, 3.0), "AdaGrad": (3e-2, 3.0)}, 60)


TASKS: dict[str, Callable[[], Task]] = {
    "regression": regression,
    "digits": classifier,
    "factorization": factorization,
}
