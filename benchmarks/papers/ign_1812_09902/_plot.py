"""The plot: accuracies with their standard deviation over folds, next to the published one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.core.paper import Paper
from benchmarks.core.plot import STYLES, new_figure, tidy

ACCURACY = "accuracy"
ON_TEST = "accuracy, epoch chosen on the test folds"
SD = {ACCURACY: "sd over folds", ON_TEST: "sd over folds, epoch chosen on the test folds"}
SHIFT = 0.2
"""Between the marks of a rival."""


def plot(
    paper: Paper, path: Path, result: Mapping[str, Any], rivals: Sequence[str], panel: Sequence[str], axis: str
) -> None:
    """Draw a row for each rival: full marks are ours, hollow ones published; bars are deviations over folds."""
    found = {record["rival"]: record.get("scores") or {} for record in result["measurements"]}
    figure = new_figure(7.5, 1.4 + 0.55 * len(rivals))
    axes = figure.subplots()
    for name, shift, (color, marker) in zip(SD, (-SHIFT, 0), STYLES, strict=False):
        rows = [(found[rival], row + shift) for row, rival in enumerate(rivals) if name in found.get(rival, {})]
        style = {"color": color, "marker": marker, "linestyle": "none", "capsize": 3, "label": name}
        if rows:
            axes.errorbar(
                [scores[name] for scores, _ in rows], [y for _, y in rows], xerr=[s[SD[name]] for s, _ in rows], **style
            )
    known = [one for one in paper.published if one.rival in rivals]
    if known:
        axes.errorbar(
            [one.value for one in known],
            [list(rivals).index(one.rival) + SHIFT for one in known],
            xerr=[one.spread or 0.0 for one in known],
            **{"color": STYLES[1][0], "marker": STYLES[1][1], "linestyle": "none", "capsize": 3},
            markerfacecolor="none",
            label="published",
        )
    axes.set_yticks(range(len(rivals)), rivals)
    axes.set_ylim(len(rivals) - 0.5, -0.5)
    tidy(axes, "MUTAG", axis="x")
    axes.set_xlabel("accuracy, %; bars are standard deviations over folds")
    figure.legend(loc="outside lower center", ncols=3, frameon=False, fontsize=8)
    figure.savefig(path)
