"""Inertia and Lorentz scattering: wrappers around one network without symmetry."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.core.benchmark import Benchmark
from benchmarks.core.bounds import Bound
from benchmarks.core.fitting import Recipe, Rows
from benchmarks.core.task import Sizes, Task, Test
from benchmarks.core.task_report import TRAINED
from benchmarks.core.trials import Make, Trial, Trials
from benchmarks.data.vectors import Vectors, lorentz, orthogonal, vectors
from benchmarks.models.backbones import augmented, bare
from benchmarks.models.frames import FRAMES
from benchmarks.models.learned import LEARNED
from benchmarks.models.networks import random_orthogonal

RIVALS: dict[str, str] = {
    "bare": "the network as it is",
    "augmented": "the same, every row of every batch moved by a random element",
    "frame": "the mean over the frame of principal axes, in training too",
    "stochastic frame": "one element of the frame at random in training, the mean over all in the tests",
    "sorted": "bodies sorted by mass in addition to a stochastic frame",
    "minimal frame": "one element, by Gram-Schmidt on the vectors in the order given",
    "weighted frame": "one element of a continuous weighted frame in training, the mean over all in the tests",
    "canonical": "one element chosen by vector neurons",
    "probabilistic": "an element by vector neurons of the input and noise; the mean over 20 in the tests",
    "orbit distance": "the matrix of a network, with a loss that pulls it toward the group",
}
MAKE: dict[str, Make] = {"bare": bare, "augmented": augmented, **FRAMES, **LEARNED}
TARGETS = (
    Bound("stochastic frame", {"task": "inertia", "train": 1000}, "error, moved", 0.21),
    Bound("orbit distance", {"task": "scattering", "train": 10_000}, "error, moved", 0.029),
    *(
        Bound(rival, {"task": "inertia"}, "difference, moved", 1e-4)
        for rival in ("stochastic frame", "weighted frame", "canonical")
    ),
)


def _rows(rows: Vectors) -> Rows:
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
        "as drawn": Test(_rows(test)),
        "moved": Test(_rows(test.moved(elements)), lambda y: np.einsum("bij,bjk,blk->bil", elements, y, elements)),
    }
    return Task("inertia", _rows(train), tests, sizes.recipe, _turn_bodies)


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

    tests = {"as drawn": Test(_rows(test)), "moved": Test(_rows(moved), lambda y: y)}
    return Task("scattering", _rows(train), tests, sizes.recipe, move)


BODIES = (
    *("bare", "augmented", "frame", "stochastic frame", "sorted", "minimal frame", "weighted frame", "canonical"),
    "probabilistic",
)
MOMENTA = ("bare", "augmented", "minimal frame", "orbit distance")
FEW = Sizes(100, 0, 80, Recipe(2, 50, 1e-3))
TRIALS = Trials(
    {
        "inertia": Trial(
            inertia, {rival: MAKE[rival] for rival in BODIES}, FEW, Sizes(1000, 0, 2000, Recipe(1000, 250, 3e-3))
        ),
        "scattering": Trial(
            scattering,
            {rival: MAKE[rival] for rival in MOMENTA},
            FEW,
            Sizes(10_000, 1000, 5000, Recipe(30, 100, 3e-3)),
        ),
    }
)


BENCHMARK = Benchmark(
    title="Wrappers on vectors",
    summary="inertia and Lorentz scattering: every method around one network, against it bare and augmented",
    rivals=RIVALS,
    cells=TRIALS.cells,
    start=TRIALS.start,
    limits=TRIALS.limits,
    targets=TARGETS,
    style=TRAINED,
    seeds=5,
    timed=False,
)
