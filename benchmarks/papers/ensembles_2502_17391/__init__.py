"""Ensembles and mixtures of networks without permutation symmetry, on four small data sets."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

import equikit as ek
from benchmarks.core import paper
from benchmarks.core.benchmark import Cell, Measure, Tell, reproduction
from benchmarks.core.fitting import predict
from benchmarks.core.measurement import Measurement
from benchmarks.models.networks import Perceptron
from benchmarks.papers._curves import points, style
from benchmarks.papers.ensembles_2502_17391._data import NAMES, Table, table
from benchmarks.papers.ensembles_2502_17391._figure import CURVE, plot
from equikit.weightspace import AsymmetricMLP, Ensemble, InterpolatedExperts, MixtureOfExperts

PAPER = paper.read(Path(__file__).with_name("paper.toml"))
RIVALS = {
    "symmetric": "an ensemble of perceptrons",
    "W-Asym": "an ensemble of perceptrons some of whose weights are fixed, the same in all of them",
    "symmetric, mixture": "a mixture of perceptrons: the mean of their outputs, weighted by a gate",
    "W-Asym, mixture": "the same with fixed weights",
    "symmetric, interpolated": "a perceptron whose weights are the mean of several, weighted by a gate",
    "W-Asym, interpolated": "the same with fixed weights",
}


@dataclass(frozen=True)
class Budget:
    """Networks and training.

    Attributes:
        hidden: widths of the hidden layers.
        sizes: of ensembles.
        experts: in a mixture.
        epochs, patience: training stops when the validation loss has not fallen for so many epochs.
        batch, rate, decay: of AdamW.
        share, scale: of the weights of a neuron that are fixed, and their deviation over the deviation of the others.
    """

    hidden: tuple[int, ...]
    sizes: tuple[int, ...]
    experts: int
    epochs: int
    patience: int = 16
    batch: int = 32
    rate: float = 1e-3
    decay: float = 0.03
    share: float = 0.5
    scale: float = 1.0


def limits(quick: bool) -> Budget:
    """Return the budget of a run."""
    if quick:
        return Budget((8,), (1, 2), 2, 2)
    return Budget((64, 64), (1, 2, 4, 8), 4, 1000)


def cells(quick: bool) -> list[Cell]:
    """One for each data set and rival."""
    return [Cell({"task": name}, "train", (rival,)) for name in NAMES for rival in RIVALS]


def start(quick: bool, seed: int, tell: Tell) -> Measure:
    """Return the function that trains the rival of a cell."""
    budget = limits(quick)

    def measure(cell: Cell) -> list[Measurement]:
        (rival,), name = cell.rivals, cell.case["task"]
        data = table(name, seed)
        tell(f"{name}: {rival}, compile")
        scores = trained(rival, data, budget, seed)
        return [Measurement(dict(cell.case), cell.direction, rival, scores=scores)]

    return measure


def trained(rival: str, data: Table, budget: Budget, seed: int) -> dict[str, float]:
    """Train a rival, and return its scores on the test rows; the members of an ensemble learn independently."""
    module = make(rival, data, budget, seed)
    ensemble = isinstance(module, Ensemble)

    def apply(module: Any, x: Any, key: jax.Array | None = None) -> jax.Array:
        found: jax.Array = jnp.moveaxis(module.each(x), 0, 1) if ensemble else module(x)[:, None]
        return found

    def loss(module: Any, rows: Any) -> jax.Array:
        x, y = rows
        found = apply(module, x)
        return jnp.mean(losses(found, jnp.broadcast_to(y[:, None], found.shape[:2]), data))

    fitted = ek.train.fit(
        module,
        loss,
        data.train,
        data.validation,
        epochs=budget.epochs,
        patience=budget.patience,
        batch=budget.batch,
        optimizer=optax.adamw(budget.rate, weight_decay=budget.decay),
        key=jax.random.key(seed),
    )
    x, y = data.test
    found = predict(fitted.model, apply, x)
    scores = _of_ensembles(found, y, data, budget) if ensemble else _of(found, y, data)
    return scores | {"epochs": fitted.best + 1.0, "seconds": float(np.sum(fitted.seconds))}


def make(rival: str, data: Table, budget: Budget, seed: int) -> Ensemble | MixtureOfExperts | InterpolatedExperts:
    """Networks with their own starts; W-Asym networks share their fixed weights."""
    kind, _, how = rival.partition(", ")
    widths, rngs, shared = [data.train[0].shape[1], *budget.hidden, data.outputs], nnx.Rngs(seed), jax.random.key(seed)
    fixed = [round(budget.share * width) for width in widths[:-1]]
    scales = [budget.scale * width**-0.5 for width in widths[:-1]]

    def factory(rngs: nnx.Rngs) -> nnx.Module:
        if kind == "symmetric":
            return Perceptron(widths, rngs, jax.nn.relu)
        return AsymmetricMLP(widths, fixed=fixed, scale=scales, key=shared, rngs=rngs)

    if not how:
        return Ensemble(factory, max(budget.sizes), rngs=rngs)
    mixed = MixtureOfExperts if how == "mixture" else InterpolatedExperts
    return mixed(factory, budget.experts, nnx.Linear(widths[0], budget.experts, rngs=rngs), rngs=rngs)


def losses(outputs: jax.Array, targets: jax.Array, data: Table) -> jax.Array:
    """The cross entropy or squared error of each output `[..., numbers]`."""
    if data.classes:
        found: jax.Array = optax.softmax_cross_entropy_with_integer_labels(outputs, targets)
        return found
    return (outputs[..., 0] - targets) ** 2


def joined(outputs: np.ndarray, data: Table) -> np.ndarray:
    """The mean of members `[rows, members, numbers]`: of their probabilities, as logarithms, or of their numbers."""
    if not data.classes:
        found: np.ndarray = outputs.mean(axis=1)
        return found
    mean: np.ndarray = np.asarray(jax.nn.logsumexp(jax.nn.log_softmax(outputs), axis=1) - np.log(outputs.shape[1]))
    return mean


def _of(outputs: np.ndarray, targets: np.ndarray, data: Table) -> dict[str, float]:
    mean = joined(outputs, data)
    found = {"loss": float(np.mean(losses(jnp.asarray(mean), jnp.asarray(targets), data)))}
    return found | ({"error": float(np.mean(np.argmax(mean, axis=-1) != targets))} if data.classes else {})


def _of_ensembles(outputs: np.ndarray, targets: np.ndarray, data: Table, budget: Budget) -> dict[str, float]:
    """Scores of ensembles of each size; a small one is measured on all groups of members that are disjoint."""
    means = {}
    for size in budget.sizes:
        groups = [outputs[:, first : first + size] for first in range(0, outputs.shape[1], size)]
        each = [_of(group, targets, data) for group in groups]
        means[size] = {name: float(np.mean([one[name] for one in each])) for name in each[0]}
    one, most = budget.sizes[0], budget.sizes[-1]
    found = {f"{name}, one": value for name, value in means[one].items()} | means[most]
    found["loss over one"] = means[most]["loss"] / means[one]["loss"]
    return found | points(CURVE, means, [each["loss"] for each in means.values()])


BENCHMARK = reproduction(
    title="Ensembles of asymmetric networks",
    summary="ensembles of one to eight networks without symmetry, mixtures and interpolated experts, on four data sets",
    rivals=RIVALS,
    cells=cells,
    start=start,
    limits=limits,
    style=style(plot),
    paper=PAPER,
)
