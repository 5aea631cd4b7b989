"""Compile layers of `targets` in a separate process, and print their costs; imports nothing from `benchmarks`.

It therefore runs on any version of equikit on the path. Inputs are abstract, so that no large array is made.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

import equikit as ek
from equikit.plans.targets._compiled import compiled_cost
from equikit.weightspace import Functional, trace

Made = tuple[Callable[..., Any], Any]
"""A module, and its input as a tree of `jax.ShapeDtypeStruct`."""


def array(*shape: int, dtype: Any = jnp.float32) -> jax.ShapeDtypeStruct:
    """An abstract array."""
    return jax.ShapeDtypeStruct(shape, dtype)


def permutations(order: int, n: int, batch: int, channels: int = 32, dtype: Any = jnp.float32) -> Made:
    """The layer of S from `order` axes to `order` axes."""
    side = " ".join("p" * order)
    layer = ek.nn.Linear(
        f"{side} -> {side}", channels, channels, p=ek.S, dtype=dtype, param_dtype=dtype, rngs=nnx.Rngs(0)
    )
    return layer, array(batch, *(n,) * order, channels, dtype=dtype)


def tensors(batch: int, channels: int = 32) -> Made:
    """The layer of O(3) on tensors of order three."""
    layer = ek.nn.Linear("x x x -> x x x", channels, channels, x=ek.O(3), rngs=nnx.Rngs(0))
    return layer, array(batch, 3, 3, 3, channels)


def vectors(n: int, batch: int, channels: int = 32) -> Made:
    """The layer on vectors of points."""
    layer = ek.nn.Linear("p x -> p x", channels, channels, p=ek.S, x=ek.O(3), rngs=nnx.Rngs(0))
    return layer, array(batch, n, 3, channels)


def pairs_and_points(n: int, batch: int, channels: int = 32) -> Made:
    """The layer on features of pairs and of points together."""
    layer = ek.nn.Linear("p p + p -> p p + p", channels, channels, p=ek.S, rngs=nnx.Rngs(0))
    return layer, {"p p": array(batch, n, n, channels), "p": array(batch, n, channels)}


def functional(depth: int, width: int, batch: int, channels: int = 16) -> Made:
    """An invariant network on the weights of perceptrons."""
    params = {f"w{i}": jnp.ones((width, width)) for i in range(depth)}
    params |= {f"b{i}": jnp.ones((width,)) for i in range(depth)}

    def perceptron(params: Any, x: jax.Array) -> jax.Array:
        for i in range(depth):
            x = x @ params[f"w{i}"] + params[f"b{i}"]
            x = jnp.tanh(x) if i + 1 < depth else x
        return x

    spec = trace(perceptron, params, jnp.ones((2, width)))
    network = Functional(spec, [1, channels, channels, 4], out="", rngs=nnx.Rngs(0))
    return network, {name: array(batch, *value.shape) for name, value in params.items()}


def attention(n: int, batch: int) -> Made:
    """Attention between points with scalars and vectors."""
    layer = ek.nn.Attention({"p": 32, "p x": 8}, heads=4, p=ek.S, x=ek.O(3), rngs=nnx.Rngs(0))
    return layer, {"p": array(batch, n, 32), "p x": array(batch, n, 3, 8)}


class _Perceptron(nnx.Module):
    """A perceptron on all coordinates of a cloud."""

    def __init__(self, n: int, width: int) -> None:
        rngs = nnx.Rngs(0)
        self.first, self.second = nnx.Linear(3 * n, width, rngs=rngs), nnx.Linear(width, 3 * n, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Vectors of points."""
        return self.second(jax.nn.relu(self.first(x.reshape(*x.shape[:-2], -1)))).reshape(x.shape)


def frame(n: int, batch: int, width: int = 256) -> Made:
    """A perceptron made equivariant by frames of principal axes."""
    how = ek.frames.PCA()
    module = ek.symmetrize(_Perceptron(n, width), "p x -> p x", x=ek.O(3), p=ek.Fixed(n), channels=False, how=how)
    return module, array(batch, n, 3)


FULL: dict[str, Callable[[], Made]] = {
    "S 1 → 1, n 4096, batch 64": lambda: permutations(1, 4096, 64),
    "S 2 → 2, n 64, batch 32": lambda: permutations(2, 64, 32),
    "S 2 → 2, n 256, batch 32": lambda: permutations(2, 256, 32),
    "S 2 → 2, n 256, batch 32, bfloat16": lambda: permutations(2, 256, 32, dtype=jnp.bfloat16),
    "S 2 → 2, n 256, batch 8, 128 channels": lambda: permutations(2, 256, 8, 128),
    "S 3 → 3, n 64, batch 4": lambda: permutations(3, 64, 4),
    "O(3) 3 → 3, batch 65,536": lambda: tensors(65_536),
    "p x -> p x, n 1024, batch 512": lambda: vectors(1024, 512),
    "p p + p -> p p + p, n 64, batch 32": lambda: pairs_and_points(64, 32),
    "functional, 4 layers of 64, batch 32": lambda: functional(4, 64, 32),
    "attention, n 256, batch 16": lambda: attention(256, 16),
    "frame, n 64, batch 4096": lambda: frame(64, 4096),
}
QUICK = tuple(FULL)[:1]


if __name__ == "__main__":
    for layer, target, direction in json.loads(sys.argv[1]):
        module, x = FULL[layer]()
        print(json.dumps(compiled_cost(module, x, target=target, gradient=direction == "gradient").as_dict()))
