"""The report of `accelerator`: fractions of the device's peak, compile times, memory."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.core.plot import STYLES, new_figure, save
from benchmarks.core.report import duration, grid, label
from benchmarks.core.style import of_tables

Record = Mapping[str, Any]
HEAD = ("layer", "direction", "program", "ms", "expected, ms", "GB/s", "of a copy", "of the roof", "compile, s", "MiB")
HEAD += ("× in and out", "error", "kernels")


@dataclass(frozen=True)
class Share:
    """A claim: a layer moves its data at this fraction of the bandwidth of a copy, or more."""

    rival: str
    case: Mapping[str, Any]
    direction: str
    least: float


@dataclass(frozen=True)
class Near:
    """A claim: the expected times of XLA's programs differ from the measured ones by this fraction, or less."""

    direction: str
    most: float


def layers(records: Iterable[Record]) -> list[Record]:
    """Return the records of timed layers."""
    return [record for record in records if record["direction"] != "roof" and "median" in record]


def _near(target: Near, records: Sequence[Record]) -> list[dict[str, Any]]:
    """Return the largest difference of an expected time, over the measured one, if any is expected."""
    found = [
        (abs(record["scores"]["expected_seconds"] / record["median"] - 1), label(record["case"]), record["rival"])
        for record in layers(records)
        if record["direction"] == target.direction and "expected_seconds" in record["scores"]
    ]
    if not found:
        return []
    worst, case, rival = max(found)
    known = {"direction": target.direction, "wanted": target.most, "worst": worst, "where": f"{case}, {rival}"}
    return [known | {"programs": len(found), "met": worst <= target.most}]


def check_targets(targets: Iterable[Share | Near], records: Sequence[Record]) -> list[dict[str, Any]]:
    """Return the fractions for the targets."""
    found = []
    for target in targets:
        if isinstance(target, Near):
            found += _near(target, records)
            continue
        for record in layers(records):
            if (record["rival"], record["direction"]) != (target.rival, target.direction):
                continue
            if target.case.items() <= record["case"].items():
                share = record["scores"]["share_of_copy"]
                found.append(
                    {"rival": target.rival, "case": record["case"], "direction": target.direction}
                    | {"wanted": target.least, "share": share, "met": share >= target.least}
                )
    return found


def _share(target: Mapping[str, Any]) -> str:
    return (
        f"{label(target['case'])}, {target['rival']}, {target['direction']}: {target['share']:.0%} of the bandwidth of "
        f"a copy, wanted {target['wanted']:.0%}"
    )


def _difference(target: Mapping[str, Any]) -> str:
    return (
        f"{target['direction']}: expected times of {target['programs']} programs differ by {target['worst']:.0%} or "
        f"less ({target['where']}), wanted {target['wanted']:.0%}"
    )


def target_lines(result: Mapping[str, Any]) -> list[str]:
    """Write one sentence for each target."""
    return [
        (_difference(target) if "worst" in target else _share(target)) + (", met" if target["met"] else ", missed")
        for target in result["targets"]
    ]


def _roofs(records: Iterable[Record]) -> list[str]:
    lines = []
    for record in records:
        if record["direction"] == "roof" and "scores" in record:
            scores = record["scores"]
            if "bytes_a_second" in scores:
                lines.append(f"- a copy in {record['rival']}: {scores['bytes_a_second'] / 1e9:,.0f} GB/s")
            else:
                side = record["case"]["n"]
                rate = scores["flops_a_second"] / 1e12
                lines.append(f"- a product of {side} × {side} in {record['rival']}: {rate:,.1f} TFLOP/s")
    return lines


def _row(record: Record) -> list[str]:
    scores, seconds = record["scores"], record["median"]
    kinds = [f"{int(n)} {name.removeprefix('kernels: ')}" for name, n in scores.items() if name.startswith("kernels")]
    return [
        label(record["case"]),
        record["direction"],
        record["rival"],
        duration(seconds),
        duration(scores.get("expected_seconds")),
        f"{scores['bytes'] / seconds / 1e9:,.1f}",
        f"{scores['share_of_copy']:.0%}",
        f"{scores['share_of_roof']:.0%}",
        f"{record['trace_seconds'] + record['compile_seconds']:.1f}",
        f"{record['peak_bytes'] / 2**20:,.1f}",
        f"{scores['over_input_and_output']:.1f}",
        f"{record['relative_error']:.0e}".replace("e-0", "e-"),
        ", ".join(kinds),
    ]


def _tables(records: Sequence[Record]) -> list[str]:
    lines = [
        "What the device does at best:",
        "",
        *_roofs(records),
        "",
        "Layers; GB/s are of the bytes that have to be moved, and the roof is the slower of a copy of them and of "
        "products at the rate above; errors are measured on a small layer, against the naive method:",
        "",
    ]
    return lines + grid(HEAD, [_row(record) for record in layers(records)], 3)


def plot(path: Path, result: Mapping[str, Any], rivals: Sequence[str], panel: Sequence[str], axis: str) -> None:
    """Plot the fractions of the bandwidth of a copy, one panel for each direction, and save the plot."""
    records = layers(result["measurements"])
    directions = list(dict.fromkeys(record["direction"] for record in records))
    names = list(dict.fromkeys(label(record["case"]) for record in records))
    figure = new_figure(1.6 + 4.4 * len(directions), 3.8)
    panels = figure.subplots(1, max(len(directions), 1), squeeze=False, sharey=True)[0]
    width = 0.8 / max(len(rivals), 1)
    for axes, direction in zip(panels, directions, strict=True):
        for number, rival in enumerate(rivals):
            shares = {
                label(record["case"]): record["scores"]["share_of_copy"]
                for record in records
                if (record["direction"], record["rival"]) == (direction, rival)
            }
            places = [names.index(name) + (number + 0.5) * width - 0.4 for name in shares]
            axes.bar(places, list(shares.values()), width, color=STYLES[number + 1][0], label=rival)
        axes.axhline(0.6, color="#888888", linewidth=1, linestyle=":")
        axes.set_xticks(range(len(names)), [name.replace(", ", "\n") for name in names], fontsize=7)
        axes.set_ylim(0, max(1.0, axes.get_ylim()[1]))
        axes.spines[["top", "right"]].set_visible(False)
        axes.set_title(direction, fontsize=10, loc="left")
    panels[0].set_ylabel("share of the bandwidth of a copy")
    save(figure, path, panels[0], len(rivals))


STYLE = of_tables(_tables, check_targets=check_targets, target_lines=target_lines, plot=plot)
