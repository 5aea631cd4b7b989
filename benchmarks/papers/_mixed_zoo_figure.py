"""Predicted over true accuracies, and Kendall's tau of every rival within the zoo and on each family left out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.core.plot import STYLES, new_figure, tidy
from benchmarks.core.task_report import by_task
from benchmarks.papers._curves import curve


def plot(path: Path, result: Mapping[str, Any], rivals: Sequence[str], panel: Sequence[str], axis: str) -> None:
    """Draw a panel of points for each rival, and below bars by task and rival."""
    tasks = by_task(record for record in result["measurements"] if record["status"] == "measured")
    shown = [rival for rival in rivals if any(record["rival"] == rival for of in tasks.values() for record in of)]
    colors = {rival: STYLES[number % len(STYLES)][0] for number, rival in enumerate(rivals)}
    spread = [record for of in tasks.values() for record in of if len(curve(record, "truth")[0])]
    figure = new_figure(10, 6)
    upper, lower = figure.subfigures(2, 1)
    panels = upper.subplots(1, max(len(spread), 1), squeeze=False, sharey=True)[0]
    for axes, record in zip(panels, spread, strict=False):
        (_, truth, _), (_, predicted, _) = curve(record, "truth"), curve(record, "predicted")
        axes.plot([0, 1], [0, 1], color="#888888", linewidth=0.8, linestyle="--")
        axes.plot(truth, predicted, "o", color=colors[record["rival"]], markersize=3, alpha=0.6)
        tidy(axes, record["rival"], 9)
        axes.set_xlim(0, 1)
        axes.set_ylim(0, 1)
        axes.set_aspect("equal")
        axes.set_xlabel("accuracy")
    panels[0].set_ylabel("predicted")
    axes = lower.subplots()
    width = 0.8 / max(len(shown), 1)
    for number, rival in enumerate(shown):
        found = {task: record for task, of in tasks.items() for record in of if record["rival"] == rival}
        places = [place for place, task in enumerate(tasks) if task in found]
        heights = [record["scores"]["tau"] for record in found.values()]
        errors = [record.get("spread", {}).get("tau", 0.0) for record in found.values()]
        x = np.array(places) + (number - (len(shown) - 1) / 2) * width
        axes.bar(x, heights, width, yerr=errors if any(errors) else None, color=colors[rival], label=rival, capsize=2)
    tidy(axes, "", axis="y")
    axes.set_axisbelow(True)
    axes.set_xticks(range(len(tasks)), [task.replace("without ", "without\n") for task in tasks], fontsize=8)
    axes.set_ylabel("Kendall's τ")
    lower.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=5, frameon=False)
    figure.savefig(path)
