"""Results that are counts of four kinds, by method and family: table, targets and a plot."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from rich.table import Table

from benchmarks.accuracy._hard_errors import KINDS
from benchmarks.core.measurement import Measurement
from benchmarks.core.plot import new_figure
from benchmarks.core.report import grid, left_out, rich_table
from benchmarks.core.style import Style

Record = Mapping[str, Any]
COLORS = {
    "right": (1.0, 1.0, 1.0),
    "reported": (0.75, 0.85, 0.95),
    "needless": (0.95, 0.75, 0.1),
    "silent": (0.9, 0, 0.1),
}
"""The color of each kind; small fractions of undesired kinds are enlarged."""


@dataclass
class Counted(Measurement):
    """Counts of inputs of each kind, in `scores`, and the names of undesired ones."""

    silent: list[str] = field(default_factory=list)
    needless: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Most:
    """A claim: at most a fraction of the inputs of a rival is of one kind.

    Attributes:
        rival, direction: whose inputs, and "outputs", "forces" or "doubt".
        kind: one of `KINDS`, "off", or a score of doubts.
        most: the largest fraction, or number, of them.
        family: a family of random inputs; by default all lists of inputs, in both dtypes.
    """

    rival: str
    direction: str
    kind: str
    most: float
    family: str | None = None


def counted(records: Iterable[Record]) -> list[Record]:
    """Return the records with scores."""
    return [record for record in records if "scores" in record]


def _value(target: Most, records: Sequence[Record]) -> tuple[float, float] | None:
    """Return the value for a claim, and the number of inputs."""
    about = [
        record["scores"]
        for record in counted(records)
        if (record["rival"], record["direction"]) == (target.rival, target.direction)
        and (record["case"]["family"] == target.family if target.family else not record["case"]["random"])
    ]
    if not about:
        return None
    inputs = sum(scores["inputs"] for scores in about)
    if target.direction == "doubt":
        return about[0][target.kind], inputs
    kinds = ("reported", "needless") if target.kind == "reported" else (target.kind,)
    count = sum(scores[kind] for scores in about for kind in kinds)
    return (count / inputs if target.family else count), inputs


def check_targets(targets: Iterable[Most], records: Sequence[Record]) -> list[dict[str, Any]]:
    """The value of each claim whose inputs were run."""
    checked = []
    for target in targets:
        found = _value(target, records)
        if found is not None:
            value, inputs = found
            checked.append(asdict(target) | {"value": value, "inputs": inputs, "met": value <= target.most})
    return checked


def target_lines(result: Mapping[str, Any]) -> list[str]:
    """One sentence a target."""
    lines = []
    for target in result["targets"]:
        part = target["family"] and target["direction"] != "doubt"
        value, wanted = (f"{target[key]:.2%}" if part else f"{target[key]:.3g}" for key in ("value", "most"))
        lines.append(
            f"{target['rival']}, {target['family'] or 'hard inputs'}, {target['direction']}, {target['kind']}: {value} "
            f"of {target['inputs']:,.0f}, wanted at most {wanted}, {'met' if target['met'] else 'missed'}"
        )
    return lines


def _counts(records: Iterable[Record], rivals: Iterable[str]) -> tuple[list[str], list[list[str]]]:
    """A line for each rival and dtype: inputs, and outputs and forces of each kind."""
    body = []
    listed = [record for record in records if not record["case"]["random"] and record["direction"] != "doubt"]
    for rival in rivals:
        for dtype in dict.fromkeys(record["case"]["dtype"] for record in listed):
            mine = [r for r in listed if r["rival"] == rival and r["case"]["dtype"] == dtype]
            cells = [
                "/".join(f"{sum(r['scores'][kind] for r in mine if r['direction'] == way):.0f}" for kind in KINDS)
                for way in ("outputs", "forces")
            ]
            if mine:
                body.append([rival, dtype, *cells])
    ways = (f"{way}: {' / '.join(KINDS)}" for way in ("outputs", "forces"))
    return ["method", "dtype", *ways], body


def _parts(records: Iterable[Record]) -> tuple[list[str], list[list[str]]]:
    """A line for each family of random inputs."""
    body = []
    for record in records:
        if record["case"]["random"] and record["direction"] == "outputs":
            scores, case = record["scores"], record["case"]
            parts = [f"{scores[kind] / scores['inputs']:.2%}" for kind in ("silent", "reported", "needless", "off")]
            body.append([f"{record['rival']}, {case['family']}", case["dtype"], f"{scores['inputs']:,.0f}", *parts])
    return ["method, inputs", "dtype", "drawn", "silent", "reported", "needless", "off"], body


def _doubts(records: Iterable[Record]) -> tuple[list[str], list[list[str]]]:
    """A line for each method whose frames estimate their errors."""
    body = [
        [r["rival"], f"{s['inputs']:,.0f}", f"{1 - s['uncovered']:.2%}", f"{s['infinite']:.2%}", f"{s['ratio']:.1f}"]
        for r in records
        if r["direction"] == "doubt" and (s := r["scores"])
    ]
    return ["method", "drawn", "covered", "infinite", "median of doubt over error"], body


Rows = tuple[list[str], list[list[str]]]
TABLES: dict[str, Callable[[list[Record], Iterable[str]], Rows]] = {
    "Hard inputs": _counts,
    "Random inputs": lambda records, rivals: _parts(records),
    "Doubts": lambda records, rivals: _doubts(records),
}


def terminal_table(title: str, records: Sequence[Record], rivals: Sequence[str]) -> Any:
    """The counts as rich tables."""
    from rich.console import Group

    made: list[Table] = []
    for name, table in TABLES.items():
        head, body = table(counted(records), rivals)
        if body:
            made.append(rich_table(name, head, body))
    return Group(*made)


def markdown(result: Mapping[str, Any], rivals: Mapping[str, str]) -> str:
    """Return the results as Markdown: counts, fractions, targets, and the names of undesired inputs."""
    records, lines = result["measurements"], [result["circumstances"], ""]
    for name, table in TABLES.items():
        head, body = table(counted(records), list(rivals))
        if body:
            lines += [f"*{name}*", "", *grid(head, body, 2 if name != "Doubts" else 1), ""]
    lines += ["Targets:", "", *(f"- {line}" for line in target_lines(result)), ""]
    for kind in ("silent", "needless"):
        named = [
            f"- {r['rival']}, {r['case']['dtype']}, {r['direction']}: {'; '.join(r[kind])}"
            for r in records
            if r.get(kind)
        ]
        lines += [f"Inputs that are {kind}:", "", *named, ""] if named else []
    if gaps := left_out(records):
        lines += [*gaps[1:], ""]
    return "\n".join(lines)


def _color(scores: Mapping[str, float]) -> tuple[float, float, float]:
    """Return the mean color of the kinds, with small undesired fractions enlarged by a square root."""
    parts = {kind: scores[kind] / max(scores["inputs"], 1) for kind in KINDS}
    weights = {kind: part**0.5 if kind in ("silent", "needless") else part for kind, part in parts.items()}
    weights["silent"] = min(1.0, weights["silent"])
    rest = sum(weights.values()) or 1.0
    red, green, blue = (sum(weights[kind] / rest * COLORS[kind][i] for kind in KINDS) for i in range(3))
    return red, green, blue


def plot(path: Path, result: Mapping[str, Any], rivals: Sequence[str], panel: Sequence[str], axis: str) -> None:
    """Draw a map of methods and families, one panel for each dtype and what is compared, and save it."""
    from matplotlib.patches import Patch

    records = [r for r in counted(result["measurements"]) if r["direction"] != "doubt"]
    families = list(dict.fromkeys(r["case"]["family"] for r in records))
    names = [rival for rival in rivals if any(r["rival"] == rival for r in records)]
    panels = list(dict.fromkeys((r["case"]["dtype"], r["direction"]) for r in records))
    figure = new_figure(3 + 0.34 * len(families), 1.6 + (0.6 + 0.26 * len(names)) * len(panels))
    grids = figure.subplots(len(panels), 1, squeeze=False, sharex=True)[:, 0]
    for axes, (dtype, way) in zip(grids, panels, strict=True):
        colors = [[(0.93, 0.93, 0.93)] * len(families) for _ in names]
        for r in records:
            if (r["case"]["dtype"], r["direction"]) == (dtype, way):
                row, column, scores = names.index(r["rival"]), families.index(r["case"]["family"]), r["scores"]
                colors[row][column] = _color(scores)
                if part := scores["silent"] / scores["inputs"]:
                    style = {"ha": "center", "va": "center", "fontsize": 6, "fontweight": "bold"}
                    axes.text(column, row, f"{part:.0%}" if part >= 0.005 else "<1%", **style)
        axes.imshow(colors, aspect="auto")
        axes.set_yticks(range(len(names)), names, fontsize=7)
        axes.set_xticks(range(len(families)), families, fontsize=7, rotation=60, ha="right")
        axes.set_title(f"{way}, {dtype}", fontsize=9, loc="left")
        axes.tick_params(length=0)
    handles = [Patch(facecolor=color, edgecolor="#888888", label=kind) for kind, color in COLORS.items()]
    figure.legend(handles=handles, loc="outside upper right", ncols=len(handles), frameon=False, fontsize=8)
    figure.savefig(path)


COUNTS = Style(check_targets, markdown, terminal_table, target_lines, plot)
