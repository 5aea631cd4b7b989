"""The report of `target_rates`: counted times of both methods, the fitted rates, and what they choose."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.core.plot import STYLES, log_axis, new_figure, save, tidy
from benchmarks.core.report import grid
from benchmarks.core.style import of_tables
from benchmarks.core.targets import rows
from benchmarks.speed._target_rates_fit import counted_seconds, summary, work_of
from benchmarks.speed._targets_report import NAMES
from equikit.plans.costs._rates import Rates

Record = Mapping[str, Any]
METHODS = ("factored", "dense")
HEAD = ("layer", *(f"{method}, {what}" for method in METHODS for what in ("kernels", "µs counted", "µs by rates")))


def predicted(record: Record, found: Mapping[str, Any]) -> float:
    """Return the time of a program by the fitted rates."""
    return work_of(record).seconds(Rates(**found[record["case"]["target"]]["rates"]))


def both(records: Sequence[Record]) -> list[tuple[Record, Mapping[str, Record]]]:
    """Return the cases that were compiled with both methods, and their records."""
    measured = [record for record in records if "scores" in record]
    return [(case, by_rival) for case, _, by_rival in rows(measured) if by_rival.keys() >= set(METHODS)]


def check_targets(targets: Sequence[float], records: Sequence[Record]) -> list[dict[str, Any]]:
    """Return the counted time of the chosen method over the best for each case; `targets` has the largest ratio."""
    found, checked = summary(records), []
    for case, by_rival in both(records):
        counted = {method: counted_seconds(by_rival[method]) for method in METHODS}
        chosen = min(METHODS, key=lambda method: predicted(by_rival[method], found))
        ratio = counted[chosen] / min(counted.values())
        checked.append(
            {"case": case, "chosen": chosen, "ratio": ratio, "wanted": targets[0], "met": ratio <= targets[0]}
        )
    return checked


def target_lines(result: Mapping[str, Any]) -> list[str]:
    """Write sentences on the choice, and the rates."""
    every = result["targets"]
    lines = []
    for target in dict.fromkeys(one["case"]["target"] for one in every):
        of = [one for one in every if one["case"]["target"] == target]
        met = sum(one["met"] for one in of)
        lines.append(
            f"{NAMES[target]}: the choice is within {of[0]['wanted']:g}x of the best in {met} of {len(of)} cases"
        )
        lines += [
            f"{NAMES[target]}, {name(one['case'])}: {one['chosen']} takes {one['ratio']:.2f}x as long, missed"
            for one in of
            if not one["met"]
        ]
    for target, found in result["summary"].items():
        counts = ", ".join(f"{key} {value:.2g}" for key, value in found["counts"].items())
        lines.append(f"{NAMES[target]}, kernels, bytes and FLOPs of a unit of work: {counts}")
        prices = ", ".join(f"{key} {value:.1e}" for key, value in found["rates"].items())
        lines.append(f"{NAMES[target]}, rates: {prices}")
    return lines


def name(case: Record) -> str:
    """The layer, with its batch."""
    return f"{case['layer']}, batch {case['batch']}"


def tables(records: Sequence[Record]) -> list[str]:
    """Return a table for each target."""
    found, lines, every = summary(records), [], both(records)
    for target in dict.fromkeys(case["target"] for case, _ in every):
        body = []
        for case, by_rival in every:
            if case["target"] == target:
                cells = [name(case)]
                for method in METHODS:
                    record = by_rival[method]
                    seconds = (counted_seconds(record), predicted(record, found))
                    cells += [f"{record['scores']['kernels']:.0f}", *(f"{1e6 * one:.3g}" for one in seconds)]
                body.append(cells)
        lines += [f"{NAMES[target]}:", "", *grid(HEAD, body, 1), ""]
    return lines[:-1]


def plot(path: Path, result: Mapping[str, Any], rivals: Sequence[str], panel: Sequence[str], axis: str) -> None:
    """Plot times by the rates over counted times, a panel for each target, and save the plot."""
    records, found = [record for record in result["measurements"] if "scores" in record], result["summary"]
    figure = new_figure(1.2 + 3.6 * len(found), 3.8)
    panels = figure.subplots(1, max(len(found), 1), squeeze=False)[0]
    for axes, target in zip(panels, found, strict=False):  # without counts one panel is empty
        limits = []
        for place, method in enumerate(METHODS):
            of = [r for r in records if (r["case"]["target"], r["rival"]) == (target, method)]
            points = [(1e6 * counted_seconds(record), 1e6 * predicted(record, found)) for record in of]
            color, marker = STYLES[place]
            axes.plot(*zip(*points, strict=True), marker, color=color, markersize=5, label=method)
            limits += [value for point in points for value in point]
        axes.plot([min(limits), max(limits)], [min(limits), max(limits)], color="#888888", linewidth=1, linestyle=":")
        log_axis(axes)
        axes.set_yscale("log")
        tidy(axes, NAMES[target])
        axes.set_xlabel("µs by counts", fontsize=8)
    panels[0].set_ylabel("µs by rates", fontsize=8)
    save(figure, path, panels[0], 2)


STYLE = of_tables(tables, check_targets=check_targets, target_lines=target_lines, plot=plot, summary=summary)
