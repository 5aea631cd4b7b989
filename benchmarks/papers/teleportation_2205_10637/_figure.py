"""Losses over steps and over gradients, norms of gradients, and sharpness: a column for each task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.core.plot import STYLES, new_figure, save, tidy
from benchmarks.core.task_report import by_task
from benchmarks.papers._curves import curve

ROWS = {
    "loss": "step",
    "loss over gradients": "gradients of the loss",
    "gradient norm": "step",
    "sharpness": "step",
}


def plot(path: Path, result: Mapping[str, Any], rivals: Sequence[str], panel: Sequence[str], axis: str) -> None:
    """Draw the means over seeds; descent alone is full, with teleportation dashed."""
    tasks = by_task(record for record in result["measurements"] if record["status"] == "measured")
    figure = new_figure(3.6 * max(len(tasks), 1), 2.3 * len(ROWS))
    panels = figure.subplots(len(ROWS), max(len(tasks), 1), squeeze=False)
    for column, (name, of) in enumerate(tasks.items()):
        for axes, (what, below) in zip(panels[:, column], ROWS.items(), strict=True):
            for record in of:
                rival = record["rival"]
                color, _ = STYLES[[*rivals].index(rival) % len(STYLES)]
                places, values, _ = curve(record, what)
                moved = rival.endswith(("teleported", "sharpness"))
                axes.plot(places, values, "--" if moved else "-", color=color, linewidth=1.4, label=rival)
            axes.set_yscale("log")
            axes.set_xlabel(below)
            tidy(axes, name if axes is panels[0, column] else "")
            if column == 0:
                axes.set_ylabel(what.partition(" over")[0])
    save(figure, path, panels[0, 0], 4)
