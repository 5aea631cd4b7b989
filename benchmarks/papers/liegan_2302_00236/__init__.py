"""LieGAN: generators of a group from data, by a game with a discriminator, compared with the true group."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jax
import numpy as np

from benchmarks.core import paper
from benchmarks.core.benchmark import Cell, Measure, Tell, reproduction
from benchmarks.core.measurement import Measurement
from benchmarks.core.plot import STYLES, new_figure, tidy
from benchmarks.core.task_report import TRAINED, by_task
from benchmarks.papers.liegan_2302_00236 import _data as data
from equikit.discover import FoundGenerators, LieGAN

PAPER = paper.read(Path(__file__).with_name("paper.toml"))
RIVALS = {"LieGAN": "`equikit.discover.LieGAN`: generators that a discriminator cannot tell from data"}
BODIES, TURNS, JETS = "two bodies", "turns by 2π/7", "two-prong jets"
MINKOWSKI = np.diag([1.0, -1, -1, -1]) / 2


@dataclass(frozen=True)
class Budget:
    """Samples, epochs and starts of each task, and the width of the discriminator."""

    samples: dict[str, int]
    epochs: dict[str, int]
    starts: dict[str, int]
    width: int


def limits(quick: bool) -> Budget:
    """Return the budget of a run."""
    if quick:
        return Budget({BODIES: 1024, TURNS: 1024, JETS: 1024}, {BODIES: 4, TURNS: 4, JETS: 4}, {TURNS: 2}, 32)
    return Budget({BODIES: 8192, TURNS: 20000, JETS: 16384}, {BODIES: 40, TURNS: 80, JETS: 40}, {TURNS: 6}, 128)


def cells(quick: bool) -> list[Cell]:
    """One for each task."""
    budget = limits(quick)
    return [Cell({"task": task, "train": count}, "train", ("LieGAN",)) for task, count in budget.samples.items()]


def start(quick: bool, seed: int, tell: Tell) -> Measure:
    """Return the function that trains in one task."""
    budget = limits(quick)

    def measure(cell: Cell) -> list[Measurement]:
        task = cell.case["task"]
        tell(task)
        began = time.perf_counter()
        x, y, gan = game(task, budget, seed)
        plan = {"epochs": budget.epochs[task], "starts": budget.starts.get(task, 1)}
        found = gan.fit(x, y, **plan, key=jax.random.key(seed))
        result = scores(task, found) | {"seconds": time.perf_counter() - began}
        return [Measurement(dict(cell.case), cell.direction, "LieGAN", scores=result)]

    return measure


def game(task: str, budget: Budget, seed: int) -> tuple[np.ndarray, np.ndarray, LieGAN]:
    """The data and the options of a task."""
    count = budget.samples[task]
    options: dict[str, Any] = {"hidden": (budget.width,) * 2, "rates": (1e-3, 1e-3)}
    if task == BODIES:
        x, y = data.two_bodies(count, seed)
        return x[..., None], y[..., None], LieGAN(outputs="vector", mask=data.DIAGONAL_BLOCKS, **options)
    if task == TURNS:
        # The steps of a function of the angle take long to learn: there the discriminator needs a lead.
        options |= {"rates": (1e-3, 3e-3), "batch": 256, "similarity": 3e-3}
        x, y = data.angle_in_steps(count, seed)
        return x[..., None], y, LieGAN(coefficients="integers", **options)
    x, y = data.momenta(count, seed)
    return np.swapaxes(x, 1, 2), y, LieGAN(generators=6, overlap=1.0, **options)


def scores(task: str, found: FoundGenerators) -> dict[str, float]:
    """How close the generators are to the true ones."""
    if task == BODIES:
        return {"cosine": float(data.cosines(found.basis, data.rotation_of_blocks()[None])[0])}
    if task == TURNS:
        turn = np.abs(np.linalg.eigvals(found.basis[0]).imag).max() / (2 * np.pi / 7)
        cosine = float(data.cosines(found.basis, data.rotation_about_z()[None])[0])
        return {"cosine": cosine, "angle over 2π/7": float(turn), "error of the angle": float(abs(turn - round(turn)))}
    _, _, span = np.linalg.svd(found.basis.reshape(len(found.basis), -1), full_matrices=False)
    share = data.cosines(span.reshape(-1, 4, 4), data.lorentz())
    metric = found.metric(0.99)
    return {
        "cosine of the metric": float(abs(np.sum(metric * MINKOWSKI))),
        "cosine, three longest": float(share[:3].mean()),
        "cosine, others": float(share[3:].mean()),
    }


def plot(path: Path, result: Mapping[str, Any], rivals: Sequence[str], panel: Sequence[str], axis: str) -> None:
    """Plot one minus each cosine, with its standard deviation, and the values of the paper as hollow marks."""
    rows, color = list[str](), STYLES[0][0]
    figure = new_figure(6.4, 2.6)
    axes = figure.subplots()
    for task, records in by_task(result["measurements"]).items():
        for record in records:
            for name, value in (record.get("scores") or {}).items():
                if name.startswith("cosine") and value < 1:
                    spread = min(record.get("spread", {}).get(name, 0.0), 0.9 * (1 - value))
                    axes.errorbar(1 - value, len(rows), xerr=spread, fmt="o", color=color, capsize=2)
                    for one in PAPER.published:
                        if (one.task, one.score) == (task, name):
                            axes.plot(one.value, len(rows), "o", color=color, markersize=11, mfc="none")
                    rows.append(f"{task}: {name}")
    axes.set_yticks(range(len(rows)), rows)
    axes.set_xscale("log")
    axes.set_xlabel("one minus the cosine; hollow: the authors' generators")
    axes.invert_yaxis()
    tidy(axes, "")
    figure.savefig(path)


BENCHMARK = reproduction(
    title="LieGAN",
    summary="symmetry of orbits, of turns by 2π/7 and of four-momenta, found by a game",
    rivals=RIVALS,
    cells=cells,
    start=start,
    limits=limits,
    style=replace(TRAINED, plot=plot),
    paper=PAPER,
)
