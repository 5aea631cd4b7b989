"""Weighted frames (Dym et al., 2402.16077): small digits as unordered clouds of points."""

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
from benchmarks.data.digits import POINTS, clouds, digits
from benchmarks.models.backbones import augmented, bare
from benchmarks.models.equivariant import deep_sets
from benchmarks.models.frames import sorted_frame, weighted_frame

PAPER = paper.read(Path(__file__).with_name("paper.toml"))
RIVALS: dict[str, str] = {
    "bare": "the network as it is",
    "augmented": "the same, the points of every cloud of every batch in random order",
    "sorted": "points sorted by x, then by y",
    "weighted frame": "sorted along one of 16 weighted directions in training, the mean over all in the tests",
    "Deep Sets": "`ek.nn.DeepSets`, no wrapper: three equivariant layers and a mean over points",
}
MAKE: dict[str, Make] = {
    "bare": bare,
    "augmented": augmented,
    "sorted": sorted_frame,
    "weighted frame": weighted_frame,
    "Deep Sets": deep_sets,
}
TARGETS = tuple(
    Bound(rival, {"task": "digit clouds"}, "difference, moved", 0.0) for rival in ("sorted", "weighted frame")
)
COPIES = 10
"""Clouds of each training image."""


def _shuffle(key: jax.Array, rows: Rows) -> Rows:
    points, labels = rows
    order = jnp.argsort(jax.random.uniform(key, points.shape[:2]), axis=1)
    return jnp.take_along_axis(points, order[:, :, None], axis=1), labels


def digit_clouds(sizes: Sizes, seed: int) -> Task:
    """Digits as unordered clouds, under S(50); the training images are sampled several times."""
    train, test = sizes.parts(digits(seed))
    many, once = clouds(train, seed + 1, COPIES), clouds(test, seed + 2)
    order = np.random.default_rng([seed, 1]).permuted(np.tile(np.arange(POINTS), (len(once), 1)), axis=1)
    tests = {
        "as drawn": Test((once.inputs, once.labels)),
        "moved": Test((np.take_along_axis(once.inputs, order[:, :, None], axis=1), once.labels), lambda y: y),
    }
    return Task("digit clouds", (many.inputs, many.labels), tests, sizes.recipe, _shuffle, outputs="classes")


QUICK, FULL = Sizes(20, 0, 80, Recipe(2, 100, 1e-3)), Sizes(1400, 0, 397, Recipe(43, 100, 1e-3))
TRIALS = Trials({"digit clouds": Trial(digit_clouds, MAKE, QUICK, FULL, COPIES)})


BENCHMARK = reproduction(
    title="Weighted frames",
    summary="small digits as unordered clouds: sorted, with a weighted frame, augmented, by Deep Sets",
    rivals=RIVALS,
    cells=TRIALS.cells,
    start=TRIALS.start,
    limits=TRIALS.limits,
    targets=TARGETS,
    style=TRAINED,
    paper=PAPER,
)
