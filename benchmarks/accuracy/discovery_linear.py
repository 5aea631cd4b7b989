"""Discover groups by linear algebra from fitted networks, and build networks from what was found."""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

import equikit as ek
from benchmarks.core.benchmark import Benchmark, Cell, Measure, Tell
from benchmarks.core.bounds import Bound
from benchmarks.core.measurement import Measurement
from benchmarks.core.task_report import TRAINED
from benchmarks.data.hidden_groups import SYSTEMS, Data, System, make_data
from equikit import discover

RIVALS: dict[str, str] = {
    "linear algebra": "a fit by a perceptron, then the null space of its derivatives, on each of the seeds; 40 noisy "
    "repeats of the linear algebra",
    "told": "a network with the true group",
    "found": "the same network with the discovered group",
}
NOISE = 0.03
"""Gaussian noise in repeats, relative to the root mean square of the constraints."""

OPTIONS: Any = {"least_gap": 5.0, "most_defect": 0.1, "confidence": 0.95}
"""The defaults."""


@dataclass(frozen=True)
class Budget:
    """How much is computed.

    Attributes:
        share: of the rows and the epochs of each fit.
        asked: samples whose derivatives are asked.
        repeats: of the linear algebra with noise.
        rows, test, epochs: of networks.
    """

    share: float
    asked: int
    repeats: int
    rows: int
    test: int
    epochs: int


EASY = ("O(5) invariant", "oscillator", "double pendulum")
"""Systems of a quick run, which a quarter of the rows and epochs fit well enough."""

QUICK, FULL = Budget(0.25, 1000, 4, 300, 200, 4), Budget(1.0, 3000, 40, 1500, 1000, 40)
TARGETS = (
    *(Bound("linear algebra", {"task": name}, "wrong", 0.0) for name in SYSTEMS),
    *(Bound("linear algebra", {"task": name}, "false discoveries", 0.05) for name in SYSTEMS),
    *(Bound("found", {"task": name}, "over told", 1.1) for name, system in SYSTEMS.items() if system.features),
)


def cells(quick: bool) -> list[Cell]:
    """Return a cell for the discovery in each system, then one for both networks."""
    names = EASY if quick else tuple(SYSTEMS)
    discoveries = [Cell({"task": name}, "discover", ("linear algebra",)) for name in names]
    networks = [Cell({"task": name}, "train", ("told", "found")) for name in names if SYSTEMS[name].features]
    return discoveries + networks


def single(arrays: dict[str, np.ndarray]) -> Any:
    """An array, or a dictionary if there are several terms."""
    return next(iter(arrays.values())) if len(arrays) == 1 else arrays


def rows_of(arrays: dict[str, np.ndarray], count: int) -> dict[str, np.ndarray]:
    """The first rows."""
    return {name: array[:count] for name, array in arrays.items()}


@dataclass(frozen=True)
class Found:
    """What was discovered in one system.

    Attributes:
        data: of the fit.
        error: of the fit, relative to the standard deviation.
        prepared: the fitted function and the constraints.
        algebra: the result, or `None` if it was refused.
    """

    data: Data
    error: float
    prepared: tuple[Any, Any]
    algebra: discover.LieAlgebra | None


def discovered(system: System, budget: Budget, seed: int) -> Found:
    """Fit a perceptron to the data of a system, and ask it for its group."""
    data = make_data(system, int(budget.share * system.rows), budget.test, seed)
    inputs, targets = (single(part) for part in data.train)
    epochs = max(2, int(budget.share * system.epochs))
    model = discover.surrogate(inputs, targets, key=jax.random.key(seed), epochs=epochs)
    asked = single(rows_of(data.train[0], budget.asked))
    options: Any = {"traceless": system.traceless}
    try:
        algebra = discover.lie_algebra(model, asked, system.signature, **options, **OPTIONS, seed=seed)
    except ek.GroupError:
        algebra = None
    return Found(data, model.error, discover.prepared(model, asked, system.signature, **options), algebra)


def permutation_group(found: Found) -> str:
    """The name of the permutations of the axis under which the fitted function is equivariant."""
    model, _ = found.prepared
    return discover.permutations(model.function, found.data.train[0]["p"], equivariant=True).name


def angle(system: System, found: Found) -> float:
    """The sine of the largest angle between the discovered and the true algebra."""
    assert found.algebra is not None
    change = found.data.change
    true = change @ system.algebra @ np.linalg.inv(change)
    one, other = (np.linalg.svd(a.reshape(len(a), -1), full_matrices=False)[2] for a in (true, found.algebra.basis))
    return float(np.linalg.norm(one - one @ other.T @ other, 2)) if len(one) == len(other) else 1.0


def repeats(system: System, found: Found, count: int, seed: int) -> tuple[int, int]:
    """How many noisy repeats on random halves of the samples name another algebra, and how many are refused."""
    model, given = found.prepared
    random, false, refused = np.random.default_rng([seed, 7]), 0, 0
    size = NOISE * float(np.sqrt(np.mean(given.rows**2)))
    for repeat in range(count):
        rows = given.rows[random.permutation(len(given.rows))[: len(given.rows) // 2]]
        noisy = replace(given, rows=rows + size * random.normal(size=rows.shape))
        try:
            algebra, _ = discover.found_in(noisy, model, **OPTIONS, seed=repeat)
        except ek.GroupError:
            refused += 1
        else:
            false += algebra.recognized.name != system.connected
    return false, refused


def discovery(system: System, found: Found, budget: Budget, seed: int) -> dict[str, float]:
    """The scores of the discovery."""
    false, refused = repeats(system, found, budget.repeats, seed)
    scores = {
        "fit error": found.error,
        "false discoveries": false / budget.repeats,
        "refused": refused / budget.repeats,
    }
    if found.algebra is None:
        name = permutation_group(found) if "p" in system.signature else None
        wrong = name != system.group
    else:
        wrong = found.algebra.recognized.name != system.group
        more = {"dimension": found.algebra.dimension, "gap": found.algebra.gap}
        scores |= more | {"defect bound": float(found.algebra.certificate.max()), "angle": angle(system, found)}
    return {"wrong": float(wrong)} | scores


def network(system: System, group: ek.MatrixGroup, seed: int) -> nnx.Module:
    """A network with gates and products."""
    assert system.features is not None
    label, inputs, outputs = system.label, *system.features
    matrices = f"{label} {label}" in outputs
    hidden = (
        {"": 16, f"{label} {label}": 10} if matrices else {"": 32, label: 16}
    )  # a matrix for each of five bodies, twice
    products = (16, 0) if matrices else (8, 8)
    return ek.nn.Network(
        [inputs, hidden, hidden, outputs], groups={label: group}, products=products, rngs=nnx.Rngs(seed)
    )


def loss(model: Any, batch: Any) -> jax.Array:
    """The mean squared error over all output terms."""
    outputs = model(batch[0])
    return sum((jnp.mean((outputs[name] - y) ** 2) for name, y in batch[1].items()), jnp.zeros(()))


def trained(system: System, group: ek.MatrixGroup, found: Found, budget: Budget, seed: int) -> float:
    """The test error of a network with a group."""
    train = tuple(rows_of(part, budget.rows) for part in found.data.train)
    fitted = ek.train.fit(
        network(system, group, seed),
        loss,
        train,
        epochs=budget.epochs,
        batch=100,
        optimizer=system.rate,
        key=jax.random.key(seed),
    )
    return float(loss(fitted.model, found.data.test))


def start(quick: bool, seed: int, tell: Tell) -> Measure:
    """Return the function that measures a cell; the cells of a system share the fit."""
    budget = QUICK if quick else FULL

    @functools.cache
    def found(name: str) -> Found:
        tell(f"{name}: fit and discover")
        return discovered(SYSTEMS[name], budget, seed)

    def measure(cell: Cell) -> list[Measurement]:
        system = SYSTEMS[cell.case["task"]]
        here = found(system.name)
        records = {rival: Measurement(dict(cell.case), cell.direction, rival) for rival in cell.rivals}
        if "linear algebra" in records:
            tell(f"{system.name}: repeat with noise")
            records["linear algebra"].scores = discovery(system, here, budget, seed)
        elif here.algebra is None:
            for record in records.values():
                record.status, record.reason = "failed", "no group was found"
        else:
            recognized = here.algebra.recognized
            groups = {"told": system.told(here.data.change, recognized), "found": here.algebra.group}
            errors = {}
            for rival, group in groups.items():
                tell(f"{system.name}: train the network that is {rival}")
                errors[rival] = trained(system, group, here, budget, seed)
                records[rival].scores = {"error": errors[rival], "over told": errors[rival] / errors["told"]}
        return list(records.values())

    return measure


def limits(quick: bool) -> Budget:
    """Return the budget of a run."""
    return QUICK if quick else FULL


BENCHMARK = Benchmark(
    title="Discovery by linear algebra",
    summary="groups of EMLP's tasks and of dynamical systems, hidden by coordinates, and networks built from them",
    rivals=RIVALS,
    cells=cells,
    start=start,
    limits=limits,
    targets=TARGETS,
    style=TRAINED,
    seeds=5,
    timed=False,
)
