"""Teleportation leaves the loss as it is, and makes descent faster."""

from __future__ import annotations

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from architectures import MODELS, normal, plain
from flax import nnx
from helpers import assert_error

import equikit as ek
from equikit.weightspace import teleport, trace
from equikit.weightspace.teleportation._objective import minus_sharpness, squared_gradient_norm
from equikit.weightspace.teleportation._orbit import continuous_actions, moved, origin


def apply(p, x):
    return jax.nn.relu(x @ p["a"] + p["b"]) @ p["c"] @ p["d"]


@jax.jit
def drawn():
    """Parameters and data for which steps of 0.01 are short enough after two moves; for others the loss diverges."""
    shapes = {"a": (3, 8), "b": (8,), "c": (8, 4), "d": (4, 2)}
    params = {
        name: jax.random.normal(jax.random.key(seed), shape) / 2 for seed, (name, shape) in enumerate(shapes.items())
    }
    return params, jax.random.normal(jax.random.key(9), (16, 3)), jax.random.normal(jax.random.key(8), (16, 2))


def problem(dtype=jnp.float32):
    """A network with a scale for each of 8 neurons and a linear group of 4 x 4 matrices, and its loss."""
    params, x, y = jax.tree.map(lambda leaf: leaf.astype(dtype), drawn())
    return trace(apply, params, x), params, jax.jit(lambda p: jnp.mean((apply(p, x) - y) ** 2))


def teleported(spec, params, loss, **options):
    """Moved, with no step of the optimizer."""
    tx = teleport(spec, optax.sgd(0.0), at=[0], **options)
    update = jax.jit(lambda gradient, state, params: tx.update(gradient, state, params, value_fn=loss))
    return optax.apply_updates(params, update(jax.grad(loss)(params), tx.init(params), params)[0])


def test_the_loss_stays_and_the_gradient_grows(x64: None) -> None:
    spec, params, loss = problem(jnp.float64)
    assert [action.label for action in continuous_actions(spec)] == ["h0", "h1"]
    before, now = squared_gradient_norm(loss, params), params
    tx = teleport(spec, optax.sgd(0.0), every=1)
    update = jax.jit(lambda state, params: tx.update(jax.grad(loss)(params), state, params, value_fn=loss))
    state = tx.init(params)
    for _ in range(2):
        updates, state = update(state, now)
        now = optax.apply_updates(now, updates)
        np.testing.assert_allclose(loss(now), loss(params), rtol=1e-12)
        after = squared_gradient_norm(loss, now)
        assert after > 1.5 * before
        before = after


@pytest.mark.slow
def test_steps_are_bounded(x64: None) -> None:
    spec, params, loss = problem(jnp.float64)
    linear = replace(spec, scalings=())
    new = teleported(linear, params, loss, steps=3, step_size=0.5)
    np.testing.assert_array_equal(new["a"], params["a"])  # on which matrices do not act
    change, *_ = np.linalg.lstsq(params["c"], new["c"])
    condition = np.linalg.cond(change)
    assert 1.1 < condition < (2.5 / 1.5) ** 6
    scales = replace(spec, linear_actions=())
    new = teleported(scales, params, loss, steps=3, step_size=0.5)
    change = np.abs(np.log(np.linalg.norm(new["d"], axis=1) / np.linalg.norm(params["d"], axis=1)))
    assert 0.5 < change.max() < 1.5


def test_permutations_and_signs_change_neither_gradient_nor_curvature(x64: None) -> None:
    params = jax.tree.map(lambda leaf: leaf.astype(float), plain({"a": (3, 6), "b": (6,), "c": (6, 2)}))
    x = normal(5, 3).astype(float)

    @jax.jit
    def loss(p):
        return jnp.mean((jnp.tanh(x @ p["a"] + p["b"]) @ p["c"] - 1) ** 2)

    spec = trace(lambda p, x: jnp.tanh(x @ p["a"] + p["b"]) @ p["c"], params, x)
    (sign,) = spec.scalings
    numbers = np.array([1.0, -1, -1, 1, -1, 1])
    for new in (spec.act(spec.random_element(key=jax.random.key(0)), params), spec.rescale(sign, numbers, params)):
        np.testing.assert_allclose(squared_gradient_norm(loss, new), squared_gradient_norm(loss, params), rtol=1e-12)
        np.testing.assert_allclose(eigenvalues(loss, new), eigenvalues(loss, params), atol=1e-12)


def eigenvalues(loss, params) -> np.ndarray:
    flat, back = jax.flatten_util.ravel_pytree(params)
    return np.linalg.eigvalsh(jax.jit(jax.hessian(lambda flat: loss(back(flat))))(flat))


@pytest.mark.slow
def test_sharpness_falls(x64: None) -> None:
    spec, params, loss = problem(jnp.float64)
    before = eigenvalues(loss, params)
    found = -jax.jit(lambda params: minus_sharpness(loss, params))(params)
    np.testing.assert_allclose(found, before[-1], rtol=0.01)
    new = teleported(spec, params, loss, objective="sharpness")
    np.testing.assert_allclose(loss(new), loss(params), rtol=1e-12)
    assert eigenvalues(loss, new)[-1] < 0.8 * before[-1]


@pytest.mark.parametrize("objective", [squared_gradient_norm, pytest.param(minus_sharpness, marks=pytest.mark.slow)])
def test_derivatives_in_the_lie_algebra(objective, x64: None) -> None:
    spec, params, loss = problem(jnp.float64)
    zero = origin(spec, jnp.float64)
    random = [normal(*t.shape, seed=place).astype(float) for place, t in enumerate(zero)]
    run = jax.jit(lambda size: objective(loss, moved(spec, [size * t for t in random], params)))
    slope = (run(1e-5) - run(-1e-5)) / 2e-5
    np.testing.assert_allclose(jax.grad(run)(0.0), slope, rtol=1e-3 if objective is minus_sharpness else 1e-7)


def trained(tx, params, loss, steps: int) -> list[float]:
    tx = optax.with_extra_args_support(tx)

    @jax.jit
    def step(params, state):
        value, gradient = jax.value_and_grad(loss)(params)
        updates, state = tx.update(gradient, state, params, value_fn=loss)
        return optax.apply_updates(params, updates), state, value

    state, values = tx.init(params), []
    for _ in range(steps):
        params, state, value = step(params, state)
        values.append(float(value))
    return values


def test_descent_is_faster() -> None:
    spec, params, loss = problem()
    plain_descent = trained(optax.sgd(0.01), params, loss, 30)
    for options in ({"at": [0, 10]}, {"every": 15}):
        values = trained(teleport(spec, optax.sgd(0.01), **options), params, loss, 30)
        assert abs(values[0] - plain_descent[0]) < 1e-6
        for step in (1, 5, 29):
            assert values[step] < plain_descent[step]


def test_it_moves_before_the_updates_that_are_asked_for() -> None:
    spec, params, loss = problem()
    for options, expected in (({"every": 3}, [0, 3, 6]), ({"at": [1, 5]}, [1, 5])):
        tx = teleport(spec, optax.sgd(0.0), **options, steps=1)
        update = jax.jit(lambda state, tx=tx: tx.update(jax.grad(loss)(params), state, params, value_fn=loss))
        state, found = tx.init(params), []
        for number in range(7):
            updates, state = update(state)
            if any(bool(jnp.any(leaf != 0)) for leaf in jax.tree.leaves(updates)):
                found.append(number)
        assert found == expected


def test_other_objectives_optimizers_and_batches() -> None:
    spec, params, _ = problem()

    def loss(p, batch):
        return jnp.mean((apply(p, batch) - 1) ** 2)

    tx = optax.chain(optax.clip_by_global_norm(1.0), teleport(spec, optax.adam(1e-2), every=2, objective=small_first))
    x = normal(16, 3)

    @jax.jit
    def step(params, state, batch):
        gradient = jax.grad(loss)(params, batch)
        return tx.update(gradient, state, params, value_fn=loss, batch=batch, unknown=1)

    updates, state = step(params, tx.init(params), x)
    assert jnp.linalg.norm(params["a"] + updates["a"]) < 0.8 * jnp.linalg.norm(params["a"])
    _, state = step(params, state, x)
    assert int(state[1].step) == 2


@pytest.mark.slow
def test_a_line_search_starts_at_the_new_place() -> None:
    spec, params, loss = problem()
    search = optax.chain(optax.sgd(1.0), optax.scale_by_backtracking_linesearch(40))
    tx = teleport(spec, search, at=[0])
    value, gradient = jax.value_and_grad(loss)(params)
    extra = {"value": value, "value_fn": loss}
    updates, _ = jax.jit(lambda state: tx.update(gradient, state, params, grad=gradient, **extra))(tx.init(params))
    place = teleported(spec, params, loss)
    there = jax.grad(loss)(place)
    expected, _ = jax.jit(lambda state: search.update(there, state, place, grad=there, **extra))(search.init(place))
    found, expected = optax.apply_updates(params, updates), optax.apply_updates(place, expected)
    for name, leaf in expected.items():
        np.testing.assert_allclose(found[name], leaf, rtol=1e-4, atol=1e-5)
    assert loss(found) < loss(params) - 1e-3


@pytest.mark.slow
def test_half_precision_keeps_its_dtype() -> None:
    spec, params, loss = problem(jnp.bfloat16)
    new = teleported(spec, params, loss, steps=3)
    assert {leaf.dtype for leaf in jax.tree.leaves(new)} == {jnp.dtype(jnp.bfloat16)}
    np.testing.assert_allclose(float(loss(new)), float(loss(params)), rtol=0.03)
    assert bool(jnp.any(new["d"] != params["d"]))


def small_first(loss, params):
    return -jnp.sum(params["a"] ** 2)


@pytest.mark.slow
def test_attention_moves_along_its_linear_groups() -> None:
    model, params, x = MODELS["attention"]()
    spec = trace(model, params, x)

    def loss(params):
        return jnp.mean((model(params, x) - 1) ** 2)

    new = teleported(spec, params, loss, steps=4)
    np.testing.assert_allclose(loss(new), loss(params), rtol=1e-5)
    assert squared_gradient_norm(loss, new) > 1.2 * squared_gradient_norm(loss, params)


@pytest.mark.parametrize("graph", [pytest.param(True, marks=pytest.mark.slow), False], ids=["graph", "tree"])
def test_an_optimizer_of_nnx(graph: bool) -> None:
    class Net(nnx.Module):
        def __init__(self, rngs):
            self.first, self.second = nnx.Linear(3, 8, rngs=rngs), nnx.Linear(8, 2, rngs=rngs)

        def __call__(self, x):
            return self.second(jax.nn.relu(self.first(x)))

    net, x = Net(nnx.Rngs(0)), normal(16, 3)
    static, params = nnx.split(net, graph=graph)

    def loss(params):
        return jnp.mean((nnx.merge(static, params)(x) - 1) ** 2)

    spec = trace(lambda params, x: nnx.merge(static, params)(x), params, x)
    before, size = float(loss(params)), float(squared_gradient_norm(loss, params))  # the optimizer writes into them
    optimizer = nnx.Optimizer(net, teleport(spec, optax.sgd(0.0), every=1), wrt=nnx.Param, graph=graph)
    optimizer.update(net, jax.grad(loss)(params), value_fn=loss)
    after = nnx.split(net, graph=graph)[1]
    np.testing.assert_allclose(loss(after), before, rtol=1e-5)
    assert squared_gradient_norm(loss, after) > 1.2 * size


def test_parameters_stay_where_the_loss_is_not_a_number() -> None:
    spec, params, loss = problem()
    new = teleported(spec, params, lambda p: loss(p) * jnp.nan)
    stays = jax.tree.map(lambda a, b: bool(jnp.all(a == b)), params, teleported(spec, params, lambda p: jnp.zeros(())))
    assert all(jax.tree.leaves(stays))  # no gradient either
    assert all(bool(jnp.all(jnp.isnan(leaf))) for leaf in jax.tree.leaves(new))  # by sgd, not by us: 0 * nan


def test_parameters_stay_where_the_objective_is_constant() -> None:
    spec, params, loss = problem()
    new = teleported(spec, params, loss, objective=lambda loss, params: 1.0, steps=1)
    for name, leaf in params.items():
        np.testing.assert_array_equal(new[name], leaf)


SPEC, PARAMS, LOSS = problem()
TANH = trace(lambda p, x: jnp.tanh(x @ p["a"]) @ p["c"], {"a": jnp.ones((3, 8)), "c": jnp.ones((8, 2))}, jnp.ones(3))
REFUSED = {
    "nothing moves": (
        lambda: teleport(TANH, optax.sgd(0.1), every=1),
        (
            "there are no positive scales and linear actions",
            "a specification without them",
            "one or more positive scales and linear actions",
            "print(spec.scalings",
        ),
    ),
    "objective": (
        lambda: teleport(SPEC, optax.sgd(0.1), every=1, objective="flatness"),
        ("unknown value for objective=", "'flatness'", '"gradient_norm" or "sharpness"', "write objective"),
    ),
    "length": (
        lambda: teleport(SPEC, optax.sgd(0.1), every=1, step_size=1.5),
        ("step_size= must be", "1.5", "> 0 and ≤ 1", "step_size=0.1"),
    ),
    "schedule": (
        lambda: teleport(SPEC, optax.sgd(0.1)),
        ("teleport needs every=", "every=None", "every=", "write every=100, or at=[0]"),
    ),
    "a schedule of one number": (
        lambda: teleport(SPEC, optax.sgd(0.1), at=3),
        ("at= must be a list of numbers of updates", "3", "numbers of updates", "write at=[0]"),
    ),
    "two schedules": (
        lambda: teleport(SPEC, optax.sgd(0.1), every=3, at=[1]),
        ("every= and at= cannot be given together", "every=3, at=(1,)", "every=", "leave at out"),
    ),
    "no loss": (
        lambda: updated(PARAMS),
        ("teleport needs value_fn", "value_fn=None", "value_fn=", "value_fn=loss"),
    ),
    "a loss of many numbers": (
        lambda: updated(PARAMS, value_fn=lambda p: p["a"]),
        ("the loss is not one number", "shape [3, 8], dtype float32", "a scalar, value_fn(params)", "take the mean"),
    ),
    "a loss without its batch": (
        lambda: updated(PARAMS, value_fn=lambda p, x, y: LOSS(p), y=1, z=2),
        (
            "value_fn= cannot be called with the arguments of update",
            "params, y=",
            "all arguments of value_fn(p, x, y)",
            "batch=batch",
        ),
    ),
    "an objective of many numbers": (
        lambda: updated(PARAMS, {"objective": lambda loss, p: p["a"]}, value_fn=LOSS),
        ("the objective is not one number", "shape [3, 8]", "a scalar, objective(loss, params)", "a sum or a mean"),
    ),
    "an objective of integers": (
        lambda: updated(PARAMS, {"objective": lambda loss, p: 1}, value_fn=LOSS),
        ("the objective is not one number", "shape [], dtype int", "of a floating-point dtype", "a sum or a mean"),
    ),
    "an objective of parameters": (
        lambda: updated(PARAMS, {"objective": lambda p: 0.0}),
        ("objective= must be callable with 2 arguments", "function", "a function", 'objective="gradient_norm"'),
    ),
    "no parameters": (
        lambda: updated(None, value_fn=LOSS),
        ("teleport needs params", "params=None", "params=", "value_fn=loss"),
    ),
}


def updated(params, how=None, **options):
    tx = teleport(SPEC, optax.sgd(0.1), every=1, **how or {})
    return tx.update(PARAMS, tx.init(PARAMS), params, **options)


@pytest.mark.parametrize("name", REFUSED)
def test_it_is_refused(name: str) -> None:
    call, texts = REFUSED[name]
    assert_error(ek.OptionError, call, *texts)
