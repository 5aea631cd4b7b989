"""The group that is read off a program preserves the function, and a false one is caught."""

from __future__ import annotations

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from architectures import MODELS, normal, plain
from flax import nnx
from helpers import assert_error

import equikit as ek
from equikit.groups import Fixed, S
from equikit.weightspace import Indexed, Specification, Symbol, align, trace

GROUPS = {
    "perceptron": [8, 5],
    "perceptron_nnx": [6, 6],
    "perceptron_linen": [6, 5],
    "perceptron_equinox": [6, 6],
    "layer_norm": [6],
    "convolution_with_batch_norm": [6, 5],
    "group_norm": [4, 2],
    "residual": [6, 5, 5],
    "residual_convolutions": [6, 4, 6],
    "dense_concatenation": [4, 3, 5],
    "concatenated_then_flattened": [3, 2, 6],
    "convolution_flattened": [5, 7],
    "grouped_convolution": [3, 2, 3, 4],
    "depthwise_convolution": [6, 4],
    "tied_layers": [6],
    "autoencoder_with_tied_weights": [6],
    "gru": [5],
    "lstm": [5],
    "attention": [2, 4, 4],
    "transformer": [8, 12, 2, 4, 4],
    "fused_attention": [6, 2, 4, 4],
    "gated_units": [6, 7, 2],
    "gated_halves": [4],
    "language_model_with_tied_embedding": [6, 7],
    "scanned_layers": [6, 6, 6, 6, 6],
    "branches": [6],
    "equilibrium": [6],
    "siren": [8, 8],
    "mixture_of_experts": [4, 6],
    "message_passing": [6],
}
"""Sizes of the labels that are permuted, derived by hand."""


QUICK = ("perceptron", "residual", "gru", "attention", "concatenated_then_flattened", "grouped_convolution", "branches")
FEW = [pytest.param(name, marks=() if name in QUICK else pytest.mark.slow) for name in MODELS]


@pytest.mark.parametrize("name", FEW)
def test_the_group_is_found_and_preserves_the_function(name: str) -> None:
    apply, params, x = MODELS[name]()
    spec = trace(apply, params, x)
    assert sorted(group.n for group in spec.groups.values()) == sorted(GROUPS[name])
    assert spec.check(jax.jit(apply), params, x, key=jax.random.key(0)) < 1e-5


@pytest.mark.parametrize("name", FEW)
def test_a_false_symmetry_is_caught(name: str) -> None:
    apply, params, x = MODELS[name]()
    spec = trace(apply, params, x)
    fixed = [label for label, group in spec.bindings if isinstance(group, Fixed) and group.size > 1]
    assert fixed, "every model has inputs and outputs"
    counted = {
        label
        for leaf in spec.leaves
        for axis in leaf.axes
        if isinstance(axis, Indexed)
        for place in axis.over
        for label in leaf.axes[place].labels
    }
    for label in fixed:
        bindings = tuple((name, S(what.size) if name == label else what) for name, what in spec.bindings)
        if label in counted:
            with pytest.raises(ek.OptionError, match=f"{label!r} is permuted"):
                replace(spec, bindings=bindings)
            continue
        false = replace(spec, bindings=bindings)
        text = rf"the outputs change(.|\n)*{label!r} is not free(.|\n)*spec\.fix\(\"{label}\"\)"
        with pytest.raises(ek.EquivarianceError, match=text):
            until_not_the_identity(false, apply, params, x)
        assert false.fix(label).groups == spec.groups


def until_not_the_identity(spec, *arguments) -> None:
    """Of two indices, every second element leaves both in place."""
    for seed in range(40):
        spec.check(*arguments, key=jax.random.key(seed))


def apply(p, x):
    return jnp.tanh(jnp.tanh(x @ p["a"]) @ p["b"]) @ p["c"]


def test_labels_that_should_be_one_are_blamed_on_the_operation() -> None:
    params, x = plain({"a": (3, 6), "b": (6, 6), "c": (6, 2)}), jnp.ones((4, 3))
    spec = trace(apply, params, x)
    assert spec.terms == {"a": "in h0", "b": "h0 h1", "c": "h1 out"}
    assert spec.groups == {"h0": S(6), "h1": S(6)}
    assert dict(spec.reasons) == {"in": "an input", "out": "an output"}
    a, b, c = spec.leaves
    false = Specification((a, replace(b, axes=(b.axes[1], b.axes[1])), c), spec.bindings)
    text = r"dot_general of arrays \[4, 6\], \[6, 6\], 'h0' and 'h1' are permuted alike"
    with pytest.raises(ek.EquivarianceError, match=text) as caught:
        false.check(apply, params, x, key=jax.random.key(0))
    assert caught.value.step.startswith('write spec = spec.fix("h0", "h1"), and report'), "neither is one by itself"


def test_a_label_that_is_fixed_is_not_moved() -> None:
    params, x = plain({"a": (3, 6), "b": (6, 5), "c": (5, 2)}), jnp.ones((4, 3))
    spec = trace(lambda p, x: jax.nn.relu(x @ p["a"]) @ p["b"] @ p["c"], params, x)
    fixed = spec.fix("h1")
    assert fixed.groups == {"h0": S(6)}
    assert dict(fixed.bindings)["h1"] == Fixed(5)
    assert dict(fixed.reasons) == {"in": "an input", "out": "an output", "h1": "fixed by the caller"}
    assert {scaling.label for scaling in spec.scalings} == {"h0", "h1"}
    assert {scaling.label for scaling in fixed.scalings} == {"h0"}
    assert [action.label for action in spec.linear_actions] == ["h1"]
    assert fixed.linear_actions == ()
    assert fixed.random_element(key=KEY).keys() == {"h0"}
    np.testing.assert_array_equal(fixed.augment(params, key=KEY)["c"], params["c"])
    assert spec.fix("h0", "h1").groups == {}
    assert spec.fix("in") == spec.fix() == spec
    assert fixed.fix("h1") == fixed


def test_a_number_among_the_parameters_of_one_network_is_kept_by_augmentation() -> None:
    params = {"a": np.ones((3, 4)), "scale": np.array(2.0), "b": np.ones((4, 2))}
    spec = trace(lambda p, x: jnp.tanh(x @ p["a"] * p["scale"]) @ p["b"], params, jnp.ones((5, 3)))
    moved = spec.augment(params, key=KEY)
    assert jax.tree.map(jnp.shape, moved) == {"a": (3, 4), "scale": (), "b": (4, 2)}
    assert moved["scale"] == 2


def test_what_is_nested_in_a_fixed_label_is_moved_alike_for_all_its_indices() -> None:
    apply, params, x = MODELS["attention"]()
    spec = trace(apply, params, x)
    ((inner, outer), (other, _)) = spec.nested
    assert spec.random_element(key=KEY)[inner].shape == (2, 4)
    fixed = spec.fix(outer)
    assert fixed.nested == ()
    assert fixed.groups == {inner: S(4), other: S(4)}
    assert [(action.label, action.within) for action in fixed.linear_actions] == [(inner, None), (other, None)]
    assert fixed.check(apply, params, x, key=KEY) < 1e-5
    turned = fixed.transform(fixed.linear_actions[0], np.eye(4) + normal(4, 4) / 4, params)
    np.testing.assert_allclose(apply(turned, x), apply(params, x), rtol=1e-4, atol=1e-5)
    assert spec.fix(inner).nested == ((other, outer),)
    assert spec.fix(inner).check(apply, params, x, key=KEY) < 1e-5


def test_only_what_flax_calls_a_value_has_no_name_of_its_own() -> None:
    params = plain({"query": (3, 4), "value": (4, 2)})
    assert trace(lambda p, x: x @ p["query"] @ p["value"], params, jnp.ones((5, 3))).terms.keys() == {"query", "value"}
    static, state = nnx.split(nnx.Linear(3, 2, rngs=nnx.Rngs(0)))
    assert trace(lambda p, x: nnx.merge(static, p)(x), state, jnp.ones((5, 3))).terms.keys() == {"bias", "kernel"}


def test_elements_move_entries_as_groups_do() -> None:
    params = plain({"a": (3, 6), "b": (6, 5), "c": (5, 2)})
    spec = trace(apply, params, jnp.ones((4, 3)))
    element = spec.random_element(key=jax.random.key(0))
    moved = spec.act(element, params)
    one, two = (np.asarray(spec.groups[label].matrix(element[label])) for label in ("h0", "h1"))
    np.testing.assert_allclose(moved["a"], params["a"] @ one.T, rtol=1e-6)
    np.testing.assert_allclose(moved["b"], one @ params["b"] @ two.T, rtol=1e-6)
    np.testing.assert_allclose(moved["c"], two @ params["c"], rtol=1e-6)
    batch = jax.tree.map(lambda leaf: jnp.stack([leaf, 2 * leaf]), params)
    np.testing.assert_array_equal(spec.act(element, batch)["b"][1], 2 * moved["b"])


def test_products_and_sums_move_as_reshape_and_concatenate_do() -> None:
    def model(p, x):
        h = jnp.concatenate([jnp.tanh(x @ p["a"]), x @ p["b"]], axis=-1)  # [batch, positions, 2 + 3]
        return h.reshape(len(x), -1) @ p["c"]

    params, x = plain({"a": (3, 2), "b": (3, 3), "c": (20, 2)}), jnp.ones((4, 4, 3))
    spec = trace(model, params, x)
    assert spec.terms["c"] == "(in1 (h0 + h1)) out"
    assert spec.check(model, params, x, key=jax.random.key(1)) < 1e-6
    element = {"h0": np.array([1, 0]), "h1": np.array([2, 0, 1])}
    moved = spec.act(element, params)["c"].reshape(4, 5, 2)
    before = params["c"].reshape(4, 5, 2)
    np.testing.assert_array_equal(moved, before[:, [1, 0, 3, 4, 2]])


def test_what_nobody_has_seen_is_rigid() -> None:
    def model(p, x):
        return jnp.linalg.eigvalsh(p["a"] @ p["a"].T).sum() + jnp.tanh(x @ p["b"]) @ p["c"]

    params, x = plain({"a": (4, 4), "b": (3, 6), "c": (6, 2)}), jnp.ones((5, 3))
    spec = trace(model, params, x)
    assert spec.unread == ()
    assert spec.groups == {"h0": S(4), "h1": S(6)}
    assert spec.terms["a"] == "fixed h0"  # the right one is summed over
    assert "eigh" in dict(spec.reasons)["fixed"]
    assert spec.check(model, params, x, key=jax.random.key(0)) < 1e-5


def test_operations_that_change_the_order_of_axes_or_have_several_results() -> None:
    def bits(p, x):
        h = jax.lax.bitcast_convert_type(x @ p["a"], jnp.uint8)  # one more axis
        return h.astype(jnp.float32).sum(axis=-1) @ p["b"]

    def barrier(p, x):
        h, w = jax.lax.optimization_barrier((jnp.tanh(x @ p["a"]), p["b"]))
        return h @ w

    params, x = plain({"a": (3, 6), "b": (6, 2)}), jnp.ones((4, 3))
    with pytest.warns(ek.TraceWarning, match="bitcast_convert_type"):
        assert trace(bits, params, x).groups == {}
    spec = trace(barrier, params, x)
    assert spec.unread == ()
    assert spec.groups == {"h0": S(6)}
    assert [scaling.kind for scaling in spec.scalings] == ["sign"]
    assert spec.check(barrier, params, x, key=jax.random.key(0)) < 1e-6


def test_outputs_that_are_not_numbers_do_not_pass_the_check() -> None:
    params = plain({"a": (3, 6), "b": (6, 5), "c": (5, 2)})
    with pytest.raises(ek.OptionError, match="outputs of the model are not finite"):
        SPEC.check(lambda p, x: apply(p, x) / 0 * 0, params, jnp.ones((4, 3)), key=jax.random.key(0))


def test_numbers_of_numpy_are_parameters_without_axes() -> None:
    """Arithmetic on NumPy arrays without axes returns them."""
    params = {name: np.ones(shape) for name, shape in {"a": (3, 6), "b": (6, 2), "s": ()}.items()}
    numbers = jax.tree.map(lambda array: 0.5 * array, params)
    assert isinstance(numbers["s"], np.float64)
    spec = trace(lambda p, x: jnp.tanh(x @ p["a"] * p["s"]) @ p["b"], numbers, jnp.ones((4, 3)))
    assert spec.groups == {"h0": S(6)}
    assert spec.act(spec.random_element(key=KEY), numbers)["s"] == 0.5
    assert align(spec, params, numbers, with_info=True)[1].similarity == pytest.approx(1)


REFUSED = {
    "a tolerance below zero": (
        lambda: SPEC.check(
            apply, plain({"a": (3, 6), "b": (6, 5), "c": (5, 2)}), jnp.ones((4, 3)), key=KEY, tolerance=-1
        ),
        (ek.OptionError, "tolerance= must be", "-1", "≥ 0, or None", "tolerance=0.001"),
    ),
    "a random key": (
        lambda: trace(lambda p, x: x + jax.random.normal(p["key"], (3,)), {"key": jax.random.key(0)}, jnp.ones(3)),
        (ek.DTypeError, "'key' is not an array of numbers", "key<fry>", "integer or boolean", "nnx.Param"),
    ),
    "an array of objects": (
        lambda: SPEC.act({}, {"a": np.array([None, "x"])}),
        (ek.DTypeError, "'a' is not an array of numbers", "object", "integer or boolean", "nnx.Param"),
    ),
    "nothing": (
        lambda: trace(lambda p, x: x, {}, jnp.ones(3)),
        (ek.OptionError, "no parameters", "an empty tree", "one or more parameters", "pass the parameters"),
    ),
    "a label that there is not": (
        lambda: SPEC.fix("h_0"),
        (ek.OptionError, "unknown value for label=", "'h_0'", '"in", "h0", "h1" or "out"', 'spec.fix("h0")'),
    ),
    "a label that is not a text": (
        lambda: SPEC.fix(["h0"]),
        (ek.OptionError, "unknown value for label=", "['h0']", '"in", "h0", "h1" or "out"', "look at spec.sizes"),
    ),
    "another tree": (
        lambda: SPEC.act({}, {"a": jnp.ones((3, 6)), "d": jnp.ones(2)}),
        (
            ek.OptionError,
            "the parameters do not have the expected names",
            "'a', 'd'",
            "a dictionary with the names 'a', 'b', 'c'",
            "same structure",
        ),
    ),
    "another shape": (
        lambda: SPEC.act({}, {"a": jnp.ones((3, 6)), "b": jnp.ones((7, 5)), "c": jnp.ones((5, 2))}),
        (
            ek.ShapeError,
            "'b' of the parameters (h0 h1) must have shape [*batch, 6, 5]",
            "[7, 5]",
            "[*batch, 6, 5]",
            "trace the model",
        ),
    ),
    "two sizes": (
        lambda: replace(
            SPEC, leaves=(SPEC.leaves[0], replace(SPEC.leaves[1], axes=(Symbol("h0", 7), Symbol("h1", 5))))
        ),
        (ek.OptionError, "the label 'h0' has two sizes", "7 in", "one size", "different labels"),
    ),
}
KEY = jax.random.key(0)
SPEC = trace(apply, plain({"a": (3, 6), "b": (6, 5), "c": (5, 2)}), jnp.ones((4, 3)))


@pytest.mark.parametrize("name", REFUSED)
def test_it_is_refused(name: str) -> None:
    call, (error, *texts) = REFUSED[name]
    assert_error(error, call, *texts)
