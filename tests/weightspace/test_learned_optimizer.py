"""Learned optimizers commute with the symmetry of what they train, begin as Adam, and get better by learning."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from architectures import MODELS
from flax import nnx
from helpers import assert_error

import equikit as ek
from equikit.weightspace import DWSNet, LearnedOptimizer, Problem, evolve, trace, train


def apply(params, x):
    return jnp.tanh(x @ params["first"] + params["bias"]) @ params["second"]


def init(key):
    one, two = jax.random.split(key)
    return {
        "first": jax.random.normal(one, (1, 8)),
        "bias": jnp.zeros(8),
        "second": jax.random.normal(two, (8, 1)) / 8**0.5,
    }


def loss(params, key):
    x = jax.random.uniform(key, (16, 1), minval=-1)
    return jnp.mean((apply(params, x) - jnp.sin(3 * x)) ** 2)


SPEC = trace(apply, init(jax.random.key(0)), jnp.ones((5, 1)))
PROBLEM = Problem(init, loss)
KEY = jax.random.key(0)


def after(optimizer, steps: int, params):
    """Parameters after some steps on the same data."""

    def step(carry, key):
        params, state = carry
        updates, state = optimizer.update(jax.grad(loss)(params, key), state, params)
        return (optax.apply_updates(params, updates), state), None

    keys = jax.random.split(jax.random.key(3), steps)
    return jax.lax.scan(step, (params, optimizer.init(params)), keys)[0][0]


@pytest.mark.parametrize("name", ["gru", pytest.param("transformer", marks=pytest.mark.slow)])
def test_a_step_commutes_with_the_group(name: str) -> None:
    model, params, x = MODELS[name]()
    spec = trace(model, params, x)
    optimizer = LearnedOptimizer(spec, [4], strength=1.0, rngs=nnx.Rngs(0)).transformation()
    element = spec.random_element(key=jax.random.key(1))

    @jax.jit
    def moves(params):
        grads = jax.grad(lambda p: jnp.sum(jnp.square(model(p, x))))(params)

        def step(state, _):
            updates, state = optimizer.update(grads, state, params)
            return state, updates

        updates = jax.lax.scan(step, optimizer.init(params), length=2)[1]
        return jax.tree.map(lambda leaf: leaf[-1], updates), grads

    (updates, grads), (found, _) = moves(params), moves(spec.act(element, params))
    wanted = spec.act(element, updates)
    for one, two, grad in zip(*map(jax.tree.leaves, (wanted, found, grads)), strict=True):
        # Of a bias of keys, which does nothing, the gradient is rounding, and Adam takes whole steps along it.
        if np.max(np.abs(grad)) > 1e-4:
            np.testing.assert_allclose(one, two, rtol=1e-2, atol=1e-4)


def test_training_commutes_with_the_group() -> None:
    optimizer = LearnedOptimizer(SPEC, [4], strength=1.0, rngs=nnx.Rngs(0)).transformation()
    params = init(jax.random.key(1))
    element = SPEC.random_element(key=jax.random.key(2))
    run = jax.jit(lambda params: after(optimizer, 5, params))
    wanted, found = SPEC.act(element, run(params)), run(SPEC.act(element, params))
    for name in wanted:
        np.testing.assert_allclose(wanted[name], found[name], rtol=1e-3, atol=1e-4)


def test_the_direct_term_follows_its_formula() -> None:
    """Rates with a schedule and a mixture of momenta for each array, against NumPy."""
    learned = LearnedOptimizer(SPEC, [2], decays=(0.5, 0.9), strength=0.0, rate=0.02, rngs=nnx.Rngs(0))
    generator = np.random.default_rng(0)
    schedule, mixture = generator.normal(size=(3, 8)) / 10, generator.normal(size=(3, 2, 2)) / 10
    learned.schedule[...], learned.mixture[...] = (jnp.asarray(x, jnp.float32) for x in (schedule, mixture))
    optimizer, params = learned.transformation(), init(jax.random.key(1))
    gradients = [jax.tree.map(lambda leaf: generator.normal(size=leaf.shape), params) for _ in range(3)]
    state, update = optimizer.init(params), jax.jit(optimizer.update)
    for grads in gradients:
        updates, state = update(jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), grads), state, params)
    times = np.tanh(3 / np.array([3, 10, 30, 100, 300, 1000, 3000])) * 2 - 1
    for number, name in enumerate(sorted(params)):  # the order of the leaves
        history = [grads[name] for grads in gradients]
        square = sum(0.001 * 0.999 ** (2 - k) * g**2 for k, g in enumerate(history)) / (1 - 0.999**3)
        momenta = [sum((1 - b) * b ** (2 - k) * g for k, g in enumerate(history)) / (1 - b**3) for b in (0.5, 0.9)]
        own, shared = np.array([[0, 1], [0, 0]]) + 10 * mixture[number]
        rate = 0.02 * np.exp(10 * (schedule[number, 0] + schedule[number, 1:] @ times))
        wanted = -rate * np.tensordot(own, momenta, 1) / np.sqrt(square)
        wanted -= rate * np.tensordot(shared, momenta, 1) / np.sqrt(np.mean(square))
        np.testing.assert_allclose(updates[name], wanted, rtol=1e-3, atol=1e-6)
        np.testing.assert_allclose(learned.rates(3)[number], rate, rtol=1e-4)


def test_without_strength_it_is_adam() -> None:
    learned = LearnedOptimizer(SPEC, [4], strength=0.0, rate=0.01, rngs=nnx.Rngs(0))
    params = init(jax.random.key(1))
    found = after(learned.transformation(), 20, params)
    wanted = after(optax.adam(0.01), 20, params)
    for name in wanted:
        np.testing.assert_allclose(found[name], wanted[name], rtol=1e-4, atol=1e-5)


@pytest.mark.slow
@pytest.mark.compiled
@pytest.mark.parametrize(("truncation", "meta_steps"), [(None, 20), (5, 80)])
def test_evolution_finds_a_better_rate(truncation: int | None, meta_steps: int) -> None:
    """With nothing else to learn: Adam's rate, which is too small."""
    learned = LearnedOptimizer(SPEC, [2], strength=0.0, rate=0.01, rngs=nnx.Rngs(0))
    before = np.asarray(learned.rates(20))
    found = evolve(learned, PROBLEM, steps=20, truncation=truncation, meta_steps=meta_steps, pairs=4, key=KEY).optimizer

    def mean(rate):
        return np.mean(
            [np.mean(train(optax.adam(rate), PROBLEM, 20, key=jax.random.key(seed))[1]) for seed in range(4)]
        )

    assert mean(0.011) < mean(0.01), "a faster rate is better here"
    assert np.mean(np.log(found.rates(20) / before)) > 0.1


@pytest.mark.slow
@pytest.mark.compiled
def test_it_learns_to_train_better_than_adam() -> None:
    learned = LearnedOptimizer(SPEC, [8], rate=0.06, rngs=nnx.Rngs(0))
    found = evolve(learned, PROBLEM, steps=50, meta_steps=30, key=jax.random.key(0))
    keys = jax.random.split(jax.random.key(99), 16)

    def mean(optimizer):
        return jnp.mean(jax.vmap(lambda key: train(optimizer, PROBLEM, 50, key=key)[1])(keys))

    adam = jax.jit(lambda rate: mean(optax.adam(rate)))
    best = min(map(adam, (0.01, 0.03, 0.1, 0.3)))
    assert jax.jit(lambda: mean(found.optimizer.transformation()))() < best
    assert found.checks[-1][1] < found.checks[0][1]


def test_other_functionals_and_state() -> None:
    learned = LearnedOptimizer(SPEC, [4], kind=DWSNet, decays=(0.9,), rngs=nnx.Rngs(0))
    params = init(jax.random.key(0))
    optimizer = optax.chain(optax.clip_by_global_norm(1.0), learned.transformation())
    state = optimizer.init(params)
    updates, state = jax.jit(optimizer.update)(params, state, params)
    assert jax.tree.structure(updates) == jax.tree.structure(params)
    assert int(state[1].steps) == 1


def test_functions_make_functionals() -> None:
    def positional(spec, channels, rngs):
        return DWSNet(spec, channels, rngs=rngs)

    def keyword(spec, channels, *, rngs):
        return DWSNet(spec, channels, rngs=rngs)

    for kind in (positional, keyword):
        assert isinstance(LearnedOptimizer(SPEC, [2], kind=kind, rngs=nnx.Rngs(0)).functional, DWSNet)


def test_a_layer_without_neurons_has_empty_updates() -> None:
    params = {"first": jnp.zeros((1, 0)), "bias": jnp.zeros(0), "second": jnp.zeros((0, 1)), "last": jnp.ones(1)}
    spec = trace(lambda p, x: apply(p, x) + p["last"], params, jnp.ones((5, 1)))
    optimizer = LearnedOptimizer(spec, [2], rngs=nnx.Rngs(0)).transformation()
    updates, _ = jax.jit(optimizer.update)(params, optimizer.init(params), params)
    assert jax.tree.map(jnp.shape, updates) == jax.tree.map(jnp.shape, params)
    assert -1 < updates["last"] < 0


ADAM = optax.adam(0.1)
LEARNED = LearnedOptimizer(SPEC, [2], rngs=nnx.Rngs(0))
WRONG = {
    "steps below zero": (
        lambda: train(ADAM, PROBLEM, -1, key=KEY),
        ("steps= must be a whole number", "-1", "from 0 to", "steps=1000"),
    ),
    "half a step": (
        lambda: train(ADAM, PROBLEM, 2.5, key=KEY),
        ("steps= must be a whole number", "2.5", "from 0 to", "steps=1000"),
    ),
    "key": (lambda: train(ADAM, PROBLEM, 2, key=0), ("key= must be one JAX key", "0", "a JAX key", "random.key(0)")),
    "keys": (
        lambda: train(ADAM, PROBLEM, 2, key=jax.random.split(KEY)),
        ("key= must be one JAX key", "of shape [2]", "a JAX key", "jax.random.key(0)"),
    ),
    "no optax": (
        lambda: train(LEARNED, PROBLEM, 2, key=KEY),
        ("is not an optax optimizer", "LearnedOptimizer", "GradientTransformation", "optimizer.transformation()"),
    ),
    "no optimizer": (
        lambda: train(None, PROBLEM, 2, key=KEY),
        ("is not an optax optimizer", "None", "GradientTransformation", "optax.adam(1e-3)"),
    ),
    "no problem": (
        lambda: train(ADAM, loss, 2, key=KEY),
        ("problem= must be a Problem", "function loss", "a Problem", "Problem(init, loss)"),
    ),
    "a loss of a vector": (
        lambda: train(ADAM, Problem(init, lambda params, key: params["bias"]), 2, key=KEY),
        (
            "the loss is not one number",
            "shape [8], dtype float32",
            "a scalar, loss(params, key), of a floating-point dtype",
            "mean",
        ),
    ),
    "a loss of integers": (
        lambda: train(ADAM, Problem(init, lambda params, key: 3), 2, key=KEY),
        ("the loss is not one number", "shape [], dtype int", "floating-point", "mean"),
    ),
    "evolution of Adam": (
        lambda: evolve(ADAM, PROBLEM, key=KEY),
        (
            "optimizer= must be a LearnedOptimizer",
            "GradientTransformation",
            "a LearnedOptimizer",
            "LearnedOptimizer(spec",
        ),
    ),
    "key of evolution": (
        lambda: evolve(LEARNED, PROBLEM, key=0),
        ("key= must be one JAX key", "0", "a JAX key", "jax.random.key(0)"),
    ),
    "deviation": (
        lambda: evolve(LEARNED, PROBLEM, deviation=float("inf"), key=KEY),
        ("deviation= must be a number > 0", "inf", "> 0", "deviation=0.01"),
    ),
    "rate": (
        lambda: evolve(LEARNED, PROBLEM, rate="a", key=KEY),
        ("rate= must be a number > 0", "'a'", "> 0", "rate=0.01"),
    ),
    "a truncation that leaves a rest": (
        lambda: evolve(LEARNED, PROBLEM, steps=12, truncation=8, key=KEY),
        ("truncation= does not divide steps=", "truncation=8, steps=12", "a divisor of 12", "truncation=6"),
    ),
    "a truncation beyond the end": (
        lambda: evolve(LEARNED, PROBLEM, steps=12, truncation=13, key=KEY),
        ("truncation= must be a whole number", "13", "from 1 to 12", "truncation=12"),
    ),
    "losses that are no numbers": (
        lambda: evolve(
            LEARNED,
            Problem(init, lambda params, key: jnp.nan * jnp.sum(params["bias"])),
            steps=1,
            meta_steps=1,
            key=KEY,
        ),
        (
            "losses before training are not finite",
            "1 of 1 entries infinite or NaN",
            "finite numbers",
            "problem.loss(problem.init(key), key)",
        ),
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_training_is_refused(name: str) -> None:
    call, texts = WRONG[name]
    assert_error(ek.OptionError, call, *texts)


def test_a_functional_of_other_shapes_is_refused() -> None:
    """Updates of several members would be added to the parameters by broadcasting."""
    members = lambda tree: jax.tree.map(lambda leaf: jnp.stack([leaf[..., :2]] * 2), tree)  # noqa: E731
    params, step = init(KEY), "return two channels for each weight"
    for error, functional, *texts in (
        (ek.ShapeError, members, "'bias' of the result of kind= must have shape [8, 2]", "[2, 8, 2]", "[8, 2]"),
        (ek.OptionError, lambda tree: tree["bias"], "results of kind= do not have", "'the array'", "'bias', 'first'"),
    ):
        kind = lambda spec, channels, rngs, functional=functional: functional  # noqa: E731
        optimizer = LearnedOptimizer(SPEC, [2], kind=kind, rngs=nnx.Rngs(0)).transformation()
        assert_error(error, lambda tx=optimizer: tx.update(params, tx.init(params), params), *texts, step)


def test_errors() -> None:
    build = {"spec": SPEC, "rngs": nnx.Rngs(0)}
    optimizer = LearnedOptimizer(**build).transformation()
    params = init(jax.random.key(0))
    step = "optimizer.update(grads, state, params)"
    call = [
        (
            lambda: optimizer.update(params, optimizer.init(params)),
            "a learned optimizer needs params=",
            "None",
            "params=",
            step,
        ),
        (lambda: LearnedOptimizer(**build, decays=(1.0,)), "each entry of decays=", "1.0", "≥ 0 and < 1", "0.9"),
        (
            lambda: LearnedOptimizer(**build, decays=0.9),
            "decays= must be a list",
            "0.9",
            "one number or more",
            "decays=(0.9,)",
        ),
        (lambda: LearnedOptimizer(**build, rate=None), "rate= must be", "None", "> 0", "rate=0.003"),
        (
            lambda: LearnedOptimizer(None, rngs=nnx.Rngs(0)),
            "spec= must be a Specification",
            "None",
            "a Specification",
            "trace(",
        ),
        (lambda: LearnedOptimizer(**build, rate=0.0), "rate= must be", "0.0", "> 0", "rate=0.003"),
        (
            lambda: LearnedOptimizer(**build, kind=lambda spec, channels: None),
            "kind= must be callable with 2 arguments and rngs=",
            "function",
            "a function",
            "kind=UNF",
        ),
        (lambda: LearnedOptimizer(**build, members=2), "members= must be 1", "2", "1", "write members=1"),
        (
            lambda: LearnedOptimizer(**build, head=[4, 1]),
            "the last width of head= is a different one",
            "1",
            "2",
            "head=[16, 2]",
        ),
        (
            lambda: LearnedOptimizer(**build, head=3),
            "head= must be a list of widths",
            "3",
            "one width a layer",
            "head=[16, 2]",
        ),
        (
            lambda: evolve(LearnedOptimizer(**build), PROBLEM, pairs=0, key=jax.random.key(0)),
            "pairs= must be",
            "0",
            "from 1 to 1,000,000",
            "pairs=10",
        ),
    ]
    for each in call:
        assert_error(ek.OptionError, *each)
    row = params | {"first": params["first"][:, :1]}
    texts = "'first' of grads must have shape [1, 8]", "shape [1, 1]", "[1, 8]", "one architecture"
    assert_error(ek.ShapeError, lambda: optimizer.update(row, optimizer.init(params), params), *texts)
    texts = (
        "leaves of the momenta of the state do not have the expec",
        "'bias', 'first', 'second'",
        "a dictionary with the names 'first', 'second'",
        "one architecture",
    )
    less = {name: leaf for name, leaf in params.items() if name != "bias"}
    assert_error(ek.OptionError, lambda: optimizer.update(less, optimizer.init(params), less), *texts)
