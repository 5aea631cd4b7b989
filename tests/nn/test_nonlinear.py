"""Nonlinearities that commute, those that are refused, and networks for any group."""

import pickle

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from in_numpy import by_numpy, in_numpy

import equikit as ek
from equikit import SO, A, Bistochastic, Fixed, H, Lorentz, O, S, Sp

GROUPS = [O(3), SO(3), Lorentz, Sp(2), H(3), Bistochastic(3), A(3), S(4)]
groups = pytest.mark.parametrize("group", GROUPS, ids=str)


def tolerance(group):
    return 2e-4 if group.form else 2e-5


def rngs():
    return nnx.Rngs(0)


@pytest.mark.parametrize("group", [S(4), A(4)], ids=str)
def test_permutations_allow_any_function(group):
    layer = ek.nn.Pointwise(jax.nn.relu, "p p", p=group)
    ek.testing.assert_equivariant(by_numpy(layer), "p p -> p p", p=group, channels=2, key=jax.random.key(0))


def test_signed_permutations_allow_odd_functions():
    ek.testing.assert_equivariant(
        ek.nn.Pointwise(jnp.tanh, "x", x=H(4)), "x -> x", x=H(4), channels=2, key=jax.random.key(0)
    )
    for function in (jax.nn.relu, jnp.cos, jnp.abs, jax.nn.gelu):
        with pytest.raises(ek.OptionError, match="the function is not odd"):
            ek.nn.Pointwise(function, "x", x=H)


NOT_ODD = {
    "a kink at 4": lambda x: x + jax.nn.relu(x - 4),
    "a kink at 1e6": lambda x: x + jax.nn.relu(x - 1e6),
    "even below 1e-4": lambda x: jnp.where(jnp.abs(x) < 1e-4, jnp.abs(x), x),
    "a step with a value at zero": lambda x: jnp.where(x >= 0, 1.0, -1.0),
    "a value at zero alone": lambda x: jnp.where(x == 0, 1.0, x),
    "small values": lambda x: 1e-7 * jax.nn.relu(x),
    "a logarithm": jnp.log,
    "not a number on one side": jnp.sqrt,
}


@pytest.mark.parametrize("name", NOT_ODD)
def test_functions_that_are_odd_in_part_are_refused(name):
    with pytest.raises(ek.OptionError, match="the function is not odd"):
        ek.nn.Pointwise(NOT_ODD[name], "x", x=H)


ODD = {
    "sin": jnp.sin,
    "tan": jnp.tan,
    "sinh, which overflows": jnp.sinh,
    "arcsin, defined up to one": jnp.arcsin,
    "the sign": jnp.sign,
    "a cube": lambda x: x**3,
    "a seventh power, which overflows": lambda x: x**7,
    "a soft threshold": lambda x: jnp.sign(x) * jax.nn.relu(jnp.abs(x) - 2),
    "a shifted sigmoid, with rounding errors": lambda x: jax.nn.sigmoid(x) - 0.5,
    "a rational function": lambda x: x / (1 + x**2),
    "a signed logarithm": lambda x: jnp.sign(x) * jnp.log1p(jnp.abs(x)),
    "a quotient that is not a number at large arguments": lambda x: jnp.sinh(x) / jnp.cosh(x),
    "the error function": jax.lax.erf,
    "nothing": jnp.zeros_like,
}


@pytest.mark.parametrize("name", ODD)
def test_odd_functions_are_accepted(name):
    ek.nn.Pointwise(ODD[name], "x", x=H)


@pytest.mark.parametrize("group", [O(3), SO(3), Lorentz, Sp(2), Bistochastic(3), O], ids=str)
def test_groups_that_mix_entries_allow_none(group):
    with pytest.raises(ek.OptionError, match=r"(?s)does not commute with .*mix entries") as error:
        ek.nn.Pointwise(jnp.tanh, "p x", p=S, x=group)
    assert "ek.nn.Gated" in str(error.value)
    # The refusal is right: the function really does not commute.
    if not isinstance(group, type):
        assert ek.testing.equivariance_error(jnp.tanh, "x -> x", x=group, channels=2, key=jax.random.key(0)) > 1e-2


@groups
def test_gates_commute(group):
    gated = ek.nn.Gated({"": 3, "x": 2, "x x": 4, "p": 2, "p x": 5, "p x f": 2}, x=group, p=S, f=Fixed(2))
    only_permuted = isinstance(group, S | A)
    assert ("gate of x" in gated.inputs) != only_permuted
    if not only_permuted:
        assert gated.inputs["gate of p x f"] == ("p", 2)
    widths = {name: (labels, channels) for name, (labels, channels) in gated.inputs.items()}
    bound = {"x": group, "p": S(5), "f": Fixed(2)}
    ek.testing.assert_equivariant(
        by_numpy(gated), widths, {"": 3, "x": 2, "x x": 4, "p": 2, "p x": 5, "p x f": 2}, groups=bound,
        key=jax.random.key(0), tolerance=tolerance(group),
    )  # fmt: skip


def test_gates_are_where_they_belong():
    gated = ek.nn.Gated({"": 1, "x": 1}, x=O(2))
    x = {"": jnp.array([2.0]), "x": jnp.array([[3.0], [4.0]]), "gate of x": jnp.array([0.0])}
    y = gated(x)
    np.testing.assert_allclose(y["x"][:, 0], [1.5, 2.0])
    np.testing.assert_allclose(y[""], jax.nn.silu(jnp.array([2.0])))
    with pytest.raises(ek.ShapeError, match="do not fit the features"):
        gated({"": x[""]})


@pytest.mark.parametrize("group", [g for g in GROUPS if not isinstance(g, Sp)], ids=str)
def test_gates_of_norms_commute(group):
    features = {"": 3, "x": 2, "x x": 4, "p": 2, "p x": 5, "p x f": 2}
    gated = ek.nn.NormGated(features, x=group, p=S, f=Fixed(2))
    bound = {"x": group, "p": S(5), "f": Fixed(2)}
    ek.testing.assert_equivariant(
        by_numpy(gated), features, features, groups=bound, key=jax.random.key(0), tolerance=tolerance(group)
    )


@pytest.mark.parametrize("x", [{}, {"y": jnp.ones((3, 1))}, jnp.ones((3, 1)), {1: 2}], ids=str)
def test_arrays_have_to_fit(x):
    for kind in (ek.nn.NormGated, ek.nn.Gated, ek.nn.RMSNorm):
        layer = kind({"x": 1, "": 1}, x=O(3))
        with pytest.raises(ek.EquikitError, match=r"do not fit the features|are not a dictionary"):
            layer(x)


@pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16])
@pytest.mark.parametrize("group", [O(4), Lorentz], ids=str)
def test_norms_of_large_features_are_finite_in_half_precision(group, dtype):
    layer = ek.nn.NormGated({"x": 1}, x=group, gate=lambda norm: jax.nn.sigmoid(norm / 1e5))
    x = jnp.array([300.0, 200.0, -300.0, 100.0], dtype)[:, None]

    def total(x):
        return jnp.sum(layer({"x": x})["x"])

    value, slope = (jax.jit(f)(x) for f in (total, jax.grad(total)))
    assert slope.dtype == dtype
    wide = x.astype(jnp.float32)
    np.testing.assert_allclose(np.float32(value), total(wide), rtol=2e-2)
    np.testing.assert_allclose(np.asarray(slope, np.float32), jax.grad(total)(wide), rtol=2e-2)


def test_the_derivative_of_a_norm_is_finite_at_zero():
    for dtype, group in ((jnp.float32, O(3)), (jnp.complex64, ek.U(3))):
        layer = ek.nn.NormGated({"x": 1}, x=group)
        slope = jax.grad(lambda x, layer=layer: jnp.sum(jnp.abs(layer({"x": x})["x"]) ** 2))
        assert np.all(np.isfinite(in_numpy(slope, np.zeros((3, 1), dtype))))


def test_a_norm_has_the_sign_of_the_metric():
    layer = ek.nn.NormGated({"m": 1}, m=Lorentz, gate=lambda x: x)
    timelike, spacelike = (layer({"m": jnp.eye(4)[i, :, None]})["m"][i, 0] for i in (0, 3))
    assert (float(timelike), float(spacelike)) == (0.25, -0.25)
    with pytest.raises(ek.OptionError, match="has no norm under"):
        ek.nn.NormGated({"x": 1}, x=Sp(4))


@groups
def test_products_commute(group):
    inputs, outputs = {"x": 2, "": 1}, {"": 2, "x x": 1}
    layer = ek.nn.Bilinear(inputs, 3, outputs, x=group, rngs=rngs())
    ek.testing.assert_equivariant(
        by_numpy(layer), inputs, outputs, x=group, key=jax.random.key(0), tolerance=tolerance(group)
    )


def test_products_are_of_second_degree():
    layer = ek.nn.Bilinear({"p x": 2}, 3, {"p": 2, "x": 1}, p=S, x=SO(3), use_bias=False, rngs=rngs())
    x = {"p x": np.random.default_rng(0).normal(size=(5, 3, 2)).astype(np.float32)}
    y, z = by_numpy(layer)(x), by_numpy(layer)({"p x": 3 * x["p x"]})
    for name in y:
        np.testing.assert_allclose(z[name], 9 * y[name], rtol=1e-4, atol=1e-4)
    assert np.abs(y["x"]).max() > 0  # the cross product


def test_the_inner_product_is_found():
    layer = ek.nn.Bilinear({"x": 1}, 1, {"": 1}, x=O(4), use_bias=False, normalize="sum", rngs=rngs())
    x = np.random.default_rng(0).normal(size=(6, 4, 1)).astype(np.float32)
    ratio = by_numpy(layer)({"x": x})[""] / np.sum(x**2, 1)
    np.testing.assert_allclose(ratio, np.broadcast_to(ratio[:1], ratio.shape), rtol=1e-5)


@groups
def test_networks_commute(group):
    net = ek.nn.MLP([{"x": 2}, {"": 8, "x": 4}, {"": 8, "x": 4}, {"": 1, "x": 1}], x=group, rngs=rngs())
    ek.testing.assert_equivariant(
        by_numpy(net), {"x": 2}, {"": 1, "x": 1}, x=group, key=jax.random.key(0), tolerance=tolerance(group)
    )


@pytest.mark.slow
def test_a_network_of_mixed_groups_with_masks():
    net = ek.nn.MLP([{"p x": 1}, {"p": 8, "p x": 4}, {"": 1, "x": 1}], p=S, x=O(3), rngs=rngs())
    ek.testing.assert_equivariant(
        by_numpy(net), {"p x": 1}, {"": 1, "x": 1}, p=S(5), x=O(3), mask=True, key=jax.random.key(0), tolerance=2e-5
    )
    x = jax.random.normal(jax.random.key(0), (2, 5, 3, 1))
    mask = jnp.arange(5) < jnp.array([[3], [5]])
    padded = net({"p x": jnp.where(mask[..., None, None], x, jnp.nan)}, mask={"p": mask})
    alone = net({"p x": x[:1, :3]})
    np.testing.assert_allclose(padded["x"][0], alone["x"][0], rtol=1e-4, atol=1e-5)


def test_masks_go_as_far_as_their_label():
    net = by_numpy(ek.nn.MLP([{"p x": 1}, {"": 4, "x x": 2}, {"": 4, "x": 1}, {"x x": 1}], p=S, x=O(3), rngs=rngs()))
    x = np.random.default_rng(0).normal(size=(2, 5, 3, 1)).astype(np.float32)
    mask = np.arange(5) < np.array([[3], [5]])
    padded = net({"p x": np.where(mask[..., None, None], x, np.nan)}, mask={"p": mask})
    np.testing.assert_allclose(padded["x x"][0], net({"p x": x[:1, :3]})["x x"][0], rtol=1e-4, atol=1e-5)
    with pytest.raises(ek.ShapeError, match="the mask is for 'q'"):
        net({"p x": x}, mask={"q": mask})
    with pytest.raises(ek.OptionError, match="cannot be masked"):
        net({"p x": x}, mask={"x": jnp.ones((2, 3), bool)})


def test_it_learns_an_invariant_function():
    """The first of EMLP's synthetic tasks: a function of two vectors that rotations of five dimensions leave alone."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(400, 5, 2)).astype(np.float32)
    one, two = np.linalg.norm(x, axis=1).T
    y = (np.sin(one) - two**3 / 2 + (x[..., 0] * x[..., 1]).sum(1) / (one * two))[:, None]
    y = ((y - y.mean()) / y.std()).astype(np.float32)
    net = ek.nn.MLP([{"x": 2}, {"": 32, "x": 8}, {"": 32, "x": 8}, {"": 1}], x=O(5), rngs=rngs())
    static, params = nnx.split(net)
    optimizer = optax.adam(1e-2)

    def loss(params, x, y):
        return jnp.mean((nnx.merge(static, params)({"x": x})[""] - y) ** 2)

    @jax.jit
    def error(params):
        def step(carry, _):
            params, memory = carry
            updates, memory = optimizer.update(jax.grad(loss)(params, x[:300], y[:300]), memory)
            return (optax.apply_updates(params, updates), memory), None

        params = jax.lax.scan(step, (params, optimizer.init(params)), length=25)[0][0]
        return loss(params, x[300:], y[300:])

    assert float(error(params)) < 0.1


def test_networks_are_modules():
    net = ek.nn.MLP([{"x": 2}, {"": 4, "x": 2}, {"": 1}], x=SO(3), rngs=rngs())
    x = {"x": jnp.ones((3, 3, 2))}
    again = pickle.loads(pickle.dumps(net))
    np.testing.assert_array_equal(again(x)[""], net(x)[""])
    graph, state = nnx.split(net)
    assert graph == nnx.split(again)[0]
    np.testing.assert_allclose(jax.jit(lambda s, x: nnx.merge(graph, s)(x)[""])(state, x), net(x)[""], rtol=1e-5)
    leaves = jax.tree.leaves(nnx.state(net))
    assert len(leaves) == len(jax.tree.leaves(nnx.state(net, nnx.Param)))
    linear = ek.nn.MLP([{"x": 2}, {"": 4, "x": 2}, {"x": 1}], x=SO(3), products=0, rngs=rngs())
    assert not linear.bilinear


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: ek.nn.MLP([{"x": 2}], x=O(3), rngs=rngs()), "not a list of dictionaries"),
        (lambda: ek.nn.MLP("x", x=O(3), rngs=rngs()), "not a list of dictionaries"),
        (lambda: ek.nn.MLP([{"x": 2}, {"y": 1}], x=O(3), rngs=rngs()), "'y' is not bound"),
        (lambda: ek.nn.Bilinear({"x": 2}, 0, {"": 1}, x=O(3), rngs=rngs()), "channels= must be a whole number ≥ 1"),
        (lambda: ek.nn.Bilinear({"x": 2}, 1.5, {"": 1}, x=O(3), rngs=rngs()), "whole number"),
        (lambda: ek.nn.Gated({"x": 1}), "'x' is not bound"),
        (lambda: ek.nn.Gated({"x": 1, "gate of x": ("", 1)}, x=O(3)), "has the name of the gates"),
        (lambda: ek.nn.Gated({"x": 1}, gate=1, x=O(3)), "gate= must be callable"),
        (lambda: ek.nn.NormGated({"x": 1}, activation="relu", x=O(3)), "activation= must be callable"),
        (lambda: ek.nn.Pointwise("relu", "p", p=S), "function= must be callable"),
        (lambda: ek.nn.Pointwise(lambda x: x[..., :1], "p", p=S)(np.ones((3, 2), np.float32)), "changes the shape"),
    ],
)
def test_bad_arguments(call, message):
    with pytest.raises(ek.EquikitError, match=message):
        call()


@pytest.mark.parametrize(
    ("shape", "dtype", "error"),
    [
        ((4, 2), float, ek.ShapeError),
        ((3, 1), float, ek.ShapeError),
        ((2,), float, ek.ShapeError),
        ((3, 2), int, ek.DTypeError),
    ],
)
def test_what_does_not_fit_a_norm_is_refused(shape, dtype, error):
    norm = ek.nn.RMSNorm({"x": 2}, x=ek.O(3))
    with pytest.raises(error):
        norm({"x": jnp.ones(shape, dtype)})


@pytest.mark.parametrize("epsilon", [0.0, -1.0, float("nan"), "a", True])
def test_epsilon_is_a_positive_number(epsilon):
    with pytest.raises(ek.OptionError, match="epsilon= must be a number > 0"):
        ek.nn.RMSNorm({"x": 2}, x=ek.O(3), epsilon=epsilon)


def test_products_take_dictionaries():
    network = ek.nn.MLP([{"x": 2}, {"": 4}, {"": 1}], x=ek.O(5), rngs=nnx.Rngs(0))
    with pytest.raises(ek.OptionError, match="features are not a dictionary"):
        network(jnp.ones((4, 5, 2)))
