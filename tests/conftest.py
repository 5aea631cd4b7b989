"""Fixtures for all tests. Double precision is off unless a test asks for it."""

import gc
from collections.abc import Iterator
from pathlib import Path

import jax
import pytest

MAPS = Path("/proc/self/maps")
MOST_MAPS = 20_000
"""Each compiled program takes about three memory maps, and Linux gives a process 65,530."""


@pytest.fixture(autouse=True, scope="module")
def few_memory_maps() -> Iterator[None]:
    """Forget compiled programs before the system has no memory map left for another one."""
    yield
    if MAPS.exists() and MAPS.read_bytes().count(b"\n") > MOST_MAPS:
        jax.clear_caches()
        gc.collect()


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
