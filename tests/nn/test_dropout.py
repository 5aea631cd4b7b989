"""`Dropout`: what is dropped together, and the same distribution for every element of the group."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from helpers import assert_close

import equikit as ek
from equikit import GL, A, H, Lorentz, O, S, Sp, Z

FEATURES = {"p f x": 4, "p p": 3}
BOUND = {"p": S, "f": ek.Fixed(2), "x": O(3)}
SHAPES = {"p f x": (5, 6, 2, 3, 4), "p p": (5, 6, 6, 3)}
ONES = {name: jnp.ones(shape) for name, shape in SHAPES.items()}


def dropout(drop, **options):
    return ek.nn.Dropout(FEATURES, 0.5, drop=drop, rngs=nnx.Rngs(0), **BOUND, **options)


def varies(x):
    """The axes along which an array of zeros and twos is not constant."""
    return [axis for axis in range(x.ndim) if (jnp.min(x, axis) != jnp.max(x, axis)).any()]


@pytest.mark.parametrize(
    ("drop", "vectors", "pairs"),
    [
        ("values", [0, 1, 2, 4], [0, 1, 2, 3]),
        ("channels", [0, 2, 4], [0, 3]),
        ("entries", [0, 1], [0, 1, 2]),
    ],
)
def test_parts_that_belong_together_are_dropped_together(drop, vectors, pairs):
    y = dropout(drop)(ONES)
    assert varies(y["p f x"]) == vectors
    assert varies(y["p p"]) == pairs
    assert {*np.unique(y["p p"])} == {0.0, 2.0}


MIXING = {"O": O(3), "H": H(3), "Lorentz": Lorentz, "Sp": Sp(4), "GL": GL(2)}


@pytest.mark.parametrize("group", MIXING.values(), ids=MIXING)
def test_every_group_that_mixes_entries_commutes_with_the_same_draw(group):
    layer = ek.nn.Dropout({"x x": 3}, 0.5, x=group, rngs=nnx.Rngs(0))

    def draw(x):
        return nnx.clone(layer)(x)  # the same draw in every call

    ek.testing.assert_equivariant(draw, "x x -> x x", x=group, channels=3, key=jax.random.key(0), tolerance=1e-4)


@pytest.mark.parametrize("group", [S(3), A(3), Z(3)], ids=str)
@pytest.mark.parametrize("drop", ["values", "channels", "entries"])
def test_the_distribution_is_the_same_for_every_order_of_entries(group, drop):
    """All moments of the eight patterns of three dropped entries are those of the permuted patterns."""
    layer = ek.nn.Dropout({"p": 1}, 0.25, drop=drop, p=group, rngs=nnx.Rngs(0))
    kept = np.asarray(layer(jnp.ones((40_000, 3, 1))))[..., 0] > 0
    share = {bits: float(np.mean((kept == bits).all(1))) for bits in itertools.product([True, False], repeat=3)}
    expected = {True: 0.75, False: 0.25}
    for bits, found in share.items():
        chance = expected[bits[0]] * (len({*bits}) == 1) if drop == "channels" else np.prod([expected[b] for b in bits])
        assert abs(found - chance) < 0.015


def test_the_mean_is_kept_and_eval_returns_the_input():
    layer, x = dropout("values"), {"p f x": jnp.ones((400, 6, 2, 3, 4)), "p p": jnp.ones((400, 6, 6, 3))}
    assert abs(float(jnp.mean(layer(x)["p p"])) - 1) < 0.02
    layer.eval()
    assert_close(layer(x)["p p"], x["p p"], 0)
    assert varies(layer(x, deterministic=False)["p p"])
    layer.train()
    assert not varies(layer(x, deterministic=True)["p p"])
    assert varies(layer(x)["p p"])


def test_each_call_and_each_term_has_its_own_draw():
    layer = ek.nn.Dropout({"a": ("p", 1), "b": ("p", 1)}, 0.5, p=S, rngs=nnx.Rngs(0))
    x = {"a": jnp.ones((99, 1)), "b": jnp.ones((99, 1))}
    one, other = layer(x), layer(x)
    assert (one["a"] != one["b"]).any()
    assert (one["a"] != other["a"]).any()


@pytest.mark.parametrize("rate", [0.0, 1.0])
def test_the_ends_of_the_rate_keep_all_or_nothing_with_gradients(rate):
    layer = ek.nn.Dropout({"p": 1}, rate, p=S, rngs=nnx.Rngs(0))
    gradient = jax.grad(lambda x: nnx.clone(layer)(x).sum())(jnp.ones((4, 1)))
    assert_close(gradient, jnp.full((4, 1), 1 - rate), 0)


def test_absent_entries_are_zero_whatever_they_hold():
    mask = jnp.array([True, False, True])
    x = jnp.array([[1.0], [jnp.nan], [1.0]])
    layer = ek.nn.Dropout({"p": 1}, 0.5, p=S, rngs=nnx.Rngs(0))
    y, gradient = layer(x, mask=mask), jax.grad(lambda x: nnx.clone(layer)(x, mask=mask).sum())(x)
    assert y[1] == gradient[1] == 0
    assert np.isfinite(y).all()


@pytest.mark.parametrize(
    ("options", "problem", "step"),
    [
        ({"rate": 1.5}, "rate= must be a number ≥ 0 and ≤ 1", "write rate=0.1"),
        ({"drop": "channel"}, "unknown value for drop=", 'write drop="channels"'),
        ({"drop": "entries"}, "no entries of 'x' can be dropped", 'write drop="values"'),
        ({"rngs": None}, "rngs= must be nnx.Rngs", "write rngs=nnx.Rngs(0)"),
    ],
    ids=str,
)
def test_bad_options_of_dropout(options, problem, step):
    with pytest.raises(ek.OptionError) as caught:
        ek.nn.Dropout({"x": 1}, **{"rate": 0.5, "rngs": nnx.Rngs(0), "x": O(3)} | options)
    assert (caught.value.problem, caught.value.step) == (problem, step)


def test_dropout_needs_keys_of_its_own_stream_only():
    layer = ek.nn.Dropout({"p": 1}, 0.5, p=S, rngs=nnx.Rngs(dropout=0))
    assert set(np.unique(layer(jnp.ones((50, 1))))) == {0, 2}


@pytest.mark.parametrize("streams", [{}, {"params": 0}], ids=["none", "params"])
def test_dropout_names_the_stream_that_is_missing(streams):
    with pytest.raises(ek.OptionError) as caught:
        ek.nn.Dropout({"p": 1}, 0.5, p=S, rngs=nnx.Rngs(**streams))
    assert caught.value.problem == "rngs= has no keys for 'dropout'"
    assert caught.value.step == "write rngs=nnx.Rngs(0)"
