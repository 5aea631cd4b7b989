"""Layers between many tensors keep their weights in one matrix for each core."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from helpers import equations

import equikit as ek
from equikit.weightspace import Functional, trace
from equikit.weightspace.functionals._wreath import WreathLinear

FEATURES = {"first": ("in a", 2), "second": ("a b", 2), "bias": ("b", 3), "recurrent": ("b b", 1)}
GROUPS = {"in": ek.Fixed(2), "a": ek.S(4), "b": ek.S(2)}


def layers(**options) -> tuple[WreathLinear, ek.nn.Linear]:
    return tuple(
        kind(FEATURES, FEATURES, groups=GROUPS, init_size=1, rngs=nnx.Rngs(3), **more, **options)
        for kind, more in ((_One, {"nested": ()}), (ek.nn.Linear, {}))
    )


class _One(WreathLinear):
    """With the initial sizes of `Linear`."""

    def _initial_sizes(self, init_size):
        return ek.nn.Linear._initial_sizes(self, init_size)


def inputs(dtype=jnp.float32) -> dict[str, jax.Array]:
    sizes = {"in": 2, "a": 4, "b": 2}
    shapes = {name: (3, *(sizes[label] for label in text.split()), c) for name, (text, c) in FEATURES.items()}
    return {name: jax.random.normal(jax.random.key(i), s).astype(dtype) for i, (name, s) in enumerate(shapes.items())}


@pytest.mark.parametrize("normalize", ["mean", "sum"])
def test_weights_and_results_are_those_of_linear(normalize: str) -> None:
    """Also at n = 2, where some pairs of half diagrams have too many blocks."""
    layer, linear = layers(normalize=normalize)
    assert len(layer.kernel) == len(layer.plan.products) < len(linear.kernel)
    for name, weight in linear.weights().items():
        np.testing.assert_array_equal(layer.weights()[name], weight)
    found = layer(inputs())
    for name, wanted in linear(inputs()).items():
        np.testing.assert_allclose(found[name], wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("method", ["naive", "dense"])
def test_other_methods_take_the_same_weights(method: str) -> None:
    layer, other = layers()[0], layers(method=method)[0]
    wanted = layer(inputs())
    for name, found in other(inputs()).items():
        np.testing.assert_allclose(wanted[name], found, rtol=1e-4, atol=1e-4)


def test_parameters_of_half_precision_are_cast() -> None:
    found = layers(dtype=jnp.bfloat16)[0](inputs(jnp.bfloat16))
    wanted = layers()[0](inputs())
    for name, array in found.items():
        assert array.dtype == jnp.bfloat16
        np.testing.assert_allclose(array.astype(jnp.float32), wanted[name], rtol=0.1, atol=0.2)


def test_entries_without_a_diagram_do_nothing() -> None:
    """Filled with ones they leave the weights of absent diagrams zero, and they have no gradient."""
    groups = {"o": ek.S(2), "i": ek.S(3)}
    features = {"down": ("o i", 2), "gate": ("o", 2)}
    layer = WreathLinear(features, features, groups=groups, nested=(("i", "o"),), rngs=nnx.Rngs(0))
    count = sum(int(np.count_nonzero(weight)) for weight in layer.weights().values())
    static, state = nnx.split(layer)
    full = jax.tree.map(jnp.ones_like, state)
    filled = nnx.merge(static, full).weights()
    assert sum(int(jnp.sum(weight)) for name, weight in filled.items() if not name.startswith("->")) == count
    x = {"down": jnp.ones((2, 3, 2)), "gate": jnp.ones((2, 2))}
    slope = jax.grad(lambda state: sum(map(jnp.sum, nnx.merge(static, state)(x).values())))(state)
    entries = sum(int(np.count_nonzero(leaf)) for leaf in jax.tree.leaves(slope["kernel"]))
    assert 0 < entries <= count < sum(leaf.size for leaf in jax.tree.leaves(state["kernel"]))


def of_depth(depth: int) -> tuple[Functional, dict[str, jax.Array]]:
    params = {f"w{i}": jnp.ones((4, 4)) for i in range(depth)} | {f"b{i}": jnp.ones((4,)) for i in range(depth)}

    def perceptron(params, x):
        for i in range(depth):
            x = jnp.tanh(x @ params[f"w{i}"] + params[f"b{i}"])
        return x

    spec = trace(perceptron, params, jnp.ones((2, 4)))
    return nnx.eval_shape(lambda: Functional(spec, [1, 2, 2, 1], out="", rngs=nnx.Rngs(0))), params


def operands(depth: int) -> int:
    """The operands of all operations of the value and gradient of a functional."""
    functional, params = of_depth(depth)
    static, state = nnx.split(functional)
    jaxpr = jax.make_jaxpr(jax.value_and_grad(lambda state: jnp.sum(nnx.merge(static, state)(params))))(state)

    return sum(len(equation.invars) for equation in equations(jaxpr))


def test_programs_grow_with_the_number_of_tensors_and_not_with_that_of_their_pairs() -> None:
    few, some, many = map(operands, (3, 6, 9))
    assert many - some <= some - few  # 1683 and 1567 with a matrix for each pair
