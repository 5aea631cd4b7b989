"""Results of papers whose main score is one number for each rival and task: tables, targets, and a plot of dots."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.core.bounds import check_targets
from benchmarks.core.plot import STYLES, new_figure, tidy
from benchmarks.core.style import Style
from benchmarks.core.task_report import by_task, markdown, target_lines, terminal_table


def style(score: str, name: str) -> Style:
    """Return tables of all scores, and a plot of one of them, with its name on the axis."""
    return Style(check_targets, markdown, terminal_table, target_lines, functools.partial(plot, score, name))


def plot(
    score: str,
    name: str,
    path: Path,
    result: Mapping[str, Any],
    rivals: Sequence[str],
    panel: Sequence[str],
    axis: str,
) -> None:
    """Draw the score of every rival with its standard deviation, one panel for each task."""
    tasks = {
        task: {record["rival"]: record for record in of if score in record.get("scores", {})}
        for task, of in by_task(result["measurements"]).items()
    }
    shown = [rival for rival in rivals if any(rival in of for of in tasks.values())]
    figure = new_figure(1.8 + 2.6 * len(tasks), 1.2 + 0.34 * len(shown))
    panels = figure.subplots(1, max(len(tasks), 1), squeeze=False, sharey=True)[0]
    for axes, (task, of) in zip(panels, tasks.items(), strict=False):
        for rival, record in of.items():
            color, marker = STYLES[shown.index(rival) % len(STYLES)]
            spread = record.get("spread", {}).get(score)
            axes.errorbar(record["scores"][score], shown.index(rival), xerr=spread, fmt=marker, color=color, capsize=2)
        tidy(axes, task)
        axes.set_xlim(left=0)
        axes.set_xlabel(name)
    panels[0].set_yticks(range(len(shown)), shown)
    panels[0].set_ylim(max(len(shown), 1) - 0.5, -0.5)
    figure.savefig(path)
