"""Several heads on the same features: their mean for invariants, parameters of several networks otherwise."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from helpers import assert_error

from equikit import OptionError
from equikit.weightspace import AnyArchitecture, Functional, MessagePassing, ParameterGraph, graph, join_graphs, trace

PARAMS = {"a": jnp.asarray(np.random.default_rng(0).normal(size=(3, 6))), "b": jnp.ones((6,)), "c": jnp.ones((6, 2))}


def apply(params, x):
    return jnp.tanh(x @ params["a"] + params["b"]) @ params["c"]


SPEC = trace(apply, PARAMS, jnp.ones((4, 3)))
GRAPH = ParameterGraph(SPEC)
MAKERS = {
    "functional": lambda **options: Functional(SPEC, [1, 4, 3], **options, rngs=nnx.Rngs(0)),
    "graph network": lambda **options: MessagePassing(GRAPH, [1, 4, 3], **options, rngs=nnx.Rngs(0)),
}
HEADS = {"functional": {"head": [5, 2]}, "graph network": {}}


KINDS = pytest.mark.parametrize("kind", ["functional", pytest.param("graph network", marks=pytest.mark.slow)])


@KINDS
def test_invariants_are_the_mean_of_the_heads(kind: str) -> None:
    network = MAKERS[kind](out="", members=3, **HEADS[kind])
    seen = []

    @jax.jit
    def run(state):
        merged = nnx.merge(static, state)
        each = merged.head.each
        merged.head.each = lambda *x, **named: seen.append(each(*x, **named)) or seen[-1]
        return merged(PARAMS), seen.pop()

    static, state = nnx.split(network)
    result, found = run(state)
    assert found.shape == (3, *result.shape)
    assert np.ptp(found, axis=0).min() > 1e-6  # the members differ
    np.testing.assert_allclose(result, np.mean(found, axis=0), rtol=1e-5)


@pytest.mark.parametrize("head", [(), (5, 2)])
@KINDS
def test_each_member_is_an_equivariant_edit(kind: str, head: tuple[int, ...]) -> None:
    if head and kind != "functional":
        return
    with jax.enable_x64(True):
        params = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float64), PARAMS)
        types = {"param_dtype": jnp.float64} if not head else {}
        network = MAKERS[kind](members=3, **({"head": head} if head else {}), **types)
        element = SPEC.random_element(key=jax.random.key(1))
        static, state = nnx.split(network)
        run = jax.jit(lambda state, params: nnx.merge(static, state)(params))
        one, two = run(state, params), run(state, SPEC.act(element, params))
        width = (2,) if head else (3,)
        assert {name: leaf.shape for name, leaf in one.items()} == {
            name: (3, *leaf.shape, *width) for name, leaf in PARAMS.items()
        }
        for member in range(3):
            for channel in range(*width):
                pick = lambda leaf, m=member, c=channel: leaf[m, ..., c]  # noqa: E731
                moved = SPEC.act(element, jax.tree.map(pick, one))
                for name, leaf in jax.tree.map(pick, two).items():
                    np.testing.assert_allclose(leaf, moved[name], rtol=1e-9, atol=1e-12)
        assert np.ptp(one["a"], axis=0).max() > 1e-3


def test_the_mean_of_edited_networks_has_the_shape_of_one_output() -> None:
    edits = Functional(SPEC, [1, 4, 1], members=3, rngs=nnx.Rngs(0))(PARAMS)
    edited = jax.tree.map(jnp.add, PARAMS, edits)
    outputs = jax.vmap(apply, (0, None))(edited, jnp.ones((4, 3)))
    assert jnp.mean(outputs, axis=0).shape == (4, 2)


@KINDS
def test_one_member_is_the_network_without_the_option(kind: str) -> None:
    plain, one = (MAKERS[kind](out="", **HEADS[kind], **more) for more in ({}, {"members": 1}))
    np.testing.assert_array_equal(plain(PARAMS), one(PARAMS))


def test_means_of_linear_heads_are_refused() -> None:
    texts = "members= without head=", "out='', members=2", "a perceptron for each member", "write head=[16, 10]"
    assert_error(OptionError, lambda: MAKERS["functional"](out="", members=2), *texts)
    texts = "linear maps of the nodes", "out='h0', members=2", "members= for invariants", "write members=1"
    assert_error(OptionError, lambda: MAKERS["graph network"](out="h0", members=2), *texts)
    for kind, make in MAKERS.items():
        texts = "members= must be", "0", "", "members=4"
        assert_error(OptionError, lambda make=make, kind=kind: make(out="", members=0, **HEADS[kind]), *texts)


@pytest.mark.slow
def test_members_of_joined_graphs() -> None:
    batch = join_graphs([(graph(apply, PARAMS, jnp.ones((4, 3))), PARAMS)] * 2)
    network = MessagePassing(AnyArchitecture(), [1, 4, 1], members=3, rngs=nnx.Rngs(0))
    for tree in network(batch):
        assert {name: leaf.shape for name, leaf in tree.items()} == {n: (3, *leaf.shape) for n, leaf in PARAMS.items()}
    network = MessagePassing(AnyArchitecture(), [1, 4, 5], out="", members=3, rngs=nnx.Rngs(0))
    assert network(batch).shape == (2, 5)
