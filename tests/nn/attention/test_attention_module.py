"""Attention as a module: options, dropout, the `repr`, transformations of JAX and NNX, saved descriptions."""

import json
import pickle

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from helpers import assert_close, assert_error, assert_tabulates
from in_numpy import by_numpy, in_numpy

import equikit as ek
from equikit import O, S
from equikit.nn import Attention, check_saved, describe

FEATURES = {"p": 4, "p x": 2}
EVERYTHING = {
    **{"context": {"t": 3, "t x": 1}, "qkv_features": {"": 6, "x": 2}, "pairs": {"p t": 2}, "points": 1, "products": 2},
    **{"dropout_rate": 0.5, "block_size": 3},
}
TEXT = (
    'Attention({"p": 4, "p x": 2}, {"p": 5}, heads=2, context={"t": 3, "t x": 1}, qkv_features={"": 6, "x": 2}, '
    'pairs={"p t": 2}, points=1, products=2, dropout_rate=0.5, block_size=3, p=S, t=S, x=O(3))'
)


def make(outputs=None, seed=0, **options):
    bound = {"p": S, "x": O(3)} | ({"t": S} if "context" in options else {})
    return Attention(FEATURES, outputs, heads=2, rngs=nnx.Rngs(seed), **bound, **options)


def draw(n=5, batch=(), dtype=np.float32, seed=0):
    rng = np.random.default_rng(seed)
    return {"p": rng.normal(size=(*batch, n, 4)).astype(dtype), "p x": rng.normal(size=(*batch, n, 3, 2)).astype(dtype)}


def rest(n=5, m=4):
    """Everything that the layer with all options takes besides the features."""
    rng = np.random.default_rng(1)

    def normal(*shape):
        return rng.normal(size=shape).astype(np.float32)

    return {
        "context": {"t": normal(m, 3), "t x": normal(m, 3, 1)}, "pairs": {"p t": normal(n, m, 2)},
        "positions": normal(n, 3), "context_positions": normal(m, 3),
    }  # fmt: skip


def test_the_repr_is_the_call():
    layer = make({"p": 5}, **EVERYTHING)
    assert repr(layer).startswith(f"{TEXT}  # ")
    again = eval(TEXT[:-1] + ", rngs=nnx.Rngs(0))", vars(ek) | vars(ek.nn) | {"nnx": nnx})
    assert nnx.graphdef(again) == nnx.graphdef(layer)
    assert hash(nnx.graphdef(again)) == hash(nnx.graphdef(layer))
    assert_tabulates(make({"p": 5}, **EVERYTHING | {"dropout_rate": 0.0}), draw(), **rest())


def test_a_space_in_place_of_features():
    space = ek.hom("p + p x -> p", p=S, x=O(3))
    layer = Attention(space, ((4, 2), 5), heads=2, rngs=nnx.Rngs(0))
    assert nnx.graphdef(layer) == nnx.graphdef(make({"p": 5}))
    assert layer.sides == ({"p": ("p", 4), "p x": ("p x", 2)}, {"p": ("p", 5)})


def test_pickles_trees_and_transformations():
    layer, x = make(products=1), draw(batch=(2,))
    run = jax.jit(lambda layer, x: layer(x))  # one program: all are one pytree
    y = run(layer, x)
    assert_close(run(pickle.loads(pickle.dumps(layer)), x), y, 0)
    leaves, structure = jax.tree.flatten(layer)
    assert structure == jax.tree.structure(make(products=1, seed=1))
    assert_close(run(jax.tree.unflatten(structure, leaves), x), y, 0)
    assert_close(run(nnx.merge(*nnx.split(layer)), x), y, 0)
    assert_close(in_numpy(jax.vmap(lambda x: layer(x)), x), y, 1e-5)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("block_size", [None, 2])
def test_both_modes_of_differentiation_agree(block_size):
    layer, x = make(block_size=block_size), draw(3, dtype=np.float64)
    direction = draw(3, dtype=np.float64, seed=1)

    def value(x):
        return sum(jnp.sum(jnp.sin(y)) for y in layer(x).values())

    _, ahead = in_numpy(lambda x, d: jax.jvp(value, (x,), (d,)), x, direction)
    back = in_numpy(jax.grad(value), x)
    step = 1e-6
    first, second = (in_numpy(value, {n: x[n] + s * step * direction[n] for n in x}) for s in (1, -1))
    assert abs(ahead - (first - second) / (2 * step)) < 1e-6
    assert abs(ahead - sum(np.vdot(back[name], direction[name]) for name in x)) < 1e-10


def test_gradients_reach_every_parameter():
    layer = make({"p": 3, "p x": 1}, **EVERYTHING | {"dropout_rate": 0.0})
    graph, state = nnx.split(layer)
    state = jax.tree.map(lambda a: a + 0.1, state)

    def loss(state):
        return sum(jnp.sum(y**3) for y in nnx.merge(graph, state)(draw(), **rest()).values())

    gradients = in_numpy(jax.grad(loss), state)
    for path, gradient in jax.tree.leaves_with_path(gradients):
        assert np.isfinite(gradient).all()
        assert np.abs(gradient).max() > 1e-6, jax.tree_util.keystr(path)


def test_options_of_linear_layers():
    layer = make(use_bias=False, dtype=jnp.bfloat16, param_dtype=jnp.float16, products=1, pairs={"p p": 1})
    names = [jax.tree_util.keystr(path) for path, _ in jax.tree.leaves_with_path(nnx.state(layer))]
    assert not any("bias" in name for name in names)
    assert all(leaf.dtype == jnp.float16 for leaf in jax.tree.leaves(nnx.state(layer)))
    y = in_numpy(layer, draw(), pairs={"p p": np.ones((5, 5, 1), np.float32)})
    assert all(array.dtype == jnp.bfloat16 for array in y.values())
    assert nnx.state(make(kernel_init=jax.nn.initializers.zeros).query)["kernel"]["p -> ()"][...].max() == 0


def test_half_precision_stays_with_positions_in_single():
    layer = make(param_dtype=jnp.bfloat16, points=1, products=1)
    x, positions = draw(dtype=jnp.bfloat16), np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)
    found = in_numpy(layer, x, positions=positions)
    assert {array.dtype for array in found.values()} == {jnp.dtype(jnp.bfloat16)}
    wide = nnx.merge(*nnx.split(layer))
    nnx.update(wide, jax.tree.map(lambda a: a.astype(jnp.float32), nnx.state(wide)))
    wanted = in_numpy(wide, {name: array.astype(np.float32) for name, array in x.items()}, positions=positions)
    for name, array in wanted.items():
        assert np.abs(found[name].astype(np.float32) - array).max() < 0.05 * np.abs(array).max()


def test_dropout_drops_weights_and_keeps_their_mean():
    layer = Attention({"p": 1}, heads=1, dropout_rate=0.25, p=S, rngs=nnx.Rngs(0))
    for inner, value in ((layer.query, 0.0), (layer.value, 1.0), (layer.out, 1.0)):
        for param in inner.kernel.values():
            param[...] = jnp.full(param[...].shape, value)
    x = {"p": np.ones((8, 1), np.float32)}  # equal weights of equal values
    calm = in_numpy(lambda x: layer(x, deterministic=True)["p"], x)
    np.testing.assert_allclose(calm, 1, rtol=1e-6)
    run = nnx.jit(lambda layer, x: layer(x)["p"])
    drawn = np.concatenate([np.asarray(run(layer, x)) for _ in range(40)])
    kept = drawn * 8 * 0.75
    np.testing.assert_allclose(kept, np.round(kept), atol=1e-5)
    assert len(np.unique(np.round(kept))) > 3
    assert abs(drawn.mean() - 1) < 0.05
    layer.eval()
    assert_close(by_numpy(layer)(x)["p"], calm, 0)
    layer.train()
    assert np.abs(by_numpy(layer)(x)["p"] - calm).max() > 0.05


def test_dropout_in_blocks_differs_between_blocks_and_is_the_same_for_gradients():
    layer = Attention({"p": 1}, heads=1, dropout_rate=0.5, block_size=2, p=S, rngs=nnx.Rngs(0))
    graph, state = nnx.split(layer)
    x = np.ones((8, 1), np.float32)

    def value(x):
        return nnx.merge(graph, state, copy=True)({"p": x})["p"]

    y = in_numpy(value, x)
    assert len(np.unique(np.round(y, 4))) > 2
    _, ahead = in_numpy(lambda x: jax.jvp(value, (x,), (x,)), x)
    back = in_numpy(jax.grad(lambda x: jnp.sum(value(x))), x)
    assert_close(np.sum(back * x), np.sum(ahead), 1e-4)


def test_all_weights_dropped_are_zero():
    layer = Attention({"p": 1}, heads=1, dropout_rate=1.0, use_bias=False, p=S, rngs=nnx.Rngs(0))
    assert not by_numpy(layer)({"p": np.ones((3, 1), np.float32)})["p"].any()


def test_it_stands_in_residual_blocks():
    block = ek.nn.Residual([ek.nn.RMSNorm(FEATURES, p=S, x=O(3)), make()])
    x, mask = draw(), np.array([True, True, False, True, True])
    found = in_numpy(block, x, mask=mask)
    assert not any(array[2].any() for array in found.values())


def test_saved_descriptions_know_the_heads():
    layer = make()
    description = json.loads(json.dumps(describe(layer)))
    assert description["layers"][""] == {"signature": "p + p x -> p + p x, p=S, x=O(3)", "heads": "2"}
    check_saved(make(seed=1), description)
    other = Attention(FEATURES, heads=1, p=S, x=O(3), rngs=nnx.Rngs(0))
    assert_error(
        ek.SignatureError, lambda: check_saved(other, description), "another heads", "with 2", "1", "arguments"
    )


@pytest.mark.slow
def test_an_exported_program_has_any_number_of_points():
    layer = Attention({"p q": 4}, heads=2, p=S, q=S, products=1, rngs=nnx.Rngs(0))
    graph, state = nnx.split(layer)
    sizes = jax.export.symbolic_shape("batch, points, others")
    shape = jax.ShapeDtypeStruct((*sizes, 4), jnp.float32)
    program = jax.export.export(jax.jit(lambda state, x: nnx.merge(graph, state)(x)))(state, {"p q": shape})
    x = {"p q": np.random.default_rng(0).normal(size=(2, 5, 3, 4)).astype(np.float32)}
    assert_close(program.call(state, x), layer(x), 1e-6)
