"""Scale-equivariant metanetworks: the identity and accuracies, of networks with random scales and signs."""

from __future__ import annotations

from pathlib import Path

from benchmarks.core import paper
from benchmarks.core.benchmark import reproduction
from benchmarks.core.bounds import Bound
from benchmarks.core.fitting import Recipe
from benchmarks.core.task import Sizes
from benchmarks.core.task_report import TRAINED
from benchmarks.papers._zoo_tasks import Zoos
from benchmarks.papers.scale_metanetworks_2406_10685._rivals import DESCRIBED, EXACT, MAKE
from benchmarks.papers.scale_metanetworks_2406_10685._tasks import make

PAPER = paper.read(Path(__file__).with_name("paper.toml"))
SIZES = {
    "identity, sines": Sizes(768, 0, 256, Recipe(60, 32, 3e-3)),
    "perceptrons": Sizes(768, 0, 256, Recipe(40, 32, 1e-3)),
}
ZOOS = Zoos(SIZES, make=make, built=MAKE)
LARGEST = 1e-3
"""The largest difference of outputs for moved networks that counts as rounding."""

BENCHMARK = reproduction(
    title="Scale-equivariant metanetworks",
    summary="the identity on parameters, and accuracies, of networks with random scales and signs",
    rivals=DESCRIBED,
    cells=ZOOS.cells,
    start=ZOOS.start,
    limits=ZOOS.limits,
    targets=tuple(Bound(rival, {"task": task}, "difference, moved", LARGEST) for task in SIZES for rival in EXACT),
    style=TRAINED,
    paper=PAPER,
)
