"""Explanation invariance and equivariance (Crabbé and van der Schaar, arXiv:2304.06715), on four data sets."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from benchmarks.core import paper
from benchmarks.core.benchmark import Cell, Measure, Tell, reproduction
from benchmarks.core.measurement import Measurement
from benchmarks.core.task_report import TRAINED
from benchmarks.papers.explanations_2304_06715._data import DATA, Data, explanations, rows
from benchmarks.papers.explanations_2304_06715._models import MODELS, trained
from benchmarks.papers.explanations_2304_06715._plot import plot

PAPER = paper.read(Path(__file__).with_name("paper.toml"))
ATTRIBUTIONS = {
    "gradient": "the gradient of the score of the class",
    "integrated gradients": "20 steps from zero",
    "gradient SHAP": "5 random points between zero and the input, the same in every call",
    "gradient SHAP, new points": "the same with new points in every call",
    "feature ablation": "each entry set to zero; in graphs, each edge",
    "occlusion": "windows of 5 or 3 × 3 entries inside of the grid set to zero",
    "occlusion, cyclic windows": "the same with windows that wrap around",
    "Shapley values": "10 random orders of points, edges, or blocks of a grid",
}
BY_LAYER = {
    f"{name}, {layer} layer": f"{text} the {layer} layer"
    for name, text in {
        "examples": "cosines with 100 training inputs in",
        "CAV": "which concepts a linear classifier finds in",
        "CAR": "which concepts a classifier with a Gaussian kernel finds in",
    }.items()
    for layer in ("invariant", "equivariant")
}
RELAXED, AVERAGED, NEW = "relaxed", "averaged", ", new points"
RIVALS = ATTRIBUTIONS | BY_LAYER | MODELS
EXAMPLES = 100


@dataclass(frozen=True)
class Limits:
    """The size of a run.

    Attributes:
        data: data sets.
        models: networks; all but the first are relaxed.
        train: training inputs.
        test: inputs that are explained.
        epochs: of training.
        elements: in the averages; `None` for all.
    """

    data: tuple[str, ...] = tuple(DATA)
    models: tuple[str, ...] = tuple(MODELS)
    train: int = 600
    test: int = 12
    epochs: int = 30
    elements: tuple[int | None, ...] = (1, 4, 16, None)


GRIDS = ("cyclic signals", "digits")
"""Data sets whose groups are so small that averages over all elements are feasible."""


def limits(quick: bool) -> Limits:
    """Return the limits of a complete run, or of a short one that tests that everything works."""
    return (
        Limits(("permuted sets", "cyclic signals"), ("invariant", "standard"), 100, 3, 4, (1, None))
        if quick
        else Limits()
    )


def count_text(elements: int | None) -> str:
    """The name of an average."""
    return "all elements" if elements is None else f"{elements} element{'s' * (elements > 1)}"


RIVALS |= {count_text(n): f"explanations averaged over {count_text(n)}" for n in Limits().elements}


def cells(quick: bool) -> list[Cell]:
    """For each data set: all explainers of the invariant network, each network, and averages."""
    budget, found = limits(quick), []
    for name in budget.data:
        some = tuple(rival for rival in ATTRIBUTIONS if name in GRIDS or not rival.startswith("occlusion"))
        found.append(Cell({"task": name}, "train", (*some, *BY_LAYER), (name, None)))
        found += [Cell({"task": f"{name}, {RELAXED}"}, "train", (kind,), (name, kind)) for kind in budget.models]
        if name in GRIDS:
            averages = tuple(map(count_text, budget.elements))
            found.append(Cell({"task": f"{name}, {AVERAGED}"}, "train", averages, (name, AVERAGED)))
    return found


@dataclass(frozen=True)
class Explained:
    """A trained network, and the inputs to explain.

    Attributes:
        data: the data set.
        model: the network.
        x, y: the inputs to explain and their classes.
        known: training inputs for examples and concepts.
        present: their concepts.
        seed: of everything random.
        accuracy: of the network on test inputs.
        programs: the compiled attributions of the data set.
    """

    data: Data
    model: Any
    x: jax.Array
    y: np.ndarray
    known: jax.Array
    present: np.ndarray
    seed: int
    accuracy: float
    programs: dict[Any, Any]

    def explainer(self, name: str) -> Callable[[Any], Any]:
        """Return an explainer by its name in the tables."""
        kind, _, layer = name.rpartition(", ")
        if name not in BY_LAYER:
            return self.attributions(name.removesuffix(NEW), name.endswith(NEW))
        values = getattr(self.model, layer.removesuffix(" layer"))
        if kind == "examples":
            return explanations.similar_examples(values, self.known)
        kernel: Any = {"CAV": "linear", "CAR": "gaussian"}[kind]
        return explanations.concepts(values, self.known, self.present, kernel=kernel)

    def attributions(self, name: str, new: bool) -> Callable[[Any], Any]:
        """Return attributions by programs that all networks of one shape share; `new` for new points in every call."""
        graph, state = nnx.split(self.model)
        if (name, graph) not in self.programs:
            self.programs[name, graph] = jax.jit(
                lambda state, key, x: self.method(name, nnx.merge(graph, state), key)(x)
            )
        program, key, calls = self.programs[name, graph], jax.random.key(self.seed), itertools.count()
        return lambda x: program(state, jax.random.fold_in(key, next(calls)) if new else key, x)

    def method(self, name: str, model: Any, key: jax.Array) -> Callable[[Any], Any]:
        """Return the attributions of a network."""
        if name == "Shapley values":
            return explanations.shapley(model, self.y, regions=self.data.regions[name], seed=self.seed, orders=10)
        if name in self.data.regions:
            return explanations.occlusion(model, self.y, regions=self.data.regions[name])
        every: dict[str, dict[str, Any]] = {
            "integrated gradients": {"steps": 20},
            "gradient SHAP": {"key": key, "samples": 5},
        }
        how: Any = name.lower().replace(" ", "_")
        return explanations.explainer(how, model, self.y, **every.get(name, {}))

    def equivariance(self, explainer: Callable[[Any], Any]) -> float:
        """The score of attributions."""
        data = self.data
        return explanations.equivariance(explainer, self.x, data.equivariant, groups=data.groups, seed=self.seed).value

    def invariance(self, explainer: Callable[[Any], Any], *, concepts: bool = False) -> float:
        """The score of other explanations, and of the network."""
        how: Any = "accuracy" if concepts else "cosine"
        options: Any = {"groups": self.data.groups, "seed": self.seed, "similarity": how}
        return explanations.invariance(explainer, self.x, self.data.invariant, **options).value

    def score(self, name: str) -> dict[str, float]:
        """The score of an explainer by its name in the tables."""
        if name in BY_LAYER:
            return {"invariance": self.invariance(self.explainer(name), concepts=not name.startswith("examples"))}
        return {"equivariance": self.equivariance(self.explainer(name))}


def averages(given: Explained, elements: int | None) -> dict[str, float]:
    """Return the scores of explainers averaged over a number of elements."""
    found, data = {}, given.data
    for name in ("examples, equivariant layer", "CAV, equivariant layer", "CAR, equivariant layer"):
        options: Any = {"groups": data.groups}
        if elements is not None:
            each = round(elements ** (1 / len(data.groups)))  # the number for each label
            options |= {"elements": each, "key": jax.random.key(given.seed)}
        mean = explanations.averaged(given.explainer(name), data.invariant, **options)
        found[f"invariance, {name}"] = given.invariance(jax.jit(mean), concepts=not name.startswith("examples"))
    return found


def start(quick: bool, seed: int, tell: Tell) -> Measure:
    """The seed determines the data, the initial parameters, and the random parts of explainers."""
    budget = limits(quick)

    @functools.cache
    def data(name: str) -> Data:
        return DATA[name](seed, budget.train + 250)

    @functools.cache
    def programs(name: str) -> dict[Any, Any]:
        return {}

    @functools.cache
    def explained(name: str, kind: str) -> Explained:
        tell(f"{name}: train, {kind}")
        found, train = data(name), slice(0, budget.train)
        model = trained(found, kind, rows(found, train), budget.epochs, seed)
        x, y = rows(found, slice(budget.train, None))
        scores = np.asarray(jax.jit(lambda x: model(x))(x))
        accuracy, some = float(np.mean(scores.argmax(1) == y)), slice(budget.test)
        known, present = jnp.asarray(found.x[:EXAMPLES]), found.present[:EXAMPLES]
        return Explained(found, model, jnp.asarray(x[some]), y[some], known, present, seed, accuracy, programs(name))

    def measure(cell: Cell) -> list[Measurement]:
        name, kind = cell.given
        given, measured = explained(name, budget.models[0] if kind in (None, AVERAGED) else kind), []
        for rival in cell.rivals:
            tell(f"{cell.case['task']}: {rival}")
            if kind is None:
                scores = given.score(rival)
            elif kind == AVERAGED:
                scores = averages(given, {count_text(n): n for n in budget.elements}[rival])
            else:
                scores = relaxed(given)
            measured.append(Measurement(dict(cell.case), cell.direction, rival, scores=scores))
        return measured

    return measure


def relaxed(given: Explained) -> dict[str, float]:
    """Return the invariance of a network, and the scores of its explanations."""
    model = given.model
    found = {"model invariance": given.invariance(jax.jit(lambda x: model(x))), "accuracy": given.accuracy}
    for name in ("gradient", "integrated gradients", "feature ablation"):
        found[f"equivariance, {name}"] = given.equivariance(given.explainer(name))
    return found | {"invariance, CAV": given.invariance(given.explainer("CAV, invariant layer"), concepts=True)}


BENCHMARK = reproduction(
    title="Explanation invariance and equivariance",
    summary="symmetry of explanations by method, on sets, graphs, signals and digits, also of relaxed networks",
    rivals=RIVALS,
    cells=cells,
    start=start,
    limits=limits,
    style=replace(TRAINED, plot=plot),
    paper=PAPER,
)
