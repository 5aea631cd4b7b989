"""The results of the benchmark `symmetrization_cost`: a table for each kind of input, and a plot."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Group

from benchmarks.core.plot import STYLES, log_axis, new_figure, tidy
from benchmarks.core.report import costs, duration, grid, label, page, rich_table, times_as_long
from benchmarks.core.style import Style
from benchmarks.core.targets import rows

BARE = "bare"
DIRECTIONS = ("forward", "forward+backward")


@dataclass(frozen=True)
class Most:
    """A claim: forward, with these inputs, a rival takes at most `factor` times as long as the network alone."""

    rival: str
    case: Mapping[str, Any]
    factor: float


Records = Mapping[str, Mapping[str, Mapping[str, Any]]]
"""Direction to rival to record."""


def by_case(records: Iterable[Mapping[str, Any]]) -> list[tuple[Mapping[str, Any], Records]]:
    """The records of each case, with none in a direction that was not run."""
    found: dict[str, tuple[Mapping[str, Any], dict[str, Mapping[str, Mapping[str, Any]]]]] = {}
    for case, direction, by_rival in rows(records):
        found.setdefault(label(case), (case, {each: {} for each in DIRECTIONS}))[1][direction] = by_rival
    return list(found.values())


def measured(of: Records) -> list[str]:
    """The rivals that were measured in any direction."""
    return list(dict.fromkeys(rival for by_rival in of.values() for rival in by_rival))


def ratio(of: Records, direction: str, rival: str) -> float | None:
    """How many times as long as the network alone."""
    base, median = (of[direction].get(name, {}).get("median") for name in (BARE, rival))
    return median / base if base and median else None


def table(of: Records) -> tuple[list[str], list[list[str]]]:
    """Head and body of the table of a case."""
    head, body = ["", *DIRECTIONS, "compile, s / MiB", "with gradients, compile, s / MiB"], []
    for rival in measured(of):
        cells = [rival]
        for direction in DIRECTIONS:
            found = None if rival == BARE else ratio(of, direction, rival)
            median = duration(of[direction].get(rival, {}).get("median"))
            cells.append(median + (f" ({times_as_long(found)})" if found else ""))
        body.append([*cells, *(costs(of[direction].get(rival)) for direction in DIRECTIONS)])
    return head, body


def check(targets: Sequence[Most], records: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The targets whose cases were run."""
    found = []
    for target in targets:
        for case, of in by_case(records):
            if not target.case.items() - case.items():
                value = ratio(of, DIRECTIONS[0], target.rival)
                found.append(asdict(target) | {"ratio": value, "met": value is not None and value <= target.factor})
    return found


def lines(result: Mapping[str, Any]) -> list[str]:
    """One sentence a target."""
    return [
        f"{label(target['case'])}, forward, {target['rival']} over {BARE}: "
        + ("not measured" if target["ratio"] is None else times_as_long(target["ratio"]))
        + f", wanted at most {target['factor']:g}x, {'met' if target['met'] else 'missed'}"
        for target in result["targets"]
    ]


def terminal_table(title: str, records: Sequence[Mapping[str, Any]], rivals: Sequence[str]) -> Group:
    """The results as rich tables."""
    about = f"median ms, and the ratio to {BARE}"
    return Group(*(rich_table(f"{title}, {label(case)}: {about}", *table(of)) for case, of in by_case(records)))


def markdown(result: Mapping[str, Any], rivals: Mapping[str, str]) -> str:
    """The results as Markdown."""
    tables = [f"Median ms of a call, and how many times as long as {BARE}; compilation:"]
    for case, of in by_case(result["measurements"]):
        tables += ["", f"*{label(case)}*", "", *grid(*table(of), 1)]
    return page(result, tables, lines(result))


def plot(path: Path, result: Mapping[str, Any], rivals: Sequence[str], panel: Sequence[str], axis: str) -> None:
    """Draw ratios to the network alone, a panel a case: full marks forward, hollow ones with gradients."""
    cases = by_case(result["measurements"])
    counts = [len(measured(of)) for _, of in cases]
    figure = new_figure(7.5, 1.0 * len(cases) + 0.27 * sum(counts))
    panels = figure.subplots(len(cases), 1, squeeze=False, sharex=True, height_ratios=counts)[:, 0]
    for axes, (case, of) in zip(panels, cases, strict=True):
        names = measured(of)
        for row, rival in enumerate(names):
            color, marker = STYLES[row % len(STYLES)]
            for direction, filled in zip(DIRECTIONS, (True, False), strict=True):
                found = ratio(of, direction, rival)
                if found:
                    face = color if filled else "none"
                    axes.plot(found, row, marker, color=color, markersize=7 if filled else 10, markerfacecolor=face)
        axes.set_yticks(range(len(names)), names)
        axes.set_ylim(len(names) - 0.5, -0.5)
        log_axis(axes)
        tidy(axes, label(case), axis="x")
    panels[-1].set_xlabel(f"times as long as {BARE}")
    figure.savefig(path)


STYLE = Style(check, markdown, terminal_table, lines, plot)
