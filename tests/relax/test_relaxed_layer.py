"""The layer of a chain: the largest group at gates of zero, the smallest one at gates of one, and its penalties."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from helpers import assert_error
from in_numpy import by_numpy, in_numpy

import equikit as ek
from equikit import O, S, Trivial
from equikit.relax import Gate, Linear, Residual, chain, penalty, soften

GROUPS = [O(3), O(2) + O(1), Trivial(3)]
DOUBLE = {"param_dtype": jnp.float64}


def matrix_of(layer, rows, columns):
    """The matrix of a layer with one channel, by its values at unit vectors."""
    units = np.eye(3**columns).reshape(-1, *(3,) * columns, 1)
    return by_numpy(layer)(units).reshape(3**columns, 3**rows).T


def random_layer(signature, gates, rows=1, **options):
    layer = Linear(chain(signature, x=GROUPS), 1, 1, rngs=nnx.Rngs(0), gates=gates, use_bias=False, **DOUBLE, **options)
    return layer


@pytest.mark.parametrize(("signature", "rows", "columns"), [("x -> x", 1, 1), ("x x -> x x", 2, 2)])
def test_gates_lead_from_one_group_to_the_next(x64, signature, rows, columns):
    spaces = [ek.hom(signature, x=group) for group in GROUPS]
    for gates, space, before in [((0.0, 0.0), 0, None), ((1.0, 0.0), 1, 0), ((1.0, 0.5), 2, 1)]:
        matrix = matrix_of(random_layer(signature, gates), rows, columns)
        np.testing.assert_allclose(spaces[space].project(matrix), matrix, atol=1e-12)
        if before is not None:
            assert np.abs(spaces[before].project(matrix) - matrix).max() > 0.01


def test_without_gates_it_is_the_layer_of_the_largest_group(x64):
    options = {"rngs": nnx.Rngs(3), "bias_init": jax.nn.initializers.normal(1.0), **DOUBLE}
    exact = ek.nn.Linear("x x + x -> x x", 2, 3, x=O(3), **options)
    relaxed = Linear(chain("x x + x -> x x", x=GROUPS), 2, 3, **options | {"rngs": nnx.Rngs(3)})
    rng = np.random.default_rng(0)
    x = {"x x": rng.normal(size=(4, 3, 3, 2)), "x": rng.normal(size=(4, 3, 2))}
    np.testing.assert_allclose(by_numpy(relaxed)(x)["x x"], by_numpy(exact)(x)["x x"], atol=1e-12)
    assert relaxed.penalty().tolist() == [0, 0]


def test_it_spans_all_maps_of_the_smallest_group(x64):
    layer = random_layer("x -> x", 1.0)
    graph, state = nnx.split(layer)
    units = np.eye(3)[..., None]
    flat, unravel = jax.flatten_util.ravel_pytree(state)
    slopes = in_numpy(jax.jacfwd(lambda p: nnx.merge(graph, unravel(p))(units).ravel()), np.asarray(flat))
    assert np.linalg.matrix_rank(slopes) == 9


@pytest.mark.parametrize("gates", [1.0, (0.5, 2.0)])
def test_penalties_are_distances(x64, gates):
    layer = random_layer("x x -> x", gates)
    matrix, found = matrix_of(layer, 1, 2), np.asarray(layer.penalty())
    for step, group in enumerate(GROUPS[:-1]):
        nearest = ek.hom("x x -> x", x=group).project(matrix)
        np.testing.assert_allclose(found[step:].sum(), 0.5 * np.sum((matrix - nearest) ** 2), rtol=1e-9)


def test_biases_are_split_too(x64):
    layer = Linear(chain("x -> x x", x=[O(3), O(2) + O(1)]), 1, 1, rngs=nnx.Rngs(0), gates=1.0, **DOUBLE)
    assert layer.kept.bias["-> x x"].shape == (1, 1)
    assert layer.broken[0]["-> x x"].shape == (1, 1)
    layer.broken[0]["-> x x"][...] = jnp.ones((1, 1))
    constant = by_numpy(layer)(np.zeros((3, 1)))[..., 0]
    wanted = np.diag([1, 1, -2]) / np.sqrt(6)  # invariant, orthogonal to the identity, of norm one
    assert np.abs(np.abs(np.vdot(constant, wanted)) - 1) < 1e-9


def test_the_broken_parts_preserve_the_variance(x64):
    layer = Linear(chain("x x + x -> x", x=[O(3), Trivial(3)]), 64, 32, rngs=nnx.Rngs(0), gates=1.0, **DOUBLE)
    rng = np.random.default_rng(0)
    x = {"x x": rng.normal(size=(64, 3, 3, 64)), "x": rng.normal(size=(64, 3, 64))}
    whole, kept = by_numpy(layer)(x)["x"], by_numpy(layer.kept)(x)["x"]
    assert abs(np.var(whole - kept) - 1) < 0.15


def test_plain_axes_and_other_labels(x64):
    layer = Linear(
        chain("p x f -> p x", x=[O(2), Trivial(2)], p=S(4), f=ek.Fixed(2)), 1, 2, gates=1.0, rngs=nnx.Rngs(0), **DOUBLE
    )
    x, order = np.random.default_rng(0).normal(size=(4, 2, 2, 1)), np.array([2, 0, 3, 1])
    run = by_numpy(layer)
    np.testing.assert_allclose(run(x[order]), run(x)[order], atol=1e-12)
    assert layer.broken[0]["p x f -> p x"].shape == (6, 2, 2)


def test_it_is_printed():
    layer = Linear(chain("x -> x", x=GROUPS), 2, 3, rngs=nnx.Rngs(0))
    assert repr(layer) == 'Linear("x -> x", 2, 3, x=[O(3), O(2) + O(1), Trivial(3)])  # 9 maps, 65 parameters'
    assert isinstance(layer.gates, Gate)


def test_networks_are_softened(x64):
    net = ek.nn.Network([{"x": 2}, {"": 4, "x": 3}, {"x": 1}], x=O(3), products=2, rngs=nnx.Rngs(0), **DOUBLE)
    x = {"x": np.random.default_rng(0).normal(size=(5, 3, 2))}
    soft = soften(net, x=GROUPS[1:], rngs=nnx.Rngs(1))
    np.testing.assert_allclose(by_numpy(soft)(x)["x"], by_numpy(net)(x)["x"], atol=1e-12)
    assert isinstance(soft.head, Linear)
    assert isinstance(net.head, ek.nn.Linear)  # the network itself is unchanged
    assert penalty(soft).tolist() == [0, 0]
    open_gates = soften(net, x=GROUPS[1:], rngs=nnx.Rngs(1), gates=(1.0, 0.0))
    assert np.abs(by_numpy(open_gates)(x)["x"] - by_numpy(net)(x)["x"]).max() > 0.01
    turn = (O(2) + O(1)).random_element(np.random.default_rng(1))
    moved = {"x": np.einsum("ij,bjc->bic", turn, x["x"])}
    wanted = np.einsum("ij,bjc->bic", turn, by_numpy(open_gates)(x)["x"])
    np.testing.assert_allclose(by_numpy(open_gates)(moved)["x"], wanted, atol=1e-11)
    layers = [module for _, module in nnx.iter_modules(open_gates) if isinstance(module, Linear)]
    total = sum(np.asarray(layer.penalty()) for layer in layers)
    np.testing.assert_allclose(penalty(open_gates), total, rtol=1e-9)


def test_free_layers_are_softened_at_the_size_of_the_smaller_groups(x64):
    layer = ek.nn.Linear("p p -> p", 2, 3, p=S, rngs=nnx.Rngs(0), **DOUBLE)
    soft, x = soften(layer, p=[ek.Z(4)], rngs=nnx.Rngs(1)), np.random.default_rng(0).normal(size=(4, 4, 2))
    np.testing.assert_allclose(by_numpy(soft)(x), by_numpy(layer)(x), atol=1e-12)
    assert dict(soft.kept.signature.bindings) == {"p": S(4)}


def test_residual_pathways_add():
    exact = ek.nn.Linear("x -> x", 1, 1, x=O(3), rngs=nnx.Rngs(0))
    free = ek.nn.Linear("x -> x", 1, 1, x=Trivial(3), use_bias=False, rngs=nnx.Rngs(1))
    both, x = Residual(exact, free), np.ones((2, 3, 1), np.float32)
    np.testing.assert_allclose(by_numpy(both)(x), by_numpy(exact)(x) + by_numpy(free)(x), rtol=1e-5)
    np.testing.assert_allclose(both.penalty(), 0.5 * np.sum(np.asarray(free.kernel["x -> x"]) ** 2), rtol=1e-5)
    wrong = Residual(exact, ek.nn.Linear("x -> x", 1, 2, x=Trivial(3), rngs=nnx.Rngs(1)))
    assert_error(
        ek.ShapeError, lambda: wrong(x), "different outputs", "(2, 3, 1) and (2, 3, 2)", "one structure", "give"
    )
    assert_error(ek.OptionError, lambda: Residual(3, free), "equivariant= must be", "3", "Module", "nnx.Linear(3, 3")


def test_bad_arguments():
    good, rngs = chain("x -> x", x=GROUPS), nnx.Rngs(0)
    assert_error(
        ek.OptionError, lambda: Linear("x -> x", 1, 1, rngs=rngs), "chain= must be", "x -> x", "Chain", "ek.relax.chain"
    )
    assert_error(
        ek.OptionError,
        lambda: Linear(good, 1, 1, rngs=rngs, gates=(1.0,)),
        "number of gates",
        "1",
        "2",
        "gates=(0.0, 0.0)",
    )
    assert_error(ek.OptionError, lambda: Linear(good, 1, 1, rngs=rngs, gates=np.nan), "gates=", "nan", "number", "0")
    other = ek.nn.Linear("x -> x", 1, 1, x=O(2), rngs=rngs)
    assert_error(
        ek.OptionError, lambda: Linear(good, 1, 1, rngs=rngs, gate=1.0), "no option 'gate'", "gate=", "gates", "gates="
    )
    assert_error(
        ek.OptionError,
        lambda: Linear(good, 1, 1, rngs=rngs, bias=False),
        "no option 'bias'",
        "bias=",
        "use_",
        "use_bias=",
    )
    assert_error(
        ek.OptionError, lambda: Linear(good, other, rngs=rngs), "space of the layer", "O(2)", "O(3)", "chain.spaces[0]"
    )
    assert_error(
        ek.OptionError, lambda: penalty(other), "no relaxed layers", "Linear", "one or more", "ek.relax.soften"
    )
    layers = [Linear(chain("x -> x", x=groups), 1, 1, rngs=rngs) for groups in (GROUPS, GROUPS[::2])]
    assert_error(
        ek.OptionError, lambda: penalty(nnx.List(layers)), "steps of the layers", "[2, 1]", "[2, 2]", "one length"
    )
    assert_error(
        ek.SignatureError,
        lambda: soften(other, y=[Trivial(2)], rngs=rngs),
        "label 'y'",
        "labels x",
        "labels of",
        "name one",
    )
    assert_error(
        ek.GroupError,
        lambda: soften(other, x=[Trivial(3)], rngs=rngs),
        "different sizes",
        "size 3",
        "one size",
        "ek.O(2)",
    )
    assert_error(
        ek.OptionError, lambda: soften(3, x=[Trivial(2)], rngs=rngs), "model= must be", "3", "Module", "ek.nn.Linear"
    )
    assert_error(
        ek.OptionError,
        lambda: soften(other, rngs=rngs),
        "no smaller groups",
        "no label",
        "one or more",
        "ek.Trivial(3)",
    )


@pytest.mark.parametrize("options", [{"use_bias": False}, {"out_channels": 3}, {"dtype": jnp.float16}])
def test_options_of_a_given_layer_are_refused(options):
    steps = chain("x -> x", x=GROUPS)
    layer = ek.nn.Linear(steps.spaces[0], 2, 3, rngs=nnx.Rngs(0))
    with pytest.raises(ek.OptionError, match="a layer has its options already"):
        Linear(steps, layer, rngs=nnx.Rngs(0), **options)


def test_penalties_of_float16_do_not_overflow():
    half = {"param_dtype": jnp.float16, "dtype": jnp.float16, "use_bias": False, "rngs": nnx.Rngs(0)}
    free = ek.nn.Linear("x -> x", 1, 1, x=Trivial(3), **half)
    (name,) = free.kernel
    free.kernel[name][...] = jnp.full_like(free.kernel[name][...], 300) * jnp.arange(9)[:, None, None]
    wide = ek.nn.Linear("x -> x", 1, 1, x=Trivial(3), use_bias=False, rngs=nnx.Rngs(0))
    wide.kernel[name][...] = free.kernel[name][...].astype(jnp.float32)
    candidates = ek.relax.Penalty(free, x=[O(3)])
    np.testing.assert_allclose(candidates(free), candidates(wide), rtol=1e-2)
    slopes = [nnx.grad(lambda model: jnp.sum(candidates(model)))(model).kernel[name][...] for model in (free, wide)]
    assert slopes[0].dtype == jnp.float16
    np.testing.assert_allclose(slopes[0], slopes[1], rtol=1e-2, atol=1)
    both = Residual(free, wide)
    both.free = free
    assert np.isfinite(both.penalty())
    relaxed = Linear(chain("x -> x", x=GROUPS), 1, 1, gates=1.0, **half)
    for part in relaxed.broken:
        for weight in part.values():
            weight[...] = jnp.full_like(weight[...], 300)
    assert np.all(np.isfinite(relaxed.penalty()))


@pytest.mark.parametrize("gate", [1e-4, 300.0])
def test_penalties_of_float16_gates_are_in_float32(gate):
    relaxed = Linear(chain("x -> x", x=GROUPS), 1, 1, gates=gate, rngs=nnx.Rngs(0))
    exact = relaxed.penalty()
    nnx.update(relaxed, jax.tree.map(lambda array: array.astype(jnp.float16), nnx.state(relaxed)))
    found = relaxed.penalty()
    assert found.dtype == jnp.float32
    assert np.all(np.asarray(exact) > 0)
    np.testing.assert_allclose(found, exact, rtol=1e-2)
    slope = nnx.grad(lambda model: jnp.sum(model.penalty()) / gate)(relaxed).gates[...]
    assert np.all(np.isfinite(slope) & (slope != 0))
