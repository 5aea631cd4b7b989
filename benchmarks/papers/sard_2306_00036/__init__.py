"""SARD: design of a robot under a symmetry that a local search on the lattice of subgroups finds."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np

from benchmarks.core import paper
from benchmarks.core.benchmark import Benchmark, Cell, Measure, Tell
from benchmarks.core.measurement import Measurement
from benchmarks.core.task_report import STEP, TRAINED
from benchmarks.papers.sard_2306_00036._robots import Task, lattice, tasks
from benchmarks.papers.sard_2306_00036._search import Budget, Choose, anywhere, neighbors, search, stay
from equikit.groups import Subgroup

PAPER = paper.read(Path(__file__).with_name("paper.toml"))
RIVALS = {
    "no symmetry": "all attributes of all limbs are free",
    "full group": "designs with the symmetry D(12)",
    "told": "designs with the symmetry of the task, which the others do not know",
    "structured": "the search of the paper: from no symmetry, one step up or down in the lattice at a time",
    "unstructured": "the same with moves to any of the 34 subgroups",
}
POINTS = 12
"""Points of the curve of each search."""


def limits(quick: bool) -> Budget:
    """Return the budget of a run."""
    return Budget(600, repeats=1) if quick else Budget()


def cells(quick: bool) -> list[Cell]:
    """One for each task and rival."""
    return [Cell({"task": task.name}, "search", (rival,), task) for task in tasks() for rival in RIVALS]


def begin(task: Task, rival: str) -> tuple[Subgroup, Choose]:
    """The first symmetry of a rival, and its moves."""
    bottom, top = lattice().subgroups[0], lattice().subgroups[-1]
    first = {"full group": top, "told": task.hidden}.get(rival, bottom)
    return first, {"structured": neighbors, "unstructured": anywhere}.get(rival, stay)


def one(task: Task, rival: str, budget: Budget, seed: int) -> dict[str, float]:
    """Search one design; returns its cost, the symmetry that was found, and the costs on the way."""
    _, kept, curve = search(task, *begin(task, rival), budget, seed)
    used, rewards = (np.array(column) for column in zip(*curve, strict=True))
    scores = {"cost": -float(rewards[-1])}
    if rival in ("structured", "unstructured"):
        inside = task.hidden.contains(kept)
        scores |= {"order of its symmetry": float(kept.order), "is one of the task": float(inside)}
    for share in np.linspace(1 / POINTS, 1, POINTS):
        place = int(np.searchsorted(used, share * used[-1]))
        scores[f"{STEP}{round(share * budget.evaluations)}"] = -float(rewards[min(place, len(rewards) - 1)])
    return scores


def start(quick: bool, seed: int, tell: Tell) -> Measure:
    """Return the function that searches designs."""
    budget = limits(quick)

    def measure(cell: Cell) -> list[Measurement]:
        task, (rival,) = cell.given, cell.rivals
        tell(f"{task.name}: {rival}")
        began = time.perf_counter()
        seeds = [budget.repeats * seed + repeat for repeat in range(budget.repeats)]
        found = [one(task, rival, budget, each) for each in seeds]
        scores = {name: float(np.mean([each[name] for each in found])) for name in found[0]}
        scores["seconds"] = time.perf_counter() - began
        return [Measurement(dict(cell.case), cell.direction, rival, scores=scores)]

    return measure


BENCHMARK = Benchmark(
    title="SARD",
    summary="design of robots for tasks with a hidden symmetry, by search on the lattice of subgroups",
    rivals=RIVALS,
    cells=cells,
    start=start,
    limits=limits,
    style=TRAINED,
    seeds=5,
    timed=False,
    paper=PAPER,
)
