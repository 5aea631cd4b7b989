"""Linear mode connectivity: what matching does to singular vectors, and merges of two to five networks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

from benchmarks.core import paper
from benchmarks.core.benchmark import Cell, Measure, Tell, reproduction
from benchmarks.core.measurement import Measurement
from benchmarks.core.plot import new_figure, tidy
from benchmarks.core.task_report import by_task
from benchmarks.data.digits import Digits
from benchmarks.papers import _pairs as pairs
from benchmarks.papers._curves import draw_all, points, style
from benchmarks.papers._pairs import Pair
from equikit.weightspace import SingularAlignment, align, barrier, mean, singular_alignment, trace

PAPER = paper.read(Path(__file__).with_name("paper.toml"))
RIVALS = {
    "as they are": "five networks from five starts",
    "weights": "each permuted by `align` to match the weights of the first",
    "activations": "the same for what they compute from the training images",
    "straight through": "the same for the loss of the mean with the first, by training",
}
THRESHOLDS = tuple(np.arange(10) / 10)
LARGE = 0.3
"""Singular values are large from this share of the largest of their layer on."""


@dataclass(frozen=True)
class Budget:
    """Networks, images and training.

    Attributes:
        width: of the hidden layers.
        networks: how many.
        sizes: of images, and the recipe.
        steps: of the straight-through estimator.
    """

    width: int
    networks: int
    sizes: pairs.Sizes
    steps: int


def limits(quick: bool) -> Budget:
    """Return the budget of a run."""
    return Budget(32, 3, pairs.QUICK, 4) if quick else Budget(128, 5, pairs.FULL, 100)


def cells(quick: bool) -> list[Cell]:
    """A single one: all rivals get the same networks."""
    budget = limits(quick)
    return [Cell({"task": pairs.task(budget.width), "train": budget.sizes.train}, "train", tuple(RIVALS), budget.width)]


def start(quick: bool, seed: int, tell: Tell) -> Measure:
    """Return the function that trains the networks of a cell, moves them in all ways, and measures."""
    budget = limits(quick)

    def measure(cell: Cell) -> list[Measurement]:
        data = budget.sizes.data(seed)
        pair, networks = trained(budget, data["train"], seed, tell)
        found = []
        for rival in cell.rivals:
            tell(rival)
            moved = [networks[0], *(matched(rival, pair, two, data["train"], budget) for two in networks[1:])]
            scores = scores_of(pair, networks, moved, data)
            found.append(Measurement(dict(cell.case), cell.direction, rival, scores=scores))
        return found

    return measure


def trained(budget: Budget, train: Digits, seed: int, tell: Tell) -> tuple[Pair, list[Any]]:
    """Train two networks at a time, from starts of their own."""
    found: list[Pair] = []
    for number in range(-(-budget.networks // 2)):
        first = 100 * seed + number
        told = partial(_told, tell, number)
        found.append(pairs.trained(partial(pairs.network, budget.width), train, budget.sizes.recipe, first, told))
    return found[0], [params for pair in found for params in pair.params][: budget.networks]


def _told(tell: Tell, number: int, text: str) -> None:
    tell(f"networks {2 * number + 1} and {2 * number + 2}, {text}")


def matched(rival: str, pair: Pair, two: Any, train: Digits, budget: Budget) -> Any:
    """A network after it is permuted to come close to the first."""
    one, x, y = pair.params[0], jnp.asarray(train.inputs), jnp.asarray(train.labels)
    if rival == "as they are":
        return two
    spec = trace(pair.apply, one, x[:2])
    if rival == "weights":
        return align(spec, one, two)
    if rival == "activations":
        return align(spec, one, two, how="activations", apply=pair.apply, x=x)
    size = budget.sizes.recipe.batch
    batches = [(x[i : i + size], y[i : i + size]) for i in range(0, len(x), size)]
    return align(spec, one, two, how="straight_through", loss=pair.loss, batches=batches, steps=budget.steps)


def scores_of(
    pair: Pair, networks: Sequence[Any], moved: Sequence[Any], data: Mapping[str, Digits]
) -> dict[str, float]:
    """Singular vectors and distance of the first two networks, and losses of merges of the first k."""
    spec = trace(pair.apply, networks[0], jnp.asarray(data["test"].inputs[:2]))
    both = singular_alignment(spec, networks[0], networks[1], moved=moved[1])
    test = jnp.asarray(data["test"].inputs), jnp.asarray(data["test"].labels)
    loss = partial(pair.loss, batch=test)
    found = {
        "distance": both.distances[1] / both.distances[0],
        "change of singular values": _apart(singular_alignment(spec, networks[1], moved[1], moved=moved[1])),
        "alignment, all": both.alignment(threshold=0.0),
        "alignment, large": both.alignment(threshold=LARGE),
        "barrier of 1 and 2": barrier(loss, moved[0], moved[1], points=9).barrier,
        "barrier of 2 and 3": barrier(loss, moved[1], moved[2], points=9).barrier,
    }
    alone = [float(pair.loss(one, test)) for one in networks]
    rises = {}
    for count in range(2, len(moved) + 1):
        rises[count] = float(pair.loss(mean(moved[:count]), test)) - float(np.mean(alone[:count]))
        found[f"merge of {count}"] = rises[count]
    found |= points("merge", rises.keys(), rises.values())
    return found | points("alignment", THRESHOLDS, [both.alignment(threshold=float(one)) for one in THRESHOLDS])


def _apart(both: SingularAlignment) -> float:
    """The largest difference of the singular values of both networks of a layer, over the largest value."""
    return max(float(np.max(np.abs(pair.one - pair.two)) / np.max(pair.one)) for pair in both.leaves.values())


def plot(path: Path, result: Mapping[str, Any], rivals: Sequence[str], panel: Sequence[str], axis: str) -> None:
    """Plot the alignment of vectors over the threshold, and the loss of merges over the number of networks."""
    figure = new_figure(8.4, 3.9)
    left, right = figure.subplots(1, 2)
    for records in by_task(result["measurements"]).values():
        draw_all(records, rivals, {"alignment": left, "merge": right})
    left.set_xlabel("least singular value, over the largest")
    right.set_xlabel("networks")
    right.set_ylabel("test loss of the mean, less the mean loss")
    right.set_yscale("symlog", linthresh=0.1)
    tidy(left, "alignment of singular vectors")
    tidy(right, "merges")
    figure.savefig(path)


BENCHMARK = reproduction(
    title="LMC analysis",
    summary="singular vectors of two perceptrons before and after matching, and merges of two to five",
    rivals=RIVALS,
    cells=cells,
    start=start,
    limits=limits,
    style=style(plot),
    paper=PAPER,
)
