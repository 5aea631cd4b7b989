"""Learned canonicalization (Kaba et al., 2211.06489): small digits, upright in training and rotated in tests."""

from __future__ import annotations

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.core import paper
from benchmarks.core.benchmark import reproduction
from benchmarks.core.bounds import Bound
from benchmarks.core.fitting import Recipe, Rows
from benchmarks.core.task import Sizes, Task, Test
from benchmarks.core.task_report import TRAINED
from benchmarks.core.trials import Make, Trial, Trials
from benchmarks.data.digits import digits, quarter_turns, turned
from benchmarks.models.backbones import augmented, bare
from benchmarks.models.frames import group_average
from benchmarks.models.learned import canonical, canonical_by_eighths, canonical_by_energy

PAPER = paper.read(Path(__file__).with_name("paper.toml"))
RIVALS: dict[str, str] = {
    "bare": "the network as it is",
    "augmented": "the same, every image of every batch rotated by random quarter turns",
    "group average": "one quarter turn at random in training, the mean over all four in the tests",
    "canonical": "a quarter turn chosen by a group convolution",
    "canonical, eighths": "the same with eighths of a turn",
    "canonical by energy": "the quarter turn most similar to a learned reference, by an encoder",
}
MAKE: dict[str, Make] = {
    "bare": bare,
    "augmented": augmented,
    "group average": group_average,
    "canonical": canonical,
    "canonical, eighths": canonical_by_eighths,
    "canonical by energy": canonical_by_energy,
}
TARGETS = tuple(
    Bound(rival, {"task": "digits"}, "difference, moved", 0.0)
    for rival in ("group average", "canonical", "canonical, eighths", "canonical by energy")
)


def _turn(key: jax.Array, rows: Rows) -> Rows:
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
    return Task("digits", (train.inputs, train.labels), tests, sizes.recipe, _turn, outputs="classes")


QUICK, FULL = Sizes(100, 0, 80, Recipe(2, 50, 1e-3)), Sizes(1400, 0, 397, Recipe(30, 50, 1e-3))
TRIALS = Trials({"digits": Trial(images, MAKE, QUICK, FULL)})


BENCHMARK = reproduction(
    title="Learned canonicalization",
    summary="small digits, upright in training and rotated in tests: canonicalized, averaged, augmented",
    rivals=RIVALS,
    cells=TRIALS.cells,
    start=TRIALS.start,
    limits=TRIALS.limits,
    targets=TARGETS,
    style=TRAINED,
    paper=PAPER,
)
