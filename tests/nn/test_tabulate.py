"""`nnx.tabulate` shows every layer and network, and NNX works afterwards."""

import jax
import jax.numpy as jnp
import pytest
from flax import nnx

import equikit as ek
from equikit.nn import __all__ as PUBLIC

RNGS = nnx.Rngs(0)

CASES = {
    "Linear": (
        ek.nn.Linear({"p p": 2, "p": 1}, {"p": 3, "": 1}, p=ek.S, rngs=RNGS),
        [{"p p": jnp.ones((2, 4, 4, 2)), "p": jnp.ones((2, 4, 1))}],
    ),
    "Bilinear": (ek.nn.Bilinear({"x": 2}, 3, {"": 1}, x=ek.O(3), rngs=RNGS), [{"x": jnp.ones((2, 3, 2))}]),
    "Multilinear": (
        ek.nn.Multilinear("x, x -> x", (2, 1), 3, x=ek.SO(3), rngs=RNGS),
        [jnp.ones((2, 3, 2)), jnp.ones((2, 3, 1))],
    ),
    "Invariant": (ek.nn.Invariant("p p", 2, 3, p=ek.S, rngs=RNGS), [jnp.ones((2, 4, 4, 2))]),
    "Pointwise": (ek.nn.Pointwise(jnp.tanh, "p", p=ek.S), [jnp.ones((2, 4, 1))]),
    "Gated": (
        ek.nn.Gated({"x": 2}, x=ek.O(3)),
        [{"x": jnp.ones((2, 3, 2)), "gate of x": jnp.ones((2, 2))}],
    ),
    "NormGated": (ek.nn.NormGated({"x": 2}, x=ek.O(3), rngs=RNGS), [{"x": jnp.ones((2, 3, 2))}]),
    "Pool": (ek.nn.Pool("p", p=ek.S), [jnp.ones((2, 4, 1))]),
    "RMSNorm": (ek.nn.RMSNorm({"x": 2}, x=ek.O(3), rngs=RNGS), [{"x": jnp.ones((2, 3, 2))}]),
    "Radial": (ek.nn.Radial(2.0, 3, hidden=(4,), rngs=RNGS), [jnp.ones(5)]),
    "Network": (
        ek.nn.Network(
            [{"x": 2}, {"": 3, "x": 2}, {"": 3, "x": 2}, {"": 1}],
            normalize_features=True,
            residual=True,
            x=ek.O(3),
            rngs=RNGS,
        ),
        [{"x": jnp.ones((2, 3, 2))}],
    ),
    "MLP": (ek.nn.MLP([{"x": 2}, {"": 3, "x": 2}, {"": 1}], x=ek.O(3), rngs=RNGS), [{"x": jnp.ones((2, 3, 2))}]),
    "DeepSets": (ek.nn.DeepSets(2, [3, 3], 1, rngs=RNGS), [jnp.ones((2, 4, 2))]),
    "GraphNetwork": (
        ek.nn.GraphNetwork(1, [3], 1, node_channels=2, rngs=RNGS),
        [jnp.ones((2, 4, 4, 1)), jnp.ones((2, 4, 2))],
    ),
    "GeometricMessage": (
        ek.nn.GeometricMessage(
            {"p": 2}, {"p": 2, "p x": 1}, cutoff=2.0, powers=1, hidden=(), p=ek.S, x=ek.O(3), rngs=RNGS
        ),
        [{"p": jnp.ones((4, 2))}, jnp.ones((4, 3))],
    ),
    "ConstitutiveLaw": (ek.nn.ConstitutiveLaw(degree=1, invariants=1, hidden=(), rngs=RNGS), [jnp.ones((2, 3, 3))]),
    "ConstitutiveLaw-hyperelastic": (
        ek.nn.ConstitutiveLaw(hyperelastic=True, invariants=1, hidden=(), rngs=RNGS),
        [jnp.ones((2, 3, 3))],
    ),
}


def test_every_public_layer_is_shown():
    layers = {
        name for name in PUBLIC if isinstance(kind := getattr(ek.nn, name), type) and issubclass(kind, nnx.Module)
    }
    assert layers == {type(layer).__name__ for layer, _ in CASES.values()}


@pytest.mark.parametrize(("layer", "inputs"), CASES.values(), ids=CASES)
def test_tabulate_shows_a_layer_and_leaves_nnx_working(layer, inputs):
    parameters = sum(array.size for array in jax.tree.leaves(nnx.state(layer, nnx.Param)))
    table = nnx.tabulate(layer, *inputs, console_kwargs={"force_terminal": False, "width": 400})
    assert f"{type(layer).__name__} Summary" in table
    assert f"Total Parameters: {parameters:,}" in table
    assert [*nnx.Dict(a=1).items()] == [("a", 1)]
    expected, found = layer(*inputs), nnx.merge(*nnx.split(layer))(*inputs)
    assert jax.tree.all(jax.tree.map(lambda a, b: bool((a == b).all()), expected, found))
