"""Supports and neighbor lists as arguments of exported functions, and layers with a symbolic batch."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax import export

import equikit as ek

EDGES = ek.Support("p p", [0, 1, 2, 1], [1, 2, 0, 1], n=4)
LAYER = ek.nn.Linear("p p -> p p", 1, 1, p=ek.S, rngs=nnx.Rngs(0))
X = np.random.default_rng(0).normal(size=(4, 1)).astype(np.float32)


def call(x, support):
    return LAYER(x, support=support)


@pytest.mark.parametrize(
    "support",
    [EDGES, EDGES | EDGES.cliques(), EDGES.pad(nodes=8, entries=4)],
    ids=["edges", "triples", "padded"],
)
def test_an_exported_function_of_a_support_is_read_back(support):
    read = export.deserialize(export.export(jax.jit(call))(X, support).serialize())
    np.testing.assert_allclose(read.call(X, support), call(X, support), atol=1e-6)


def test_an_exported_function_takes_another_support_of_the_same_sizes():
    first, other = (each.pad(nodes=8, entries=4) for each in (EDGES, ek.Support("p p", [0, 3], [3, 0], n=4)))
    read = export.deserialize(export.export(jax.jit(call))(X, first).serialize())
    np.testing.assert_allclose(read.call(X, other), call(X, other), atol=1e-6)


def test_tables_keep_their_places_when_a_support_is_mapped():
    support = EDGES | EDGES.cliques()
    mapped = jax.tree.map(np.asarray, support)
    for level, same in zip(support.levels, mapped.levels, strict=True):
        assert level.repeat.keys() == same.repeat.keys()
        for pair in level.merge:
            np.testing.assert_array_equal(level.merge[pair], same.merge[pair])
            np.testing.assert_array_equal(level.repeat[pair], same.repeat[pair])
    assert jax.tree.structure(mapped) == jax.tree.structure(support)


def test_an_exported_function_of_neighbors_is_read_back():
    positions = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)
    edges = ek.data.neighbors(positions, 2.0)
    read = export.deserialize(export.export(jax.jit(lambda x, edges: x[edges.senders]))(positions, edges).serialize())
    np.testing.assert_array_equal(read.call(positions, edges), positions[edges.senders])


def test_layers_on_supports_are_exported_with_a_symbolic_batch():
    (batch,) = export.symbolic_shape("b")
    made = export.export(jax.jit(lambda x: call(x, EDGES)))(jax.ShapeDtypeStruct((batch, 4, 1), jnp.float32))
    np.testing.assert_allclose(made.call(np.stack([X, 2 * X])), call(np.stack([X, 2 * X]), EDGES), atol=1e-6)
