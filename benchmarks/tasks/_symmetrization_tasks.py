"""The tasks of the benchmark `symmetrization` on which networks are trained."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.core.fitting import Rows
from benchmarks.core.folders import SCRATCH
from benchmarks.core.task import Sizes, Task, Test
from benchmarks.data.digits import Digits, clouds, digits, quarter_turns, turned
from benchmarks.data.particles import Progress, Systems, cached
from benchmarks.data.vectors import Vectors, lorentz, orthogonal, vectors
from benchmarks.models.networks import random_orthogonal


def _system_rows(systems: Systems) -> Rows:
    return (systems.charges, systems.positions, systems.velocities), systems.targets


def _turn_systems(key: jax.Array, rows: Rows) -> Rows:
    (charges, x, v), y = rows
    g = random_orthogonal(key, len(x))
    x, v, y = (jnp.einsum("bij,bpj->bpi", g, a) for a in (x, v, y))
    return (charges, x, v), y


def particles(sizes: Sizes, seed: int, progress: Progress | None = None) -> Task:
    """Predict later positions of five charges, under O(3)."""
    train, test = sizes.parts(cached(SCRATCH, sizes.total, seed, progress=progress))
    elements = orthogonal(np.random.default_rng([seed, 1]), len(test))
    tests = {
        "as drawn": Test(_system_rows(test)),
        "moved": Test(_system_rows(test.moved(elements)), lambda y: np.einsum("bij,bpj->bpi", elements, y)),
    }
    return Task("n-body", _system_rows(train), tests, sizes.recipe, _turn_systems)


def _vector_rows(rows: Vectors) -> Rows:
    inputs = (rows.scalars, rows.vectors) if rows.scalars.shape[1] else rows.vectors
    return inputs, rows.targets


def _turn_bodies(key: jax.Array, rows: Rows) -> Rows:
    (masses, x), y = rows
    g = random_orthogonal(key, len(x))
    return (masses, jnp.einsum("bij,bpj->bpi", g, x)), jnp.einsum("bij,bjk,blk->bil", g, y, g)


def inertia(sizes: Sizes, seed: int) -> Task:
    """The inertia tensor of five bodies, under O(3)."""
    train, test = sizes.parts(vectors("inertia", sizes.total, seed))
    elements = orthogonal(np.random.default_rng([seed, 1]), len(test))
    tests = {
        "as drawn": Test(_vector_rows(test)),
        "moved": Test(
            _vector_rows(test.moved(elements)), lambda y: np.einsum("bij,bjk,blk->bil", elements, y, elements)
        ),
    }
    return Task("inertia", _vector_rows(train), tests, sizes.recipe, _turn_bodies)


def scattering(sizes: Sizes, seed: int, pool: int = 512) -> Task:
    """A Lorentz-invariant function of four momenta, under O(1, 3).

    Augmentation draws from the products of a pool of elements with a second one.
    """
    train, test = sizes.parts(vectors("scattering", sizes.total, seed))
    generator = np.random.default_rng([seed, 1])
    moved = test.moved(lorentz(generator, len(test)))
    pools = jnp.asarray(lorentz(generator, 2 * pool, 1).reshape(2, pool, 4, 4), jnp.float32)

    def move(key: jax.Array, rows: Rows) -> Rows:
        p, y = rows
        one, two = jax.random.randint(key, (2, len(p)), 0, pool)
        return jnp.einsum("bij,bjk,bvk->bvi", pools[0][one], pools[1][two], p), y

    tests = {"as drawn": Test(_vector_rows(test)), "moved": Test(_vector_rows(moved), lambda y: y)}
    return Task("scattering", _vector_rows(train), tests, sizes.recipe, move)


def _turn_images(key: jax.Array, rows: Rows) -> Rows:
    images, labels = rows
    every = jnp.stack([jnp.rot90(images, turns, axes=(1, 2)) for turns in range(4)])
    return (every[jax.random.randint(key, (len(images),), 0, 4), jnp.arange(len(images))]), labels


def images(sizes: Sizes, seed: int) -> Task:
    """Digits, upright in training and rotated in tests: by quarters, which is exact, and by eighths, which is not."""
    train, test = sizes.parts(digits(seed))
    generator = np.random.default_rng([seed, 1])
    quarters = quarter_turns(test.inputs, generator.integers(1, 4, len(test)))
    eighths = turned(test.inputs, 45.0 * generator.integers(1, 8, len(test)))
    tests = {
        "as drawn": Test((test.inputs, test.labels)),
        "moved": Test((quarters, test.labels), lambda y: y),
        "by 45°": Test((eighths, test.labels), lambda y: y),
    }
    return Task("digits", (train.inputs, train.labels), tests, sizes.recipe, _turn_images, outputs="classes")


def _shuffle(key: jax.Array, rows: Rows) -> Rows:
    points, labels = rows
    order = jnp.argsort(jax.random.uniform(key, points.shape[:2]), axis=1)
    return jnp.take_along_axis(points, order[:, :, None], axis=1), labels


def digit_clouds(sizes: Sizes, seed: int, copies: int = 10) -> Task:
    """Digits as unordered point clouds, under S(50); the training images are sampled several times."""
    train, test = sizes.parts(digits(seed))
    many, once = clouds(train, seed + 1, copies), clouds(test, seed + 2)
    order = np.random.default_rng([seed, 1]).permuted(np.tile(np.arange(50), (len(once), 1)), axis=1)
    moved = Digits(np.take_along_axis(once.inputs, order[:, :, None], axis=1), once.labels)
    tests = {
        "as drawn": Test((once.inputs, once.labels)),
        "moved": Test((moved.inputs, moved.labels), lambda y: y),
    }
    return Task("digit clouds", (many.inputs, many.labels), tests, sizes.recipe, _shuffle, outputs="classes")
