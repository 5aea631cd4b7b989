"""The straight-through estimator improves on weight matching, and progress is shown to those who wait."""

from __future__ import annotations

import io

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from helpers import assert_error
from rich.console import Console

import equikit as ek
from equikit import _progress
from equikit.weightspace import align, interpolate, trace


def apply(params, x):
    for layer in params[:-1]:
        x = jax.nn.relu(x @ layer["w"] + layer["b"])
    return x @ params[-1]["w"] + params[-1]["b"]


def loss(params, batch):
    x, labels = batch
    return optax.softmax_cross_entropy_with_integer_labels(apply(params, x), labels).mean()


def initial(seed: int, widths=(6, 16, 16, 3)):
    keys = jax.random.split(jax.random.key(seed), len(widths))
    return [
        {"w": jax.random.normal(key, (a, b)) * (2 / a) ** 0.5, "b": jnp.zeros(b)}
        for key, a, b in zip(keys, widths, widths[1:], strict=False)
    ]


def blobs():
    """Three classes, each of them four clouds, so that a linear map does not tell them apart."""
    keys = jax.random.split(jax.random.key(9), 2)
    centers = jax.random.normal(keys[0], (12, 6))
    points = centers[:, None] + 0.2 * jax.random.normal(keys[1], (12, 20, 6))
    return points.reshape(-1, 6), jnp.repeat(jnp.arange(12) % 3, 20)


def trained(seed: int, data):
    optimizer = optax.adam(1e-2)

    def step(carry, _):
        params, state = carry
        updates, state = optimizer.update(jax.grad(loss)(params, data), state, params)
        return (optax.apply_updates(params, updates), state), None

    start = initial(seed)
    return jax.jit(lambda p: jax.lax.scan(step, (p, optimizer.init(p)), None, 150)[0][0])(start)


@pytest.fixture(scope="module")
def pair():
    data = blobs()
    one, two = (trained(seed, data) for seed in (0, 1))
    return one, two, trace(apply, one, data[0][:2]), data


def test_it_is_better_than_weight_matching(pair) -> None:
    one, two, spec, data = pair
    weights = align(spec, one, two)
    found, matching = align(
        spec, one, two, "straight_through", loss=loss, batches=[data], steps=60, with_info=True,
        optimizer=optax.sgd(0.1, momentum=0.9),
    )  # fmt: skip
    halves = [float(loss(interpolate(one, other, 0.5), data)) for other in (two, weights, found)]
    assert halves[2] < halves[1] < halves[0]
    assert matching.losses[0] == pytest.approx(halves[1], abs=1e-5)
    assert min(matching.losses) == pytest.approx(halves[2], abs=1e-5)
    np.testing.assert_allclose(apply(found, data[0]), apply(two, data[0]), atol=1e-5)


def test_no_steps_are_weight_matching(pair) -> None:
    one, two, spec, data = pair
    x, labels = data
    halves = [(x[:120], labels[:120]), (x[120:], labels[120:])]
    found, matching = align(spec, one, two, "straight_through", loss=loss, batches=halves, steps=0, with_info=True)
    for left, right in zip(*map(jax.tree.leaves, (found, align(spec, one, two))), strict=True):
        np.testing.assert_array_equal(left, right)
    assert matching.losses == pytest.approx([float(loss(interpolate(one, found, 0.5), data))], abs=1e-5)


REFUSED = {
    "no loss": (
        {"batches": [0]},
        (
            ek.OptionError,
            "loss= must be callable",
            "None",
            "a function",
            "write loss=lambda params, batch: ...",
        ),
    ),
    "no batches": (
        {"loss": loss, "batches": []},
        (
            ek.OptionError,
            "there are no batches in a list",
            "list",
            "one or more batches in a list",
            "batches=[batch]",
        ),
    ),
    "an array for a list": (
        {"loss": loss, "batches": jnp.ones((4, 6))},
        (ek.OptionError, "there are no batches in a list", "ArrayImpl", "a list", "batches=[batch]"),
    ),
    "a loss for each point": (
        {"loss": lambda p, batch: apply(p, batch).sum(1), "batches": [jnp.ones((4, 6))]},
        (ek.OptionError, "the loss is not one number", "shape [4]", "a scalar", "mean over the batch"),
    ),
    "it diverges": (
        {"loss": lambda p, batch: jnp.log(jnp.sum(p[0]["w"] * 0)), "batches": [0]},
        (
            ek.OptionError,
            "weights after step 1 are not finite",
            "96 of 435 entries infinite or NaN",
            "finite",
            "optax.sgd(1e-3",
        ),
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_it_is_refused(name: str) -> None:
    options, (error, *texts) = REFUSED[name]
    params = initial(0)
    spec = trace(apply, params, jnp.ones((2, 6)))
    assert_error(error, lambda: align(spec, params, initial(1), "straight_through", steps=2, **options), *texts)


@pytest.mark.parametrize(("terminal", "patience"), [(True, 0.0), (False, 0.0), (True, 100.0)])
def test_progress_is_for_terminals_and_for_those_who_wait(monkeypatch, terminal, patience) -> None:
    monkeypatch.setattr(_progress, "PATIENCE", patience)
    console = Console(file=io.StringIO(), force_terminal=terminal, width=80)
    with _progress.progress("counting", 3, console) as advance:
        for _ in range(3):
            advance("a text")
    shown = console.file.getvalue()
    assert ("counting: a text" in shown and "3/3" in shown) == (terminal and patience == 0)
    assert bool(shown) == (terminal and patience == 0)
