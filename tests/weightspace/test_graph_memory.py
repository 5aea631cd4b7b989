"""The memory of a training of graph networks on wide networks, as the compiled program states it."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import pytest
from flax import nnx

from equikit.weightspace import AnyArchitecture, MessagePassing, graph, join_graphs

GIB = 2**30


@pytest.mark.slow
@pytest.mark.parametrize("joined", [False, True])
def test_a_million_edges_are_trained_in_two_gigabytes(joined: bool) -> None:
    """Features of all edges take 65 MiB; a training holds at most 31 times as much."""
    width = 1024
    shapes = {"w0": (2, width), "b0": (width,), "w1": (width, width), "b1": (width,), "w2": (width, 10), "b2": (10,)}
    params = {name: jnp.zeros(shape) for name, shape in shapes.items()}

    def apply(p, x):
        return jnp.tanh(jnp.tanh(x @ p["w0"] + p["b0"]) @ p["w1"] + p["b1"]) @ p["w2"] + p["b2"]

    own = graph(apply, params, jnp.ones((2, 2)))
    assert own.num_edges > 1_000_000
    of, inputs = (AnyArchitecture(), join_graphs([(own, params)])) if joined else (own, params)
    network = nnx.eval_shape(lambda: MessagePassing(of, [1, 16, 16, 1], "", remat=True, rngs=nnx.Rngs(0)))
    static, state = nnx.split(network)

    def loss(state, inputs):
        return jnp.mean(nnx.merge(static, state)(inputs) ** 2)

    found = jax.jit(jax.value_and_grad(loss)).lower(state, inputs).compile().memory_analysis()
    total = found.temp_size_in_bytes + found.argument_size_in_bytes + found.output_size_in_bytes
    assert total < 2 * GIB
