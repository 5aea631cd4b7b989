"""General linear groups are found along axes on which all is linear, and leave the function as it is."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from architectures import MODELS, normal, plain
from helpers import assert_error

import equikit as ek
from equikit.weightspace import LinearAction, trace
from equikit.weightspace.specifications._blame import relative_difference

QUICK = ("perceptron", "attention", "gru", "fused_attention", "gated_units")
FOUND = {  # label: how many groups
    "residual_convolutions": {"h1": 1},  # the sum at the end of a block with no nonlinearity before the next
    "dense_concatenation": {"h0": 1},
    "concatenated_then_flattened": {"h0": 1, "h2": 1},
    "grouped_convolution": {"h3": 1},
    "depthwise_convolution": {"h1": 1},
    "attention": {"h1": 1, "h2": 1},  # queries with keys, values with outputs
    "transformer": {"h3": 1, "h4": 1},
    "fused_attention": {"h0": 1, "h2": 1, "h3": 1},
    "gated_units": {"h0": 1, "h2": 1},
    "scanned_layers": {"h0": 1},  # between the first map and the first layer
}
"""Derived by hand; all others have a nonlinearity or a normalization on every label, or use it as its own dual."""


def models() -> list:
    return [pytest.param(name, marks=() if name in QUICK else pytest.mark.slow) for name in MODELS]


def random_matrix(size: int, seed: int = 0) -> np.ndarray:
    return np.eye(size) + np.random.default_rng(seed).normal(size=(size, size)) / size**0.5


@pytest.mark.parametrize("name", models())
def test_they_preserve_the_function(name: str) -> None:
    apply, params, x = MODELS[name]()
    spec = trace(apply, params, x)
    labels = [action.label for action in spec.linear_actions]
    assert {label: labels.count(label) for label in labels} == FOUND.get(name, {})
    run, inputs = jax.jit(apply), x if isinstance(x, tuple) else (x,)
    for seed, action in enumerate(spec.linear_actions):
        *many, size, _ = action.shape(spec.sizes)
        matrix = np.stack([random_matrix(size, 10 * seed + one) for one in range(*many or [1])])
        matrix = matrix if many else matrix[0]
        moved = spec.transform(action, matrix, params)
        assert relative_difference(run(params, *inputs), run(moved, *inputs)) < 1e-5
        changed = [np.any(np.asarray(a) != b) for a, b in zip(*map(jax.tree.leaves, (params, moved)), strict=True)]
        assert any(changed)


def linear(p, x):
    return (x @ p["a"] + p["b"]) @ p["c"] @ p["d"]


SHAPES = {"a": (3, 6), "b": (6,), "c": (6, 4), "d": (4, 2)}


def test_a_linear_network_in_double_precision(x64: None) -> None:
    params, x = jax.tree.map(lambda leaf: leaf.astype(float), plain(SHAPES)), normal(5, 3).astype(float)
    spec = trace(linear, params, x)
    one, two = spec.linear_actions
    assert str(one) == "h0 linear: up a[1], b[0]; down c[0]"
    assert (one.up, one.down, two.up, two.down) == (("a", "b"), ("c",), ("c",), ("d",))
    assert one == LinearAction("h0", None, (("a", 1, (1,)), ("b", 0, (1,)), ("c", 0, (-1,))))
    assert len({one, two}) == 2  # they are hashable
    matrix = random_matrix(6)
    moved = spec.transform(one, matrix, params)
    np.testing.assert_allclose(moved["a"], params["a"] @ matrix.T, rtol=1e-12)
    np.testing.assert_allclose(moved["b"], matrix @ params["b"], rtol=1e-12)
    np.testing.assert_allclose(moved["c"], np.linalg.inv(matrix).T @ params["c"], rtol=1e-9)
    assert relative_difference(linear(params, x), linear(moved, x)) < 1e-12
    # Two elements in turn are their product, and the inverse leads back.
    other = random_matrix(6, 1)
    twice = spec.transform(one, other, moved)
    assert relative_difference(spec.transform(one, other @ matrix, params), twice) < 1e-12
    assert relative_difference(params, spec.transform(one, np.linalg.inv(matrix), moved)) < 1e-12
    # A batch of parameters, a compiled program, a derivative.
    batch = jax.tree.map(lambda leaf: jnp.stack([leaf, 2 * leaf]), params)
    assert_alike = jax.tree.map(lambda many, few: many[1] - 2 * few, spec.transform(one, matrix, batch), moved)
    assert max(float(jnp.abs(leaf).max()) for leaf in jax.tree.leaves(assert_alike)) < 1e-12
    inside = jax.jit(lambda matrix: spec.transform(one, matrix, params))(jnp.asarray(matrix))
    assert relative_difference(moved, inside) < 1e-12
    size = jax.grad(lambda matrix: linear(spec.transform(one, matrix, params), x).sum())(jnp.asarray(matrix))
    assert float(jnp.abs(size).max()) < 1e-10  # the function does not depend on the element


def test_permutations_and_scales_are_elements() -> None:
    params, x = plain(SHAPES), normal(5, 3)
    spec = trace(linear, params, x)
    action = spec.linear_actions[0]
    order = np.random.default_rng(0).permutation(6)
    moved = spec.transform(action, spec.groups["h0"].matrix(order), params)
    assert relative_difference(spec.act({"h0": order}, params), moved) < 1e-6
    scaling = next(one for one in spec.scalings if (one.label, one.kind) == ("h0", "positive"))
    numbers = np.exp(np.random.default_rng(1).normal(size=6))
    scaled = spec.rescale(scaling, numbers, params)
    power = next(float(powers[0]) for name, _, powers in scaling.powers if name == "a")
    assert relative_difference(scaled, spec.transform(action, np.diag(numbers**power), params)) < 1e-6


def of(middle):
    """A network with two linear layers, and something between that gets both and the parameters."""
    return lambda p, x: middle(p, x @ p["a"]) @ p["c"]


NOT_LINEAR = {
    "relu": of(lambda p, h: jax.nn.relu(h)),
    "tanh": of(lambda p, h: jnp.tanh(h)),
    "a constant": of(lambda p, h: h + 1),
    "a product": of(lambda p, h: h * p["b"]),
    "a quotient": of(lambda p, h: 1 / h),
    "a square": of(lambda p, h: h * h),
    "a sum along it": of(lambda p, h: h + h.sum(1, keepdims=True)),
    "a maximum along the batch": of(lambda p, h: h - h.max(0)),
    "a normalization": of(lambda p, h: h / jnp.sqrt((h**2).mean(1, keepdims=True) + 1)),
    "softmax": of(lambda p, h: jax.nn.softmax(h)),
    "three duals of each other": of(
        lambda p, h: h * ((h @ p["e"]).sum() + (h @ p["f"]).sum() + (p["e"].T @ p["f"]).sum())
    ),
    "its own dual": of(lambda p, h: h @ p["a"].T @ p["a"]),
    "a comparison": of(lambda p, h: jnp.where(h > 0, h, 2 * h)),
    "along, not summed": of(lambda p, h: jnp.einsum("bi,ci->bci", h, h).sum(1)),
    "another precision": of(lambda p, h: h.astype(jnp.int32).astype(jnp.float32)),
    "padding with ones": of(lambda p, h: jnp.pad(h, ((0, 1), (0, 0)), constant_values=1)[1:]),
    "places past the end": of(lambda p, h: jnp.take(h, jnp.arange(6), axis=0, mode="fill", fill_value=1.0)),
}


@pytest.mark.parametrize("name", NOT_LINEAR)
def test_what_is_not_linear_along_an_axis_has_none(name: str) -> None:
    params = plain({"a": (3, 6), "b": (6,), "c": (6, 2), "e": (6, 4), "f": (6, 4)})
    spec = trace(NOT_LINEAR[name], params, normal(4, 3))
    assert "h0" in spec.groups
    assert "h0" not in {action.label for action in spec.linear_actions}


LINEAR = {
    "a number": of(lambda p, h: 0.5 * h / 3 - h),
    "a gate that is the same along it": of(lambda p, h: h * jax.nn.sigmoid((h @ p["e"]).sum(1, keepdims=True))),
    "a choice that is the same along it": of(lambda p, h: jnp.where((h @ p["e"])[:, :1] > 0, h, 2 * h)),
    "zeros": of(lambda p, h: h + jnp.zeros((4, 6))),
    "a mean of the batch": of(lambda p, h: h - h.mean(0)),
    "padding": of(lambda p, h: jnp.pad(h, ((0, 1), (0, 0)))[1:]),
    "a choice of rows": of(lambda p, h: h[jnp.array([1, 0, 3])]),
    "a loop from zero": of(lambda p, h: jax.lax.scan(lambda s, row: (0.5 * s + row, s), jnp.zeros(6), h)[1]),
}


@pytest.mark.parametrize("name", LINEAR)
def test_what_is_linear_along_an_axis(name: str, x64: None) -> None:
    params = jax.tree.map(lambda leaf: leaf.astype(float), plain({"a": (3, 6), "b": (6,), "c": (6, 2), "e": (6, 4)}))
    apply, x = LINEAR[name], normal(4, 3).astype(float)
    spec = trace(apply, params, x)
    (action,) = [action for action in spec.linear_actions if action.label == "h0" and action.up]
    moved = spec.transform(action, random_matrix(6), params)
    assert relative_difference(apply(params, x), apply(moved, x)) < 1e-12


def heads(p, x):
    """Attention, whose queries and keys have their heads on one axis, and values on two."""
    q, k = ((x @ p[name]).reshape(*x.shape[:-1], 2, 3) for name in ("q", "k"))
    weights = jax.nn.softmax(jnp.einsum("qhd,khd->hqk", q, k))
    return jnp.einsum("hqk,khe,heo->qo", weights, jnp.einsum("ki,ihe->khe", x, p["v"]), p["o"])


def test_every_head_has_a_group_of_its_own(x64: None) -> None:
    shapes = {"q": (4, 6), "k": (4, 6), "v": (4, 2, 5), "o": (2, 5, 4)}
    params, x = jax.tree.map(lambda leaf: leaf.astype(float), (plain(shapes), normal(7, 4)))
    spec = trace(heads, params, x)
    values, keys = sorted(spec.linear_actions, key=lambda action: action.up)[::-1]
    assert (keys.within, values.within) == (values.within, keys.within)
    assert str(keys) == f"{keys.label} linear in each {keys.within}: up k[1]; down q[1]"
    matrices = np.stack([random_matrix(3, seed) for seed in range(2)])
    moved = spec.transform(keys, matrices, params)
    np.testing.assert_allclose(moved["k"][:, :3], params["k"][:, :3] @ matrices[0].T, rtol=1e-12)
    np.testing.assert_allclose(moved["q"][:, 3:], params["q"][:, 3:] @ np.linalg.inv(matrices[1]), rtol=1e-9)
    assert relative_difference(heads(params, x), heads(moved, x)) < 1e-12
    moved = spec.transform(values, np.stack([random_matrix(5, seed) for seed in range(2)]), params)
    assert relative_difference(heads(params, x), heads(moved, x)) < 1e-12
    one = spec.transform(keys, matrices[0], params)
    assert relative_difference(one, spec.transform(keys, matrices[[0, 0]], params)) < 1e-12
    text = ("general linear group", "shape [3, 3, 3]", "shape [3, 3], or 2 of them, [2, 3, 3]", "np.eye(3)")
    assert_error(ek.OptionError, lambda: spec.transform(keys, np.stack([np.eye(3)] * 3), params), *text)


def test_heads_that_share_queries_have_one_group(x64: None) -> None:
    def apply(p, x):
        k, v = (jnp.einsum("ki,ihd->khd", x, p[name]) for name in ("k", "v"))
        weights = jax.nn.softmax(jnp.einsum("qd,khd->hqk", x @ p["q"], k))
        return jnp.einsum("hqk,khe->qhe", weights, v).sum((1, 2))

    params = jax.tree.map(lambda leaf: leaf.astype(float), plain({"q": (4, 3), "k": (4, 2, 3), "v": (4, 2, 3)}))
    x = normal(7, 4).astype(float)
    spec = trace(apply, params, x)
    (action,) = spec.linear_actions
    assert (action.within, action.up, action.down) == (None, ("k",), ("q",))
    moved = spec.transform(action, random_matrix(3), params)
    assert relative_difference(apply(params, x), apply(moved, x)) < 1e-12


def test_half_precision_keeps_its_dtype() -> None:
    params = jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), plain(SHAPES))
    spec = trace(linear, params, jnp.ones((5, 3), jnp.bfloat16))
    moved = spec.transform(spec.linear_actions[0], 2 * np.eye(6), params)
    assert {leaf.dtype for leaf in jax.tree.leaves(moved)} == {jnp.dtype(jnp.bfloat16)}
    np.testing.assert_array_equal(moved["a"], 2 * params["a"])


@pytest.mark.parametrize(
    ("matrix", "got"),
    [(np.eye(5), "shape [5, 5]"), (np.full((6, 6), np.nan), "not finite"), (np.ones((6, 6)), "shape [6, 6]")],
    ids=["size", "not a number", "singular"],
)
def test_what_is_no_element_is_refused(matrix: np.ndarray, got: str) -> None:
    params = plain(SHAPES)
    spec = trace(linear, params, normal(5, 3))
    text = ("general linear group of 'h0'", got, "an invertible real matrix of shape [6, 6]", "np.eye(6)")
    assert_error(ek.OptionError, lambda: spec.transform(spec.linear_actions[0], matrix, params), *text)
