"""The n-body task: later positions of five charges, under O(3)."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.core.fitting import Rows
from benchmarks.core.folders import SCRATCH
from benchmarks.core.task import Sizes, Task, Test
from benchmarks.data.particles import Systems, cached
from benchmarks.data.vectors import orthogonal
from benchmarks.models.networks import random_orthogonal


def _rows(systems: Systems) -> Rows:
    return (systems.charges, systems.positions, systems.velocities), systems.targets


def _turn(key: jax.Array, rows: Rows) -> Rows:
    (charges, x, v), y = rows
    g = random_orthogonal(key, len(x))
    x, v, y = (jnp.einsum("bij,bpj->bpi", g, a) for a in (x, v, y))
    return (charges, x, v), y


def particles(sizes: Sizes, seed: int) -> Task:
    """Predict later positions of five charges, under O(3)."""
    train, test = sizes.parts(cached(SCRATCH, sizes.total, seed))
    elements = orthogonal(np.random.default_rng([seed, 1]), len(test))
    tests = {
        "as drawn": Test(_rows(test)),
        "moved": Test(_rows(test.moved(elements)), lambda y: np.einsum("bij,bpj->bpi", elements, y)),
    }
    return Task("n-body", _rows(train), tests, sizes.recipe, _turn)
