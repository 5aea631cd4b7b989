"""Graph classification with a 2-IGN (Maron et al., arXiv:1812.09902): MUTAG in ten folds."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import networkx as nx
import numpy as np
import optax
from flax import nnx

import equikit as ek
from benchmarks.core import paper
from benchmarks.core.benchmark import Cell, Measure, Tell, reproduction
from benchmarks.core.measurement import Measurement, Skip
from benchmarks.core.task_report import TRAINED
from benchmarks.data.mutag import Molecules, mutag
from benchmarks.papers.ign_1812_09902._networks import NETWORKS, Apply
from benchmarks.papers.ign_1812_09902._plot import ACCURACY, ON_TEST, SD, plot

RIVALS: dict[str, str] = {
    "2-IGN": "`ek.nn.GraphNetwork` with hidden layers of 16, 32 and 64 channels",
    "Deep Sets of nodes": "`ek.nn.DeepSets` on the labels and degrees of the nodes",
    "logistic regression": "on the numbers of nodes and edges with each label",
    "majority class": "the class of most training graphs",
}
PAPER = paper.read(Path(__file__).with_name("paper.toml"))
FOLDS = 10
Rows = dict[str, np.ndarray]
"""Padded graphs, one row each."""
Judge = Callable[[jax.Array, jax.Array], jax.Array]
"""Outputs and labels to the number by which epochs are compared."""


@dataclass(frozen=True)
class Limits:
    """How networks are trained: with Adam, whose rate falls in steps.

    Attributes:
        folds: to test on, of ten.
        epochs: passes over the training graphs.
        batch: graphs a step.
        rate: at the start.
        decay: by which the rate is multiplied after `every` epochs, until it is `least`.
        every, least: see above.
    """

    folds: int = FOLDS
    epochs: int = 100
    batch: int = 5
    rate: float = 0.00512
    decay: float = 0.7
    every: int = 20
    least: float = 1e-5

    def optimizer(self, graphs: int) -> optax.GradientTransformation:
        """Return Adam for so many training graphs."""
        steps = self.every * (graphs // self.batch)
        return optax.adam(optax.exponential_decay(self.rate, steps, self.decay, staircase=True, end_value=self.least))


@dataclass(frozen=True)
class Split:
    """Indices of the graphs to train on, to choose the epoch by, and to test on."""

    train: np.ndarray
    choice: np.ndarray
    test: np.ndarray


def limits(quick: bool) -> Limits:
    """Return the limits of a complete run, or of a short one that tests that everything works."""
    return Limits(folds=2, epochs=3) if quick else Limits()


def cells(quick: bool) -> list[Cell]:
    """One for each rival."""
    return [Cell({"task": "MUTAG"}, "train", (rival,)) for rival in RIVALS]


def folds_of(labels: np.ndarray, seed: int) -> np.ndarray:
    """Return the fold of each graph: random, with equally many graphs of each class up to one."""
    order = np.random.default_rng(seed).permutation(len(labels))
    order = order[np.argsort(labels[order], kind="stable")]
    folds = np.empty(len(labels), int)
    folds[order] = np.arange(len(labels)) % FOLDS
    return folds


def split(folds: np.ndarray, number: int, *, on_test: bool = False) -> Split:
    """Return the split that tests a fold; the epoch is chosen on the next fold, or on the tested one."""
    choice = number if on_test else (number + 1) % FOLDS
    train = ~np.isin(folds, [number, choice])
    return Split(*(np.flatnonzero(of) for of in (train, folds == choice, folds == number)))


def padded(data: Molecules) -> Rows:
    """Return all graphs, padded to the largest; an edge is divided by the root of the product of its degrees."""
    features, masks = ek.data.pad([ek.data.from_networkx(graph, nodes=["atom"]) for graph in data.graphs])
    degrees = features["p p"].sum(axis=2)
    root = np.sqrt(np.maximum(degrees, 1))[:, :, None]
    return {
        "edges": features["p p"] / (root * root.swapaxes(1, 2)),
        "nodes": features["p"],
        "degrees": degrees,
        "mask": masks["p"],
        "labels": data.labels.astype(np.int32),
    }


def histograms(data: Molecules) -> np.ndarray:
    """Return the numbers of nodes and of edges with each label, one row a graph."""
    parts = []
    for found, name in ((nx.get_node_attributes, "atom"), (nx.get_edge_attributes, "bond")):
        parts.append([np.sum([*found(graph, name).values()], axis=0) for graph in data.graphs])
    return np.concatenate(parts, axis=1)


def cross_entropy(outputs: jax.Array, labels: jax.Array) -> jax.Array:
    """The training loss."""
    return jnp.mean(optax.softmax_cross_entropy_with_integer_labels(outputs, labels))


def error(outputs: jax.Array, labels: jax.Array) -> jax.Array:
    """The share of wrong classes."""
    return jnp.mean(jnp.argmax(outputs, axis=-1) != labels)


def trained(rival: str, rows: Rows, of: Split, budget: Limits, seed: int, judge: Judge) -> ek.train.Fitted:
    """Train a network, and keep the epoch that is judged best."""
    make, apply = NETWORKS[rival]

    def loss(module: Any, batch: Mapping[str, jax.Array]) -> tuple[jax.Array, jax.Array]:
        outputs = apply(module, batch)
        return cross_entropy(outputs, batch["labels"]), judge(outputs, batch["labels"])

    return ek.train.fit(
        make(nnx.Rngs(seed)),
        loss,
        {name: array[of.train] for name, array in rows.items()},
        {name: array[of.choice] for name, array in rows.items()},
        epochs=budget.epochs,
        batch=budget.batch,
        optimizer=budget.optimizer(len(of.train)),
        key=jax.random.key(seed),
    )


@functools.cache
def compiled(rival: str) -> Apply:
    """A network as one program, which all folds of one size share."""
    program: Apply = nnx.jit(NETWORKS[rival][1])
    return program


def network_scores(
    rival: str, rows: Rows, folds: np.ndarray, budget: Limits, seed: int, tell: Tell
) -> dict[str, float]:
    """Train a network twice for each fold: to choose the epoch by the next fold, and by the test folds."""
    chosen, curves, seconds = [], [], 0.0
    for number in range(budget.folds):
        tell(f"{rival}, fold {number + 1} of {budget.folds}")
        of, start = split(folds, number), FOLDS * seed + number
        found = trained(rival, rows, of, budget, start, cross_entropy)
        test = {name: array[of.test] for name, array in rows.items()}
        chosen.append(100 * (1 - float(error(compiled(rival)(found.model, test), test["labels"]))))
        again = trained(rival, rows, split(folds, number, on_test=True), budget, start, error)
        curves.append(100 * (1 - again.losses[:, 1]))
        seconds += float(found.seconds.sum() + again.seconds.sum())
    best = np.array(curves)[:, np.mean(curves, axis=0).argmax()]
    parameters = sum(leaf.size for leaf in jax.tree.leaves(nnx.state(found.model, nnx.Param)))
    return summary(ACCURACY, chosen) | summary(ON_TEST, best) | {"parameters": parameters, "seconds": seconds}


def simple_scores(rival: str, data: Molecules, folds: np.ndarray, budget: Limits) -> dict[str, float]:
    """Fit a model without epochs for each fold.

    Raises:
        Skip: where scikit-learn is not installed.
    """
    try:
        from sklearn.dummy import DummyClassifier
        from sklearn.linear_model import LogisticRegression
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler
    except ImportError:
        raise Skip("scikit-learn is not installed") from None
    x, y, found = histograms(data), data.labels, []
    for number in range(budget.folds):
        of = split(folds, number, on_test=True)
        linear = make_pipeline(StandardScaler(), LogisticRegression())
        model = linear if rival == "logistic regression" else DummyClassifier()
        found.append(100 * model.fit(x[of.train], y[of.train]).score(x[of.test], y[of.test]))
    return summary(ACCURACY, found)


def summary(name: str, accuracies: Any) -> dict[str, float]:
    """Mean and standard deviation over folds."""
    return {name: float(np.mean(accuracies)), SD[name]: float(np.std(accuracies))}


def start(quick: bool, seed: int, tell: Tell) -> Measure:
    """The seed determines the folds, the initial parameters and the order of the graphs."""
    budget = limits(quick)

    @functools.cache
    def data() -> tuple[Molecules, Rows, np.ndarray]:
        found = mutag()
        return found, padded(found), folds_of(found.labels, seed)

    def measure(cell: Cell) -> list[Measurement]:
        (rival,) = cell.rivals
        m = Measurement(dict(cell.case), cell.direction, rival)
        molecules, rows, folds = data()
        if rival in NETWORKS:
            m.scores = network_scores(rival, rows, folds, budget, seed, tell)
        else:
            m.scores = simple_scores(rival, molecules, folds, budget)
        return [m]

    return measure


BENCHMARK = reproduction(
    title="Invariant graph networks",
    summary="MUTAG in ten folds with a 2-IGN, against Deep Sets and linear models",
    rivals=RIVALS,
    cells=cells,
    start=start,
    limits=limits,
    style=replace(TRAINED, plot=functools.partial(plot, PAPER)),
    paper=PAPER,
)
