"""Asymmetric networks: barriers of the loss between two networks whose neurons cannot be permuted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from benchmarks.core import paper
from benchmarks.core.benchmark import Cell, Measure, Tell, reproduction
from benchmarks.core.measurement import Measurement
from benchmarks.papers import _pairs as pairs
from equikit.weightspace import AsymmetricMLP, align, trace

PAPER = paper.read(Path(__file__).with_name("paper.toml"))
RIVALS = {
    "no alignment": "two networks from two starts, as they are",
    "equikit": "one of them permuted by `weightspace.align` to match the weights of the other",
    "W-Asym": "networks some of whose weights are fixed, as they are",
    "σ-Asym": "networks with fixed gates in place of activations, as they are",
}
STANDARD = ("no alignment", "equikit")


@dataclass(frozen=True)
class Budget:
    """Networks and training.

    Attributes:
        width: of the hidden layers.
        sizes: of images, and the recipe.
        share, scale: of the weights of a neuron that are fixed in W-Asym, and the deviation of their values.
    """

    width: int
    sizes: pairs.Sizes
    share: float = 0.5
    scale: float = 0.15


def limits(quick: bool) -> Budget:
    """Return the budget of a run."""
    return Budget(32, pairs.QUICK) if quick else Budget(512, pairs.FULL)


def cells(quick: bool) -> list[Cell]:
    """One for each kind of network."""
    budget = limits(quick)
    case = {"task": pairs.task(budget.width), "train": budget.sizes.train}
    return [Cell(case, "train", rivals) for rivals in (STANDARD, ("W-Asym",), ("σ-Asym",))]


def start(quick: bool, seed: int, tell: Tell) -> Measure:
    """Return the function that trains the two networks of a cell, and measures the barriers between them."""
    budget = limits(quick)

    def measure(cell: Cell) -> list[Measurement]:
        data = budget.sizes.data(seed)
        pair = pairs.trained(
            makers(budget, seed)[cell.rivals[0]],
            data["train"],
            budget.sizes.recipe,
            seed,
            lambda text: tell(f"{cell.case['task']}: {cell.rivals[0]}, {text}"),
        )
        found = []
        for rival in cell.rivals:
            one, two = pair.params
            if rival == "equikit":
                two = align(trace(pair.apply, one, jnp.asarray(data["train"].inputs[:2])), one, two)
            scores = pairs.line(pair, (one, two), data) | {"seconds": pair.seconds}
            found.append(Measurement(dict(cell.case), cell.direction, rival, scores=scores))
        return found

    return measure


def makers(budget: Budget, seed: int) -> dict[str, Callable[[int], nnx.Module]]:
    """Return for each kind of network a function of the number of its start.

    Both networks of a pair have the same fixed weights or gates. The matrix of the gates is scaled so that what goes
    into them has the variance of the features.
    """
    widths, shared = pairs.widths_of(budget.width), jax.random.key(seed)
    fixed = [round(budget.share * before) for before in widths[:-1]]

    def broken(one: int, **options: Any) -> nnx.Module:
        return AsymmetricMLP(widths, key=shared, rngs=nnx.Rngs(one), **options)

    return {
        "no alignment": lambda one: pairs.network(budget.width, one),
        "W-Asym": lambda one: broken(one, how="weights", fixed=fixed, scale=budget.scale),
        "σ-Asym": lambda one: broken(one, how="gates", scale=budget.width**-0.5),
    }


BENCHMARK = reproduction(
    title="Asymmetric networks",
    summary="barriers between two perceptrons on MNIST whose symmetry is broken",
    rivals=RIVALS,
    cells=cells,
    start=start,
    limits=limits,
    style=pairs.STYLE,
    paper=PAPER,
)
