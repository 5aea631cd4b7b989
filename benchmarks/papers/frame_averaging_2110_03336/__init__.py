"""Frame averaging (Puny et al., 2110.03336): five charges in space, and graphs to tell apart."""

from __future__ import annotations

from pathlib import Path

from benchmarks.core import paper
from benchmarks.core.benchmark import Cell, Measure, Tell, reproduction
from benchmarks.core.bounds import Bound
from benchmarks.core.fitting import Recipe
from benchmarks.core.measurement import Measurement
from benchmarks.core.task import Sizes
from benchmarks.core.task_report import TRAINED
from benchmarks.core.trials import Make, Trial, Trials
from benchmarks.models.backbones import augmented, bare, straight_line
from benchmarks.models.equivariant import equivariant_attention, equivariant_messages, equivariant_network
from benchmarks.models.frames import frame, stochastic_frame, weighted_frame
from benchmarks.models.learned import canonical, probabilistic
from benchmarks.papers.frame_averaging_2110_03336._particles import particles
from benchmarks.papers.frame_averaging_2110_03336._separation import SEPARATORS, graph_set

PAPER = paper.read(Path(__file__).with_name("paper.toml"))
RIVALS: dict[str, str] = {
    "straight line": "x + t v with the best t",
    "bare": "the network as it is",
    "augmented": "the same, every row of every batch moved by a random element",
    "frame": "the mean over the frame of principal axes, in training too",
    "stochastic frame": "one element of the frame at random in training, the mean over all in the tests",
    "weighted frame": "one element of a continuous weighted frame in training, the mean over all in the tests",
    "canonical": "one element chosen by vector neurons",
    "probabilistic": "an element by vector neurons of the input and noise; the mean over 20 in the tests",
    "equivariant network": "`ek.nn.Network` on charges and pairs of them, no wrapper",
    "equivariant messages": "`ek.nn.GeometricMessage` between charges, no wrapper",
    "equivariant attention": "`ek.nn.Attention` between charges at points in space, no wrapper",
    "color refinement": "1-WL, the limit of message passing",
    "Laplacian frame": "nodes sorted by the spectrum of the Laplacian, the mean over all orders compatible with it",
    "canonical form": "the order of nodes that a search for automorphisms finds",
}
CHARGES: dict[str, Make] = {
    "straight line": straight_line,
    "bare": bare,
    "augmented": augmented,
    "frame": frame,
    "stochastic frame": stochastic_frame,
    "weighted frame": weighted_frame,
    "canonical": canonical,
    "probabilistic": probabilistic,
    "equivariant network": equivariant_network,
    "equivariant messages": equivariant_messages,
    "equivariant attention": equivariant_attention,
}
TRIALS = Trials(
    {
        "n-body": Trial(
            particles,
            CHARGES,
            quick=Sizes(100, 0, 80, Recipe(2, 50, 1e-3)),
            full=Sizes(3000, 2000, 2000, Recipe(150, 100, 1e-3)),
        )
    }
)
GRAPHS = ("graphs", "CSL", "GRAPH8c")
EXACT, EXACT_64 = 1e-4, 1e-12
INVARIANT = ("Laplacian frame", "canonical form")
TARGETS = (
    Bound("stochastic frame", {"task": "n-body", "train": 3000}, "error, moved", 0.0092),
    *(
        Bound(rival, {"task": "n-body"}, "difference, moved", EXACT)
        for rival in (
            *("frame", "stochastic frame", "weighted frame", "canonical"),
            *("equivariant network", "equivariant messages", "equivariant attention"),
        )
    ),
    *(
        Bound(rival, {"task": task}, score, most)
        for task in GRAPHS
        for rival in INVARIANT
        for score, most in (("pairs not told apart", 0.0), ("largest difference of copies", EXACT_64))
    ),
)


def cells(quick: bool) -> list[Cell]:
    """One rival of one task each."""
    return [
        *TRIALS.cells(quick),
        *(Cell({"task": task}, "separate", (rival,)) for task in GRAPHS for rival in SEPARATORS),
    ]


def start(quick: bool, seed: int, tell: Tell) -> Measure:
    """Return the function that trains or separates; data are made when they are first needed."""
    train = TRIALS.start(quick, seed, tell)

    def measure(cell: Cell) -> list[Measurement]:
        if cell.direction == "train":
            return train(cell)
        name, (rival,) = cell.case["task"], cell.rivals
        tell(f"{name}: {rival}")
        scores = SEPARATORS[rival](*graph_set(name, quick, seed), seed)
        return [Measurement(dict(cell.case), cell.direction, rival, scores=scores)]

    return measure


BENCHMARK = reproduction(
    title="Frame averaging",
    summary="five charges in space by frames, learned elements and equivariant layers; graphs to tell apart",
    rivals=RIVALS,
    cells=cells,
    start=start,
    limits=TRIALS.limits,
    targets=TARGETS,
    style=TRAINED,
    paper=PAPER,
)
