"""Results that are errors over the number of training points, next to published ones: table, targets and plot."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.table import Table

from benchmarks.core.bounds import check_targets, number
from benchmarks.core.numbers import with_spread
from benchmarks.core.paper import Paper
from benchmarks.core.plot import STYLES, new_figure, save, tidy
from benchmarks.core.report import grid, page, rich_table
from benchmarks.core.style import Style


def target_lines(result: Mapping[str, Any]) -> list[str]:
    """One sentence a target."""
    return [
        f"{target['case']['task']}, {target['case']['train']:,} points, {target['rival']}, "
        f"{target['score'].replace('_', ' ')}: {number(target['value'])}, wanted at most {target['wanted']:g}, "
        + ("met" if target["met"] else "missed")
        for target in result["targets"]
    ]


@dataclass(frozen=True)
class Curve:
    """Errors over numbers of points.

    Attributes:
        name: of the rival.
        points: number of points to mean and standard deviation; a single run has no deviation.
        parameters: of the network, where they are known.
        published: whether it is from the paper.
    """

    name: str
    points: Mapping[int, tuple[float, float | None]]
    parameters: float | None = None
    published: bool = False


def curves(paper: Paper, records: Iterable[Mapping[str, Any]], rivals: Iterable[str]) -> dict[str, list[Curve]]:
    """The measured and the published curves of each task; a published curve follows the measured one."""
    every = sorted(records, key=lambda record: record["case"]["train"])
    found: dict[str, list[Curve]] = {}
    for task, rival in itertools.product(dict.fromkeys(record["case"]["task"] for record in records), rivals):
        ours = [one for one in every if (one["case"]["task"], one["rival"]) == (task, rival) and "scores" in one]
        points = {
            one["case"]["train"]: (one["scores"]["test_mse"], one.get("spread", {}).get("test_mse")) for one in ours
        }
        parameters = ours[-1]["scores"]["parameters"] if ours else None
        theirs = paper.of(task, rival)
        found.setdefault(task, []).append(Curve(rival, points, parameters))
        if theirs:
            known = {one.train: (one.value, one.spread) for one in theirs if one.train is not None}
            found[task].append(Curve(f"{theirs[0].row}, published", known, published=True))
    return found


def _body(
    paper: Paper, records: Sequence[Mapping[str, Any]], rivals: Iterable[str]
) -> tuple[list[str], list[list[str]]]:
    """Head and body of the table."""
    sizes = sorted({record["case"]["train"] for record in records})
    body = []
    for task, found in curves(paper, records, rivals).items():
        for one in found:
            name = f"*{one.name}*" if one.published else one.name
            parameters = "–" if one.parameters is None else f"{one.parameters:,.0f}"
            errors = [with_spread(*one.points[n], digits=2) if n in one.points else "–" for n in sizes]
            body.append([task, name, parameters, *errors])
        scores = [record.get("scores") or {} for record in records if record["case"]["task"] == task]
        variance = next((one["variance"] for one in scores if one), None)
        body.append([task, "*variance of the target*", "–", *[number(variance)] * len(sizes)])
    return ["task", "rival", "parameters", *(f"{size:,}" for size in sizes)], body


def terminal_table(paper: Paper, title: str, records: Sequence[Mapping[str, Any]], rivals: Sequence[str]) -> Table:
    """The test errors as a rich table."""
    return rich_table(f"{title}: mean squared error on test data", *_body(paper, records, rivals))


def markdown(paper: Paper, result: Mapping[str, Any], rivals: Mapping[str, str]) -> str:
    """The results as Markdown: errors over points, targets, and what was left out."""
    table = grid(*_body(paper, result["measurements"], rivals), 2)
    return page(result, ["Mean squared error on test data, by points trained on:", "", *table], target_lines(result))


def plot(
    paper: Paper, path: Path, result: Mapping[str, Any], rivals: Sequence[str], panel: Sequence[str], axis: str
) -> None:
    """Draw test errors over the number of points, log-log, one panel a task; published curves are dashed."""
    tasks = curves(paper, result["measurements"], rivals)
    figure = new_figure(1.2 + 3.6 * len(tasks), 4.2)
    panels = figure.subplots(1, len(tasks), squeeze=False)[0]
    for axes, (task, found) in zip(panels, tasks.items(), strict=True):
        style = iter(STYLES)
        for one in found:
            if not one.published:
                color, marker = next(style)
            points, means, spreads = _drawn(one)
            axes.errorbar(
                points,
                means,
                yerr=spreads,
                color=color,
                marker="none" if one.published else marker,
                markersize=5.5,
                linestyle="--" if one.published else "-",
                linewidth=2.4 if one is found[0] else 1.4,
                capsize=2.5,
                label=one.name,
            )
        axes.set_xscale("log")
        axes.set_yscale("log")
        tidy(axes, task)
        axes.set_xlabel("points trained on")
    panels[0].set_ylabel("mean squared error on test data")
    save(figure, path, panels[0], 4)


def _drawn(curve: Curve) -> tuple[list[int], list[float], list[list[float]]]:
    """Points, means, and how far the error bars reach down and up; those below zero are cut at half the mean."""
    means = [mean for mean, _ in curve.points.values()]
    spreads = [sd or 0.0 for _, sd in curve.points.values()]
    down = [min(sd, mean / 2) for mean, sd in zip(means, spreads, strict=True)]
    return list(curve.points), means, [down, spreads]


def style(paper: Paper) -> Style:
    """Return how results are checked and shown, next to the values of a paper."""
    return Style(
        check_targets,
        functools.partial(markdown, paper),
        functools.partial(terminal_table, paper),
        target_lines,
        functools.partial(plot, paper),
    )
