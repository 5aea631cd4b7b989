"""Results of `scaling`: bytes that devices exchange and expected efficiency, as tables and a plot."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.table import Table

from benchmarks.core import bounds
from benchmarks.core.bounds import Bound
from benchmarks.core.plot import STYLES, new_figure, save, size_axis, tidy
from benchmarks.core.report import grid, page, rich_table
from benchmarks.core.style import Style
from benchmarks.speed._scaling_model import MACHINES
from equikit.plans.targets import KINDS


def compiled(records: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The records of programs that could be compiled."""
    return [record for record in records if "scores" in record]


def check_targets(targets: Iterable[Bound], records: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The scores of the targets whose programs were compiled."""
    return bounds.check_targets(targets, compiled(records))


def target_lines(result: Mapping[str, Any]) -> list[str]:
    """One sentence a target."""
    lines = []
    for target in result["targets"]:
        if target["score"] == "beyond_weights":
            text = f"{target['value']:,.0f} bytes exchanged beside the gradient, wanted at most {target['wanted']:,.0f}"
        else:
            machine = target["score"].removeprefix("loss ")
            text = f"efficiency {1 - target['value']:.1%} on {machine}, wanted at least {1 - target['wanted']:.0%}"
        where = f"{target['rival']}, {target['case']['devices']} devices"
        lines.append(f"{where}: {text}, " + ("met" if target["met"] else "missed"))
    return lines


def megabytes(value: float) -> str:
    """Bytes as MB with three digits; nothing is a dash."""
    mb = value / 1e6
    return "–" if not value else f"{mb:,.0f}" if mb >= 100 else f"{mb:.1f}" if mb >= 10 else f"{mb:.2f}"


HEAD = ("layout", "devices", "GFLOP", "memory, MB", *KINDS, "sent, MB", "collectives")
EXPECTED = ("layout", "devices", *(f"{name}, {what}" for name in MACHINES for what in ("µs", "efficiency")))


def rows(records: Sequence[Mapping[str, Any]], rivals: Sequence[str]) -> tuple[list[list[str]], list[list[str]]]:
    """Return the cells of both tables: counted and expected numbers."""
    counted, expected = [], []
    for rival in rivals:
        for record in (record for record in compiled(records) if record["rival"] == rival):
            s, devices = record["scores"], str(record["case"]["devices"])
            moved = [megabytes(s[f"moved {kind}"]) for kind in KINDS]
            counted.append([rival, devices, f"{s['flops'] / 1e9:.2f}", megabytes(s["bytes"]), *moved])
            counted[-1] += [megabytes(s["moved"]), f"{s['collectives']:.0f}"]
            expected.append([rival, devices])
            for name in MACHINES:
                expected[-1] += [f"{s[f'us {name}']:,.0f}", f"{s[f'efficiency {name}']:.1%}"]
    return counted, expected


def markdown(result: Mapping[str, Any], rivals: Mapping[str, str]) -> str:
    """The results as Markdown."""
    counted, expected = rows(result["measurements"], list(rivals))
    tables = ["Of one device, in one step; bytes sent by kind of collective, in MB:", "", *grid(HEAD, counted, 1), ""]
    tables += ["Expected time of a step, and efficiency relative to one device:", "", *grid(EXPECTED, expected, 1)]
    return page(result, tables, target_lines(result))


def terminal_table(title: str, records: Sequence[Mapping[str, Any]], rivals: Sequence[str]) -> Table:
    """Return bytes sent, expected times and efficiencies as a rich table."""
    body = [[*one[:2], one[-2], *other[2:]] for one, other in zip(*rows(records, rivals), strict=True)]
    about = f"{title}: MB sent by a device in a step, and expected time and efficiency"
    return rich_table(about, ["layout", "devices", "sent, MB", *EXPECTED[2:]], body)


def plot(path: Path, result: Mapping[str, Any], rivals: Sequence[str], panel: Sequence[str], axis: str) -> None:
    """Draw bytes sent and expected efficiencies over the number of devices, and save them."""
    from matplotlib.ticker import PercentFormatter

    records = [record for record in compiled(result["measurements"]) if record["case"][axis] > 1]
    figure = new_figure(1.2 + 3.4 * (1 + len(MACHINES)), 3.8)
    panels = figure.subplots(1, 1 + len(MACHINES))
    for place, rival in enumerate(rivals):
        points = [record for record in records if record["rival"] == rival]
        devices = [record["case"][axis] for record in points]
        color, marker = STYLES[place]
        style = {"color": color, "marker": marker, "linewidth": 2.4 if place == 0 else 1.4, "label": rival}
        panels[0].plot(devices, [record["scores"]["moved"] / 1e6 for record in points], **style)
        for axes, name in zip(panels[1:], MACHINES, strict=True):
            axes.plot(devices, [record["scores"][f"efficiency {name}"] for record in points], **style)
    counts = sorted({record["case"][axis] for record in records})
    for axes, title in zip(
        panels, ["MB that a device sends", *(f"efficiency, {name}" for name in MACHINES)], strict=True
    ):
        size_axis(axes, counts)
        tidy(axes, title)
        axes.set_xlabel(axis)
    panels[0].set_yscale("log")
    for axes in panels[1:]:
        axes.set_ylim(0, 1.05)
        axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    save(figure, path, panels[0], len(rivals))


SCALING = Style(check_targets, markdown, terminal_table, target_lines, plot)
