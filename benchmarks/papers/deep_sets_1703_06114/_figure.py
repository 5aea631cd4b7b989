"""Estimates over the parameters of bags, errors over their number, and accuracies over the number of digits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.core.plot import STYLES, new_figure, size_axis, tidy
from benchmarks.core.task_report import by_task
from benchmarks.papers._curves import curve, draw


def plot(path: Path, result: Mapping[str, Any], rivals: Sequence[str], panel: Sequence[str], axis: str) -> None:
    """Draw estimates and errors of both statistics as in figure 2 of the paper, and accuracies as in figure 3."""
    tasks = by_task(record for record in result["measurements"] if record["status"] == "measured")
    colors = {rival: STYLES[i % len(STYLES)] for i, rival in enumerate(rivals)}
    figure = new_figure(9.5, 7.6)
    panels = figure.subplots(3, 2)
    for column, statistic in enumerate(("entropy", "mutual information")):
        of = {int(name.split()[-2]): each for name, each in tasks.items() if name.startswith(statistic)}
        _estimates(panels[0, column], of, colors)
        _errors(panels[1, column], of, colors)
        tidy(panels[0, column], f"{statistic}, {max(of, default=0)} bags")
        tidy(panels[1, column], statistic)
    for axes, task in zip(panels[2], ("sums of symbols", "sums of images"), strict=True):
        for record in tasks.get(task, []):
            color, marker = colors[record["rival"]]
            draw(axes, curve(record, "accuracy"), color, marker=marker, markersize=4, label=record["rival"])
        axes.axvspan(0, 10, color="#eeeeee", zorder=0)
        tidy(axes, task)
        axes.set_xlabel("digits; gray: in training")
        axes.set_ylabel("accuracy")
    labelled: dict[str, Any] = {}
    for axes in panels.flat:
        handles, names = axes.get_legend_handles_labels()
        labelled |= dict(zip(names, handles, strict=True))
    figure.legend(labelled.values(), labelled.keys(), loc="outside lower center", ncols=5, frameon=False)
    figure.savefig(path)


def _estimates(axes: Any, of: Mapping[int, Sequence[Mapping[str, Any]]], colors: Mapping[str, tuple[str, str]]) -> None:
    for record in of.get(max(of, default=0), []):
        draw(axes, curve(record, "truth"), "#999999", linewidth=3)
        color, marker = colors[record["rival"]]
        draw(axes, curve(record, "estimate"), color, marker=marker, markersize=2.5, linestyle="none")
    axes.set_xlabel("parameter of the bag")
    axes.set_ylabel("statistic; gray: truth")


def _errors(axes: Any, of: Mapping[int, Sequence[Mapping[str, Any]]], colors: Mapping[str, tuple[str, str]]) -> None:
    score = "mean squared error"
    for rival, (color, marker) in colors.items():
        found = [
            (bags, record["scores"][score], record.get("spread", {}).get(score, 0.0))
            for bags, records in of.items()
            for record in records
            if record["rival"] == rival
        ]
        if found:
            bags, errors, spreads = np.array(sorted(found)).T
            axes.errorbar(bags, errors, yerr=spreads, color=color, marker=marker, capsize=2, label=rival)
    axes.set_yscale("log")
    size_axis(axes, sorted(of) or [1])
    axes.set_xlabel("bags for training")
    axes.set_ylabel("mean squared error")
