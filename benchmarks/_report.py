"""Results as JSON, as a table in the terminal, and as Markdown that is pasted into the README."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.table import Table

SCHEMA = 1


@dataclass(frozen=True)
class Target:
    """A claim: in this case and direction, `rival` takes at least `factor` times as long as the first rival."""

    rival: str
    case: Mapping[str, int]
    direction: str
    factor: float


def duration(seconds: float | None) -> str:
    """Milliseconds with three digits."""
    if seconds is None:
        return "–"
    ms = seconds * 1e3
    return f"{ms:.0f}" if ms >= 100 else f"{ms:.1f}" if ms >= 10 else f"{ms:.2f}" if ms >= 1 else f"{ms:.3f}"


def times_as_long(value: float) -> str:
    """A ratio with two or three digits."""
    return f"{value:.0f}x" if value >= 20 else f"{value:.1f}x" if value >= 2 else f"{value:.2f}x"


Row = tuple[dict[str, Any], str, dict[str, dict[str, Any]]]


def rows(measurements: Iterable[Mapping[str, Any]]) -> list[Row]:
    """Measurements of one case and direction together: the case, the direction, rival to record."""
    found: dict[str, Row] = {}
    for record in measurements:
        key = json.dumps([record["case"], record["direction"]])
        _, _, by_rival = found.setdefault(key, (record["case"], record["direction"], {}))
        by_rival[record["rival"]] = dict(record)
    return list(found.values())


def check_targets(targets: Iterable[Target], measurements: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Ratios for the targets whose cases were run."""
    found = []
    for target in targets:
        for case, direction, by_rival in rows(measurements):
            if direction != target.direction or target.case.items() - case.items():
                continue
            base, *_ = by_rival.values()
            base_time, time = base.get("median"), by_rival.get(target.rival, {}).get("median")
            ratio = time / base_time if time and base_time else None
            found.append(
                {
                    "rival": target.rival,
                    "case": case,
                    "direction": direction,
                    "wanted": target.factor,
                    "ratio": ratio,
                    "met": ratio is not None and ratio >= target.factor,
                }
            )
    return found


def label(case: Mapping[str, Any]) -> str:
    """A case in a few characters."""
    rest = {key: value for key, value in case.items() if key not in ("k", "l")}
    layer = [f"{case['k']} → {case['l']}"] if "k" in case else []
    return ", ".join([*layer, *(f"{key} {value}" for key, value in rest.items() if key != "channels")])


def cells(by_rival: Mapping[str, Mapping[str, Any]], rivals: Sequence[str]) -> list[str]:
    """A row of the table: medians, and for rivals how many times as long they take as the first."""
    base = by_rival.get(rivals[0], {}).get("median")
    texts = []
    for rival in rivals:
        median = by_rival.get(rival, {}).get("median")
        ratio = f" ({times_as_long(median / base)})" if median and base and rival != rivals[0] else ""
        texts.append(duration(median) + ratio)
    return texts


def terminal_table(title: str, measurements: Sequence[Mapping[str, Any]], rivals: Sequence[str]) -> Table:
    """The results as a rich table."""
    table = Table(title=f"{title}: median ms, and the ratio to {rivals[0]}", title_justify="left")
    table.add_column("case", no_wrap=True)
    table.add_column("direction")
    for rival in rivals:
        table.add_column(rival, justify="right")
    for case, direction, by_rival in rows(measurements):
        table.add_row(label(case), direction, *cells(by_rival, rivals))
    return table


def target_lines(result: Mapping[str, Any]) -> list[str]:
    """One sentence a target."""
    lines = []
    for target in result["targets"]:
        ratio = "not measured" if target["ratio"] is None else times_as_long(target["ratio"])
        verdict = "met" if target["met"] else "missed"
        lines.append(
            f"{label(target['case'])}, {target['direction']}, over {target['rival']}: "
            f"{ratio}, wanted {target['wanted']:g}x, {verdict}"
        )
    return lines


def grid(head: Sequence[str], body: Iterable[Sequence[str]], left: int) -> list[str]:
    """A table in Markdown, the first columns left, the others right."""
    rule = ["---"] * left + ["---:"] * (len(head) - left)
    return ["| " + " | ".join(line) + " |" for line in (head, rule, *body)]


def markdown(result: Mapping[str, Any], rivals: Mapping[str, str], body: Sequence[str] | None = None) -> str:
    """The results as Markdown: what was compared, times, targets, compilation and memory, and what was left out.

    Where a benchmark has a body of its own, that stands in place of all but the first paragraph.
    """
    measurements, machine, names = result["measurements"], result["machine"], list(rivals)
    memory = f", {machine['memory_bytes'] / 2**30:.0f} GiB" if machine["memory_bytes"] else ""
    versions = ", ".join(f"{name} {version}" for name, version in result["versions"].items() if version)
    before, after = result["load_average"]
    lines = [
        f"{result['date']}, {machine['cpu']}, {machine['cores']} cores{memory}, {machine['os']}; {versions}; revision "
        f"{result['revision']}; seed {result['seed']}; load average {before} before and {after} after"
        + ("; a quick run, not for quoting." if result["quick"] else "."),
        "",
    ]
    if body is not None:
        return "\n".join([*lines, *body]) + "\n"
    lines += [
        f"Median ms of a call, and how many times as long as {names[0]}:",
        "",
    ]
    grouped = rows(measurements)
    body = [[label(case), direction, *cells(by_rival, names)] for case, direction, by_rival in grouped]
    lines += [*grid(["case", "direction", *names], body, 2), "", "Targets:", ""]
    lines += [f"- {line}" for line in target_lines(result)] or ["- none of their cases was run"]

    def costs(record: Mapping[str, Any] | None) -> str:
        if not record or "compile_seconds" not in record or "peak_bytes" not in record:
            return "–"
        return f"{record['trace_seconds'] + record['compile_seconds']:.1f} / {record['peak_bytes'] / 2**20:,.1f}"

    if any("compile_seconds" in record for record in measurements):
        lines += ["", "Seconds to trace and compile / MiB that XLA allots (arguments, results and temporaries):", ""]
        body = [[label(case), direction, *(costs(by.get(name)) for name in names)] for case, direction, by in grouped]
        lines += grid(["case", "direction", *names], body, 2)
    notes: dict[str, list[str]] = {}
    for record in measurements:
        if "reason" in record:
            text = f"{record['rival']} {record['status']}: {record['reason']}"
            notes.setdefault(text, []).append(f"{label(record['case'])} {record['direction']}")
    if notes:
        lines += ["", "Not measured, or not in full:", ""]
        lines += [f"- {text} ({'; '.join(where)})" for text, where in notes.items()]
    return "\n".join(lines) + "\n"


def paste(readme: Path, name: str, text: str) -> None:
    """Put a text between the markers of a benchmark in the README.

    Raises:
        ValueError: if the README lacks the markers.
    """
    begin, end = f"<!-- begin {name} -->", f"<!-- end {name} -->"
    before = readme.read_text(encoding="utf-8")
    pattern = re.compile(f"{re.escape(begin)}.*{re.escape(end)}", re.DOTALL)
    after, count = pattern.subn(lambda _: f"{begin}\n{text}{end}", before)
    if count != 1:
        raise ValueError(f"{readme.name} has no markers {begin} and {end}")
    readme.write_text(after, encoding="utf-8")


def write_json(path: Path, result: Mapping[str, Any]) -> None:
    """Write a result, numbers to six digits."""

    def rounded(value: Any) -> Any:
        if isinstance(value, float):
            return float(f"{value:.6g}")
        if isinstance(value, Mapping):
            return {key: rounded(one) for key, one in value.items()}
        return [rounded(one) for one in value] if isinstance(value, list | tuple) else value

    path.write_text(json.dumps(rounded(result), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
