"""The models of `equikit demo` on the graph atlas; the seed determines split, parameters and order of graphs."""

from __future__ import annotations

import numpy as np
from flax import nnx

from benchmarks.core.benchmark import Benchmark, Cell, Measure, Tell
from benchmarks.core.bounds import Bound
from benchmarks.core.measurement import Measurement
from benchmarks.core.task_report import TRAINED
from equikit import demo

MEAN = "mean of the training graphs"
RIVALS: dict[str, str] = {
    "graph network": "2-IGN: `ek.nn.GraphNetwork`",
    "graph network, triples": 'one layer `"p p -> p p p"`',
    "MLP": "on the adjacency matrix",
    "MLP, augmented": "trained on graphs relabeled at random",
    MEAN: "no network",
}
TARGETS = (
    Bound("graph network, triples", {"task": "triangles"}, "error, as drawn", 0.2),
    Bound("graph network", {"task": "spectral radius"}, "error, as drawn", 0.05),
)


def cells(quick: bool) -> list[Cell]:
    """Return a cell for each model, which learns both targets at once."""
    tasks = {"task": " and ".join(demo.TARGETS)}
    return [Cell(tasks, "train", (rival,)) for rival in (("MLP", MEAN) if quick else RIVALS)]


def errors(rival: str, seed: int, epochs: int) -> tuple[int, np.ndarray, np.ndarray]:
    """Return the number of parameters, and the errors on test graphs, as drawn and relabeled."""
    data = demo.split(demo.atlas(), seed)
    if rival == MEAN:
        constant = np.broadcast_to(data.train.targets.mean(0), data.test.targets.shape)
        found = np.array(demo.score(constant, data.test.targets).mae)
        return 2, found, found
    (contestant,) = (one for one in demo.CONTESTANTS if one.name == rival)
    model = contestant.make(nnx.Rngs(seed))
    trained = demo.train(model, data, epochs=epochs, rate=contestant.rate, seed=seed, relabel=contestant.relabel)
    drawn = demo.score(trained.predict(data.test), data.test.targets)
    return (
        demo.parameter_count(model),
        np.array(drawn.mae),
        np.array(demo.relabeled_score(trained, data.test, seed).mae),
    )


def start(quick: bool, seed: int, tell: Tell) -> Measure:
    """Prepare nothing: the demonstration has the data."""

    def measure(cell: Cell) -> list[Measurement]:
        (rival,) = cell.rivals
        tell("train")
        parameters, drawn, moved = errors(rival, seed, 2 if quick else demo.EPOCHS)
        measurements = []
        for place, target in enumerate(demo.TARGETS):
            m = Measurement({"task": target}, cell.direction, rival)
            m.scores = {
                "parameters": float(parameters),
                "error, as drawn": float(drawn[place]),
                "error, moved": float(moved[place]),
            }
            measurements.append(m)
        return measurements

    return measure


BENCHMARK = Benchmark(
    title="Graph atlas",
    summary="triangles and spectral radii of all graphs with at most seven nodes",
    rivals=RIVALS,
    cells=cells,
    start=start,
    targets=TARGETS,
    style=TRAINED,
    seeds=5,
    timed=False,
)
