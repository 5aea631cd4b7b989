"""Maps of low rank between many tensors: the same maps as with matrices, with few weights."""

from __future__ import annotations

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from helpers import assert_error

from equikit import OptionError
from equikit.weightspace import Functional, trace


def perceptron(layers: int, width: int = 3):
    sizes = [2, *[width] * (layers - 1), 2]
    random = np.random.default_rng(0)
    params = {f"w{i}": random.normal(size=pair) for i, pair in enumerate(itertools.pairwise(sizes))}
    params |= {f"b{i}": random.normal(size=n) for i, n in enumerate(sizes[1:])}

    def apply(p, x):
        for i in range(layers):
            x = x @ p[f"w{i}"] + p[f"b{i}"]
            x = jnp.tanh(x) if i + 1 < layers else x
        return x

    return trace(apply, jax.tree.map(jnp.asarray, params), jnp.ones((4, 2))), params


SPEC, PARAMS = perceptron(3)


def made(rank: int | None, **options):
    return Functional(SPEC, [1, 2, 1], fixed="positions", codes=2, rank=rank, rngs=nnx.Rngs(0), **options)


def test_equal_to_matrices_that_are_the_product_of_the_factors() -> None:
    with jax.enable_x64(True):
        narrow, full = made(2, param_dtype=jnp.float64), made(None, param_dtype=jnp.float64)
        names = [sorted(layer.before) for layer in narrow.layers]
        assert names == [["()"], ["()"]]
        for one, two in zip(narrow.layers, full.layers, strict=True):
            assert not two.before
            assert two._layout().before == ()
            for name, kernel in one.kernel.items():
                matrix = kernel[...]
                two.kernel[name][...] = one.before[name][...] @ matrix if name in one.before else matrix
        element = SPEC.random_element(key=jax.random.key(0))
        moved = SPEC.act(element, PARAMS)
        run = nnx.jit(lambda network, params: network(params))
        found, others = run(narrow, PARAMS), run(full, PARAMS)
        for one, two in zip(*map(jax.tree.leaves, (found, others)), strict=True):
            np.testing.assert_allclose(one, two, rtol=1e-9, atol=1e-11)
        for one, two in zip(*map(jax.tree.leaves, (SPEC.act(element, found), run(narrow, moved))), strict=True):
            np.testing.assert_allclose(one, two, rtol=1e-9, atol=1e-11)
        named = narrow.layers[1].weights(), full.layers[1].weights()
        for name, weight in named[0].items():
            np.testing.assert_allclose(weight, named[1][name], rtol=1e-9, atol=1e-12)


@pytest.mark.slow
def test_the_number_of_weights_grows_linearly_with_the_layers() -> None:
    def count(layers: int, rank: int | None) -> int:
        spec, _ = perceptron(layers)
        network = nnx.eval_shape(lambda: Functional(spec, [1, 4, 4, 2], rank=rank, out="", rngs=nnx.Rngs(0)))
        return sum(leaf.size for leaf in jax.tree.leaves(nnx.state(network)))

    counts = [count(layers, 4) for layers in (4, 8, 12)]
    assert counts[2] - counts[1] == counts[1] - counts[0]
    more = [count(layers, None) for layers in (4, 8, 12)]
    assert more[2] - more[1] > 1.3 * (more[1] - more[0])
    assert counts[2] < more[2] / 2


@pytest.mark.slow
def test_first_outputs_are_as_large_as_without_a_rank() -> None:
    spec, params = perceptron(12, 8)
    zoo = {name: np.random.default_rng(1).normal(1, 0.1, size=(16, *leaf.shape)) for name, leaf in params.items()}
    found = []
    for rank in (None, 8):
        network = Functional(spec, [1, 8, 8, 8], out="", rank=rank, rngs=nnx.Rngs(0))
        found.append(np.sqrt(np.mean(np.square(nnx.jit(lambda network, zoo: network(zoo))(network, zoo)))))
    assert 0.4 < found[1] / found[0] < 2.5


@pytest.mark.slow
def test_factors_of_a_matrix_of_zeros_have_a_gradient() -> None:
    zeros = {"kernel_init": nnx.initializers.zeros}
    network = Functional(SPEC, [1, 1], fixed="positions", codes=2, rank=1, **zeros, rngs=nnx.Rngs(0))

    def loss(network):
        return sum(jnp.sum(jnp.sin(leaf)) for leaf in jax.tree.leaves(network(PARAMS)))

    slope = nnx.grad(loss)(network)
    assert np.all(network.layers[0].kernel["()"][...] == 0)
    assert np.max(np.abs(slope["layers"][0]["kernel"]["()"][...])) > 1e-3


def test_a_large_rank_changes_nothing_and_none_is_refused() -> None:
    one, two = made(100), made(None)
    for a, b in zip(*map(jax.tree.leaves, (nnx.state(one), nnx.state(two))), strict=True):
        np.testing.assert_array_equal(a, b)
    assert_error(OptionError, lambda: made(0), "rank= must be", "0", "1", "rank=32")
