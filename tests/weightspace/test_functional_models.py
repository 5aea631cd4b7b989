"""UNF, NFN and DWSNet: what they fix, and the options that all functionals have."""

from __future__ import annotations

import pickle
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from architectures import MODELS
from flax import nnx
from helpers import assert_error

from equikit import OptionError, ShapeError
from equikit.weightspace import NFN, UNF, DWSNet, Functional, Standardize, trace

KINDS = {"UNF": UNF, "NP": partial(NFN, variant="NP"), "HNP": partial(NFN, variant="HNP"), "DWSNet": DWSNet}


def traced(name: str):
    apply, params, x = MODELS[name]()
    return trace(apply, params, x), params


def zoo_of(params, count: int, scale: float = 1.0):
    """Parameters of many networks, each array with a mean and a deviation of its own."""
    leaves, tree = jax.tree.flatten(params)
    keys = jax.random.split(jax.random.key(5), len(leaves))
    drawn = [
        place + scale * (place + 1) * jax.random.normal(key, (count, *leaf.shape))
        for place, (key, leaf) in enumerate(zip(keys, leaves, strict=True))
    ]
    return jax.tree.unflatten(tree, drawn)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["perceptron", pytest.param("convolution_with_batch_norm", marks=pytest.mark.slow)])
def test_models_of_the_papers_commute(name: str, kind: str) -> None:
    spec, params = traced(name)
    element = spec.random_element(key=jax.random.key(1))
    moved = spec.act(element, params)
    invariant = KINDS[kind](
        spec, [1, 4, 4, 4], out="", head=[6, 2], residual=True, normalization="rms", rngs=nnx.Rngs(0)
    )
    equivariant = KINDS[kind](spec, [1, 4, 1], rngs=nnx.Rngs(0))
    number = invariant(params)
    assert number.shape == (2,)
    np.testing.assert_allclose(invariant(moved), number, rtol=1e-4, atol=1e-5)
    wanted, found = spec.act(element, equivariant(params)), equivariant(moved)
    for one, two in zip(*map(jax.tree.leaves, (wanted, found)), strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-3, atol=1e-5)


def test_positions_break_the_symmetry_that_is_none() -> None:
    """An input that is permuted is another network, for NP and UNF too."""
    spec, params = traced("perceptron")
    turned = jax.tree.map(lambda leaf: jnp.roll(leaf, 1, axis=0) if leaf.shape[0] == spec.sizes["in"] else leaf, params)
    for kind in KINDS.values():
        model = kind(spec, [1, 8, 2], out="", rngs=nnx.Rngs(0))
        assert not np.allclose(model(turned), model(params), rtol=1e-2)


@pytest.mark.slow
def test_sizes_of_ends_and_kernels_enter_where_the_papers_say() -> None:
    """Only HNP grows with inputs and outputs; only UNF does not with positions of a kernel."""

    def build(width: int, kernel: int):
        def apply(p, x):
            y = jax.nn.relu(jax.lax.conv(x, p["kernel"], (1, 1), "SAME"))
            return jnp.mean(y, axis=(2, 3)) @ p["last"]

        params = {"kernel": jnp.ones((6, width, kernel, kernel)), "last": jnp.ones((6, width))}
        return trace(apply, params, jnp.ones((2, width, 9, 9)))

    def weights(kind: str, width: int, kernel: int) -> int:
        model = KINDS[kind](build(width, kernel), [1, 4, 4], rngs=nnx.Rngs(0))
        return sum(param[...].size for layer in model.layers for param in layer.kernel.values())

    grows_with_ends = {kind: weights(kind, 8, 3) > weights(kind, 4, 3) for kind in KINDS}
    grows_with_kernels = {kind: weights(kind, 4, 5) > weights(kind, 4, 3) for kind in KINDS}
    assert grows_with_ends == {"UNF": False, "NP": False, "HNP": True, "DWSNet": True}
    assert grows_with_kernels == {"UNF": False, "NP": True, "HNP": True, "DWSNet": True}
    assert weights("HNP", 4, 3) == weights("DWSNet", 4, 3)


@pytest.mark.parametrize("kind", ["UNF", "DWSNet"])
def test_first_outputs_are_not_large(kind: str) -> None:
    """Of networks that are alike, so that means over their weights are not small, and wide enough for that to tell."""
    width = 64
    params = {"w0": (3, width), "b0": (width,), "w1": (width, width), "b1": (width,), "w2": (width, 2)}
    zoo = {name: 1 + 0.1 * jax.random.normal(jax.random.key(0), (5, *shape)) for name, shape in params.items()}

    def apply(p, x):
        return jnp.tanh(jnp.tanh(x @ p["w0"] + p["b0"]) @ p["w1"] + p["b1"]) @ p["w2"]

    spec = trace(apply, jax.tree.map(lambda leaf: leaf[0], zoo), jnp.ones((4, 3)))
    model = KINDS[kind](spec, [1, 16, 16, 16], out="", rngs=nnx.Rngs(0))
    assert 0.1 < np.sqrt(np.mean(model(zoo) ** 2)) < 3


def test_inputs_are_standardized() -> None:
    spec, params = traced("perceptron")
    zoo = zoo_of(params, 50)
    standardized = Standardize(spec, zoo)(zoo)
    for leaf in jax.tree.leaves(standardized):
        np.testing.assert_allclose((np.mean(leaf), np.std(leaf)), (0, 1), atol=1e-4)
    shifted = jax.tree.map(lambda leaf: 100 * leaf + 3, zoo)
    one = Functional(spec, [1, 4, 2], out="", statistics=zoo, rngs=nnx.Rngs(0))
    two = Functional(spec, [1, 4, 2], out="", statistics=shifted, rngs=nnx.Rngs(0))
    np.testing.assert_allclose(one(zoo), two(shifted), rtol=1e-3, atol=1e-4)
    assert jax.tree.leaves(nnx.state(one.standardize, nnx.Param)) == []
    constant = jax.tree.map(lambda leaf: jnp.full((3, *leaf.shape), 2.0), params)
    for leaf in jax.tree.leaves(Standardize(spec, constant)(constant)):
        np.testing.assert_array_equal(leaf, 0)


@pytest.mark.parametrize("size", [1e-30, 1e30])
def test_arrays_whose_squares_are_no_floats_are_standardized(size: float) -> None:
    spec, params = traced("perceptron")
    zoo = {name: (size * np.asarray(array)).astype(np.float32) for name, array in zoo_of(params, 50).items()}
    for leaf in jax.tree.leaves(Standardize(spec, zoo)(zoo)):
        np.testing.assert_allclose((np.mean(leaf), np.std(leaf)), (0, 1), atol=1e-4)


@pytest.mark.slow
def test_dropout_needs_a_key_and_keeps_the_mean() -> None:
    spec, params = traced("perceptron")
    model = Functional(spec, [1, 32, 1], out="", dropout=0.5, rngs=nnx.Rngs(0))
    without = Functional(spec, [1, 32, 1], out="", rngs=nnx.Rngs(0))
    np.testing.assert_array_equal(model(params), without(params))
    static, state = nnx.split(model)
    drawn = jax.vmap(lambda key: nnx.merge(static, state)(params, key=key))(jax.random.split(jax.random.key(0), 400))
    assert np.std(drawn) > 0
    assert abs(np.mean(drawn) - without(params)[0]) < 5 * np.std(drawn) / 20


def test_models_are_pickled_and_run_in_both_modes() -> None:
    spec, params = traced("perceptron")
    zoo = zoo_of(params, 3)
    model = UNF(
        spec,
        [1, 4, 4],
        out="",
        head=[3],
        normalization="rms",
        dropout=0.1,
        statistics=zoo,
        rngs=nnx.Rngs(0),
    )
    again = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(again(zoo), model(zoo))
    for graph in (True, False):
        static, state = nnx.split(model, graph=graph)
        np.testing.assert_allclose(
            jax.jit(lambda s, p, g=static: nnx.merge(g, s)(p))(state, zoo), model(zoo), rtol=1e-5, atol=1e-6
        )
    assert model(jax.tree.map(lambda leaf: leaf[:0], zoo)).shape == (0, 3)


@pytest.mark.parametrize(
    ("build", "problem", "got"),
    [
        (
            lambda spec: Functional(spec, [1, 1], dropout=1.0, rngs=nnx.Rngs(0)),
            "dropout= must be",
            "1.0",
        ),
        (
            lambda spec: Functional(spec, [1, 1, 1], normalization="l", rngs=nnx.Rngs(0)),
            "value for normalization=",
            "'l'",
        ),
        (
            lambda spec: Functional(spec, [1, 1], fixed={"fixed": "no"}, rngs=nnx.Rngs(0)),
            "value for fixed=",
            "'no'",
        ),
        (lambda spec: Functional(spec, [1, 1], fixed={"h0": "dense"}, rngs=nnx.Rngs(0)), "fixed names 'h0'", "'h0'"),
        (lambda spec: NFN(spec, [1, 1], variant="PN", rngs=nnx.Rngs(0)), "unknown value for variant=", "'PN'"),
        (lambda spec: UNF(spec, [1, 1], fixed="dense", rngs=nnx.Rngs(0)), "UNF has no option 'fixed'", "fixed="),
        (lambda spec: Functional(spec, [1, 1], fixed="positions", rngs=None), "rngs= must be nnx.Rngs", "None"),
        (lambda spec: Functional(None, [1, 1], rngs=nnx.Rngs(0)), "spec= must be a Specification", "None"),
        (lambda spec: UNF("spec", [1, 1], rngs=nnx.Rngs(0)), "spec= must be a Specification", "'spec'"),
        (lambda spec: NFN(None, [1, 1], rngs=nnx.Rngs(0)), "spec= must be a Specification", "None"),
        (lambda spec: DWSNet(None, [1, 1], rngs=nnx.Rngs(0)), "spec= must be a Specification", "None"),
        (lambda spec: Functional(spec, 4, rngs=nnx.Rngs(0)), "channels= must be a list of widths", "4"),
        (lambda spec: Functional(spec, "14", rngs=nnx.Rngs(0)), "channels= must be a list of widths", "'14'"),
        (lambda spec: Functional(spec, [1, 1], head=[0], rngs=nnx.Rngs(0)), "each entry of head=", "0"),
        (lambda spec: Functional(spec, [1, 1], head=4, rngs=nnx.Rngs(0)), "head= must be a list of widths", "4"),
    ],
)
def test_options_that_do_not_fit(build, problem: str, got: str) -> None:
    spec = trace(lambda p, x: jnp.sum(jnp.cumsum(p["w"], 0)) * x, {"w": jnp.ones((3, 4))}, jnp.ones(2))
    assert_error(OptionError, lambda: build(spec), problem, got, "", "")


def test_statistics_that_are_no_numbers() -> None:
    spec, params = traced("perceptron")
    zoo = zoo_of(params, 3)
    first = next(iter(zoo))
    texts = "standard deviations of 'b0' are not finite", "1 of 1 entries infinite or NaN", "finite numbers", "diverged"
    assert_error(OptionError, lambda: Standardize(spec, jax.tree.map(lambda leaf: leaf[:0], zoo)), *texts)
    for number in (jnp.nan, jnp.inf):
        broken = zoo | {first: zoo[first].at[0].set(number)}
        texts = (
            f"standard deviations of {first!r} are not finite",
            "1 of 1 entries infinite or NaN",
            "finite numbers",
            "diverged",
        )
        assert_error(OptionError, lambda broken=broken: Standardize(spec, broken), *texts)
    assert_error(
        OptionError,
        lambda: Functional(spec, [1, 1], statistics=broken, rngs=nnx.Rngs(0)),
        *texts,
    )
    empty = {"a": jnp.ones((5, 3, 0)), "b": jnp.ones((5, 0, 2))}
    none = trace(lambda p, x: x @ p["a"] @ p["b"], jax.tree.map(lambda leaf: leaf[0], empty), jnp.ones((4, 3)))
    assert Standardize(none, empty)(empty)["a"].shape == (5, 3, 0)


def test_what_is_no_key_is_refused() -> None:
    spec, params = traced("perceptron")
    model = Functional(spec, [1, 1, 1], dropout=0.1, rngs=nnx.Rngs(0))
    calls = {
        "random_element": lambda key: spec.random_element(key=key),
        "augment": lambda key: spec.augment(params, key=key),
        "check": lambda key: spec.check(lambda p, x: x, params, jnp.ones(2), key=key),
        "dropout": lambda key: model(params, key=key),
    }
    for call in calls.values():
        assert_error(OptionError, lambda call=call: call(3), "key= must be one JAX key", "3", "a JAX key", "key(0)")
        split = jax.random.split(jax.random.key(0))
        assert_error(
            OptionError,
            lambda call=call, split=split: call(split),
            "must be one JAX key",
            "of shape [2]",
            "a JAX key",
            "key(0)",
        )
    for key in (jax.random.key(0), jax.random.PRNGKey(0)):  # of both kinds
        assert spec.random_element(key=key).keys() == spec.groups.keys()


def test_channels_that_are_not_there() -> None:
    spec, params = traced("perceptron")
    model = Functional(spec, [2, 1], rngs=nnx.Rngs(0))
    assert_error(
        ShapeError,
        lambda: model(params),
        "the parameter 'b0' must have shape [*axes, 2]",
        "shape",
        "[*axes, 2]",
        "stack",
    )
