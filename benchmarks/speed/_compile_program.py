"""Compile one program in a separate process, and print the seconds; imports nothing from this folder.

It therefore runs on any version of equikit on the path.
"""

from __future__ import annotations

import json
import os
import string
import sys
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

import equikit as ek
from equikit.weightspace import Functional, trace

CHANNELS = 4


def seconds(work: Callable[[], Any]) -> tuple[float, Any]:
    """Return processor seconds outside the kernel, which has other work when memory is short; and the result."""
    start = os.times().user
    result = work()
    return os.times().user - start, result


def layer(signature: str, n: int) -> tuple[Any, Any]:
    """Return a linear layer with all labels bound to S, and an input of two samples."""
    labels = sorted(set(signature.replace("->", " ").split()))
    model = ek.nn.Linear(
        signature, CHANNELS, CHANNELS, groups=dict.fromkeys(labels, ek.S), method="factored", rngs=nnx.Rngs(0)
    )
    return model, jnp.ones((2, *(n,) * len(signature.split("->")[0].split()), CHANNELS))


def functional(depth: int, width: int = 8) -> tuple[Any, Any]:
    """Return an invariant functional of three layers, for a perceptron with this many layers, and parameters of one."""
    params = {f"w{i}": jnp.ones((width, width)) for i in range(depth)}
    params |= {f"b{i}": jnp.ones((width,)) for i in range(depth)}

    def perceptron(params: Any, x: jax.Array) -> jax.Array:
        for i in range(depth):
            x = x @ params[f"w{i}"] + params[f"b{i}"]
            x = jnp.tanh(x) if i + 1 < depth else x
        return x

    spec = trace(perceptron, params, jnp.ones((2, width)))
    return Functional(spec, [1, 8, 8, 4], out="", rngs=nnx.Rngs(0)), params


def compiled(model: Any, x: Any, direction: str) -> float:
    """Return seconds to trace and compile a model, or the value and gradient of the mean square of its result."""
    graph, weights = nnx.split(model)

    def forward(weights: Any, x: Any) -> Any:
        return nnx.merge(graph, weights)(x)

    def loss(weights: Any, x: Any) -> jax.Array:
        return jnp.mean(jax.nn.relu(forward(weights, x)) ** 2)

    function = forward if direction == "forward" else jax.value_and_grad(loss, argnums=(0, 1))
    return seconds(lambda: jax.jit(function).lower(weights, x).compile())[0]


def constructed(kind: str) -> float:
    """Return seconds to construct a ready network."""
    rngs = nnx.Rngs(0)
    kinds = {
        "jets Network": lambda: ek.nn.Network(
            [{"h m": 1}, {"h": 8, "h m": 4}, {"h": 8}, {"": 1}], h=ek.S, m=ek.Lorentz, rngs=rngs
        ),
        "GeometricMessage": lambda: ek.nn.GeometricMessage(
            {"p": 4}, {"p": 8, "p x": 2}, cutoff=2.0, p=ek.S, x=ek.O(3), rngs=rngs
        ),
    }
    return seconds(kinds[kind])[0]


def measure(kind: str, size: int, direction: str) -> float:
    """Return the seconds of one program; see `compile_time`."""
    jax.jit(lambda x: x + 1)(1.0)  # what is made once in a process
    if kind == "labels":
        names = " ".join(string.ascii_lowercase[:size])
        return compiled(*layer(f"{names} -> {names}", 2), direction)
    if kind == "S 4 → 4":
        return compiled(*layer("p p p p -> p p p p", size), direction)
    if kind == "functional":
        return compiled(*functional(size), direction)
    return constructed(kind)


if __name__ == "__main__":
    print(json.dumps(measure(*json.loads(sys.argv[1]))))
