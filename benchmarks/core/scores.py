"""Results that are errors over the size of a training set: table, targets and plot."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.table import Table

from benchmarks.core.plot import STYLES
from benchmarks.core.report import circumstances, grid, left_out
from benchmarks.core.style import Style

COSTS = (
    ("parameters", "parameters", "{:,.0f}"),
    ("build_seconds", "build, s", "{:.2g}"),
    ("compile_seconds", "compile, s", "{:.1f}"),
    ("step_ms", "step, ms", "{:.2g}"),
    ("steps", "steps", "{:,.0f}"),
)


@dataclass(frozen=True)
class Bound:
    """A claim: in this case the score of `rival` is at most `most`."""

    rival: str
    case: Mapping[str, Any]
    score: str
    most: float


def check_targets(targets: Iterable[Bound], records: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The scores of the targets whose cases were run."""
    found = []
    for target in targets:
        for record in records:
            if record["rival"] != target.rival or target.case.items() - record["case"].items():
                continue
            value = record.get("scores", {}).get(target.score)
            found.append(
                {
                    "rival": target.rival,
                    "case": record["case"],
                    "score": target.score,
                    "wanted": target.most,
                    "value": value,
                    "met": value is not None and value <= target.most,
                }
            )
    return found


def number(value: float | None) -> str:
    """A score with two digits."""
    if value is None:
        return "–"
    return f"{value:.2g}" if value >= 1e-3 else f"{value:.1e}".replace("e-0", "e-")


def target_lines(result: Mapping[str, Any]) -> list[str]:
    """One sentence a target."""
    return [
        f"{target['case']['task']}, {target['case']['train']:,} points, {target['rival']}, "
        f"{target['score'].replace('_', ' ')}: {number(target['value'])}, wanted at most {target['wanted']:g}, "
        + ("met" if target["met"] else "missed")
        for target in result["targets"]
    ]


def _tasks(records: Iterable[Mapping[str, Any]]) -> dict[str, dict[str, dict[int, Mapping[str, Any]]]]:
    """Task to rival to number of points to record."""
    found: dict[str, dict[str, dict[int, Mapping[str, Any]]]] = {}
    for record in records:
        by_rival = found.setdefault(record["case"]["task"], {})
        by_rival.setdefault(record["rival"], {})[record["case"]["train"]] = record
    return found


def _score(record: Mapping[str, Any] | None, name: str) -> float | None:
    return None if record is None else record.get("scores", {}).get(name)


def _sizes(records: Iterable[Mapping[str, Any]]) -> list[int]:
    return sorted({record["case"]["train"] for record in records})


def terminal_table(title: str, records: Sequence[Mapping[str, Any]], rivals: Sequence[str]) -> Table:
    """The test errors as a rich table."""
    sizes = _sizes(records)
    table = Table(title=f"{title}: mean squared error on test data", title_justify="left")
    table.add_column("task", no_wrap=True)
    table.add_column("rival", no_wrap=True)
    for size in sizes:
        table.add_column(f"{size:,}", justify="right")
    table.add_column("step, ms", justify="right")
    for task, by_rival in _tasks(records).items():
        for rival in rivals:
            found = by_rival.get(rival, {})
            errors = [number(_score(found.get(size), "test_mse")) for size in sizes]
            table.add_row(task, rival, *errors, number(_score(found.get(sizes[-1]), "step_ms")))
    return table


def markdown(result: Mapping[str, Any], rivals: Mapping[str, str]) -> str:
    """The results as Markdown: errors over points, targets, what each rival costs, and what was left out."""
    records = result["measurements"]
    sizes, tasks = _sizes(records), _tasks(records)
    lines = [circumstances(result), "", "Mean squared error on test data, by points trained on:", ""]
    body, costs = [], []
    for task, by_rival in tasks.items():
        for rival in rivals:
            found = by_rival.get(rival, {})
            body.append([task, rival, *(number(_score(found.get(size), "test_mse")) for size in sizes)])
            last = {name: _score(found.get(sizes[-1]), name) for name, _, _ in COSTS}
            costs.append(
                [task, rival, *(text.format(v) if (v := last[name]) is not None else "–" for name, _, text in COSTS)]
            )
        variance = next((v for by in by_rival.values() for r in by.values() if (v := _score(r, "variance"))), None)
        body.append([task, "*variance of the target*", *[number(variance)] * len(sizes)])
    lines += [*grid(["task", "rival", *(f"{size:,}" for size in sizes)], body, 2), "", "Targets:", ""]
    lines += [f"- {line}" for line in target_lines(result)] or ["- none of their cases was run"]
    lines += ["", f"What they cost, at {sizes[-1]:,} points:", ""]
    lines += grid(["task", "rival", *(title for _, title, _ in COSTS)], costs, 2)
    return "\n".join([*lines, *left_out(records)]) + "\n"


def plot(path: Path, result: Mapping[str, Any], rivals: Sequence[str], panel: Sequence[str], axis: str) -> None:
    """Draw test errors over the number of points, log-log, one panel a task, and save them."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    tasks = _tasks(result["measurements"])
    figure = Figure(figsize=(1.2 + 3.6 * len(tasks), 4.0), dpi=130, layout="constrained")
    FigureCanvasAgg(figure)
    grid_of_axes = figure.subplots(1, len(tasks), squeeze=False)[0]
    for axes, (task, by_rival) in zip(grid_of_axes, tasks.items(), strict=True):
        for place, rival in enumerate(rivals):
            color, marker = STYLES[place % len(STYLES)]
            found = sorted((size, _score(record, "test_mse")) for size, record in by_rival.get(rival, {}).items())
            shown = [(size, error) for size, error in found if error is not None]
            first = place == 0
            axes.plot(
                *(zip(*shown, strict=True) if shown else ((), ())),
                color=color,
                marker=marker,
                markersize=5.5,
                linewidth=2.4 if first else 1.4,
                zorder=4 if first else 3,
                label=rival,
            )
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.grid(True, which="major", color="#dddddd", linewidth=0.7)
        axes.spines[["top", "right"]].set_visible(False)
        axes.set_title(task, fontsize=10, loc="left")
        axes.set_xlabel("points trained on")
    grid_of_axes[0].set_ylabel("mean squared error on test data")
    handles = grid_of_axes[0].get_legend_handles_labels()
    figure.legend(*handles, loc="outside lower center", ncols=len(rivals), frameon=False)
    figure.savefig(path)


SCORES = Style(check_targets, markdown, terminal_table, target_lines, plot)
