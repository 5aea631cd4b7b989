"""Blocks of queries and keys: equal to all scores at once, with memory that grows as the number of points."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from helpers import assert_close, equations
from in_numpy import in_numpy

from equikit import O, S
from equikit.nn import Attention
from equikit.nn.attention._softmax import chosen_block

FEATURES = {"p": 4, "p x": 2}
OPTIONS = {"plain": {}, "pairs and points": {"pairs": {"p t": 2}, "points": 1}}


def make(block_size, *, dtype=jnp.float64, heads=2, **options):
    return Attention(
        FEATURES, heads=heads, context={"t": 4, "t x": 2}, p=S, t=S, x=O(3), param_dtype=dtype, block_size=block_size,
        rngs=nnx.Rngs(0), **options,
    )  # fmt: skip


def draw(n, m, options, dtype=np.float64):
    rng = np.random.default_rng(0)

    def normal(*shape):
        return rng.normal(size=shape).astype(dtype)

    x = {"p": normal(2, n, 4), "p x": normal(2, n, 3, 2)}, {"t": normal(2, m, 4), "t x": normal(2, m, 3, 2)}
    given = {"mask": {"t": rng.random((2, m)) < 0.7, "p": rng.random((2, n)) < 0.9}}
    given["pair_mask"] = rng.random((2, n, m)) < 0.6
    given["pair_mask"][0, :2] = False
    if "pairs" in options:
        given["pairs"] = {"p t": normal(2, n, m, 2)}
    if "points" in options:
        given |= {"positions": normal(2, n, 3), "context_positions": normal(2, m, 3)}
    return x, given


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_blocks_are_all_scores_at_once(options):
    x, given = draw(7, 5, options)
    plain = make(1000, **options)

    def value(layer, x, given):
        return sum(jnp.sum(jnp.sin(y)) for y in layer(*x, **given).values())

    wanted = in_numpy(plain, *x, **given)
    for size in (1, 3):
        assert_close(in_numpy(make(size, **options), *x, **given), wanted, 1e-12)
    if options:
        gradient, found = (in_numpy(jax.grad(value, (0, 1)), layer, x, given) for layer in (plain, make(3, **options)))
        jax.tree.map(lambda a, b: assert_close(a, b, 1e-12), jax.tree.leaves(found), jax.tree.leaves(gradient))


@pytest.mark.usefixtures("x64")
def test_blocks_without_masks_and_with_large_scores():
    x, _ = draw(6, 9, {})
    x = jax.tree.map(lambda array: 30 * array, x)  # scores of thousands
    plain, layer = make(1000), make(4)
    assert_close(in_numpy(layer, *x), in_numpy(plain, *x), 1e-12)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_half_precision_is_accumulated_in_single(dtype):
    """Where thousands of weights are added in half precision, sums of 2048 and 1 are 2048."""
    x, _ = draw(3, 5000, {}, np.float32)
    single = in_numpy(make(1000, dtype=jnp.float32), *x)
    for size in (None, 512):
        layer = make(size, dtype=jnp.float32)
        half = nnx.merge(*nnx.split(layer))
        for inner in (half.query, half.key, half.value, half.out):
            inner.dtype = jnp.dtype(dtype)
        found = in_numpy(half, *x)
        for name, array in single.items():
            assert found[name].dtype == dtype
            assert np.max(np.abs(found[name].astype(np.float32) - array)) < 0.03 * np.max(np.abs(array))


def test_when_blocks_are_chosen():
    assert chosen_block(None, 2, 1024, 1024) is None  # 2^21 scores
    assert chosen_block(None, 2, 1025, 1024) == 256  # blocks of at most 2^18 scores
    assert chosen_block(None, 1, 10_000, 10_000) == 512
    assert chosen_block(None, 10**6, 100, 100) == 64
    assert chosen_block(64, 4, 100, 10) == 64
    assert chosen_block(64, 4, 64, 10) is None
    assert chosen_block(64, 4, 0, 10) is chosen_block(64, 0, 10, 10) is None


def shapes(n, dtype=jnp.float32):
    return {"p": jax.ShapeDtypeStruct((n, 32), dtype), "p x": jax.ShapeDtypeStruct((n, 3, 8), dtype)}


def large(n=10_000):
    """A function of the state and the features of n points, and its arguments."""
    layer = nnx.eval_shape(lambda: Attention({"p": 32, "p x": 8}, heads=4, p=S, x=O(3), rngs=nnx.Rngs(0)))
    graph, state = nnx.split(layer)
    return (lambda state, x: nnx.merge(graph, state)(x)), (state, shapes(n))


def loss(function):
    return lambda *arguments: sum(jnp.sum(y**2) for y in function(*arguments).values())


@pytest.mark.parametrize("derivative", [False, True])
def test_no_array_has_all_pairs(derivative):
    function, arguments = large()
    jaxpr = jax.make_jaxpr(jax.grad(loss(function), (0, 1)) if derivative else function)(*arguments)
    largest = max(variable.aval.size for eq in equations(jaxpr.jaxpr) for variable in eq.outvars)
    assert largest <= 10_000 * 4 * (32 + 24)  # features of points, four times for the blocks of the gradient


@pytest.mark.parametrize(("derivative", "most"), [(False, 4), pytest.param(True, 6, marks=pytest.mark.slow)])
def test_memory_grows_as_the_number_of_points(derivative, most):
    """Temporary arrays of the compiled program, at most 4 times input and output, or 6 times with gradients."""
    function, arguments = large()
    called = jax.grad(loss(function), (0, 1)) if derivative else function
    memory = jax.jit(called).lower(*arguments).compile().memory_analysis()
    assert memory.temp_size_in_bytes <= most * 2 * 10_000 * (32 + 24) * 4


@pytest.mark.slow
def test_ten_thousand_points_are_computed():
    layer, rng = Attention({"p": 4}, heads=1, p=S, rngs=nnx.Rngs(0)), np.random.default_rng(0)
    x = rng.normal(size=(10_000, 4)).astype(np.float32)
    found = nnx.jit(lambda layer, x: layer(x))(layer, {"p": x})["p"]
    few = rng.integers(10_000, size=20)
    other = Attention({"p": 4}, context={"t": 4}, heads=1, p=S, t=S, rngs=nnx.Rngs(0))
    assert_close(np.asarray(found)[few], np.asarray(other({"p": x[few]}, {"t": x})["p"]), 1e-5)
