"""Squares of power sums, overlaps over time, and overlaps over the number of samples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.core.plot import STYLES, new_figure, tidy
from benchmarks.core.task_report import by_task
from benchmarks.papers._curves import curve, draw


def plot(path: Path, result: Mapping[str, Any], rivals: Sequence[str], panel: Sequence[str], axis: str) -> None:
    """Draw measurements over theory, which is gray: as full lines, one color for each exponent."""
    tasks = by_task(record for record in result["measurements"] if record["status"] == "measured")
    figure = new_figure(11, 3.8)
    squares, overlap, samples = figure.subplots(1, 3)
    for record in next((of for name, of in tasks.items() if name.startswith("power sums")), []):
        color, marker = STYLES[2 * list(rivals).index(record["rival"])]
        found = curve(record, "square")
        squares.plot(found[0], np.minimum(found[0], len(found[0]) / 2), color="#bbbbbb", linewidth=4)
        draw(squares, found, color, marker=marker, markersize=4, label=record["rival"])
    for number, (name, of) in enumerate((name, of) for name, of in tasks.items() if name.startswith("exponent")):
        color, marker = STYLES[2 * number]
        draw(overlap, curve(of[0], "theory"), "#bbbbbb", linewidth=4)
        draw(overlap, curve(of[0], "overlap"), color, label=name)
        draw(samples, curve(of[0], "end"), color, marker=marker, markersize=4)
    samples.set_xscale("log")
    samples.set_ylim(0, 1.05)
    for axes, title, below, beside in (
        (squares, "power sums", "k", "mean square of p_k; gray: theory"),
        (overlap, "gradient flow", "time", "overlap; gray: theory"),
        (samples, "at the end", "samples", "overlap"),
    ):
        tidy(axes, title)
        axes.set_xlabel(below)
        axes.set_ylabel(beside)
        if axes.get_legend_handles_labels()[0]:
            axes.legend(frameon=False, fontsize=8)
    figure.savefig(path)
