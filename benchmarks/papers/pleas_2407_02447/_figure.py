"""The loss of merged networks over their size."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.core.plot import STYLES, new_figure, tidy
from benchmarks.core.task_report import TRAINED, by_task

SCORE = "midpoint, test"
CURVES = {"partial merge": ("activations", "partial"), "with least squares": ("least squares", "PLeaS")}
POINTS = ("average", "weights", "slerp", "ties", "REPAIR")


def plot(path: Path, result: Mapping[str, Any], rivals: Sequence[str], panel: Sequence[str], axis: str) -> None:
    """Plot the loss half-way above the mean loss of both networks, over the number of parameters; a panel per task."""
    tasks = by_task(record for record in result["measurements"] if SCORE in (record.get("scores") or {}))
    figure = new_figure(1.4 + 3.6 * len(tasks), 3.9)
    panels = figure.subplots(1, max(len(tasks), 1), squeeze=False)[0]
    drawn: dict[str, Any] = {}
    for axes, (name, of) in zip(panels, tasks.items(), strict=False):
        records = {record["rival"]: record for record in of}
        for number, (curve, (first, kind)) in enumerate(CURVES.items()):
            some = [record for rival, record in records.items() if rival == first or rival.startswith(f"{kind}, ")]
            drawn[curve] = _points(axes, some, STYLES[number], "-")
        for number, rival in enumerate(one for one in POINTS if one in records):
            drawn[rival] = _points(axes, [records[rival]], STYLES[2 + number], "")
        if "ensemble" in records:
            height = records["ensemble"]["scores"][SCORE]
            drawn["ensemble of outputs"] = axes.axhline(height, color="0.4", lw=1.2, ls="--")
        axes.axhline(0, color="0.8", lw=0.8, zorder=0)
        axes.set_xlabel("parameters, over one network")
        axes.set_yscale("symlog", linthresh=0.1)
        tidy(axes, name)
    panels[0].set_ylabel("test loss half-way, less the mean of both")
    figure.legend(drawn.values(), drawn.keys(), loc="outside lower center", ncols=2 * len(tasks), frameon=False)
    figure.savefig(path)


def _points(axes: Any, records: Sequence[Mapping[str, Any]], look: tuple[str, str], line: str) -> Any:
    color, marker = look
    found = sorted(
        (record["scores"]["relative size"], record["scores"][SCORE], (record.get("spread") or {}).get(SCORE, 0.0))
        for record in records
    )
    sizes, values, spreads = zip(*found, strict=True)
    return axes.errorbar(sizes, values, yerr=spreads, fmt=marker + line, color=color, capsize=2, ms=5, lw=1.4)


STYLE = replace(TRAINED, plot=plot)
