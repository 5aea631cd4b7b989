"""Layers on axial vectors and pseudoscalars: they commute with reflections, or say why they would not."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from helpers import assert_close, assert_error
from in_numpy import by_numpy

import equikit as ek
from equikit import SO, Lorentz, O, S

INPUTS = {"x": 2, "x x": 1, "x~": 3, "det(x)": 2}
OUTPUTS = {"x": 2, "x~": 2, "det(x)": 1, "": 2}
SPACES = [O(3), O(2), O(1, 2)]


def commutes(layer, inputs, outputs, groups, tolerance=1e-4):
    ek.testing.assert_equivariant(
        by_numpy(layer), inputs, outputs, groups=groups, key=jax.random.key(0), samples=2, tolerance=tolerance
    )


def test_the_cross_product_is_an_axial_vector():
    layer = ek.nn.Linear("x x -> x~", 1, 1, x=O(3), rngs=nnx.Rngs(0))
    one, other = np.random.default_rng(0).normal(size=(2, 3)).astype(np.float32)
    found = layer(np.einsum("i,j->ij", one, other)[..., None])[:, 0]
    (weight,) = layer.kernel["x x -> x~"][...].ravel()
    assert_close(found, weight * np.cross(one, other), 1e-6)


@pytest.mark.parametrize(("output", "moves_so"), [("x~", True), ("x", False)])
def test_equivariance_is_measured_with_determinants(output, moves_so):
    def cross(x):
        return jnp.cross(x["a"], x["b"], axis=-2)

    signature = {"a": ("x", 2), "b": ("x", 2)}, {"c": (output, 2)}
    error = ek.testing.equivariance_error(cross, *signature, x=O(3), key=jax.random.key(0))
    assert (error < 1e-5) == moves_so
    assert ek.testing.equivariance_error(cross, *signature, x=SO(3), key=jax.random.key(0)) < 1e-5


@pytest.mark.parametrize("group", SPACES, ids=str)
def test_a_linear_layer_commutes_with_reflections(group):
    outputs = {name: width for name, width in OUTPUTS.items() if name != "det(x)" or group.n == 2} | {"x x~": 1}
    layer = ek.nn.Linear(INPUTS, outputs, x=group, rngs=nnx.Rngs(0))
    commutes(layer, INPUTS, outputs, {"x": group})


def test_the_names_of_weights_have_the_marks():
    layer = ek.nn.Linear({"x x": 1, "x~": 1}, {"x~": 1, "a": ("det(x)  x", 1)}, x=O(3), rngs=nnx.Rngs(0))
    assert set(layer.kernel) == {"x x -> x~", "x~ -> x~", "x x -> a", "x~ -> a"}
    y = layer({"x  x": jnp.ones((3, 3, 1)), "x~": jnp.ones((3, 1))})
    assert set(y) == {"x~", "a"}


def test_the_bias_of_a_pseudotensor_is_the_levi_civita_tensor():
    layer = ek.nn.Linear("det(x) -> x x x", 1, 1, x=O(3), rngs=nnx.Rngs(0))
    assert {name: bias.shape for name, bias in layer.bias.items()} == {}
    layer = ek.nn.Linear("() -> x x x~", 1, 1, x=O(3), rngs=nnx.Rngs(0))
    assert {name: bias.shape for name, bias in layer.bias.items()} == {"-> x x x~": (1, 1)}


@pytest.mark.parametrize("method", ["auto", "factored", "dense", "naive"])
def test_pseudoscalars_alone_need_no_size(method):
    layer = ek.nn.Linear("det(x) -> det(x)", 2, 3, x=O, use_bias=False, method=method, rngs=nnx.Rngs(0))
    x = jnp.ones((4, 2))
    assert_close(layer(x), x @ layer.kernel["det(x) -> det(x)"][0], 1e-6)
    assert_close(layer(x), layer(x, sizes={"x": 3}), 1e-6)


def test_products_of_pseudoscalars_alone_need_no_size():
    layer = ek.nn.Multilinear("det(x), p -> p det(x)", (2, 2), 3, x=O, p=S, rngs=nnx.Rngs(0))
    assert layer(jnp.ones((4, 2)), jnp.ones((4, 5, 2))).shape == (4, 5, 3)


@pytest.mark.parametrize("group", SPACES, ids=str)
def test_products_reach_axial_vectors_and_pseudoscalars(group):
    inputs, outputs = {"x": 2, "x~": 2}, {"": 2, "det(x)": 2} | ({"x~": 2, "x": 2} if group.n == 3 else {})
    layer = ek.nn.Bilinear(inputs, 3, outputs, x=group, rngs=nnx.Rngs(0))
    assert "product of x, x~" in layer.products
    commutes(layer, inputs, outputs, {"x": group})


def test_products_without_marks_are_what_they_were():
    layer = ek.nn.Bilinear({"p x": 1, "x p": 1}, 2, {"p": 1}, p=S(3), x=O(3), rngs=nnx.Rngs(0))
    assert list(layer.products) == ["product of p x", "product of x p"]


@pytest.mark.parametrize("signature", ["x, x -> x~", "x, x~ -> det(x)", "x x, x -> x~ x"])
def test_a_multilinear_layer_commutes_with_reflections(signature):
    layer = ek.nn.Multilinear(signature, 2, 2, x=O(3), rngs=nnx.Rngs(0))
    left, _, output = signature.partition(" -> ")
    names = dict(zip("ab", left.split(", "), strict=True))
    commutes(
        lambda x: {"y": layer(x["a"], x["b"])},
        {name: (labels, 2) for name, labels in names.items()},
        {"y": (output, 2)},
        {"x": O(3)},
    )


@pytest.mark.parametrize("group", [O(3), Lorentz], ids=str)
@pytest.mark.parametrize("make", [ek.nn.Gated, ek.nn.NormGated])
def test_gates_leave_signs_to_reflections(make, group):
    layer = make(OUTPUTS, x=group)
    inputs = layer.inputs if make is ek.nn.Gated else OUTPUTS
    commutes(layer, inputs, OUTPUTS, {"x": group}, tolerance=1e-3)


def test_a_pseudoscalar_is_gated_and_a_scalar_is_not():
    assert set(ek.nn.Gated(OUTPUTS, x=O(3)).inputs) == {*OUTPUTS, "gate of x", "gate of x~", "gate of det(x)"}
    assert set(ek.nn.Gated({"det(x)": 1}, x=SO(3)).inputs) == {"det(x)"}


def test_odd_functions_of_a_pseudoscalar_commute():
    layer = ek.nn.Pointwise(jnp.tanh, "p det(x)", p=S, x=O(3))
    commutes(lambda x: layer(x["p det(x)"]), {"p det(x)": 2}, {"p det(x)": 2}, {"p": S(3), "x": O(3)})
    ek.nn.Pointwise(jax.nn.silu, "det(x)", x=SO(3))  # whose determinants are one


def test_other_functions_of_a_pseudoscalar_are_refused():
    assert_error(
        ek.OptionError,
        lambda: ek.nn.Pointwise(jax.nn.silu, "det(x)", x=O(3)),
        "a pointwise nonlinearity on 'x' does not commute with O(3)",
        "reflections change the sign of a pseudoscalar, and the function is not odd",
        "an odd function, such as jnp.tanh",
        "use ek.nn.Gated",
    )


def test_a_pseudoscalar_is_no_invariant():
    with pytest.raises(ek.SignatureError, match="changes its sign under reflections of 'x'"):
        ek.nn.Invariant("det(x)", 2, 1, x=O(3), rngs=nnx.Rngs(0))
    with pytest.raises(ek.OptionError, match="pooling over 'x' would not give invariants"):
        ek.nn.Pool("p det(x)", p=S, x=O(3))
    assert ek.nn.Invariant("det(x) x x x", 2, 1, x=O(3), rngs=nnx.Rngs(0))(jnp.ones((3, 3, 3, 2))).shape == (1,)


def test_odd_layers_of_a_free_group_are_refused_with_a_step_that_works():
    for options, step in (({"use_bias": True}, "use_bias=False"), ({}, "write O(3)")):
        with pytest.raises(ek.GroupError, match="depend on n") as caught:
            ek.nn.Linear("x~ -> x~", 1, 1, x=O, rngs=nnx.Rngs(0), **options)
        assert step in caught.value.step
    layer = ek.nn.Linear("x~ -> x~", 1, 1, x=O, rngs=nnx.Rngs(0), use_bias=False)
    assert layer(jnp.ones((4, 1))).shape == (4, 1)


@pytest.mark.parametrize("nonlinearity", ["gated", "norm"])
def test_a_network_commutes_with_reflections(nonlinearity):
    inputs, hidden, outputs = {"x": 2, "x~": 1}, {"": 4, "det(x)": 3, "x": 3, "x~": 3}, {"det(x)": 1, "x~": 2}
    network = ek.nn.Network(
        [inputs, hidden, outputs],
        products=3,
        nonlinearity=nonlinearity,
        normalize_features=True,
        x=O(3),
        rngs=nnx.Rngs(0),
    )
    commutes(network, inputs, outputs, {"x": O(3)})


def test_messages_carry_axial_vectors_and_pseudoscalars():
    inputs, outputs = {"p": 2, "p det(x)": 1, "p x~": 2}, {"p x": 2, "p x~": 2, "p det(x)": 2}
    layer = ek.nn.GeometricMessage(inputs, outputs, cutoff=4.0, p=S, x=O(3), rngs=nnx.Rngs(0))
    commutes(
        jax.jit(lambda x: layer({name: x[name] for name in inputs}, x["positions"][..., 0])),
        {**{name: (name, width) for name, width in inputs.items()}, "positions": ("p x", 1)},
        {name: (name, width) for name, width in outputs.items()},
        {"p": S(4), "x": O(3)},
    )
    assert "p det(x), 0 -> p det(x)" in layer.kernel
    assert "p, 0 -> p det(x)" not in layer.kernel
