"""A path is transferred exactly to a permuted copy of its start, and helps networks that started elsewhere."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from architectures import MODELS
from helpers import assert_error

import equikit as ek
from equikit.weightspace import align, trace, transfer


def apply(p, x):
    h = jax.nn.gelu(x @ p["w0"] + p["b0"])
    return jax.nn.gelu(h @ p["w1"] + p["b1"]) @ p["w2"]


def initial(seed: int, inputs: int = 4, hidden: int = 8, classes: int = 3):
    keys = jax.random.split(jax.random.key(seed), 3)
    shapes = {"w0": (inputs, hidden), "w1": (hidden, hidden), "w2": (hidden, classes)}
    weights = {
        name: jax.random.normal(key, shape) * (2 / shape[0]) ** 0.5
        for key, (name, shape) in zip(keys, shapes.items(), strict=True)
    }
    return weights | {"b0": jnp.zeros(hidden), "b1": jnp.zeros(hidden)}


def loss(p, batch):
    x, labels = batch
    return optax.softmax_cross_entropy_with_integer_labels(apply(p, x), labels).mean()


def path_of(start, batch, steps: int, rate: float = 0.5):
    """All parameters of a run of gradient descent, stacked."""

    def step(params, _):
        return jax.tree.map(lambda p, g: p - rate * g, params, jax.grad(loss)(params, batch)), params

    return jax.jit(lambda p: jax.lax.scan(step, p, None, steps + 1)[1])(start)


def at(path, place: int):
    return jax.tree.map(lambda leaf: leaf[place], path)


def problem():
    x = jax.random.normal(jax.random.key(5), (30, 4))
    return x, jnp.argmax(x[:, :3] * x[:, 1:], axis=1)


BATCH = problem()
START = initial(0)
SPEC = trace(apply, START, BATCH[0])
PATH = path_of(START, BATCH, 6)


@pytest.mark.parametrize("fast", [False, True])
def test_a_permuted_copy_of_the_start_comes_to_the_permuted_end(fast: bool) -> None:
    element = SPEC.random_element(key=jax.random.key(3))
    halves = [tuple(part[half] for part in BATCH) for half in (slice(15), slice(15, 30))]
    found, info = transfer(
        SPEC, PATH, SPEC.act(element, START), loss=loss, batches=halves, fast=fast, points=4, with_info=True
    )
    for label, places in element.items():
        np.testing.assert_array_equal(info.element[label], places)
    wanted = SPEC.act(element, at(PATH, -1))
    for name, leaf in found.items():
        np.testing.assert_allclose(leaf, wanted[name], atol=1e-6)
    assert len(info.similarities) == (4 if fast else 6)
    np.testing.assert_allclose(info.similarities, 1, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("fast", [False, True])
def test_heads_of_attention_have_permutations_of_their_own(fast: bool) -> None:
    model, start, x = MODELS["attention"]()
    spec = trace(model, start, x)
    assert spec.nested

    def error(params, batch):
        return jnp.mean((model(params, batch) - jnp.sin(batch)) ** 2)

    path = [start]
    for _ in range(3):
        path.append(jax.tree.map(lambda p, g: p - 0.1 * g, path[-1], jax.grad(error)(path[-1], x)))
    element = spec.random_element(key=jax.random.key(3))
    found = transfer(spec, path, spec.act(element, start), loss=error, batches=[x], fast=fast)
    for one, two in zip(*map(jax.tree.leaves, (found, spec.act(element, path[-1]))), strict=True):
        np.testing.assert_allclose(one, two, atol=1e-5)


def test_a_list_of_trees_is_a_path_too() -> None:
    target = initial(1)
    listed = [at(PATH, place) for place in range(7)]
    found = [transfer(SPEC, path, target, loss=loss, batches=[BATCH], fast=False) for path in (PATH, listed)]
    for one, two in zip(*map(jax.tree.leaves, found), strict=True):
        np.testing.assert_array_equal(one, two)
    # The fast version sees the ends alone.
    ends = [transfer(SPEC, p, target, loss=loss, batches=[BATCH]) for p in (listed, [listed[0], listed[-1]])]
    for one, two in zip(*map(jax.tree.leaves, ends), strict=True):
        np.testing.assert_array_equal(one, two)


def test_the_end_is_the_start_and_the_permuted_path() -> None:
    """With one step, the permutation is that which aligns the gradients at both starts."""
    target = initial(1)
    path = [START, at(PATH, 3), at(PATH, -1)]
    found, info = transfer(SPEC, path[1:], target, loss=loss, batches=[BATCH], fast=False, with_info=True)
    change = jax.tree.map(lambda late, early: late - early, path[2], path[1])
    wanted = jax.tree.map(lambda a, b: a + b, target, SPEC.act(info.element, change))
    for name, leaf in found.items():
        np.testing.assert_allclose(leaf, wanted[name], atol=1e-6)
    here, there = (jax.grad(loss)(params, BATCH) for params in (target, path[1]))
    _, matching = align(SPEC, here, there, with_info=True)
    for label, places in matching.element.items():
        np.testing.assert_array_equal(info.element[label], places)
    assert info.similarities == pytest.approx([matching.similarity], abs=1e-5)


def test_a_path_that_turns_back_moves_nothing() -> None:
    """Also: a permutation that changed on the way changes the whole path, not what comes after alone."""
    there_and_back = [at(PATH, place) for place in (0, 2, 4, 2, 0)]
    target = initial(1)
    found = transfer(SPEC, there_and_back, target, loss=loss, batches=[BATCH], fast=False)
    for name, leaf in found.items():
        np.testing.assert_allclose(leaf, target[name], atol=1e-6)


def digits_run():
    from sklearn.datasets import load_digits

    data = load_digits()
    x, labels = jnp.asarray(data.data[:1000] / 16, jnp.float32), jnp.asarray(data.target[:1000])
    start, target = (initial(seed, 64, 128, 10) for seed in (0, 1))
    return (x, labels), start, target, path_of(start, (x, labels), 60)


@pytest.mark.slow
@pytest.mark.compiled
@pytest.mark.parametrize("fast", [False, True])
def test_digits_are_learned_without_training(fast: bool) -> None:
    batch, start, target, path = digits_run()
    spec = trace(apply, start, batch[0][:2])
    coarse = jax.tree.map(lambda leaf: leaf[::6], path)
    found = transfer(spec, coarse, target, loss=loss, batches=[batch], fast=fast)
    naive = jax.tree.map(lambda b, late, early: b + late - early, target, at(path, -1), start)
    losses = {name: float(loss(p, batch)) for name, p in (("found", found), ("naive", naive), ("target", target))}
    assert losses["found"] < (0.6 if fast else 1) * losses["target"] < losses["naive"]


REFUSED = {
    "one network": (
        lambda: transfer(SPEC, [START], START, loss=loss, batches=[BATCH]),
        (
            ek.OptionError,
            "the number of networks in the trajectory must be a whole",
            "1",
            "an integer ≥ 2",
            "[start, end]",
        ),
    ),
    "no networks": (
        lambda: transfer(SPEC, [], START, loss=loss, batches=[BATCH]),
        (
            ek.OptionError,
            "the number of networks in the trajectory must be a whole",
            "0",
            "an integer ≥ 2",
            "[start, end]",
        ),
    ),
    "another number of steps": (
        lambda: transfer(SPEC, PATH | {"w0": PATH["w0"][:3]}, START, loss=loss, batches=[BATCH]),
        (ek.OptionError, "different numbers of steps", "[3, 7]", "one leading axis", "jnp.stack"),
    ),
    "a tree that is not stacked": (
        lambda: transfer(SPEC, START, START, loss=loss, batches=[BATCH]),
        (ek.OptionError, "different numbers of steps", "[4, 8]", "one leading axis", "jnp.stack"),
    ),
    "another network on the way": (
        lambda: transfer(SPEC, [START, {"w0": START["w0"]}], START, loss=loss, batches=[BATCH]),
        (
            ek.OptionError,
            "the parameters at step 1 do not have the expected names",
            "'w0'",
            "a dictionary with the names 'b0', 'b1', 'w0', 'w1', 'w2'",
            "same structure",
        ),
    ),
    "no points": (
        lambda: transfer(SPEC, PATH, START, loss=loss, batches=[BATCH], points=0),
        (ek.OptionError, "points= must be", "0", "from 1 to 1,000,000", "points=10"),
    ),
    "a target that is no number": (
        lambda: transfer(SPEC, PATH, START | {"b0": START["b0"] + jnp.inf}, loss=loss, batches=[BATCH]),
        (ek.OptionError, "weights 'b0' of the parameters of the target are not finite", "8 of 8", "finite", "diverged"),
    ),
    "no batches": (
        lambda: transfer(SPEC, PATH, START, loss=loss, batches=[]),
        (
            ek.OptionError,
            "there are no batches in a list",
            "list",
            "one or more batches in a list",
            "transfer(spec, path, target",
        ),
    ),
    "a loss that is no number": (
        lambda: transfer(SPEC, PATH, START, loss=lambda p, b: loss(p, b) * jnp.nan, batches=[BATCH]),
        (
            ek.OptionError,
            "weights 'b0' of the gradients are not finite",
            "8 of 8 entries infinite or NaN",
            "finite",
            "diverged",
        ),
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_it_is_refused(name: str) -> None:
    call, (error, *texts) = REFUSED[name]
    assert_error(error, call, *texts)
