"""Ten planted faults and ten correct models, in Flax and in PyTorch: what an audit finds, and where."""

from __future__ import annotations

import importlib
from typing import Any

import jax.numpy as jnp

from benchmarks.accuracy._fault_audit import asked
from benchmarks.accuracy._fault_report import ANSWERS, Count, Judged
from benchmarks.core.benchmark import Benchmark, Cell, Measure, Tell
from benchmarks.core.measurement import Measurement, one_line

RIVALS = {"audit": "`ek.audit`, `ek.auditing.padding_error` and `ek.auditing.derivative_errors`"}
FAULTS = (
    "layer norm on vectors",
    "wrong nonlinearity",
    "row for column",
    "sorted ties",
    "wrong tangent",
    "bias on vectors",
    "absolute positions",
    "float16 sums",
    "padding that leaks",
    "detached frame",
)
CORRECT = {
    "Flax": (
        "Deep Sets",
        "network of S x O(3)",
        "matrices (IGN)",
        "EGNN",
        "transformer",
        "invariants",
        "PCA frame",
        "graph network",
        "scalar-weighted vectors",
        "Janossy",
    ),
    "PyTorch": (
        "Deep Sets",
        "matrices",
        "EGNN",
        "transformer",
        "invariants",
        "sorted features",
        "graph network",
        "scalar-weighted vectors",
        "Janossy",
        "framed energy",
    ),
}
PACKAGE = {"eMLP, irreducible features": "fault", "eMLP, regular features": "correct"}
MODULES = {"Flax": "benchmarks.accuracy._fault_models", "PyTorch": "benchmarks.accuracy._fault_models_torch"}
TARGETS = tuple(
    target for name in MODULES for target in (Count("fault", name, least=9), Count("correct", name, most=0))
)


def cells(quick: bool) -> list[Cell]:
    """Return a cell for each model; a quick run has the faults in Flax and PyTorch, and no correct model."""
    found = []
    for framework in MODULES:
        models = [(name, "float32", "fault") for name in FAULTS]
        if not quick:
            models += [(name, dtype, "correct") for dtype in ("float32", "bfloat16") for name in CORRECT[framework]]
        for name, dtype, direction in models:
            found.append(Cell({"model": name, "framework": framework, "dtype": dtype}, direction, ("audit",)))
    for name, direction in PACKAGE.items():
        case = {"model": name, "framework": "PyTorch", "dtype": "float32", "package": "symm-learning"}
        found.append(Cell(case, direction, ("audit",)))
    return found


def suspect(cell: Cell, seed: int) -> Any:
    """Build the model of a cell.

    Raises:
        ImportError: if PyTorch or the package is missing.
    """
    case = cell.case
    if case["framework"] == "PyTorch":
        importlib.import_module("torch").set_num_threads(1)  # arrays are small
    if "package" in case:
        return importlib.import_module("benchmarks.accuracy._fault_package").models(seed)[case["model"]]
    module = importlib.import_module(MODULES[case["framework"]])
    if cell.direction == "fault":
        return module.faults(seed)[case["model"]]
    space: Any = jnp if case["framework"] == "Flax" else importlib.import_module("torch")
    return module.correct(getattr(space, case["dtype"]), seed)[case["model"]]


def measured(cell: Cell, seed: int) -> Judged:
    """Ask about the model of a cell."""
    found = Judged(dict(cell.case), cell.direction, "audit")
    try:
        model = suspect(cell, seed)
    except ImportError as error:
        found.status, found.reason = "skipped", one_line(error)
        return found
    answer = asked(model)
    located = answer.found and answer.where == model.fault
    found.blamed, found.fault = answer.where, model.fault
    found.scores = {
        "found": float(answer.found),
        "located": float(located),
        "error": answer.error,
        "rounding": answer.rounding,
    }
    return found


def start(quick: bool, seed: int, tell: Tell) -> Measure:
    """Prepare nothing: models share no data."""

    def measure(cell: Cell) -> list[Measurement]:
        tell("audit")
        return [measured(cell, seed)]

    return measure


BENCHMARK = Benchmark(
    title="Audits of models with planted faults",
    summary="ten faults and ten correct models in Flax and PyTorch: found, located, and false alarms",
    rivals=RIVALS,
    cells=cells,
    start=start,
    targets=TARGETS,
    style=ANSWERS,
    seeds=5,
    timed=False,
)
