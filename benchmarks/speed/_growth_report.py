"""Convert the records of `growth` to exponents, tables, and a plot."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.core.plot import STYLES, new_figure, size_axis, spaced, tidy
from benchmarks.core.report import grid, label
from benchmarks.core.style import of_tables
from benchmarks.speed._power_law import Exponent, exponent

Record = Mapping[str, Any]


@dataclass(frozen=True)
class Bound:
    """A claim about every record of a direction, or every fit.

    Attributes:
        quantity: `"memory"`, relative to the memory of input and output; or `"exponent of memory"` or `"exponent of
            time"`, minus the number of axes of the larger side.
        direction: which records.
        most: the largest value.
    """

    quantity: str
    direction: str
    most: float


BOUNDS = (
    Bound("memory", "forward", 3.0),
    Bound("memory", "training", 6.0),
    *(Bound("exponent of memory", direction, 0.05) for direction in ("forward", "training")),
    *(Bound("exponent of time", direction, 0.2) for direction in ("forward", "training")),
)


def series(records: Iterable[Record]) -> dict[tuple[str, int, int, str], list[Record]]:
    """The records that were timed: layer and direction to records over n."""
    found: dict[tuple[str, int, int, str], list[Record]] = {}
    for record in records:
        if "median" in record:
            case = record["case"]
            found.setdefault((case["group"], case["k"], case["l"], record["direction"]), []).append(record)
    return found


def summary(records: Sequence[Record]) -> dict[str, Any]:
    """The exponents of every layer and direction."""
    fits = []
    for (group, k, l, direction), line in series(records).items():
        n = [record["case"]["n"] for record in line]
        fits.append(
            {"group": group, "k": k, "l": l, "direction": direction, "expected": max(k, l)}
            | {"memory": asdict(exponent(n, [record["peak_bytes"] for record in line]))}
            | {"time": asdict(exponent(n, [record["median"] for record in line]))}
        )
    return {"fits": fits}


def footprints(records: Iterable[Record]) -> list[Record]:
    """Return the records whose time was not measured."""
    return [record for record in records if "scores" in record and "median" not in record]


def _values(quantity: str, direction: str, records: Sequence[Record]) -> list[tuple[float, str]]:
    """Return the values of a claim, with their cases."""
    if quantity == "memory":
        return [
            (record["scores"]["over_input_and_output"], label(record["case"]))
            for record in footprints(records)
            if record["direction"] == direction
        ]
    kind = quantity.split()[-1]
    return [
        (fit[kind]["value"] - fit["expected"], f"{fit['k']} → {fit['l']}, {fit['group']}")
        for fit in summary(records)["fits"]
        if fit["direction"] == direction
    ]


def check_targets(targets: Iterable[Bound], records: Sequence[Record]) -> list[dict[str, Any]]:
    """Return the largest value for each target, and its case."""
    found = []
    for target in targets:
        values = _values(target.quantity, target.direction, records)
        if values:
            value, where = max(values)
            found.append(asdict(target) | {"value": value, "worst": where, "met": value <= target.most})
    return found


def target_lines(result: Mapping[str, Any]) -> list[str]:
    """One sentence a target."""
    lines = []
    for target in result["targets"]:
        what = "memory over input and output" if target["quantity"] == "memory" else f"{target['quantity']} - max(k, l)"
        lines.append(
            f"{what}, {target['direction']}: at most {target['value']:.2f} ({target['worst']}), wanted at most "
            f"{target['most']:g}, {'met' if target['met'] else 'missed'}"
        )
    return lines


def _tables(records: Sequence[Record]) -> list[str]:
    body = [
        [f"{fit['k']} → {fit['l']}", fit["group"], fit["direction"], f"n^{fit['expected']}"]
        + [str(Exponent(**fit[kind])) for kind in ("memory", "time")]
        for fit in summary(records)["fits"]
    ]
    head = ["layer", "group", "direction", "wanted", "exponent of memory", "exponent of processor time"]
    lines = ["Exponents of n ± standard error:", "", *grid(head, body, 4), ""]
    rest: dict[str, dict[str, float]] = {}
    for record in footprints(records):
        ratio = record["scores"]["over_input_and_output"]
        rest.setdefault(label(record["case"]), {})[record["direction"]] = ratio
    ways = ("forward", "training")
    body = [[name, *(f"{by[way]:.2f}" if way in by else "–" for way in ways)] for name, by in rest.items()]
    lines += ["Memory by XLA's account (arguments, results and temporaries) over the memory of input and output:", ""]
    return lines + grid(["layer", "forward", "training"], body, 1)


def plot(path: Path, result: Mapping[str, Any], rivals: Sequence[str], panel: Sequence[str], axis: str) -> None:
    """Plot time and memory over n, a panel for each number of axes of the larger side, and save the plot."""
    lines = series(result["measurements"])
    orders = sorted({max(k, l) for _, k, l, _ in lines})
    kinds = (("ms of processor time", "median", 1e3), ("MiB", "peak_bytes", 2.0**-20))
    names = sorted({key[:3] for key in lines}, key=lambda key: (max(key[1:]), key))
    figure = new_figure(1.2 + 3.8 * len(orders), 6.6)
    panels = figure.subplots(len(kinds), len(orders), squeeze=False, sharex="col")
    for row, (unit, entry, factor) in enumerate(kinds):
        for column, order in enumerate(orders):
            axes = panels[row][column]
            inside = [name for name in names if max(name[1:]) == order]
            for (group, k, l, direction), records in lines.items():
                if max(k, l) != order:
                    continue
                color, marker = STYLES[inside.index((group, k, l)) % len(STYLES)]
                n = [record["case"]["n"] for record in records]
                y = [record[entry] * factor for record in records]
                dashed = "--" if direction == "training" else "-"
                text = f"{k} → {l}, {group}" if direction == "forward" else None
                axes.plot(n, y, dashed, color=color, marker=marker, markersize=4.5, linewidth=1.4, label=text)
            n = sorted({record["case"]["n"] for key, one in lines.items() if max(key[1:3]) == order for record in one})
            low = min(axes.get_ylim()[0], *(line.get_ydata()[0] for line in axes.get_lines()))
            slope = [low * (size / n[0]) ** order for size in n]
            axes.plot(n, slope, ":", color="#888888", linewidth=1.2, label=f"$n^{order}$")
            size_axis(axes, spaced(n)[:: 2 if order == 1 else 1], base=10)
            axes.set_yscale("log")
            tidy(axes, "forward —, training - -" if row == 0 else "", 9)
            if row == 0:
                axes.legend(frameon=False, fontsize=7)
            else:
                axes.set_xlabel(axis)
            if column == 0:
                axes.set_ylabel(unit)
    figure.savefig(path)


STYLE = of_tables(_tables, check_targets=check_targets, target_lines=target_lines, plot=plot, summary=summary)
