"""Losses over the number of members, a panel for each data set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.core.plot import STYLES, new_figure, size_axis, tidy
from benchmarks.core.task_report import by_task
from benchmarks.papers._curves import curve, draw

CURVE = "loss"


def plot(path: Path, result: Mapping[str, Any], rivals: Sequence[str], panel: Sequence[str], axis: str) -> None:
    """Draw the losses of ensembles as curves, and the losses of mixtures as dashed lines."""
    tasks = by_task(record for record in result["measurements"] if record["status"] == "measured")
    figure = new_figure(10.5, 3.6)
    panels = figure.subplots(1, max(len(tasks), 1), squeeze=False)[0]
    labelled: dict[str, Any] = {}
    for axes, (name, of) in zip(panels, tasks.items(), strict=False):
        sizes: list[float] = [1]
        for record in of:
            color, marker = STYLES[list(rivals).index(record["rival"]) % len(STYLES)]
            found = curve(record, CURVE)
            if len(found[0]):
                draw(axes, found, color, marker=marker, markersize=4, label=record["rival"])
                sizes = found[0].tolist()
            else:
                axes.axhline(record["scores"]["loss"], color=color, linestyle="--", linewidth=1, label=record["rival"])
        size_axis(axes, sizes)
        tidy(axes, name)
        axes.set_xlabel("members")
        axes.set_ylim(bottom=0)
        handles, names = axes.get_legend_handles_labels()
        labelled |= dict(zip(names, handles, strict=True))
    panels[0].set_ylabel("loss; dashed: mixtures")
    figure.legend(labelled.values(), labelled.keys(), loc="outside lower center", ncols=3, frameon=False)
    figure.savefig(path)
