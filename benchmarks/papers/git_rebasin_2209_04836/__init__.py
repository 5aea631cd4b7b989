"""Git Re-Basin: barriers of the loss between two networks; one is permuted to come close to the other."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.core import paper
from benchmarks.core.benchmark import Cell, Measure, Tell, reproduction
from benchmarks.core.measurement import Measurement
from benchmarks.data.digits import Digits
from benchmarks.models.git_rebasin import similarity, weight_matching
from benchmarks.papers import _pairs as pairs
from benchmarks.papers._pairs import Pair
from equikit.weightspace import align, trace

PAPER = paper.read(Path(__file__).with_name("paper.toml"))
STRAIGHT = "equikit, straight through"
RIVALS = {
    "no alignment": "two networks from two starts, as they are",
    "equikit": "one of them permuted by `weightspace.align` to match the weights of the other",
    "Git Re-Basin": "the same by the algorithm of the paper, reimplemented",
    "equikit, activations": "the same by `align` for what both compute from the training images",
    STRAIGHT: "the same for the loss of the mean of both, by training",
}


@dataclass(frozen=True)
class Budget:
    """Widths, images and training.

    Attributes:
        widths: of the hidden layers, one pair of networks each.
        straight: widths for which the straight-through estimator is run; the paper's width is 512.
        sizes: of images, and the recipe.
        steps: of the straight-through estimator.
    """

    widths: tuple[int, ...]
    straight: tuple[int, ...]
    sizes: pairs.Sizes
    steps: int


def limits(quick: bool) -> Budget:
    """Return the budget of a run."""
    if quick:
        return Budget((32,), (32,), pairs.QUICK, 4)
    return Budget((32, 128, 512, 1024), (512,), pairs.FULL, 200)


def cells(quick: bool) -> list[Cell]:
    """One for each width: all rivals get the same networks."""
    budget = limits(quick)
    return [
        Cell({"task": pairs.task(width), "train": budget.sizes.train}, "train", _rivals(width, budget), width)
        for width in budget.widths
    ]


def _rivals(width: int, budget: Budget) -> tuple[str, ...]:
    return tuple(rival for rival in RIVALS if rival != STRAIGHT or width in budget.straight)


def start(quick: bool, seed: int, tell: Tell) -> Measure:
    """Return the function that trains the two networks of a cell, and measures all barriers between them."""
    budget = limits(quick)

    def measure(cell: Cell) -> list[Measurement]:
        name, width = cell.case["task"], cell.given
        data = budget.sizes.data(seed)
        pair = pairs.trained(
            lambda one: pairs.network(width, one),
            data["train"],
            budget.sizes.recipe,
            seed,
            lambda text: tell(f"{name}: train, {text}"),
        )
        found = []
        for rival in cell.rivals:
            tell(f"{name}: {rival}")
            moved = matched(rival, pair, data["train"], budget, seed)
            scores = pairs.line(pair, (pair.params[0], moved), data) | {
                "similarity": similarity(pair.params[0], moved),
                "seconds": pair.seconds,
            }
            found.append(Measurement(dict(cell.case), cell.direction, rival, scores=scores))
        return found

    return measure


def matched(rival: str, pair: Pair, train: Digits, budget: Budget, seed: int) -> Any:
    """The second network, moved."""
    one, two = pair.params
    if rival == "no alignment":
        return two
    x, y = jnp.asarray(train.inputs), jnp.asarray(train.labels)
    spec = trace(pair.apply, one, x[:2])
    if rival == "equikit":
        return align(spec, one, two, seed=seed)
    if rival == "equikit, activations":
        return align(spec, one, two, how="activations", apply=pair.apply, x=x)
    if rival == "Git Re-Basin":
        terms = tuple((leaf.name, leaf.labels) for leaf in spec.leaves)
        names = [leaf.name for leaf in spec.leaves]
        first, second = (dict(zip(names, jax.tree.leaves(each), strict=True)) for each in (one, two))
        taken = weight_matching(terms, tuple(spec.groups), first, second, seed)
        return spec.act({label: np.argsort(each) for label, each in taken.items()}, two)
    size = budget.sizes.recipe.batch
    batches = [(x[i : i + size], y[i : i + size]) for i in range(0, len(x), size)]
    return align(spec, one, two, how="straight_through", loss=pair.loss, batches=batches, steps=budget.steps)


BENCHMARK = reproduction(
    title="Git Re-Basin",
    summary="barriers between two perceptrons on MNIST after weight matching, by width",
    rivals=RIVALS,
    cells=cells,
    start=start,
    limits=limits,
    style=pairs.STYLE,
    paper=PAPER,
)
