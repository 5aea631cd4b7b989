"""Accuracies over the nodes of a graph, and explained variance over the inputs of a hard network."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.core.plot import STYLES, new_figure, tidy
from benchmarks.core.task_report import by_task

PANELS = (
    ("degree parity", "accuracy", "nodes"),
    ("symmetrized network", "explained variance", "inputs"),
    ("frame-averaged network", "explained variance", "inputs"),
)


def plot(path: Path, result: Mapping[str, Any], rivals: Sequence[str], panel: Sequence[str], axis: str) -> None:
    """Draw tests in full lines, training dashed, and the control by hollow marks."""
    tasks = by_task(record for record in result["measurements"] if record["status"] == "measured")
    figure = new_figure(11, 4)
    for axes, (start, score, sizes) in zip(figure.subplots(1, 3), PANELS, strict=True):
        for number, rival in enumerate(rivals):
            color, marker = STYLES[number]
            for name, look in ((score, "-"), (f"{score}, train", "--")):
                places, values, spreads = _found(tasks, start, rival, name)
                shown = rival if look == "-" and len(places) else None
                axes.plot(places, values, look, color=color, marker=marker, markersize=5, label=shown)
                axes.fill_between(places, values - spreads, values + spreads, color=color, alpha=0.12, linewidth=0)
            if start == "degree parity":
                places, values, _ = _found(tasks, "degree threshold", rival, score)
                axes.plot(places, values, marker=marker, color=color, mfc="none", markersize=11, linestyle="none")
        axes.set_ylim((0.4, 1.03) if score == "accuracy" else (-0.3, 1.05))
        tidy(axes, start)
        axes.set_xlabel(sizes + ("; hollow: threshold" if score == "accuracy" else ""))
        axes.set_ylabel(f"{score}; dashed: training")
    labelled: dict[str, Any] = {}
    for axes in figure.axes:
        handles, names = axes.get_legend_handles_labels()
        labelled |= dict(zip(names, handles, strict=True))
    figure.legend(labelled.values(), labelled.keys(), loc="outside lower center", ncols=5, frameon=False)
    figure.savefig(path)


def _found(
    tasks: Mapping[str, Sequence[Mapping[str, Any]]], start: str, rival: str, score: str
) -> Sequence[np.ndarray]:
    """Sizes, values and standard deviations of a rival in all tasks whose name begins with a text."""
    found = [
        (int(re.findall(r"\d+", name)[0]), record["scores"][score], record.get("spread", {}).get(score, 0.0))
        for name, records in tasks.items()
        for record in records
        if name.startswith(start) and record["rival"] == rival
    ]
    places, values, spreads = np.array(sorted(found), float).reshape(-1, 3).T
    return places, values, spreads
