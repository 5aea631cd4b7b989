"""The action with a pseudo-inverse is exact on a batch that is not larger than the width, and nowhere else."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import assert_error

import equikit as ek
from equikit.weightspace import batch_action

WIDTH = 32


def leaky(x):
    return jax.nn.leaky_relu(x, 0.1)


def drawn(batch: int, seed: int = 0) -> tuple[jax.Array, ...]:
    """Two layers of width 32 without biases, a batch, and a matrix I + T, as in the code of the paper."""
    keys = jax.random.split(jax.random.key(seed), 4)
    first, second, t = (jax.random.normal(key, (WIDTH, WIDTH), float) / WIDTH**0.5 for key in keys[:3])
    return first, second, jax.random.normal(keys[3], (batch, WIDTH), float), jnp.eye(WIDTH) + t / 2


def outputs(first, second, x):
    return leaky(x @ first) @ second


def difference(one, two) -> float:
    return float(jnp.linalg.norm(one - two) / jnp.linalg.norm(one))


@pytest.mark.parametrize("batch", [8, 32])
def test_it_is_exact_on_small_batches_alone(batch: int, x64: None) -> None:
    first, second, x, matrix = drawn(batch)
    found = batch_action(first, second, x, matrix, activation=leaky)
    np.testing.assert_allclose(found.first, first @ matrix, rtol=1e-12)
    before, after = outputs(first, second, x), outputs(found.first, found.second, x)
    assert difference(before, after) < 1e-11
    assert abs(float(found.residual)) < 1e-11
    fresh = drawn(256, seed=1)[2]
    assert difference(outputs(first, second, fresh), outputs(found.first, found.second, fresh)) > 0.2


@pytest.mark.parametrize("batch", [64, 256])
def test_it_is_not_exact_on_large_batches(batch: int, x64: None) -> None:
    first, second, x, matrix = drawn(batch)
    found = batch_action(first, second, x, matrix, activation=leaky, allow_inexact=True)
    before, after = outputs(first, second, x), outputs(found.first, found.second, x)
    np.testing.assert_allclose(found.residual, difference(before, after), rtol=1e-10)
    assert 0.1 < float(found.residual) < 0.3
    assert_error(
        ek.EquivarianceError,
        lambda: batch_action(first, second, x, matrix, activation=leaky),
        "not exact on the batch",
        f"{float(found.residual):.1e}, with {batch} inputs and a width of 32",
        "a batch that is not larger than the width",
        "fewer inputs, use teleport, which is exact, or write allow_inexact=True",
    )


def test_a_singular_matrix_is_not_exact_on_any_batch(x64: None) -> None:
    first, second, x, matrix = drawn(8)
    texts = "not exact on the batch", "of 1.0e+00, with 8 inputs", "independent features", "an invertible matrix closer"
    run = lambda matrix: batch_action(first, second, x, matrix, activation=leaky)  # noqa: E731
    assert_error(ek.EquivarianceError, lambda: run(0 * matrix), *texts)
    assert run(jnp.eye(WIDTH)).residual < 1e-11


def test_positive_scales_are_exact_on_any_batch(x64: None) -> None:
    first, second, x, _ = drawn(64)
    scales = jnp.exp(jax.random.normal(jax.random.key(7), (WIDTH,), float))
    found = batch_action(first, second, x, jnp.diag(scales), activation=leaky)
    np.testing.assert_allclose(found.second, second / scales[:, None], rtol=1e-9)


def test_a_compiled_program_flags_what_is_not_exact() -> None:
    run = jax.jit(lambda *arrays: batch_action(*arrays, activation=leaky))
    exact, not_exact = run(*drawn(8)), run(*drawn(64))
    assert bool(jnp.all(jnp.isfinite(exact.second)))
    assert bool(jnp.all(jnp.isnan(not_exact.second)) & jnp.all(jnp.isnan(not_exact.first)))
    assert 0.1 < float(not_exact.residual) < 0.3


REFUSED = {
    "a vector": (0, jnp.ones(32), "first must have shape [rows, columns]", "[32]", "[rows, columns]", "reshape"),
    "second": (1, jnp.ones((8, 2)), "second must have shape [32, 2]", "[8, 2]", "[32, 2]", "two layers"),
    "inputs": (2, jnp.ones((8, 3)), "inputs must have shape [8, 32]", "[8, 3]", "[8, 32]", "two layers"),
    "matrix": (3, jnp.eye(4), "matrix must have shape [32, 32]", "[4, 4]", "[32, 32]", "two layers"),
    "empty": (2, jnp.ones((0, 32)), "there are no inputs", "[0, 32]", "one or more inputs", "pass inputs"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_it_is_refused(name: str) -> None:
    place, array, *texts = REFUSED[name]
    arrays = [array if other == place else one for other, one in enumerate(drawn(8))]
    error = ek.OptionError if name == "empty" else ek.ShapeError
    assert_error(error, lambda: batch_action(*arrays, activation=leaky), *texts)
