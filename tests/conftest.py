"""Fixtures for all tests. Double precision is off unless a test asks for it."""

import jax
import pytest


@pytest.fixture
def x64():
    """Switch 64-bit numbers on for one test."""
    with jax.enable_x64(True):
        yield


@pytest.fixture
def quick_compile():
    """Let XLA compile quickly rather than well, for tests that compile much and run little."""
    before = jax.config.values["jax_disable_most_optimizations"]
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", before)


@pytest.fixture
def key() -> jax.Array:
    return jax.random.key(0)
