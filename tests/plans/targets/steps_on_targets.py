"""`python steps_on_targets.py TARGET ...`: print as JSON the bytes of layers with the steps of a platform, and without.

A process of its own, because compilers of other devices are loaded once and stay.
"""

import json
import sys

import jax
import jax.numpy as jnp
from flax import nnx

import equikit as ek
from equikit.plans import compiled_cost
from equikit.plans.execution import _program
from equikit.weightspace import Functional, trace


def array(*shape):
    return jax.ShapeDtypeStruct(shape, jnp.float32)


def linear(signature, *shape, **groups):
    return ek.nn.Linear(signature, 32, 32, rngs=nnx.Rngs(0), **groups), array(*shape, 32)


def functional():
    """A network on the weights of perceptrons: its products are of tensors with different numbers of features."""
    params = {f"w{i}": jnp.ones((64, 64)) for i in range(3)}

    def perceptron(params, x):
        for i in range(3):
            x = jnp.tanh(x @ params[f"w{i}"])
        return x

    spec = trace(perceptron, params, jnp.ones((2, 64)))
    network = Functional(spec, [1, 16, 16, 4], out="", rngs=nnx.Rngs(0))
    return network, {name: array(32, 64, 64) for name in params}


def attention():
    layer = ek.nn.Attention({"p": 32, "p x": 8}, heads=4, p=ek.S, x=ek.O(3), rngs=nnx.Rngs(0))
    return layer, {"p": array(16, 256, 32), "p x": array(16, 256, 3, 8)}


LAYERS = {
    "S 1 → 1": lambda: linear("p -> p", 64, 4096, p=ek.S),
    "S 2 → 2": lambda: linear("p p -> p p", 8, 64, 64, p=ek.S),
    "vectors": lambda: linear("p x -> p x", 64, 1024, 3, p=ek.S, x=ek.O(3)),
    "functional": functional,
    "attention": attention,
}


def measured(target):
    found = {}
    for name, made in LAYERS.items():
        for gradient in (False, True):
            costs = []
            for least in (2**18, 2**60):
                _program.LEAST_BYTES = least
                layer, x = made()
                costs.append(compiled_cost(layer, x, target=target, gradient=gradient).bytes)
            found[f"{name}, {'gradient' if gradient else 'forward'}"] = costs
    return found


if __name__ == "__main__":
    print(json.dumps({target: measured(target) for target in sys.argv[1:]}))
