"""Scales and signs of neurons are found, and leave the function as it is."""

from __future__ import annotations

from collections import Counter
from fractions import Fraction

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from architectures import MODELS, plain
from helpers import assert_error

import equikit as ek
from equikit.weightspace import trace
from equikit.weightspace.specifications._blame import relative_difference
from equikit.weightspace.specifications._scaling import null_space

QUICK = ("perceptron", "attention", "gru", "tied_layers", "convolution_flattened")
FOUND = {  # label: how many ways to scale, and how many to change signs
    "perceptron": {"h0": (0, 1), "h1": (1, 0)},
    "perceptron_nnx": {},
    "perceptron_linen": {"h0": (1, 0), "h1": (0, 1)},
    "layer_norm": {"h0": (1, 1)},
    "tied_layers": {"h0": (0, 1)},
    "attention": {"h0": (2, 2), "h1": (1, 1), "h2": (1, 1)},
    "siren": {"h0": (0, 1), "h1": (0, 1)},
    "scanned_layers": {"h0": (1, 1)} | {f"h{layer}": (0, 1) for layer in range(1, 5)},
    "equilibrium": {"h0": (0, 1)},
    "gru": {"h0": (0, 1)},  # its state is a mean of tanh and of what it was
    "lstm": {"h0": (0, 1)},
    "convolution_flattened": {"h0": (1, 0), "h1": (1, 0)},
    "gated_halves": {"h0": (1, 1)},
    "autoencoder_with_tied_weights": {},
}
"""Derived by hand: relu keeps scales above zero, tanh and sine signs, and linear maps both."""


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name in QUICK else pytest.mark.slow) for name in MODELS]
)
def test_scales_preserve_the_function(name: str) -> None:
    apply, params, x = MODELS[name]()
    spec = trace(apply, params, x)
    if name in FOUND:
        kinds = Counter((scaling.label, scaling.kind) for scaling in spec.scalings)
        found = {label: (kinds[label, "positive"], kinds[label, "sign"]) for label in spec.groups}
        assert {label: counts for label, counts in found.items() if any(counts)} == FOUND[name]
    run, inputs = jax.jit(apply), x if isinstance(x, tuple) else (x,)
    before, rng = run(params, *inputs), np.random.default_rng(0)
    for scaling in spec.scalings:
        size = spec.sizes[scaling.label]
        numbers = np.exp(rng.normal(size=size) / 2) if scaling.kind == "positive" else rng.choice([-1.0, 1.0], size)
        moved = spec.rescale(scaling, numbers, params)
        assert relative_difference(before, run(moved, *inputs)) < 1e-5
        changed = [bool(jnp.any(a != b)) for a, b in zip(*map(jax.tree.leaves, (params, moved)), strict=True)]
        assert any(changed) or np.all(numbers == 1)


def test_what_is_scaled_by_which_power() -> None:
    def apply(p, x):
        return jax.nn.relu(x @ p["a"] + p["b"]) ** 2 @ p["c"]

    params, x = plain({"a": (3, 6), "b": (6,), "c": (6, 2)}), jnp.ones((4, 3))
    spec = trace(apply, params, x)
    (scaling,) = spec.scalings
    assert str(scaling) == "h0 positive: a[1] 1; b[0] 1; c[0] -2"
    numbers = np.arange(1.0, 7.0)
    moved = spec.rescale(scaling, numbers, params)
    np.testing.assert_allclose(moved["a"], params["a"] * numbers, rtol=1e-6)
    np.testing.assert_allclose(moved["c"], params["c"] / numbers[:, None] ** 2, rtol=1e-6)
    text = ("the numbers do not scale 'h0'", "shape [6], the least -1", "6 real numbers, all above zero", "jnp.exp")
    assert_error(ek.OptionError, lambda: spec.rescale(scaling, -numbers / numbers, params), *text)


def test_zero_is_not_a_sign() -> None:
    params = plain({"a": (3, 4), "c": (4, 2)})
    spec = trace(lambda p, x: jnp.tanh(x @ p["a"]) @ p["c"], params, jnp.ones((5, 3)))
    text = "the numbers do not scale", "the least 0", "plus or minus one", "pass jnp.sign of nonzero numbers"
    assert_error(ek.OptionError, lambda: spec.rescale(spec.scalings[0], np.zeros(4), params), *text)
    assert spec.rescale(spec.scalings[0], jnp.sign(jnp.arange(4) - 1.5), params)


def test_scalings_come_in_the_order_of_the_program_with_power_one_for_what_is_used_first() -> None:
    def apply(p, x):
        p = jax.tree.map(lambda leaf: leaf * 1.0, p)  # a cast of all parameters is no use
        hidden = jax.nn.relu(jax.nn.relu(x @ p["z"]) @ p["y"].T)
        return (jax.nn.relu(hidden @ p["c"]) * (hidden @ p["b"])) @ p["a"]

    spec = trace(apply, plain({"z": (3, 6), "y": (5, 6), "c": (5, 4), "b": (5, 4), "a": (4, 2)}), jnp.ones((4, 3)))
    found = [str(scaling) for scaling in spec.scalings if scaling.kind == "positive"]
    gated = spec.leaves[0].labels[0]
    first, second = (spec.leaves[place].labels[1 if place == 4 else 0] for place in (4, 3))
    assert found == [
        f"{first} positive: y[1] -1; z[1] 1",
        f"{second} positive: b[0] -1; c[0] -1; y[0] 1",
        f"{gated} positive: a[0] -1; c[1] 1",
        f"{gated} positive: a[0] -1; b[1] 1",
    ]


def test_what_is_cut_off_has_no_scale() -> None:
    def apply(p, x):
        return jax.nn.relu(x @ p["a"]).astype(jnp.int32).astype(jnp.float32) @ p["b"]

    spec = trace(apply, plain({"a": (3, 6), "b": (6, 2)}), jnp.ones((4, 3)))
    assert spec.groups
    assert spec.scalings == ()


def test_null_spaces() -> None:
    one, two = Fraction(1), Fraction(2)
    rows = [{0: one, 1: one}, {1: two, 2: -one}]
    assert null_space(rows, [0, 1, 2], modulo_two=False) == [[-one / 2, one / 2, one]]
    assert null_space(rows, [0, 1, 2], modulo_two=True) == [[one, one, 0 * one]]
    assert null_space(rows, [0], modulo_two=False) == []
    assert null_space([], [4, 7], modulo_two=True) == [[one, 0 * one], [0 * one, one]]
