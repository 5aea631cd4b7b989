"""Margins over steps, and how much of each neuron lies in one feature, as figures 1 and 3 of the paper."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.core.plot import STYLES, new_figure, tidy
from benchmarks.core.task_report import by_task
from benchmarks.papers._curves import curve, draw


def plot(path: Path, result: Mapping[str, Any], rivals: Sequence[str], panel: Sequence[str], axis: str) -> None:
    """Draw a column for each task: above the margin over the largest one, below the shares of neurons by rank."""
    tasks = by_task(record for record in result["measurements"] if record["status"] == "measured")
    figure = new_figure(1 + 2.8 * max(len(tasks), 1), 5.4)
    panels = figure.subplots(2, max(len(tasks), 1), squeeze=False, sharey="row")
    for (above, below), (name, of) in zip(panels.T, tasks.items(), strict=False):
        for record in of:
            color, _ = STYLES[2 * list(rivals).index(record["rival"])]
            draw(above, curve(record, "margin"), color, label=record["rival"])
            draw(below, curve(record, "share"), color)
            draw(below, curve(record, "share before training"), color, linestyle=":")
        above.axhline(1, color="#888888", linewidth=0.8, linestyle="--")
        above.set_ylim(0, 1.08)
        below.set_ylim(0, 1.08)
        tidy(above, name)
        tidy(below, "")
        above.set_xlabel("step")
        below.set_xlabel("rank of the neuron")
    panels[0, 0].set_ylabel("margin over the largest one")
    panels[1, 0].set_ylabel("share of the largest feature;\ndotted: at the start")
    figure.legend(*panels[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=2, frameon=False)
    figure.savefig(path)
