"""The plot of the demonstration: predicted against true values, and learning curves."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from equikit.demo._data import TARGETS
from equikit.demo._report import Outcome, Report

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLORS = ("#0072b2", "#009e73", "#d55e00", "#e69f00")  # Okabe and Ito: distinct for all kinds of color vision


def plot_missing() -> str | None:
    """Say what to do if Matplotlib is not installed; `None` if it is."""
    try:
        import matplotlib  # noqa: F401  # only asked whether it is there
    except ImportError:
        return "no plot: Matplotlib is not installed; pip install matplotlib brings it"
    return None


def _scatter(axes: Axes, report: Report, outcomes: tuple[Outcome, ...], target: int) -> None:
    true = report.true[:, target]
    # Many graphs have the same number of triangles; the models are drawn side by side around it.
    spread = 0.2 if TARGETS[target] == "triangles" else 0.0
    values = [true, *(outcome.predicted[:, target] for outcome in outcomes)]
    low, high = min(map(np.min, values)), max(map(np.max, values))
    pad = 0.04 * (high - low)
    axes.plot([low - pad, high + pad], [low - pad, high + pad], color="0.6", lw=1, zorder=1)
    for place, outcome in enumerate(outcomes):
        shift = spread * (place - (len(outcomes) - 1) / 2)
        label = f"{outcome.name} (MAE {outcome.score.mae[target]:.2f})"
        axes.scatter(
            true + shift,
            outcome.predicted[:, target],
            s=10,
            alpha=0.7,
            lw=0,
            color=COLORS[report.outcomes.index(outcome)],
            label=label,
            zorder=2 + place,
        )
    axes.set(title=TARGETS[target], xlabel="true", ylabel="predicted")
    axes.legend(fontsize=7.5, frameon=False, loc="upper left")


def _curves(axes: Axes, report: Report) -> None:
    for color, outcome in zip(COLORS, report.outcomes, strict=False):
        epochs = np.arange(1, len(outcome.losses) + 1)
        axes.plot(epochs, outcome.losses[:, 0], color=color, lw=0.9, ls=":")
        axes.plot(epochs, outcome.losses[:, 1], color=color, lw=1.3, label=outcome.name)
        axes.plot(outcome.best + 1, outcome.losses[outcome.best, 1], "o", color=color, ms=5)
    axes.set(title="learning curves", xlabel="epoch", ylabel="mean absolute error, standardized", yscale="log")
    axes.plot([], [], color="0.4", lw=0.9, ls=":", label="(dotted: training)")
    axes.plot([], [], "o", color="0.4", ms=5, label="(dot: parameters kept)")
    axes.legend(fontsize=7.5, frameon=False)


def _bars(axes: Axes, report: Report) -> None:
    places = np.arange(len(report.outcomes))
    for shift, key, alpha in ((-0.2, "score", 1.0), (0.2, "relabeled", 0.5)):
        heights = [getattr(outcome, key).mae[0] for outcome in report.outcomes]
        bars = axes.bar(places + shift, heights, 0.38, color=COLORS, alpha=alpha)
        axes.bar_label(bars, fmt="%.2f", fontsize=7.5)
    names = [outcome.name.replace(", ", ",\n") for outcome in report.outcomes]
    axes.set_xticks(places, names, fontsize=7.5)
    axes.set(title="triangles: MAE as given, and (pale) test nodes relabeled", ylabel="mean absolute error")


def plot(report: Report, file: Path) -> None:
    """Draw a report to a PNG file, without a display.

    Raises:
        ImportError: if Matplotlib is missing; see `plot_missing`.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # so that the demonstration runs without Matplotlib
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 9), layout="constrained")
    FigureCanvasAgg(figure)
    axes: Any = figure.subplots(2, 2)
    compared = report.outcomes[:3]
    for target in range(len(TARGETS)):
        _scatter(axes[0, target], report, compared, target)
    _curves(axes[1, 0], report)
    _bars(axes[1, 1], report)
    for each in axes.flat:
        each.spines[["top", "right"]].set_visible(False)
    figure.suptitle(f"Graphs of at most seven nodes: {report.sizes[0]} to learn from, {report.sizes[2]} held out")
    # Without the version in it, the same numbers give the same file.
    figure.savefig(file, dpi=110, metadata={"Software": None})
