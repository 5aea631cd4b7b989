"""Targets of `sparse`: seconds, memory over input and output, and the exponent of time over the number of edges."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from benchmarks.core import plot as _plot, report as _report
from benchmarks.core.style import Style
from benchmarks.speed._power_law import exponent

Record = Mapping[str, Any]
FIRST = "equikit"


@dataclass(frozen=True)
class Bound:
    """A claim about equikit's layer of fifteen maps.

    Attributes:
        quantity: `"seconds"`, `"memory"` over input and output, or `"exponent"` of time over edges.
        direction: which records.
        edges: the number of edges; `None` for all.
        most: the largest value.
        least: the smallest value, of an exponent.
    """

    quantity: str
    direction: str
    edges: int | None
    most: float
    least: float = 0.0


def _value(quantity: str, records: Sequence[Record]) -> float | None:
    if quantity == "exponent":
        different = {record["case"]["edges"] for record in records}
        times = [record["median"] for record in records]
        return exponent([record["case"]["edges"] for record in records], times).value if len(different) > 1 else None
    if quantity == "seconds":
        return max((record["median"] for record in records), default=None)
    return max((record["scores"]["over_input_and_output"] for record in records), default=None)


def check_targets(targets: Iterable[Bound], records: Sequence[Record]) -> list[dict[str, Any]]:
    """Return the value of each target whose cases were run."""
    found = []
    for target in targets:
        own = [
            record
            for record in records
            if record["case"]["layer"] == "15 maps"
            and record["direction"] == target.direction
            and record["rival"] == FIRST
            and "median" in record
            and target.edges in (None, record["case"]["edges"])
        ]
        value = _value(target.quantity, own)
        if value is not None:
            found.append(asdict(target) | {"value": value, "met": target.least <= value <= target.most})
    return found


def target_lines(result: Mapping[str, Any]) -> list[str]:
    """One sentence a target."""
    names = {
        "seconds": "seconds a call",
        "memory": "memory over input and output",
        "exponent": "exponent of time over edges",
    }
    lines = []
    for target in result["targets"]:
        where = "" if target["edges"] is None else f", {target['edges']:,} edges"
        wanted = f"between {target['least']:g} and" if target["least"] else "at most"
        lines.append(
            f"{FIRST}, 15 maps, {names[target['quantity']]}, {target['direction']}{where}: {target['value']:.2f}, "
            f"wanted {wanted} {target['most']:g}, {'met' if target['met'] else 'missed'}"
        )
    return lines


def markdown(result: Mapping[str, Any], rivals: Mapping[str, str]) -> str:
    """The results as Markdown, with the density at which the dense layer is as fast."""
    text = _report.markdown(result, rivals, target_lines)
    return text + "".join(f"\n{line}\n" for line in crossings(result["measurements"]))


def crossings(records: Sequence[Record]) -> list[str]:
    """Return for each direction the smallest share of entries at which the dense layer is faster."""
    lines = []
    for direction in dict.fromkeys(record["direction"] for record in records):
        times: dict[float, dict[str, float]] = {}
        for record in records:
            if record["case"]["layer"] == "dense" and record["direction"] == direction and "median" in record:
                times.setdefault(record["case"]["share"], {})[record["rival"]] = record["median"]
        both = {share: by["dense"] < by[FIRST] for share, by in times.items() if {"dense", FIRST} <= by.keys()}
        if both:
            won = [share for share, faster in both.items() if faster]
            crossing = f"from a share of {min(won):g} on" if won else f"at no share up to {max(both):g}"
            lines.append(f"The dense layer is faster {crossing} ({direction}).")
    return lines


STYLE = Style(check_targets, markdown, _report.terminal_table, target_lines, _plot.plot)
