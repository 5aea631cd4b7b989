"""Results that are one number for each program and direction, by name: table, targets and plot."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from rich.markdown import Markdown

from benchmarks.core.plot import STYLES, log_axis, new_figure, save, tidy
from benchmarks.core.report import grid, label, page
from benchmarks.core.style import Style
from benchmarks.core.targets import rows

Record = Mapping[str, Any]


@dataclass(frozen=True)
class AtMost:
    """A claim about the numbers of a rival.

    Attributes:
        rival, direction: whose numbers.
        most: the largest value.
        over: a direction of the same case and rival by which each number is divided first.
        case: entries that the cases have in common.
    """

    rival: str
    direction: str
    most: float
    over: str | None = None
    case: Mapping[str, Any] = field(default_factory=dict)


def number(record: Record | None) -> float | None:
    """The number of a record."""
    return None if record is None else record.get("scores", {}).get("value")


def _found(target: AtMost, records: Sequence[Record]) -> list[tuple[float, str]]:
    """Return the numbers of a claim, each with its case; infinite if a program was stopped."""
    found = []
    for case, direction, by_rival in rows(records):
        if direction != target.direction or target.rival not in by_rival or target.case.items() - case.items():
            continue
        value = number(by_rival[target.rival])
        if value is not None and target.over is not None:
            below = (by.get(target.rival) for other, way, by in rows(records) if other == case and way == target.over)
            divisor = number(next(below, None))
            value = value / divisor if divisor else None
        found.append((float("inf") if value is None else value, label(case)))
    return found


def check_targets(targets: Iterable[AtMost], records: Sequence[Record]) -> list[dict[str, Any]]:
    """Return the largest number for each claim."""
    checked = []
    for target in targets:
        found = _found(target, records)
        if found:
            value, worst = max(found)
            checked.append(asdict(target) | {"value": value, "worst": worst, "met": value <= target.most})
    return checked


def target_lines(result: Mapping[str, Any]) -> list[str]:
    """One sentence a target."""
    return [
        f"{target['rival']}, {target['direction']}{' over ' + target['over'] if target['over'] else ''}: at most "
        f"{target['value']:.2f} ({target['worst']}), wanted at most {target['most']:g}, "
        + ("met" if target["met"] else "missed")
        for target in result["targets"]
    ]


def table(records: Sequence[Record], rivals: Iterable[str]) -> list[str]:
    """A line for each case, a column for each direction and rival."""
    names, found = list(rivals), rows(records)
    directions = list(dict.fromkeys(direction for _, direction, _ in found))
    cells: dict[str, dict[tuple[str, str], float | None]] = {}
    for case, direction, by_rival in found:
        line = cells.setdefault(label(case), {})
        line |= {(direction, name): number(by_rival.get(name)) for name in names}
    columns = [(direction, name) for direction in directions for name in names]
    columns = [column for column in columns if any(line.get(column) is not None for line in cells.values())]
    body = [
        [name, *("–" if (value := line.get(column)) is None else f"{value:.2f}" for column in columns)]
        for name, line in cells.items()
    ]
    return grid(["case", *(", ".join(column) for column in columns)], body, 1)


def values(unit: str) -> Style:
    """The style of numbers of a unit."""

    def markdown(result: Mapping[str, Any], rivals: Mapping[str, str]) -> str:
        return page(result, [f"{unit}:", "", *table(result["measurements"], rivals)], target_lines(result))

    def terminal_table(title: str, records: Sequence[Record], rivals: Sequence[str]) -> Markdown:
        return Markdown("\n".join([f"**{title}**: {unit}", "", *table(records, rivals)]))

    def plot(path: Path, result: Mapping[str, Any], rivals: Sequence[str], panel: Sequence[str], axis: str) -> None:
        found = rows(result["measurements"])
        names = list(dict.fromkeys(label(case) for case, _, _ in found))
        directions = list(dict.fromkeys(direction for _, direction, _ in found))
        figure = new_figure(2.4 + 3.4 * len(directions), 1.2 + 0.3 * len(names))
        panels = figure.subplots(1, len(directions), squeeze=False, sharey=True)[0]
        for axes, direction in zip(panels, directions, strict=True):
            for place, rival in enumerate(rivals):
                color, marker = STYLES[place % len(STYLES)]
                points = [
                    (value, names.index(label(case)))
                    for case, way, by_rival in found
                    if way == direction and (value := number(by_rival.get(rival))) is not None
                ]
                if points:
                    axes.plot(*zip(*points, strict=True), marker, color=color, markersize=6 - place, label=rival)
            axes.set_yticks(range(len(names)), names, fontsize=7)
            log_axis(axes)
            tidy(axes, direction)
        panels[len(panels) // 2].set_xlabel(unit, fontsize=8)
        panels[0].invert_yaxis()
        save(figure, path, panels[0], len(rivals))

    return Style(check_targets, markdown, terminal_table, target_lines, plot)
