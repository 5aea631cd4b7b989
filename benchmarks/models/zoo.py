"""The networks of the zoos, as pure functions of their parameters: sines, images, perceptrons, convolutions, GRUs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

Params = dict[str, jax.Array]
Activation = Callable[[jax.Array], jax.Array]
PIXELS, CLASSES = 8, 10
SINE = (-2.3889859e-8, 2.7525562e-6, -1.9840874e-4, 8.3333310e-3, -0.16666667, 1.0)
"""Coefficients of x, x³, x⁵, ..., the last first."""


@dataclass(frozen=True)
class Model:
    """A network.

    Attributes:
        init: a key and a factor on the standard deviations of the weights, to parameters.
        apply: parameters and inputs to outputs, as it is traced.
        train: the same in another way, which is faster for many networks at once.
        example: an input.
    """

    init: Callable[[jax.Array, jax.Array | float], Params]
    apply: Callable[[Params, jax.Array], jax.Array]
    train: Callable[[Params, jax.Array], jax.Array]
    example: jax.Array


def siren(sizes: Sequence[int], first: float = 10.0, hidden: float = 10.0) -> Model:
    """Sines of linear maps; initial weights after Sitzmann et al., arXiv:2006.09661."""

    def init(key: jax.Array, scale: jax.Array | float) -> Params:
        params: Params = {}
        for number, (a, b) in enumerate(pairwise(sizes)):
            one, two = jax.random.split(jax.random.fold_in(key, number))
            bound = 1 / a if number == 0 else (6 / a) ** 0.5 / hidden
            params[f"w{number}"] = scale * jax.random.uniform(one, (a, b), minval=-bound, maxval=bound)
            params[f"b{number}"] = jax.random.uniform(two, (b,), minval=-(a**-0.5), maxval=a**-0.5)
        return params

    def run(sine: Callable[[jax.Array], jax.Array]) -> Callable[[Params, jax.Array], jax.Array]:
        def apply(params: Params, x: jax.Array) -> jax.Array:
            for number in range(len(sizes) - 1):
                x = x @ params[f"w{number}"] + params[f"b{number}"]
                if number < len(sizes) - 2:
                    x = sine((first if number == 0 else hidden) * x)
            return x

        return apply

    return Model(init, run(jnp.sin), run(_sine), jnp.zeros((5, sizes[0])))


def _sine(x: jax.Array) -> jax.Array:
    """Return the sine to 2e-6 by a polynomial on [-π/2, π/2]; on CPUs XLA's takes ten times as long.

    The derivative is the derivative of the polynomial, without a cosine.
    """
    turns = jax.lax.stop_gradient(jnp.round(x / np.pi))
    sign = 1 - 2 * (turns - 2 * jnp.floor(turns / 2))
    y = x - np.float32(np.pi) * turns
    square, series = y * y, jnp.zeros_like(y)
    for coefficient in SINE:
        series = series * square + coefficient
    return sign * y * series


def perceptron(sizes: Sequence[int], activation: Activation = jax.nn.relu) -> Model:
    """Dense layers with a nonlinearity between."""

    def init(key: jax.Array, scale: jax.Array | float) -> Params:
        params: Params = {}
        for number, (a, b) in enumerate(pairwise(sizes)):
            params[f"w{number}"] = scale * normal(jax.random.fold_in(key, number), (a, b), a)
            params[f"b{number}"] = jnp.zeros(b)
        return params

    def apply(params: Params, x: jax.Array) -> jax.Array:
        for number in range(len(sizes) - 1):
            x = x @ params[f"w{number}"] + params[f"b{number}"]
            x = activation(x) if number < len(sizes) - 2 else x
        return x

    return Model(init, apply, apply, jnp.zeros((5, sizes[0])))


def convolutional(channels: Sequence[int], activation: Activation = jax.nn.relu) -> Model:
    """3 × 3 convolutions on images of 8 × 8 pixels, all but the first with stride 2; a mean, and a dense layer."""
    layers = list(pairwise((1, *channels)))

    def init(key: jax.Array, scale: jax.Array | float) -> Params:
        params: Params = {}
        for number, (a, b) in enumerate(layers):
            params[f"k{number}"] = scale * normal(jax.random.fold_in(key, number), (3, 3, a, b), 9 * a)
            params[f"b{number}"] = jnp.zeros(b)
        params["w"] = scale * normal(jax.random.fold_in(key, len(layers)), (channels[-1], CLASSES), channels[-1])
        params["b"] = jnp.zeros(CLASSES)
        return params

    def run(convolve: Callable[..., jax.Array]) -> Callable[[Params, jax.Array], jax.Array]:
        def apply(params: Params, x: jax.Array) -> jax.Array:
            x = x[..., None]
            for number in range(len(layers)):
                stride = 1 if number == 0 else 2
                x = activation(convolve(x, params[f"k{number}"], stride) + params[f"b{number}"])
            return jnp.mean(x, axis=(1, 2)) @ params["w"] + params["b"]

        return apply

    return Model(init, run(convolution), run(patches), jnp.zeros((5, PIXELS, PIXELS)))


def convolution(x: jax.Array, kernel: jax.Array, stride: int = 1) -> jax.Array:
    """A convolution with padding: only the stride makes images smaller."""
    numbers = ("NHWC", "HWIO", "NHWC")
    return jax.lax.conv_general_dilated(x, kernel, (stride, stride), [(1, 1)] * 2, dimension_numbers=numbers)


def patches(x: jax.Array, kernel: jax.Array, stride: int = 1) -> jax.Array:
    """Compute the convolution as a matrix product; XLA makes a single one for many kernels at once."""
    size = x.shape[1]
    padded = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    moved = [padded[:, i : i + size : stride, j : j + size : stride] for i in range(3) for j in range(3)]
    return jnp.concatenate(moved, axis=-1) @ kernel.reshape(-1, kernel.shape[-1])


def gru(hidden: int) -> Model:
    """A gated recurrent unit that reads an image row by row; its last state is classified."""

    def init(key: jax.Array, scale: jax.Array | float) -> Params:
        one, two, three = jax.random.split(key, 3)
        return {
            "input": scale * normal(one, (PIXELS, 3 * hidden), PIXELS),
            "recurrent": scale * normal(two, (hidden, 3 * hidden), hidden),
            "bias": jnp.zeros(3 * hidden),
            "w": scale * normal(three, (hidden, CLASSES), hidden),
            "b": jnp.zeros(CLASSES),
        }

    def apply(params: Params, x: jax.Array) -> jax.Array:
        rows = jnp.moveaxis(x @ params["input"] + params["bias"], 1, 0)

        def step(h: jax.Array, row: jax.Array) -> tuple[jax.Array, None]:
            z, r, n = jnp.split(row, 3, axis=-1)
            uz, ur, un = jnp.split(h @ params["recurrent"], 3, axis=-1)
            z, n = jax.nn.sigmoid(z + uz), jnp.tanh(n + jax.nn.sigmoid(r + ur) * un)
            return (1 - z) * n + z * h, None

        h, _ = jax.lax.scan(step, jnp.zeros((x.shape[0], hidden), x.dtype), rows)
        return h @ params["w"] + params["b"]

    return Model(init, apply, apply, jnp.zeros((5, PIXELS, PIXELS)))


def normal(key: jax.Array, shape: tuple[int, ...], fan_in: int) -> Any:
    """Weights of He et al., arXiv:1502.01852."""
    return jax.random.normal(key, shape) * (2 / fan_in) ** 0.5
