"""Layers as Flax NNX modules: pytrees of variables over a static description, under all of NNX's transformations."""

import copy
import pickle

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from helpers import assert_close

import equikit as ek


def normal(*shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


MODULES = {
    "linear": lambda seed=0: (ek.nn.Linear("p p -> p", 2, 3, p=ek.S, rngs=nnx.Rngs(seed)), normal(4, 5, 5, 2)),
    "invariant": lambda seed=0: (ek.nn.Invariant("p p", 2, 3, p=ek.S, rngs=nnx.Rngs(seed)), normal(4, 5, 5, 2)),
    "pool": lambda seed=0: (ek.nn.Pool("p p", p=ek.S), normal(4, 5, 5, 2)),
    "sets": lambda seed=0: (ek.nn.DeepSets(2, [4], 3, rngs=nnx.Rngs(seed)), normal(4, 5, 2)),
    "graphs": lambda seed=0: (ek.nn.GraphNetwork(2, [4], 3, rngs=nnx.Rngs(seed)), normal(4, 5, 5, 2)),
}
modules = pytest.mark.parametrize("make", MODULES.values(), ids=MODULES)


@modules
def test_split_and_merge(make):
    module, x = make()
    graph, state = nnx.split(module)
    assert hash(graph) == hash(nnx.split(make()[0])[0])
    assert graph == nnx.split(make(1)[0])[0]
    assert_close(nnx.merge(graph, state)(x), module(x), 0)


@modules
def test_all_arrays_are_parameters(make):
    """Nothing is kept but parameters and what is static: no arrays elsewhere, no random keys."""
    module, _ = make()
    leaves = jax.tree.leaves(nnx.state(module))
    assert len(leaves) == len(jax.tree.leaves(nnx.state(module, nnx.Param)))
    assert all(isinstance(leaf, jax.Array) and jnp.issubdtype(leaf.dtype, jnp.inexact) for leaf in leaves)
    for _, part in nnx.iter_modules(module):
        for name, value in vars(part).items():
            assert not isinstance(value, jax.Array | np.ndarray | nnx.Rngs | nnx.RngStream), name


@modules
def test_a_module_is_a_pytree(make):
    module, x = make()
    leaves, structure = jax.tree.flatten(module)
    assert hash(structure) == hash(jax.tree.structure(make()[0]))
    assert structure == jax.tree.structure(make(1)[0])
    assert_close(jax.tree.unflatten(structure, leaves)(x), module(x), 0)
    assert_close(jax.jit(lambda m, x: m(x))(module, x), module(x), 1e-5)
    doubled = jax.tree.map(lambda a: 2 * a, module)
    assert type(doubled) is type(module)


@modules
def test_jit_traces_once_for_modules_alike(make):
    traces = []

    @nnx.jit
    def run(module, x):
        traces.append(1)
        return module(x)

    module, x = make()
    for seed in (0, 0, 1):
        run(make(seed)[0], x)
    assert_close(run(module, x), module(x), 1e-5)
    assert len(traces) == 1


@modules
def test_state_round_trip(make):
    first, x = make()
    second, _ = make(1)
    nnx.update(second, nnx.state(first))
    assert_close(second(x), first(x), 0)
    pure = nnx.to_pure_dict(nnx.state(first))
    graph, state = nnx.split(make(2)[0])
    nnx.replace_by_pure_dict(state, pure)
    assert_close(nnx.merge(graph, state)(x), first(x), 0)


@modules
def test_deepcopy_and_pickle(make):
    module, x = make()
    for other in (copy.deepcopy(module), pickle.loads(pickle.dumps(module))):
        assert_close(other(x), module(x), 0)
        graphs = nnx.split(other)[0], nnx.split(module)[0]
        assert graphs[0] == graphs[1]
    clone = nnx.clone(module)
    assert_close(clone(x), module(x), 0)


@pytest.mark.parametrize("name", ["linear", "graphs"])
def test_an_optimizer_step_decreases_the_loss(name):
    module, x = MODULES[name]()
    target = jnp.ones_like(module(x))
    optimizer = nnx.Optimizer(module, optax.adam(1e-2), wrt=nnx.Param)

    @nnx.jit
    def step(module, optimizer):
        loss, gradients = nnx.value_and_grad(lambda m: jnp.mean((m(x) - target) ** 2))(module)
        optimizer.update(module, gradients)
        return loss

    losses = [float(step(module, optimizer)) for _ in range(20)]
    assert losses[-1] < 0.8 * losses[0]


def test_gradients_have_the_shape_of_the_state_and_reach_every_parameter():
    module, x = MODULES["graphs"]()
    gradients = nnx.grad(lambda m: jnp.sum(m(x) ** 2))(module)
    assert jax.tree.map(jnp.shape, gradients) == jax.tree.map(jnp.shape, nnx.state(module, nnx.Param))
    linear = MODULES["linear"]()
    gradients = nnx.grad(lambda m: jnp.sum(m(linear[1]) ** 2))(linear[0])
    assert all(bool(jnp.any(leaf != 0)) for leaf in jax.tree.leaves(gradients))


def test_vmap_over_the_weights_of_layers():
    @nnx.vmap(in_axes=0)
    def make(key):
        return ek.nn.Linear("p p -> p p", 2, 2, p=ek.S, rngs=nnx.Rngs(key))

    layers = make(jax.random.split(jax.random.key(0), 3))
    assert layers.kernel["p p -> p p"].shape == (3, 15, 2, 2)
    x = normal(4, 4, 2)
    each = nnx.vmap(lambda layer, x: layer(x), in_axes=(0, None))(layers, x)
    graph, state = nnx.split(layers)
    alone = [nnx.merge(graph, jax.tree.map(lambda a, i=i: a[i], state))(x) for i in range(3)]
    assert_close(each, jnp.stack(alone), 1e-5)


def test_scan_over_layers_with_remat():
    @nnx.vmap(in_axes=0)
    def make(key):
        return ek.nn.Linear("p p -> p p", 2, 2, p=ek.S, rngs=nnx.Rngs(key))

    layers, x = make(jax.random.split(jax.random.key(0), 3)), normal(4, 4, 2)

    @nnx.scan(in_axes=(nnx.Carry, 0), out_axes=nnx.Carry)
    @nnx.remat
    def run(x, layer):
        return jnp.tanh(layer(x))

    expected = x
    graph, state = nnx.split(layers)
    for i in range(3):
        expected = jnp.tanh(nnx.merge(graph, jax.tree.map(lambda a, i=i: a[i], state))(expected))
    assert_close(run(x, layers), expected, 1e-5)
    gradients = nnx.grad(lambda layers: jnp.sum(run(x, layers)))(layers)
    assert gradients["kernel"]["p p -> p p"].shape == (3, 15, 2, 2)


def test_abstract_parameters_need_no_memory():
    layer = nnx.eval_shape(lambda: ek.nn.Linear("p p -> p p", 512, 512, p=ek.S, rngs=nnx.Rngs(0)))
    assert layer.kernel["p p -> p p"].shape == (15, 512, 512)


def test_a_layer_shows_itself():
    text = repr(MODULES["linear"]()[0])
    assert text.startswith("Linear(")
    assert "p p -> p" in text
