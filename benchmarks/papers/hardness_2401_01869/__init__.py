"""Hardness under symmetries: parities of degrees, averaged hard networks, and two neighbors."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from benchmarks.core import paper
from benchmarks.core.benchmark import Cell, Measure, Tell, reproduction
from benchmarks.core.fitting import Recipe
from benchmarks.core.measurement import Measurement
from benchmarks.papers._curves import style
from benchmarks.papers.hardness_2401_01869 import _tasks as tasks
from benchmarks.papers.hardness_2401_01869._figure import plot

PAPER = paper.read(Path(__file__).with_name("paper.toml"))
RIVALS = {
    "message passing": "one layer of messages on one-hot degrees, a sum over nodes, a perceptron",
    "scaled messages": "the same with messages divided by the number of nodes",
    "symmetric": "a wide network, averaged as the target is",
    "quasimetric": "asymmetric distances of features, which satisfy the triangle inequality",
    "bare": "a perceptron without symmetry",
}
KINDS = ("symmetrized", "frame-averaged")


@dataclass(frozen=True)
class Budget:
    """Sizes and recipes.

    Attributes:
        nodes: of graphs whose parity is learned.
        threshold: nodes of graphs for the control.
        inputs: of the hard networks, even numbers.
        sizes: examples for training and for tests.
        by_graphs, by_targets, by_pairs, by_pointers: recipes.
    """

    nodes: tuple[int, ...]
    threshold: tuple[int, ...]
    inputs: tuple[int, ...]
    sizes: tuple[int, int]
    by_graphs: Recipe
    by_targets: Recipe
    by_pairs: Recipe
    by_pointers: Recipe


def limits(quick: bool) -> Budget:
    """Return the budget of a run."""
    recipes = Recipe(200, 64, 2e-3), Recipe(60, 64, 2e-3)
    if quick:
        return Budget((6, 20), (20,), (2, 6), (4000, 1000), Recipe(15, 64, 3e-3), Recipe(8, 64, 2e-3), *recipes)
    return Budget(
        (6, 10, 15, 20), (15, 20), (2, 4, 6), (8000, 2000), Recipe(24, 64, 3e-3), Recipe(20, 64, 2e-3), *recipes
    )


def cells(quick: bool) -> list[Cell]:
    """One for each task and rival."""
    budget = limits(quick)
    graphs = [("parity", n) for n in budget.nodes] + [("threshold", n) for n in budget.threshold]
    found = [
        Cell({"task": f"degree {kind}, {n} nodes"}, "train", (rival,), (tasks.degrees, (kind, n)))
        for kind, n in graphs
        for rival in ("message passing", "scaled messages", "bare")
    ]
    found += [
        Cell({"task": f"{kind} network of {k} inputs"}, "train", (rival,), (tasks.regressed, (kind, k)))
        for kind in KINDS
        for k in budget.inputs
        for rival in ("symmetric", "bare")
    ]
    found += [
        Cell({"task": "quasimetric"}, "train", (rival,), (tasks.quasimetric, ())) for rival in ("quasimetric", "bare")
    ]
    return found + [
        Cell({"task": f"{kind} at a pointer"}, "train", ("bare",), (tasks.pointer, (kind,)))
        for kind in ("parity", "majority")
    ]


def start(quick: bool, seed: int, tell: Tell) -> Measure:
    """Return the function that trains and tests one rival."""
    budget = limits(quick)
    more = {
        tasks.degrees: (budget.sizes, budget.by_graphs),
        tasks.regressed: (budget.sizes, budget.by_targets),
        tasks.quasimetric: (budget.by_pairs,),
        tasks.pointer: (budget.by_pointers,),
    }

    def measure(cell: Cell) -> list[Measurement]:
        (rival,), (function, arguments) = cell.rivals, cell.given
        tell(f"{cell.case['task']}: {rival}")
        scores = function(*arguments, rival, *more[function], seed)
        return [Measurement(dict(cell.case), cell.direction, rival, scores=scores)]

    return measure


BENCHMARK = reproduction(
    title="Hardness under symmetries",
    summary="parities of degrees and averaged hard networks, which networks with the right symmetry do not learn",
    rivals=RIVALS,
    cells=cells,
    start=start,
    limits=limits,
    style=style(plot),
    paper=PAPER,
)
