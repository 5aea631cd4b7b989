"""The plot of the benchmark `methods`: how far each method is from the fastest, layer by layer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.core.plot import STYLES, log_axis, new_figure, save, tidy
from benchmarks.core.targets import rows


def plot(path: Path, result: Mapping[str, Any], rivals: Sequence[str], panel: Sequence[str], axis: str) -> None:
    """Draw times relative to the fastest method: a column of panels for each batch and width, a row for a direction."""
    grouped = rows(result["measurements"])
    layers = list(dict.fromkeys(case["layer"] for case, *_ in grouped))
    columns = list(dict.fromkeys((case["batch"], case["width"]) for case, *_ in grouped))
    directions = list(dict.fromkeys(direction for _, direction, _ in grouped))
    size = (1.6 + 3.2 * len(columns), 0.6 + (0.7 + 0.24 * len(layers)) * len(directions))
    figure = new_figure(*size)
    grid = figure.subplots(len(directions), len(columns), squeeze=False, sharex="col", sharey=True)
    for i, direction in enumerate(directions):
        for j, (batch, width) in enumerate(columns):
            axes = grid[i][j]
            found = {
                case["layer"]: {rival: record["median"] for rival, record in by.items() if "median" in record}
                for case, way, by in grouped
                if (case["batch"], case["width"], way) == (batch, width, direction)
            }
            for number, rival in enumerate(rivals):
                points = [
                    (times[rival] / min(times.values()), layers.index(layer))
                    for layer, times in found.items()
                    if rival in times
                ]
                color, marker = STYLES[number % len(STYLES)]
                first = number == 0  # the chosen method: a ring around the one that it has taken
                axes.plot(
                    *(zip(*points, strict=True) if points else ((), ())),
                    marker,
                    color=color,
                    markersize=9 if first else 5,
                    markerfacecolor="none" if first else color,
                    zorder=4 if first else 3,
                    label=rival,
                )
            axes.set_yticks(range(len(layers)), layers, fontsize=9)
            axes.set_ylim(len(layers) - 0.5, -0.5)
            log_axis(axes)
            tidy(axes, f"batch {batch}, width {width}, {direction}", 9)
    for axes in grid[-1]:
        axes.set_xlabel("times as long as the fastest method")
    save(figure, path, grid[0][0], len(rivals))
