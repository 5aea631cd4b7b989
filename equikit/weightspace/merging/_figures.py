"""Figures of losses along lines and of singular values. Matplotlib is imported only when a figure is made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from equikit import _checks

if TYPE_CHECKING:
    from equikit.weightspace.alignment._singular import SingularAlignment
    from equikit.weightspace.merging._interpolation import Line

COLORS = ("#0072b2", "#d55e00", "#009e73", "#e69f00", "#cc79a7", "#56b4e9")  # Okabe and Ito
MARKERS = ("o", "s", "^", "D", "v", "P")


def figure_of(width: float, height: float) -> Any:
    """Return an empty Matplotlib figure that works without a display.

    Raises:
        MissingPackageError: if Matplotlib is not installed.
    """
    figure = _checks.package("matplotlib.figure", "matplotlib").Figure(figsize=(width, height), layout="constrained")
    _checks.package("matplotlib.backends.backend_agg", "matplotlib").FigureCanvasAgg(figure)
    return figure


def line_figure(lines: Mapping[str, Line], axes: Any = None) -> Any:
    """Plot the losses along lines, each with a dotted line that connects the losses of its ends."""
    _checks.some("lines", lines, got="no lines", step='pass {"straight": barrier(loss, a, b)}')
    figure = figure_of(5.2, 3.6) if axes is None else axes.figure
    axes = figure.subplots() if axes is None else axes
    for number, (name, line) in enumerate(lines.items()):
        color, marker = COLORS[number % len(COLORS)], MARKERS[number % len(MARKERS)]
        label = f"{name}: barrier {line.barrier:.2g}" if name else f"barrier {line.barrier:.2g}"
        axes.plot(line.places, line.losses, color=color, marker=marker, ms=3.5, lw=1.5, label=label)
        axes.plot([0, 1], line.losses[[0, -1]], color=color, lw=0.8, ls=":")
    axes.set(xlabel="from the first network to the second", ylabel="loss")
    _plain(axes)
    axes.legend(fontsize=8, frameon=False)
    return figure


def singular_figure(found: SingularAlignment, thresholds: Sequence[float]) -> Any:
    """Plot singular values (top row) and alignments of singular vectors (bottom row), with a column for each weight."""
    columns = len(found.leaves)
    figure = figure_of(1.2 + 2.6 * columns, 5.0)
    grid = figure.subplots(2, columns, squeeze=False, sharey="row")
    for place, (name, pair) in enumerate(found.leaves.items()):
        above, below = grid[:, place]
        for values, color, label in ((pair.one, COLORS[0], "first"), (pair.two, COLORS[1], "second")):
            above.plot(np.arange(1, len(values) + 1), values, color=color, lw=1.5, label=label)
        above.set(title=name, xlabel="number")
        for matched, color, marker, label in (
            (False, "0.55", "s", "as they are"),
            (True, COLORS[2], "o", "after matching"),
        ):
            heights = [pair.alignment(matched=matched, threshold=threshold) for threshold in thresholds]
            below.plot(thresholds, heights, color=color, marker=marker, ms=3.5, lw=1.5, label=label)
        below.axhline(0, color="0.85", lw=0.8, zorder=0)
        below.set(xlabel="least singular value, over the largest")
        for axes in (above, below):
            _plain(axes)
    grid[0, 0].set(ylabel="singular values")
    grid[1, 0].set(ylabel="alignment of vectors")
    grid[0, -1].legend(fontsize=8, frameon=False, title="network", title_fontsize=8)
    grid[1, -1].legend(fontsize=8, frameon=False)
    before, after = found.distances
    figure.suptitle(f"distance over norm {before:.2f}, after matching {after:.2f}", fontsize=10)
    return figure


def _plain(axes: Any) -> None:
    axes.spines[["top", "right"]].set_visible(False)
