"""What all plots share, and the plot of times over sizes: one panel for each layer and direction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

# Okabe and Ito's colors, which color-blind readers can distinguish; shapes distinguish the lines without color.
STYLES = (
    ("#000000", "o"),
    ("#E69F00", "s"),
    ("#D55E00", "D"),
    ("#56B4E9", "^"),
    ("#0072B2", "v"),
    ("#009E73", "P"),
    ("#CC79A7", "X"),
    ("#8C8C8C", "*"),
    ("#332288", "<"),
    ("#882255", ">"),
    ("#44AA99", "p"),
    ("#999933", "h"),
)


MOST_COLUMNS = 4
"""Panels side by side; more stand below them."""


def new_figure(width: float, height: float) -> Any:
    """Return an empty figure, in inches, that is drawn without a display."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=130, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def tidy(axes: Any, title: str, size: int = 10, **lines: Any) -> None:
    """Draw a light grid, remove the upper and the right border, and write the title on the left."""
    axes.grid(True, color="#dddddd", linewidth=0.7, **lines)
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_title(title, fontsize=size, loc="left")


def save(figure: Any, path: Path, axes: Any, columns: int) -> None:
    """Save a figure, with the legend of one of its panels below."""
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=columns, frameon=False)
    figure.savefig(path)


def size_axis(axes: Any, sizes: Sequence[float], base: int = 2) -> None:
    """Make the x-axis logarithmic, with a label at every size."""
    from matplotlib.ticker import FixedLocator, NullLocator, ScalarFormatter

    axes.set_xscale("log", base=base)
    axes.xaxis.set_major_locator(FixedLocator(sizes))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(ScalarFormatter())


def log_axis(axes: Any) -> None:
    """Make the x-axis logarithmic, with labels at 1, 2 and 5 times powers of ten."""
    from matplotlib.ticker import LogLocator, NullLocator

    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0), numticks=20))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_locator(NullLocator())


def spaced(sizes: Sequence[float]) -> list[float]:
    """Select sizes whose labels do not overlap."""
    if len(sizes) <= 8:
        return list(sizes)
    found = [sizes[0]]
    for size in sizes[1:]:
        if size > 2.2 * found[-1]:
            found.append(size)
    return found


def plot(path: Path, result: Mapping[str, Any], rivals: Sequence[str], panel: Sequence[str], axis: str) -> None:
    """Draw medians with their quartiles, log-log, and save them.

    Args:
        path: of the PNG file.
        result: see `benchmarks.core.results.result`.
        rivals: names, in the order of the legend; the first is drawn on top.
        panel: the entries of a case that determine its panel.
        axis: the entry of a case on the horizontal axis.
    """
    points: dict[tuple[str, tuple[Any, ...]], dict[str, list[tuple[float, ...]]]] = {}
    for record in result["measurements"]:
        lines = points.setdefault((record["direction"], tuple(record["case"][key] for key in panel)), {})
        if "median" in record and record["rival"] in rivals:
            value = [record[key] * 1e3 for key in ("median", "lower_quartile", "upper_quartile")]
            lines.setdefault(record["rival"], []).append((record["case"][axis], *value))
    shown = {key: lines for key, lines in points.items() if lines} or points
    drawn = {rival for lines in shown.values() for rival in lines}
    rivals = [rival for rival in rivals if rival in drawn]
    directions = list(dict.fromkeys(direction for direction, _ in shown))
    columns = list(dict.fromkeys(where for _, where in shown))
    wide = min(len(columns), MOST_COLUMNS)
    rows = -(-len(columns) // wide) * len(directions)
    figure = new_figure(1.2 + 3.6 * wide, 0.9 + 3.1 * rows)
    grid = figure.subplots(rows, wide, squeeze=False)
    for unused in grid.flat:
        unused.set_visible(False)
    labeled = grid[0][0]
    for i, direction in enumerate(directions):
        for j, where in enumerate(columns):
            axes = grid[j // wide * len(directions) + i][j % wide]
            lines = shown.get((direction, where), {})
            if not lines:
                continue
            axes.set_visible(True)
            below = [shown.get((later, where), {}) for later in directions[i + 1 :]]
            lowest = not any(below)
            axes.tick_params(labelbottom=lowest)
            column = [points for (_, place), points in shown.items() if place == where]
            sizes = spaced(sorted({point[0] for lines in column for line in lines.values() for point in line}))
            for number, rival in enumerate(rivals):
                color, marker = STYLES[number % len(STYLES)]
                x, median, low, high = zip(*sorted(lines.get(rival, [])), strict=True) if rival in lines else ((),) * 4
                first = number == 0
                axes.plot(
                    x,
                    median,
                    color=color,
                    marker=marker,
                    markersize=5.5,
                    linewidth=2.4 if first else 1.4,
                    zorder=4 if first else 3,
                    label=rival,
                )
                axes.fill_between(x, low, high, color=color, alpha=0.15, linewidth=0)
                if len(x) == 1:  # no area to fill
                    axes.vlines(x, low, high, color=color, linewidth=1.4)
            size_axis(axes, sizes)
            axes.set_yscale("log")
            case = dict(zip(panel, where, strict=True))
            name = f"{case.pop('k')} → {case.pop('l')}" if "k" in case else case.pop("layer", "")
            rest = ", ".join(f"{key} {value}" for key, value in case.items())
            tidy(axes, f"{name}, {direction}" if name else direction, 9)
            axes.text(1.0, 1.02, rest, transform=axes.transAxes, ha="right", va="bottom", fontsize=8, color="#666666")
            if lowest:
                axes.set_xlabel(axis)
            if j % wide == 0:
                axes.set_ylabel("ms a call, median and quartiles")
            labeled = axes  # the legend is the same in every panel
    each = min(len(rivals), 2 * wide if len(rivals) > 8 else len(rivals))
    save(figure, path, labeled, max(each, 1))
