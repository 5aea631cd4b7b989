"""Results that say whether faults are found and located: table, targets and a plot."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table

from benchmarks.core.measurement import Measurement
from benchmarks.core.plot import new_figure, save, tidy
from benchmarks.core.report import grid, page, rich_table
from benchmarks.core.style import Style

Record = Mapping[str, Any]
HEADER = ["model", "framework", "dtype", "found", "blamed", "at fault", "error", "rounding"]


@dataclass
class Judged(Measurement):
    """What the audit says about a model: `scores` has found, located, error and rounding.

    Attributes:
        blamed: the module that the audit names.
        fault: the module at fault.
    """

    blamed: str | None = None
    fault: str | None = None


@dataclass(frozen=True)
class Count:
    """A claim about the models of one framework and dtype.

    Attributes:
        direction: `"fault"` or `"correct"`.
        framework: the framework.
        least: the number of faults that are found and located, at least.
        most: the number of correct models that are blamed, at most.
    """

    direction: str
    framework: str
    least: int = 0
    most: int = 0


def judged(records: Iterable[Record]) -> list[Record]:
    """Return the records with an answer."""
    return [record for record in records if "scores" in record]


def check_targets(targets: Iterable[Count], records: Sequence[Record]) -> list[dict[str, Any]]:
    """Count the faults that are found and located in every seed, and the correct models that are blamed in any."""
    checked = []
    for target in targets:
        mine = [
            r
            for r in judged(records)
            if r["direction"] == target.direction
            and r["case"]["framework"] == target.framework
            and not r["case"].get("package")
        ]
        counts: dict[Any, list[int]] = {}
        for record in mine:
            scores = record["scores"]  # shares of the seeds
            counted = scores["located"] == 1 if target.direction == "fault" else scores["found"] > 0
            counts.setdefault(record["case"]["dtype"], []).append(int(counted))
        if counts:
            sums = [sum(found) for found in counts.values()]
            value = min(sums) if target.direction == "fault" else max(sums)
            met = value >= target.least if target.direction == "fault" else value <= target.most
            of = max(len(found) for found in counts.values())
            checked.append(asdict(target) | {"value": value, "of": of, "met": met})
    return checked


def target_lines(result: Mapping[str, Any]) -> list[str]:
    """One sentence a target."""
    lines = []
    for one in result["targets"]:
        met = "met" if one["met"] else "missed"
        if one["direction"] == "fault":
            text = f"{one['value']} of {one['of']} faults found and located, wanted at least {one['least']}, {met}"
        else:
            text = f"{one['value']} of {one['of']} correct models blamed, wanted at most {one['most']}, {met}"
        lines.append(f"{one['framework']}: {text}")
    return lines


def number(value: float) -> str:
    """An error with two digits."""
    return f"{value:.1e}".replace("e-0", "e-")


def _body(records: Sequence[Record]) -> list[list[str]]:
    groups: dict[tuple[str, ...], list[Record]] = {}
    for record in judged(records):
        case = record["case"]
        groups.setdefault((case["model"], case["framework"], case["dtype"]), []).append(record)
    body = []
    for key, mine in groups.items():
        seeds = [r.get("seeds", 1) for r in mine]
        found = sum(round(r["scores"]["found"] * count) for r, count in zip(mine, seeds, strict=True))
        blamed = ", ".join(dict.fromkeys(r.get("blamed") or "–" for r in mine))
        means = [number(float(np.mean([r["scores"][name] for r in mine]))) for name in ("error", "rounding")]
        body.append([*key, f"{found} of {sum(seeds)}", blamed, mine[0].get("fault") or "–", *means])
    return body


def terminal_table(title: str, records: Sequence[Record], rivals: Sequence[str]) -> Table:
    """The answers as a rich table."""
    return rich_table(title, HEADER, _body(records))


def markdown(result: Mapping[str, Any], rivals: Mapping[str, str]) -> str:
    """The answers as Markdown, and targets."""
    table = grid(HEADER, _body(result["measurements"]), 3)
    head = ["Found counts seeds; errors and the part that rounding explains are normalized, and means over the seeds:"]
    return page(result, [*head, "", *table], target_lines(result), "Targets:")


def plot(path: Path, result: Mapping[str, Any], rivals: Sequence[str], panel: Sequence[str], axis: str) -> None:
    """Draw the error of each model over what rounding explains."""
    records = judged(result["measurements"])
    figure = new_figure(7, 3.6)
    axes = figure.subplots(1, 1)
    kinds = [("fault", "#d55e00", "faults"), ("correct", "#1579bb", "correct models")]
    for direction, color, name in kinds:
        mine = [r["scores"] for r in records if r["direction"] == direction]
        rounding = [max(s["rounding"], 1e-10) for s in mine]
        axes.plot(rounding, [max(s["error"], 1e-10) for s in mine], "o", color=color, markersize=4, label=name)
    axes.plot([1e-8, 1], [1e-8, 1], color="#888888", linewidth=0.8)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel("error that rounding explains")
    axes.set_ylabel("error")
    tidy(axes, "audits of models with and without faults")
    save(figure, path, axes, 2)


ANSWERS = Style(check_targets, markdown, terminal_table, target_lines, plot)
