"""Results that are errors of a computation: table, targets and plot."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.table import Table

from benchmarks.core.plot import STYLES, new_figure, save, tidy
from benchmarks.core.report import grid, label, page, rich_table
from benchmarks.core.style import Style
from benchmarks.core.targets import rows


@dataclass(frozen=True)
class Most:
    """A claim: in every case the error of `rival` is at most `most`, as root mean square."""

    rival: str
    direction: str
    most: float


def check_targets(targets: Iterable[Most], records: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The largest error that each target is about."""
    found = []
    for target in targets:
        errors = [
            (record["scores"]["rms"], label(record["case"]))
            for record in records
            if (record["rival"], record["direction"]) == (target.rival, target.direction) and "scores" in record
        ]
        if errors:
            value, where = max(errors)
            found.append(
                {
                    "rival": target.rival,
                    "direction": target.direction,
                    "wanted": target.most,
                    "value": value,
                    "worst": where,
                    "met": value <= target.most,
                }
            )
    return found


def number(value: float) -> str:
    """An error with two digits."""
    return f"{value:.1e}".replace("e-0", "e-")


def target_lines(result: Mapping[str, Any]) -> list[str]:
    """One sentence a target."""
    return [
        f"{target['rival']}, {target['direction']}: at most {number(target['value'])} ({target['worst']}), wanted at "
        f"most {number(target['wanted'])}, " + ("met" if target["met"] else "missed")
        for target in result["targets"]
    ]


def _body(records: Sequence[Mapping[str, Any]], rivals: Iterable[str]) -> list[list[str]]:
    body = []
    for case, direction, by_rival in rows(records):
        scores = [by_rival.get(rival, {}).get("scores") for rival in rivals]
        cells = ["–" if s is None else f"{number(s['rms'])} / {number(s['largest'])}" for s in scores]
        body.append([label(case), direction, *cells])
    return body


def terminal_table(title: str, records: Sequence[Mapping[str, Any]], rivals: Sequence[str]) -> Table:
    """The errors as a rich table."""
    return rich_table(f"{title}: root mean square / largest", ["case", "what", *rivals], _body(records, rivals))


def markdown(result: Mapping[str, Any], rivals: Mapping[str, str]) -> str:
    """The results as Markdown: errors, and targets."""
    table = grid(["case", "what", *rivals], _body(result["measurements"], rivals), 2)
    tables = ["Root of the mean square of the error / largest error, both relative:", "", *table]
    return page(result, tables, target_lines(result), "Targets, for the root of the mean square:")


def plot(path: Path, result: Mapping[str, Any], rivals: Sequence[str], panel: Sequence[str], axis: str) -> None:
    """Draw the root mean square errors of all cases, one panel a result, and save them."""
    found = rows(record for record in result["measurements"] if "scores" in record)
    directions = list(dict.fromkeys(direction for _, direction, _ in found))
    names = list(dict.fromkeys(f"{case['k']} → {case['l']}\n{case['group']}" for case, _, _ in found))
    figure = new_figure(1.4 + 4.2 * len(directions), 3.6)
    panels = figure.subplots(1, len(directions), squeeze=False, sharey=True)[0]
    for axes, direction in zip(panels, directions, strict=True):
        for place, rival in enumerate(rivals):
            color, marker = STYLES[place % len(STYLES)]
            of = [by[rival]["scores"]["rms"] for _, where, by in found if where == direction and rival in by]
            # On some machines precision changes nothing: hollow marks do not hide the mark below.
            filled = "none" if "," in rival else color
            axes.plot(
                range(len(of)), of, marker, color=color, markerfacecolor=filled, markersize=7 - place % 2, label=rival
            )
        axes.set_yscale("log")
        axes.set_xticks(range(len(names)), names, fontsize=7)
        tidy(axes, direction)
    panels[0].set_ylabel("error, root mean square, relative")
    save(figure, path, panels[0], len(rivals))


ERRORS = Style(check_targets, markdown, terminal_table, target_lines, plot)
