"""Asymmetric networks: barriers of the loss between two networks whose neurons cannot be permuted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import nnx

from benchmarks.core import paper
from benchmarks.core.benchmark import Cell, Measure, Tell, reproduction
from benchmarks.core.fitting import Recipe
from benchmarks.core.measurement import Measurement
from benchmarks.models.networks import Perceptron
from benchmarks.papers import _pairs as pairs
from equikit.weightspace import AsymmetricMLP, align, trace

PAPER = paper.read(Path(__file__).with_name("paper.toml"))
RIVALS = {
    "no alignment": "two networks from two starts, as they are",
    "equikit": "one of them permuted by `weightspace.align` to match the weights of the other",
    "W-Asym": "networks some of whose weights are fixed, as they are",
    "σ-Asym": "networks with fixed gates in place of activations, as they are",
    "σ-Asym, large gates": "the same with gates of the authors' size",
}
STANDARD = ("no alignment", "equikit")
MEAN, DEVIATION = 0.1307, 0.3081
"""Of the pixels of MNIST."""


@dataclass(frozen=True)
class Budget:
    """Networks and training.

    Attributes:
        width: of the hidden layers.
        sizes: of images, and the recipe.
        decay: of the weights.
        fixed, scales: of W-Asym: how many weights of a neuron are fixed in each layer, and their deviation.
    """

    width: int
    sizes: pairs.Sizes
    decay: float = 0.03
    fixed: tuple[int, ...] = (64, 64, 64, 256)
    scales: tuple[float, ...] = (1.0, 1.0, 0.5, 0.25)


def limits(quick: bool) -> Budget:
    """Return the budget of a run."""
    if quick:
        return Budget(32, pairs.QUICK, fixed=(64, 4, 4, 16))
    return Budget(512, pairs.Sizes(4000, 1000, Recipe(25, 64, 1e-3)))


def cells(quick: bool) -> list[Cell]:
    """One for each kind of network."""
    budget = limits(quick)
    case = {"task": pairs.task(budget.width), "train": budget.sizes.train}
    return [
        Cell(case, "train", rivals) for rivals in (STANDARD, *((rival,) for rival in RIVALS if rival not in STANDARD))
    ]


def start(quick: bool, seed: int, tell: Tell) -> Measure:
    """Return the function that trains the two networks of a cell, and measures the barriers between them."""
    budget = limits(quick)

    def measure(cell: Cell) -> list[Measurement]:
        data = {
            name: replace(part, inputs=(part.inputs - MEAN) / DEVIATION)
            for name, part in budget.sizes.data(seed).items()
        }
        pair = pairs.trained(
            makers(budget, seed)[cell.rivals[0]],
            data["train"],
            budget.sizes.recipe,
            seed,
            lambda text: tell(f"{cell.case['task']}: {cell.rivals[0]}, {text}"),
            optax.adamw(budget.sizes.recipe.rate, weight_decay=budget.decay),
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

    All have layer norms. Both networks of a pair have the same fixed weights or gates. The inputs of a gate have the
    variance of the features; with large gates, this variance times the number of features.
    """
    widths, shared = pairs.widths_of(budget.width), jax.random.key(seed)

    def broken(one: int, **options: Any) -> nnx.Module:
        return AsymmetricMLP(widths, key=shared, normalization="layer", rngs=nnx.Rngs(one), **options)

    return {
        "no alignment": lambda one: Perceptron(widths, nnx.Rngs(one), jax.nn.gelu, norm=True),
        "W-Asym": lambda one: broken(one, fixed=budget.fixed, scale=budget.scales, activation=jax.nn.gelu),
        "σ-Asym": lambda one: broken(one, how="gates", scale=budget.width**-0.5),
        "σ-Asym, large gates": lambda one: broken(one, how="gates"),
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
