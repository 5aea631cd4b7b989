"""The models of `equikit demo` on the graph atlas, over seeds of the split, the parameters and the order of graphs."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from flax import nnx

from benchmarks.core.measurement import Measurement
from benchmarks.core.scores import Bound
from benchmarks.core.task_report import style
from equikit import demo

TITLE = "Graph atlas"
SUMMARY = "triangles and spectral radii of all graphs with at most seven nodes, over five seeds"
STYLE = style({})
PANEL, AXIS = (), "task"
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
SEEDS = 5
Errors = list[tuple[np.ndarray, np.ndarray]]
"""Mean absolute errors of each target, as drawn and relabeled, for each seed."""


def cases(quick: bool) -> list[str]:
    """The models, in the order in which they are trained."""
    return ["MLP", MEAN] if quick else [*RIVALS]


def errors(rival: str, seed: int, epochs: int) -> tuple[int, np.ndarray, np.ndarray]:
    """Return the number of parameters, and the errors on test graphs, as drawn and relabeled."""
    data = demo.split(demo.atlas(), seed)
    if rival == MEAN:
        constant = np.broadcast_to(data.train.targets.mean(0), data.test.targets.shape)
        found = np.array(demo.score(constant, data.test.targets).mae)
        return 2, found, found
    (contestant,) = (one for one in demo.CONTESTANTS if one.name == rival)
    model = contestant.make(nnx.Rngs(seed))
    options = {"epochs": epochs, "rate": contestant.rate, "seed": seed, "relabel": contestant.relabel}
    trained = demo.train(model, data, **options)
    drawn = demo.score(trained.predict(data.test), data.test.targets)
    return (
        demo.parameter_count(model),
        np.array(drawn.mae),
        np.array(demo.relabeled_score(trained, data.test, seed).mae),
    )


def run(quick: bool, seed: int, tell: Callable[[str], None]) -> Iterator[list[Measurement]]:
    """Train every model with every seed."""
    for rival in cases(quick):
        found = []
        for number in range(seed, seed + (2 if quick else SEEDS)):
            tell(f"{rival}, seed {number}")
            found.append(errors(rival, number, 2 if quick else demo.EPOCHS))
        yield [measurement(rival, target, found) for target in range(len(demo.TARGETS))]


def measurement(rival: str, target: int, found: list[tuple[int, np.ndarray, np.ndarray]]) -> Measurement:
    """Return mean and standard deviation over seeds for one target."""
    m = Measurement({"task": demo.TARGETS[target]}, "train", rival)
    m.scores = {"parameters": float(found[0][0])}
    for name, place in (("as drawn", 1), ("moved", 2)):
        values = np.array([one[place][target] for one in found])
        m.scores |= {f"error, {name}": float(values.mean()), f"sd, {name}": float(values.std(ddof=1))}
    return m
