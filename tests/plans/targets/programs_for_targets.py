"""`python programs_for_targets.py TARGET ...`: print as JSON what programs of known cost have on each target.

A process of its own, because compilers of other devices are loaded once and stay.
"""

import json
import sys

import jax
import jax.numpy as jnp
from flax import nnx
from jax import export

import equikit as ek
from equikit.plans import TARGETS, compiled_cost

SIDE = 8192
"""Square matrices of this size, 256 MiB, do not fit in the on-chip memory of a TPU."""

LAYER = ek.nn.Linear("p p -> p p", 8, 8, p=ek.S, rngs=nnx.Rngs(0))
X = jax.ShapeDtypeStruct((64, 16, 16, 8), jnp.float32)


def array(*shape):
    return jax.ShapeDtypeStruct(shape, jnp.float32)


def convolution(x):
    return jax.lax.conv(x, jnp.ones((8, 8, 3, 3)), (1, 1), "SAME")


def exported(target):
    """The layer as an artifact made on this host, for the platform of the target."""
    graph, state = nnx.split(LAYER)
    function = jax.jit(lambda state, x: nnx.merge(graph, state)(x))
    saved = export.export(function, platforms=[TARGETS[target].platform])(state, X)
    return compiled_cost(saved.call, state, X, target=target, axis=(None, 0))


def measured(target):
    matrix, small = array(SIDE, SIDE), array(1024, 1024)
    found = {
        "copy": compiled_cost(jnp.negative, matrix, target=target),
        "product": compiled_cost(jnp.matmul, matrix, matrix, target=target),
        "small product": compiled_cost(jnp.matmul, small, small, target=target),
        "bfloat16": compiled_cost(jnp.negative, jax.ShapeDtypeStruct((SIDE, SIDE), jnp.bfloat16), target=target),
        "layer": compiled_cost(LAYER, X, target=target),
        "exported": exported(target),
        "sum": compiled_cost(lambda x: x.sum(0), array(512, 1000), target=target, devices=8),
        "gradient": compiled_cost(LAYER, X, target=target, gradient=True, devices=8),
        "convolution": compiled_cost(convolution, array(4, 8, 32, 32), target=target),
    }
    return {name: cost.as_dict() for name, cost in found.items()}


if __name__ == "__main__":
    print(json.dumps({target: measured(target) for target in sys.argv[1:]}))
