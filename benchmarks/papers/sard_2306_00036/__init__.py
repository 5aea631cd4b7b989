"""SARD: design of a robot under a symmetry that a local search on the lattice of subgroups finds."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.core import paper
from benchmarks.core.benchmark import Cell, Measure, Tell, reproduction
from benchmarks.core.measurement import Measurement
from benchmarks.core.plot import STYLES, new_figure, tidy
from benchmarks.core.task_report import STEP, TRAINED, by_task
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
    return Budget(600) if quick else Budget()


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
    """Return the function that searches one design."""
    budget = limits(quick)

    def measure(cell: Cell) -> list[Measurement]:
        task, (rival,) = cell.given, cell.rivals
        tell(f"{task.name}: {rival}")
        began = time.perf_counter()
        scores = one(task, rival, budget, seed)
        scores["seconds"] = time.perf_counter() - began
        return [Measurement(dict(cell.case), cell.direction, rival, scores=scores)]

    return measure


def plot(path: Path, result: Mapping[str, Any], rivals: Sequence[str], panel: Sequence[str], axis: str) -> None:
    """Plot costs over evaluations, a panel for each task; what costs more than one is left out."""
    every = by_task(result["measurements"])
    figure = new_figure(1.2 + 2.6 * len(every), 3.2)
    panels = figure.subplots(1, max(len(every), 1), squeeze=False, sharey=True)[0]
    drawn: dict[str, Any] = {}
    for axes, (task, records) in zip(panels, every.items(), strict=False):
        for record in records:
            scores, place = record.get("scores") or {}, list(rivals).index(record["rival"])
            costs = {int(name.removeprefix(STEP)): cost for name, cost in scores.items() if name.startswith(STEP)}
            if costs and max(costs.values()) < 1:
                (drawn[record["rival"]],) = axes.plot([*costs], [*costs.values()], color=STYLES[place][0])
        tidy(axes, task)
        axes.set_xlabel("evaluations")
    panels[0].set_ylabel("cost")
    figure.legend(drawn.values(), drawn.keys(), loc="outside lower center", ncols=5, frameon=False)
    figure.savefig(path)


BENCHMARK = reproduction(
    title="SARD",
    summary="design of robots for tasks with a hidden symmetry, by search on the lattice of subgroups",
    rivals=RIVALS,
    cells=cells,
    start=start,
    limits=limits,
    style=replace(TRAINED, plot=plot),
    paper=PAPER,
)
