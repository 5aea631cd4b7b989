"""Plans of vectors and dual vectors: against the reference, against group elements, and in one array with others."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from helpers import assert_close, every, partly_slow
from in_numpy import in_numpy

import equikit as ek
from equikit import GL, S, U, hom
from equikit.plans import apply, plan, weight_shapes

apply = functools.partial(apply, method="factored")  # at small sizes "auto" takes another

CASES = [
    ("u -> u", {"u": U(3)}),
    ("u u* -> u u*", {"u": U(3)}),
    ("u* u -> u u*", {"u": U(2)}),
    ("u* u u -> u u* u", {"u": U(2)}),
    ("u u* u* u -> u* u", {"u": U(3)}),
    ("u u u -> u u u", {"u": U(2)}),
    ("u* p u -> p p", {"u": U(2), "p": S(3)}),
    ("u* -> u* u u*", {"u": U(2)}),
    ("a: u u* + b: u -> c: u + d: u* u", {"u": U(3)}),
    ("u v* -> u v*", {"u": U(2), "v": U(3)}),
]


def complex_normal(rng, shape):
    return rng.normal(size=shape) + 1j * rng.normal(size=shape)


def arrays_of(program, rng):
    signature = program.signature
    return {
        term.name: complex_normal(rng, (2, *(signature.sizes[label] for label in term.labels), 2))
        for term in signature.inputs
    }


@pytest.mark.parametrize(
    ("case", "normalize"),
    partly_slow(
        every(CASES, ["sum", "mean"]),
        lambda place: place % 4 in (0, 3),  # one and the other by turns
        [f"{text}, {normalize}" for (text, _), normalize in every(CASES, ["sum", "mean"])],
    ),
)
def test_a_plan_is_its_reference(x64, case, normalize):
    text, groups = case
    rng = np.random.default_rng(0)
    program = plan(hom(text, groups=groups), (2, 3), normalize=normalize, bias=True)
    weights = {name: complex_normal(rng, shape) for name, shape in weight_shapes(program).items()}
    x = arrays_of(program, rng)
    run = functools.partial(apply, program)
    fast, slow = (in_numpy(functools.partial(run, method=method), x, weights) for method in ("factored", "naive"))
    assert_close(fast, slow, 1e-12)


@pytest.mark.parametrize(
    ("text", "groups"),
    partly_slow(CASES, (0, 1, 2, 6, 7, 9), [text for text, _ in CASES]),  # the smaller ones
)
def test_layers_commute(x64, text, groups):
    layer = ek.nn.Linear(text, 2, 3, groups=groups, rngs=nnx.Rngs(0), param_dtype=jnp.complex128)
    ek.testing.assert_equivariant(jax.jit(layer), text, groups=groups, channels=2, key=jax.random.key(0))
    real = {label: GL(group.n) if isinstance(group, U) else group for label, group in groups.items()}
    layer = ek.nn.Linear(text, 2, 3, groups=real, rngs=nnx.Rngs(0), param_dtype=jnp.float64)
    ek.testing.assert_equivariant(jax.jit(layer), text, groups=real, channels=2, key=jax.random.key(0), tolerance=1e-11)


def test_a_free_group_serves_every_size():
    layer = ek.nn.Linear("u u* u -> u", 1, 2, u=U, rngs=nnx.Rngs(0))
    for n in (1, 2, 5):
        assert layer(jnp.ones((n, n, n, 1), jnp.complex64)).shape == (n, 2)
    with pytest.raises(ek.ShapeError, match="give every 'u"):
        layer(jnp.ones((2, 3, 2, 1), jnp.complex64))


def test_weights_are_complex_where_the_group_is():
    layer = ek.nn.Linear("u -> u", 1, 1, u=U(2), rngs=nnx.Rngs(0))
    assert layer.kernel["u -> u"].dtype == jnp.complex64
    layer = ek.nn.Linear("v -> v", 1, 1, v=GL(2), rngs=nnx.Rngs(0))
    assert layer.kernel["v -> v"].dtype == jnp.float32


def test_nonlinearities(x64):
    gated = ek.nn.Gated({"": 2, "u": 3}, u=U(3))
    ek.testing.assert_equivariant(gated, gated.inputs, {"": 2, "u": 3}, u=U(3), key=jax.random.key(0))
    for layer in (ek.nn.NormGated({"u": 3}, u=U(3)), ek.nn.RMSNorm({"u": 3}, u=U(3))):
        ek.testing.assert_equivariant(layer, {"u": 3}, {"u": 3}, u=U(3), key=jax.random.key(0))
    with pytest.raises(ek.OptionError, match="has no norm under GL"):
        ek.nn.NormGated({"v": 1}, v=GL(2))
    with pytest.raises(ek.OptionError, match="mean square over 'v'"):
        ek.nn.RMSNorm({"v": 1}, v=GL(2))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: ek.nn.Linear("u -> u", 1, 1, u=U(2), rngs=nnx.Rngs(0))(jnp.ones((2, 1))),
            "input 'u' is real, but u=U(2) is complex",
        ),
        (
            lambda: ek.nn.Linear({"p": 1, "p p": 1}, {"p": 1}, p=S, rngs=nnx.Rngs(0))(
                {"p": jnp.ones((2, 1)), "p p": jnp.ones((2, 2, 1), jnp.complex64)}
            ),
            "input 'p' is real, but another input is complex",
        ),
        (
            lambda: ek.nn.Linear("u u -> u", 1, 1, u=U(2), rngs=nnx.Rngs(0)),
            "joins vectors to dual vectors, and read as a tensor a map has 1 and 2",
        ),
    ],
)
def test_what_cannot_be_is_said(call, message):
    with pytest.raises(ek.EquikitError) as caught:
        call()
    assert message in str(caught.value)
