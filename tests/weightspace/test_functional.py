"""Functionals commute with what permutes the parameters, for all architectures and outputs."""

from __future__ import annotations

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from architectures import MODELS, plain
from flax import nnx
from helpers import assert_error

import equikit as ek
from equikit.weightspace import Functional, trace

QUICK = ("perceptron", "gru")
FIXED = ("dense", "positions")
SLOW = [(name, FIXED[place % 2]) for place, name in enumerate(MODELS) if name not in QUICK]  # one of both for each
CASES = [(name, fixed) for name in QUICK for fixed in FIXED]


@pytest.mark.parametrize(("name", "fixed"), [*CASES, *(pytest.param(*case, marks=pytest.mark.slow) for case in SLOW)])
def test_functionals_commute_with_the_group(name: str, fixed: str) -> None:
    apply, params, x = MODELS[name]()
    spec = trace(apply, params, x)
    moved = spec.act(spec.random_element(key=jax.random.key(1)), params)
    invariant = Functional(spec, [1, 4, 3], out="", fixed=fixed, rngs=nnx.Rngs(0))
    equivariant = Functional(spec, [1, 4, 1], fixed=fixed, rngs=nnx.Rngs(1))
    static, state = nnx.split((invariant, equivariant))

    @jax.jit
    def run(state, params):
        one, two = nnx.merge(static, state)
        return one(params), two(params)

    (number, tree), (again, other) = run(state, params), run(state, moved)
    assert number.shape == (3,)
    np.testing.assert_allclose(number, again, rtol=1e-4, atol=1e-5)
    wanted = spec.act(spec.random_element(key=jax.random.key(1)), tree)
    for one, two in zip(*map(jax.tree.leaves, (wanted, other)), strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-3, atol=1e-4)
    assert jax.tree.structure(tree) == jax.tree.structure(params)


def perceptron(*sizes: int):
    params = plain({f"w{i}": shape for i, shape in enumerate(itertools.pairwise(sizes))})

    def apply(p, x):
        for w in [p[f"w{i}"] for i in range(len(sizes) - 2)]:
            x = jnp.tanh(x @ w)
        return x @ p[f"w{len(sizes) - 2}"]

    return trace(apply, params, jnp.ones((4, sizes[0]))), params


def test_batches_channels_and_features_of_neurons() -> None:
    spec, params = perceptron(3, 6, 5, 2)
    functional = Functional(spec, [2, 4, 3], out="h1", rngs=nnx.Rngs(0))
    zoo = jax.tree.map(lambda leaf: jnp.stack([jnp.stack([leaf, k * leaf], -1) for k in range(3)]), params)
    y = functional(zoo)
    assert y.shape == (3, 5, 3)
    element = spec.random_element(key=jax.random.key(0))
    moved = jax.tree.map(lambda leaf: leaf, zoo)
    for channel in range(2):
        part = spec.act(element, jax.tree.map(lambda leaf, channel=channel: leaf[..., channel], zoo))
        moved = jax.tree.map(lambda whole, leaf, channel=channel: whole.at[..., channel].set(leaf), moved, part)
    np.testing.assert_allclose(functional(moved), y[:, np.argsort(element["h1"])], atol=1e-4)


def test_the_number_of_maps_is_that_of_the_paper() -> None:
    """4 L² + 10 L - 4 terms for L weights and L biases, all neurons being permuted, the outer ones too."""
    for layers in (2, 3):
        params = {f"w{i}": (4, 4) for i in range(layers)} | {f"b{i}": (4,) for i in range(layers)}

        def apply(p, x, layers=layers):
            for i in range(layers):
                x = jnp.tanh(x @ p[f"w{i}"] + p[f"b{i}"])
            return x

        spec = trace(apply, plain(params), jnp.ones((3, 4)))
        functional = Functional(spec, [1, 1], fixed="positions", codes=0, use_bias=False, rngs=nnx.Rngs(0))
        (layer,) = functional.layers
        assert sum(len(pair.diagrams) for pair in layer.space.pairs) >= 4 * layers**2 + 10 * layers - 4


@pytest.mark.slow
def test_it_learns_a_function_of_weights() -> None:
    """The norm of the product of both matrices, which no relabeling of the neurons between them changes."""
    spec, params = perceptron(2, 8, 2)
    generator = np.random.default_rng(0)
    zoo = {name: jnp.asarray(generator.normal(size=(256, *leaf.shape)), jnp.float32) for name, leaf in params.items()}
    target = jnp.sum((zoo["w0"] @ zoo["w1"]) ** 2, axis=(1, 2)) / 32
    functional = Functional(spec, [1, 16, 16, 1], out="", fixed="dense", rngs=nnx.Rngs(0))
    static, state = nnx.split(functional)
    optimizer = optax.adam(1e-2)

    @jax.jit
    def fit(state):
        def loss(state):
            return jnp.mean((nnx.merge(static, state)(zoo)[:, 0] - target) ** 2)

        def step(carry, _):
            state, memory = carry
            value, slope = jax.value_and_grad(loss)(state)
            updates, memory = optimizer.update(slope, memory, state)
            return (optax.apply_updates(state, updates), memory), value

        return jax.lax.scan(step, (state, optimizer.init(state)), None, length=300)[1]

    losses = fit(state)
    assert losses[-1] < 0.2 * jnp.var(target)


REFUSED = {
    "one width": (
        lambda: Functional(SPEC, [4], rngs=nnx.Rngs(0)),
        (ek.OptionError, "channels= must be a list of widths", "[4]", "2 widths or more", "[1, 16, 1]"),
    ),
    "no such fixed": (
        lambda: Functional(SPEC, [1, 1], fixed="free", rngs=nnx.Rngs(0)),
        (ek.OptionError, "unknown value for fixed=", "'free'", '"dense" or "positions"', 'fixed="dense"'),
    ),
    "two batches": (
        lambda: Functional(SPEC, [1, 1], rngs=nnx.Rngs(0))(PARAMS | {"w1": PARAMS["w1"][None]}),
        (ek.ShapeError, "the parameter 'w1' must have shape [6, 2]", "[1, 6, 2]", "[6, 2]", "stack"),
    ),
}
SPEC, PARAMS = perceptron(3, 6, 2)


@pytest.mark.parametrize("name", REFUSED)
def test_it_is_refused(name: str) -> None:
    call, (error, *texts) = REFUSED[name]
    assert_error(error, call, *texts)
