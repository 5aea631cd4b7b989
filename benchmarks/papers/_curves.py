"""Scores that are curves: named by the curve and the place, drawn with bands over seeds, and not tabulated."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.core.plot import STYLES
from benchmarks.core.style import Style
from benchmarks.core.task_report import TRAINED

MARK = "curve, "
Curve = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Places, values, and standard deviations over seeds, which are zero for a single one."""


def points(curve: str, places: Iterable[float], values: Iterable[float]) -> dict[str, float]:
    """Return the scores of a curve."""
    return {f"{MARK}{curve} at {place:g}": float(value) for place, value in zip(places, values, strict=True)}


def curve(record: Mapping[str, Any], name: str) -> Curve:
    """Return a curve of a record; without places if it has none of this name."""
    scores, spread = record.get("scores") or {}, record.get("spread") or {}
    start = f"{MARK}{name} at "
    found = [
        (float(key.removeprefix(start)), value, spread.get(key, 0.0))
        for key, value in scores.items()
        if key.startswith(start)
    ]
    places, values, spreads = np.array(sorted(found), float).reshape(-1, 3).T
    return places, values, spreads


def draw(axes: Any, found: Curve, color: str, **look: Any) -> None:
    """Draw a curve, and a band of a standard deviation."""
    places, values, spreads = found
    axes.plot(places, values, color=color, **look)
    axes.fill_between(places, values - spreads, values + spreads, color=color, alpha=0.15, linewidth=0)


def draw_all(records: Iterable[Mapping[str, Any]], rivals: Sequence[str], panels: Mapping[str, Any]) -> None:
    """Draw curves of all records, each in the panel of its name, and a legend of the rivals below the figure."""
    drawn: dict[str, Any] = {}
    for record in records:
        color, marker = STYLES[list(rivals).index(record["rival"]) % len(STYLES)]
        for name, axes in panels.items():
            draw(axes, curve(record, name), color, marker=marker, ms=4, lw=1.4)
            drawn[record["rival"]] = axes.lines[-1]
    figure = next(iter(panels.values())).figure
    figure.legend(drawn.values(), drawn.keys(), loc="outside lower center", ncols=4, frameon=False)


def tabulated(records: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the records without their curves."""
    return [
        {**record, **{key: _scalars(record[key]) for key in ("scores", "spread") if record.get(key)}}
        for record in records
    ]


def _scalars(scores: Mapping[str, float]) -> dict[str, float]:
    return {name: value for name, value in scores.items() if not name.startswith(MARK)}


def markdown(result: Mapping[str, Any], rivals: Mapping[str, str]) -> str:
    """The results as Markdown."""
    return TRAINED.markdown({**result, "measurements": tabulated(result["measurements"])}, rivals)


def terminal_table(title: str, records: Sequence[Mapping[str, Any]], rivals: Sequence[str]) -> Any:
    """The scores as rich tables."""
    return TRAINED.terminal_table(title, tabulated(records), rivals)


def style(plot: Callable[[Path, Mapping[str, Any], Sequence[str], Sequence[str], str], None]) -> Style:
    """Return how results with curves are shown; `plot` draws them."""
    return replace(TRAINED, markdown=markdown, terminal_table=terminal_table, plot=plot)
