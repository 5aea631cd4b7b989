"""Results of networks trained on tasks: a table a task, targets, and a plot."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Group

from benchmarks.core.bounds import check_targets, number as digits
from benchmarks.core.numbers import with_spread
from benchmarks.core.plot import STYLES, log_axis, new_figure, tidy
from benchmarks.core.report import grid, left_out, rich_table
from benchmarks.core.style import Style

WHOLE = (
    *("parameters", "steps", "graphs", "pairs", "pairs not told apart", "copies told apart"),
    "neurons alive",
    "epochs or trees",
    "evaluations, at most",
)
SECONDS = ("seconds", "compile_seconds")
HIDDEN = ("train_loss",)
STEP = "loss at step "
"""The names of losses during training, which are plotted and not tabulated."""


def heading(name: str) -> str:
    """A score in the head of a table."""
    return {"seconds": "train, s", "compile_seconds": "compile, s"}.get(name, name)


def cell(name: str, value: float | None, spread: float | None = None) -> str:
    """A score in a table, with its standard deviation over seeds."""
    if value is None:
        return "–"
    if name in WHOLE:
        return f"{value:,.0f}"
    return f"{value:.1f}" if name in SECONDS else with_spread(value, spread, digits=2)


def by_task(records: Iterable[Mapping[str, Any]]) -> dict[str, list[Mapping[str, Any]]]:
    """Records of each task, in the order in which they came."""
    found: dict[str, list[Mapping[str, Any]]] = {}
    for record in records:
        found.setdefault(record["case"]["task"], []).append(record)
    return found


def table(records: Sequence[Mapping[str, Any]]) -> tuple[list[str], list[list[str]]]:
    """Head and body of the table of a task."""
    scores = [record.get("scores", {}) for record in records]
    every = dict.fromkeys(name for one in scores for name in one)
    names = [name for name in every if name not in HIDDEN and not name.startswith(STEP)]
    body = []
    for record, score in zip(records, scores, strict=True):
        spread = record.get("spread", {})
        body.append([record["rival"], *(cell(name, score.get(name), spread.get(name)) for name in names)])
    return ["rival", *map(heading, names)], body


def terminal_table(title: str, records: Sequence[Mapping[str, Any]], rivals: Sequence[str]) -> Group:
    """The scores as rich tables."""
    return Group(*(rich_table(f"{title}: {task}", *table(of)) for task, of in by_task(records).items()))


def target_lines(result: Mapping[str, Any]) -> list[str]:
    """One sentence a target."""
    return [
        f"{target['case']['task']}, {target['rival']}, {target['score']}: {digits(target['value'])}, wanted at most "
        f"{digits(target['wanted']) if target['wanted'] else '0'}, " + ("met" if target["met"] else "missed")
        for target in result["targets"]
    ]


def markdown(result: Mapping[str, Any], rivals: Mapping[str, str]) -> str:
    """The results as Markdown."""
    records = result["measurements"]
    lines = [result["circumstances"], ""]
    for task, of in by_task(records).items():
        lines += [f"*{task}*", "", *grid(*table(of), 1), ""]
    targets = [f"- {line}" for line in target_lines(result)]
    lines += ["Targets:", "", *targets] if targets else []
    return "\n".join([*lines, *left_out(records)]) + "\n"


def plot(path: Path, result: Mapping[str, Any], rivals: Sequence[str], panel: Sequence[str], axis: str) -> None:
    """Plot errors, one panel for each task: filled marks as sampled, hollow ones moved; below, losses over steps."""
    every = by_task(result["measurements"])
    tasks = {task: of for task, of in every.items() if _errors(of)}
    curves = {task: found for task, of in every.items() if (found := _curves(of))}
    names = list(rivals)
    rivals = [rival for rival in rivals if any(rival in _errors(of) for of in tasks.values())]
    heights = [0.9 + 0.3 * len(rivals), *([3.0] if curves else [])]
    figure = new_figure(max(1.6 + 2.7 * len(tasks), 3.6 * len(curves)), sum(heights))
    upper, *lower = figure.subfigures(len(heights), 1, height_ratios=heights, squeeze=False)[:, 0]
    panels = upper.subplots(1, max(len(tasks), 1), squeeze=False, sharey=True)[0]
    for axes, (task, of) in zip(panels, tasks.items(), strict=False):
        spreads = {record["rival"]: record.get("spread", {}) for record in of}
        for rival, errors in _errors(of).items():
            color, marker = STYLES[rivals.index(rival) % len(STYLES)]
            row = rivals.index(rival)
            for name, look in (("as drawn", {"markersize": 7}), ("moved", {"markersize": 11, "mfc": "none"})):
                spread = spreads[rival].get(f"error, {name}")
                axes.errorbar(errors[name], row, xerr=spread, fmt=marker, color=color, capsize=2, **look)
        log_axis(axes)
        axes.tick_params(axis="x", labelsize=8)
        tidy(axes, task)
        axes.set_xlabel("error")
    panels[0].set_yticks(range(len(rivals)), rivals)
    panels[0].set_ylim(max(len(rivals), 1) - 0.5, -0.5)
    for part in lower:
        axes = part.subplots(1, len(curves), squeeze=False)[0]
        _draw_curves(axes, curves, names)
        part.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=4, frameon=False)
    figure.savefig(path)


def _draw_curves(
    panels: Iterable[Any], curves: Mapping[str, Mapping[str, Mapping[int, float]]], names: list[str]
) -> None:
    """Losses over steps, a panel a task."""
    for axes, (task, of) in zip(panels, curves.items(), strict=True):
        for rival, losses in of.items():
            color, marker = STYLES[names.index(rival) % len(STYLES)]
            axes.plot([*losses], [*losses.values()], marker=marker, color=color, markersize=3.5, label=rival)
        axes.set_yscale("log")
        tidy(axes, task, which="both")
        axes.set_xlabel("step")
        axes.set_ylabel("loss")


def _curves(records: Iterable[Mapping[str, Any]]) -> dict[str, dict[int, float]]:
    """Rival to steps and the losses there."""
    found = {}
    for record in records:
        scores = record.get("scores") or {}
        losses = {int(name.removeprefix(STEP)): value for name, value in scores.items() if name.startswith(STEP)}
        if losses:
            found[record["rival"]] = losses
    return found


def _errors(records: Iterable[Mapping[str, Any]]) -> dict[str, dict[str, float]]:
    """Rival to the errors as drawn and moved, where both are above zero."""
    found = {}
    for record in records:
        scores = record.get("scores", {})
        errors = {name: scores.get(f"error, {name}", 0.0) for name in ("as drawn", "moved")}
        if min(errors.values()) > 0:
            found[record["rival"]] = errors
    return found


TRAINED = Style(check_targets, markdown, terminal_table, target_lines, plot)
"""How results of networks trained on tasks are shown."""
