"""Every primitive of JAX is read or named as one that is not, and what the rules say holds."""

from __future__ import annotations

import jax
import jax.extend.core.primitives as public
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
from architectures import in_float64 as plain
from jax.extend.core import Primitive
from soundness import assert_sound

from equikit.groups import S
from equikit.weightspace import trace
from equikit.weightspace.tracing.primitives._table import REWRITTEN, TABLE, UNSUPPORTED
from equikit.weightspace.tracing.programs._program import CALLS, CONTROL, of_constant

pytestmark = pytest.mark.usefixtures("x64")
X = np.random.default_rng(0).normal(size=(5, 3))
PARAMS = plain({"a": (3, 8), "b": (8, 2)})


def test_every_primitive_of_jax_is_read_or_named_as_one_that_is_not() -> None:
    modules = (public, jax.lax, jax.lax.linalg)
    names = {one.name for module in modules for one in vars(module).values() if isinstance(one, Primitive)}
    assert len(names) > 150
    assert names - TABLE.keys() - REWRITTEN.keys() - CALLS - set(CONTROL) - UNSUPPORTED == set()
    assert not UNSUPPORTED & (TABLE.keys() | REWRITTEN.keys() | CALLS)


def stacked(p, x):
    one, two = jnp.unstack(jnp.stack([x @ p["a"], x @ p["a"] + 1], axis=1), axis=1)
    return jnp.tanh(one * two) @ p["b"]


def tiled(p, x):
    return (jnp.tile(x @ p["a"], (2, 1)) + jnp.tile(x @ p["a"], (2, 1))) @ p["b"]


def logarithm(p, x):
    return jnp.log2(1 + jnp.abs(x @ p["a"])) @ p["b"]


def subtracted(p, x):
    return jnp.zeros((6, 8)).at[jnp.array([1, 2, 2, 4, 0])].subtract(jax.nn.relu(x @ p["a"])) @ p["b"]


def largest(p, x):
    values, _ = jax.lax.top_k((x @ p["a"]).T, 2)
    return values.T @ p["b"]


def rows_in_groups(p, x):
    weights = jnp.stack([p["a"], 2 * p["a"]])
    return jnp.tanh(jax.lax.ragged_dot(jnp.asarray(x), weights, jnp.array([2, 3]))) @ p["b"]


def looked_up(p, x):
    return jax.nn.relu(x @ p["a"])[jnp.argsort(x[:, 0])] @ p["b"]


def running(p, x):
    return jnp.cumsum(x @ p["a"], axis=0) @ p["b"]


def frequencies(p, x):
    return jnp.fft.irfft(jnp.fft.rfft(x @ p["a"], axis=0) * 2, n=5, axis=0) @ p["b"]


READ = {
    stacked: (set(), 0),
    tiled: ({"positive", "sign"}, 1),
    logarithm: ({"sign"}, 0),
    subtracted: ({"positive"}, 0),
    largest: (set(), 0),
    rows_in_groups: ({"sign"}, 0),
    looked_up: ({"positive"}, 0),
    running: ({"positive", "sign"}, 1),
    frequencies: ({"positive", "sign"}, 1),
}


@pytest.mark.parametrize("model", READ)
def test_what_is_read_keeps_the_function(model) -> None:
    kinds, linear = READ[model]
    spec = trace(model, PARAMS, X)
    assert spec.groups == {"h0": S(8)}
    assert {one.kind for one in spec.scalings} == kinds
    assert len(spec.linear_actions) == linear
    assert_sound(model, PARAMS, spec, X)


def test_numbers_pass_convolutions_of_single_channels() -> None:
    def model(p, x):
        layout = {"dimension_numbers": ("NWC", "WIO", "NWC"), "window_strides": (1,), "padding": "SAME"}
        h = jax.lax.conv_general_dilated(x[None] @ p["in"], p["deep"], feature_group_count=6, **layout)
        return jax.nn.relu(h[0]) @ p["out"]

    params = plain({"in": (3, 6), "deep": (3, 1, 6), "out": (6, 2)})
    spec = trace(model, params, jnp.asarray(X))
    assert spec.groups == {"h0": S(6)}
    assert sorted(one.kind for one in spec.scalings) == ["positive", "positive", "sign"]
    assert_sound(model, params, spec, jnp.asarray(X))


def positions(p, x):
    return jnp.tanh(x @ p["a"] + p["table"][: len(x)]).sum(0) @ p["b"]


WITH_TABLE = PARAMS | plain({"table": (20, 8)})
LONG = np.random.default_rng(1).normal(size=(16, 3))


def test_rows_beyond_the_example_are_not_permuted() -> None:
    spec = trace(positions, WITH_TABLE, X)
    assert spec.groups == {"h0": S(8)}
    assert "it reaches no output" in dict(spec.reasons).values()
    assert_sound(positions, WITH_TABLE, spec, X, LONG)
    free = trace(positions, WITH_TABLE, X, unreached=True)
    assert free.groups == {"h0": S(8), "h1": S(15)}
    with pytest.raises(AssertionError):
        assert_sound(positions, WITH_TABLE, free, LONG)


TABLES = {
    "multiplied": lambda t, n: (2 * t)[:n],
    "transposed": lambda t, n: t.T[:, :n].T,
    "normalized": lambda t, n: (t / jnp.linalg.norm(t, axis=1, keepdims=True))[:n],
    "contracted": lambda t, n: (t @ jnp.ones((8, 8)))[:n],
    "put after zeros": lambda t, n: jnp.concatenate([jnp.zeros((1, 8)), t])[:n],
    "in a call": lambda t, n: jax.jit(jnp.sin)(t)[:n],
    "divided": lambda t, n: jnp.split(2 * t, [n])[0],
    "in heads": lambda t, n: t.reshape(20, 2, 4)[:n].reshape(n, 8),
    "row by row": lambda t, n: jax.lax.scan(lambda _, row: (None, 2 * row), None, t)[1][:n],
    "carried on": lambda t, n: jax.lax.scan(lambda c, row: (c + row, (c, row)), jnp.zeros(8), 2 * t)[1][1][:n],
    "in a loop": lambda t, n: jax.lax.fori_loop(0, 3, lambda _, t: 2 * t, t)[:n],
    "in a branch": lambda t, n: jax.lax.cond(jnp.asarray(n > 9), jnp.sin, jnp.cos, t)[:n],
}


@pytest.mark.parametrize("name", TABLES)
def test_rows_that_are_cut_off_later_are_not_permuted(name: str) -> None:
    def model(p, x):
        return jnp.tanh(x @ p["a"] + TABLES[name](jnp.asarray(p["table"]), len(x))).sum(0) @ p["b"]

    spec = trace(model, WITH_TABLE, X)
    assert set(spec.groups.values()) <= {S(8), S(4), S(2)}
    assert_sound(model, WITH_TABLE, spec, X, LONG)


def test_several_examples_are_intersected() -> None:
    spec = trace(positions, WITH_TABLE, X, examples=[LONG], unreached=True)
    assert spec.groups == {"h0": S(8), "h1": S(4)}
    assert_sound(positions, WITH_TABLE, spec, X, LONG)

    def switched(p, x):
        return positions(p, x) if len(x) < 10 else jnp.cumsum(x @ p["a"], axis=1) @ p["b"]

    assert trace(switched, WITH_TABLE, X).groups == {"h0": S(8)}
    assert trace(switched, WITH_TABLE, X, examples=[LONG]).groups == {}


def test_arrays_that_are_the_same_everywhere_tie_nothing() -> None:
    def model(p, x):
        start, ones = jnp.zeros((5, 6)), jnp.ones((5, 6))

        def layer(name):
            return jax.lax.scan(lambda h, row: (jnp.tanh(h @ p[name] + row), None), start, x @ p["in" + name])[0] * ones

        x = jnp.broadcast_to(x[None], (4, 5, 3))
        return layer("a") @ p["outa"] + layer("b") @ p["outb"]

    params = plain({"a": (6, 6), "b": (6, 6), "ina": (3, 6), "inb": (3, 6), "outa": (6, 2), "outb": (6, 2)})
    spec = trace(model, params, X)
    assert spec.groups == {"h0": S(6), "h1": S(6)}
    assert_sound(model, params, spec, X)


@pytest.mark.parametrize("dtype", [np.float32, ml_dtypes.bfloat16, np.float16, np.complex64])
def test_zeros_of_both_signs_are_different_constants(dtype) -> None:
    assert [place.same for place in of_constant(np.array([0.0, 0.0, 0.0], dtype))] == [True]
    assert [place.same for place in of_constant(np.array([0.0, -0.0, 0.0], dtype))] == [False]
    if dtype == np.complex64:
        assert [place.same for place in of_constant(np.array([1 + 0j, 1 - 0j, complex(1, -0.0)], dtype))] == [False]


def test_zeros_of_both_signs_keep_an_axis_in_place() -> None:
    zeros = np.array([0.0, -0.0, 0.0, -0.0, 0.0, 0.0, 0.0, -0.0], ml_dtypes.bfloat16)

    def model(p, x):
        return (x @ p["a"] * jnp.arctan2(jnp.asarray(zeros, jnp.float32), -1.0)) @ p["b"]

    assert trace(model, PARAMS, X).groups == {}
