"""The results of the demonstration: as tables for a terminal, and as a dictionary for a file."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import numpy as np
from jaxtyping import Float
from rich import box
from rich.console import Console
from rich.table import Table

from equikit.demo._data import TARGETS
from equikit.demo._measure import Score
from equikit.diagrams import HomSpace
from equikit.draw import diagram_text


@dataclass(frozen=True, slots=True, eq=False)
class Outcome:
    """The results of one model.

    Attributes:
        name: the model.
        parameters: the number of trained numbers.
        score: errors on the test graphs.
        relabeled: errors after relabeling the nodes of the test graphs.
        invariance: the largest relative change of a prediction under permutations of the nodes.
        twins: triangles predicted for a ring of six nodes, and for two triangles.
        best: the epoch whose parameters were kept.
        seconds: time to build and train, including compilation.
        losses: training and validation error in each epoch, as in `Trained`.
        predicted: targets of the test graphs.
    """

    name: str
    parameters: int
    score: Score
    relabeled: Score
    invariance: float
    twins: tuple[float, float]
    best: int
    seconds: float
    losses: Float[np.ndarray, "epochs 2"]
    predicted: Float[np.ndarray, "graphs targets"]

    def as_dict(self) -> dict[str, Any]:
        """Return the numbers, for a file."""
        return {
            "parameters": self.parameters,
            "test": _score_dict(self.score),
            "test, nodes relabeled": _score_dict(self.relabeled),
            "invariance error": self.invariance,
            "triangles predicted": {"ring of six": self.twins[0], "two triangles": self.twins[1]},
            "best epoch": self.best + 1,
            "seconds": round(self.seconds, 2),
            "losses": {"train": self.losses[:, 0].tolist(), "validation": self.losses[:, 1].tolist()},
        }


@dataclass(frozen=True, slots=True, eq=False)
class Report:
    """The results of the demonstration.

    Attributes:
        seed, epochs: the options of the run.
        sizes: numbers of training, validation and test graphs.
        outcomes: one for each model, the graph network first.
        baseline: errors of predicting the mean of the training graphs.
        twins: the number of graphs with a twin that color refinement cannot distinguish from them.
        true: targets of the test graphs.
        space: the maps of the network's hidden layer.
        seconds: time of training and measurements.
        files: the written files.
    """

    seed: int
    epochs: int
    sizes: tuple[int, int, int]
    outcomes: tuple[Outcome, ...]
    baseline: Score
    twins: int
    true: Float[np.ndarray, "graphs targets"]
    space: HomSpace
    seconds: float
    files: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Return the numbers, the versions that produced them, and the diagrams, for a file."""
        return {
            "seed": self.seed,
            "epochs": self.epochs,
            "graphs": dict(zip(("train", "validation", "test"), self.sizes, strict=True)),
            "graphs with a twin under color refinement": self.twins,
            "models": {outcome.name: outcome.as_dict() for outcome in self.outcomes},
            "mean of the training graphs": {"test": _score_dict(self.baseline)},
            "diagrams": [str(diagram) for diagram in self.space.diagrams],
            "seconds": round(self.seconds, 2),
            "versions": {"python": platform.python_version()}
            | {name: version(name) for name in ("equikit", "jax", "flax", "optax", "networkx", "numpy")},
            "files": list(self.files),
        }


def _score_dict(score: Score) -> dict[str, dict[str, float]]:
    return {
        target: {"mae": mae, "rmse": rmse} for target, mae, rmse in zip(TARGETS, score.mae, score.rmse, strict=True)
    }


def _cells(score: Score) -> Iterator[str]:
    for mae, rmse in zip(score.mae, score.rmse, strict=True):
        yield f"{mae:.3f}"
        yield f"{rmse:.3f}"


def error_table(report: Report) -> Table:
    """Return the errors of every model on the test graphs, unchanged and relabeled."""
    title = f"Errors on {report.sizes[2]} held-out graphs, as given and with their nodes relabeled"
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD)
    table.add_column("model", vertical="bottom")
    table.add_column("parameters", justify="right", vertical="bottom")
    for target in TARGETS:
        table.add_column(f"{target.replace(' ', chr(10))}\nMAE", justify="right", vertical="bottom")
        table.add_column("RMSE", justify="right", vertical="bottom")
    for outcome in report.outcomes:
        table.add_row(outcome.name, f"{outcome.parameters:,}", *_cells(outcome.score))
        table.add_row("  nodes relabeled", "", *_cells(outcome.relabeled), style="dim")
    table.add_row("mean of training graphs", f"{len(TARGETS)}", *_cells(report.baseline))
    return table


def diagram_rows(space: HomSpace, width: int) -> str:
    """Return the pictures of all diagrams of a space side by side, wrapped to the width."""
    pictures = [[f"{i}", *diagram_text(diagram).splitlines()] for i, diagram in enumerate(space.diagrams)]
    wide = max((len(line) for picture in pictures for line in picture), default=1) + 4
    each = max(1, (width - 2) // wide)
    rows = []
    for start in range(0, len(pictures), each):
        row = pictures[start : start + each]
        for height in range(max(map(len, row))):
            cells = [picture[height] if height < len(picture) else "" for picture in row]
            rows.append(("  " + "".join(cell.ljust(wide) for cell in cells)).rstrip())
        rows.append("")
    return "\n".join(rows).rstrip()


def show(report: Report, console: Console) -> None:
    """Print a report."""
    first = report.outcomes[0]
    console.print(error_table(report))
    console.print("\nLargest relative change of a prediction when all nodes are permuted (float32):")
    for outcome in report.outcomes:
        console.print(f"  {outcome.name:<22} {outcome.invariance:.1e}", highlight=False)
    console.print("\nTriangles predicted for a ring of six nodes (0) and for two triangles (2):")
    for outcome in report.outcomes:
        ring, pair = outcome.twins
        console.print(f"  {outcome.name:<22} {ring:5.2f} and {pair:5.2f}", highlight=False)
    console.print(
        f"  {report.twins} of the graphs have such a twin, which looks the same to color refinement.\n"
        "  Layers between pairs of nodes cannot tell twins apart; a layer through triples can.",
        highlight=False,
    )
    console.print(
        f"\nThe {len(report.space.diagrams)} diagrams of a hidden layer of the {first.name}, "
        f"{report.space.signature}.\nOutput above input; equal letters are one index:\n",
        highlight=False,
    )
    console.out(diagram_rows(report.space, console.width), highlight=False)
    trained = ", ".join(f"{outcome.name} {outcome.seconds:.1f} s" for outcome in report.outcomes)
    console.print(f"\nTime: {report.seconds:.1f} s in all ({trained})", highlight=False)
    for file in report.files:
        console.print(f"Wrote {file}", highlight=False, markup=False, soft_wrap=True)
