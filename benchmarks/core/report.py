"""Times as tables in the terminal and as Markdown, and the parts that all reports share."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from rich.console import Group
from rich.markup import escape
from rich.table import Table

from benchmarks.core.targets import Row, rows, value

NONE_RUN = "- none of their cases was run"


def duration(seconds: float | None) -> str:
    """Milliseconds with three digits."""
    if seconds is None:
        return "–"
    ms = seconds * 1e3
    return f"{ms:.0f}" if ms >= 100 else f"{ms:.1f}" if ms >= 10 else f"{ms:.2f}" if ms >= 1 else f"{ms:.3f}"


def times_as_long(value: float) -> str:
    """A ratio with two or three digits."""
    return f"{value:.0f}x" if value >= 20 else f"{value:.1f}x" if value >= 2 else f"{value:.2f}x"


def label(case: Mapping[str, Any]) -> str:
    """Format a case."""
    rest = {key: value for key, value in case.items() if key not in ("k", "l", "layer", "channels")}
    layer = [f"{case['k']} → {case['l']}"] if "k" in case else [case["layer"]] if case.get("layer") else []
    return ", ".join([*layer, *(f"{key} {value}" for key, value in rest.items())])


def sections(
    measurements: Sequence[Mapping[str, Any]], rivals: Sequence[str]
) -> list[tuple[str, list[str], list[Row]]]:
    """Return heading, rivals and rows of each table: one for each `layer` of the cases, with the rivals that it has."""
    found: dict[str, list[Row]] = {}
    for case, direction, by_rival in rows(measurements):
        rest = {key: value for key, value in case.items() if key != "layer"}
        found.setdefault(case.get("layer", ""), []).append((rest, direction, by_rival))
    return [
        (name, [rival for rival in rivals if not name or any(rival in by for *_, by in grouped)], grouped)
        for name, grouped in found.items()
    ]


def cells(
    by_rival: Mapping[str, Mapping[str, Any]],
    rivals: Sequence[str],
    yardsticks: Sequence[str] = (),
    bold: Callable[[str], str] = "**{}**".format,
) -> list[str]:
    """Return a row of the table: medians, and their ratios to the first rival.

    Args:
        by_rival: records.
        rivals: names; the first is the reference of the ratios.
        yardsticks: rivals that do only part of the work.
        bold: marks the ratio of a rival, other than a yardstick, that is faster than the first.
    """
    base = by_rival.get(rivals[0], {}).get("median")
    texts = []
    for rival in rivals:
        median = by_rival.get(rival, {}).get("median")
        text = duration(median)
        if median and base and rival != rivals[0]:
            ratio = times_as_long(median / base)
            faster = round(median / base, 2) < 1 and rival not in yardsticks
            text += f" ({bold(ratio) if faster else ratio})"
        texts.append(text)
    return texts


def terminal_table(
    title: str, measurements: Sequence[Mapping[str, Any]], rivals: Sequence[str], yardsticks: Sequence[str] = ()
) -> Group:
    """The results as rich tables."""
    tables = []
    for name, names, grouped in sections(measurements, rivals):
        about = f"{title}{name and f', {name}'}: median ms, and the ratio to {names[0]}"
        table = Table(title=about, title_justify="left")
        table.add_column("case", no_wrap=True)
        table.add_column("direction")
        for rival in names:
            table.add_column(escape(rival), justify="right")
        for case, direction, by_rival in grouped:
            table.add_row(escape(label(case)), direction, *cells(by_rival, names, yardsticks, "[bold]{}[/]".format))
        tables.append(table)
    return Group(*tables)


def rich_table(title: str, head: Sequence[str], body: Iterable[Sequence[str]]) -> Table:
    """A table for the terminal; its first column is set to the left."""
    shown = Table(title=title, title_justify="left")
    for place, name in enumerate(head):
        shown.add_column(name, no_wrap=place == 0, justify="left" if place == 0 else "right")
    for row in body:
        shown.add_row(*map(escape, row))
    return shown


def target_lines(result: Mapping[str, Any]) -> list[str]:
    """One sentence a target."""
    lines = []
    for target in result["targets"]:
        ratio = "not measured" if target["ratio"] is None else times_as_long(target["ratio"])
        ratio = f"more than {ratio}" if target.get("at_least") else ratio
        verdict = "met" if target["met"] else "missed"
        against = f", {target['against']}" if target.get("against") else ""
        what = "seconds to compile " if target.get("quantity") == "compile" else ""
        most = target.get("most")
        lines.append(
            f"{label(target['case'])}, {target['direction']}, {what}{'as a multiple of' if most else 'over'} "
            f"{target['rival']}{against}: {ratio}, wanted {'at most ' if most else ''}{target['wanted']:g}x, {verdict}"
            + (f" ({target['from']})" if "from" in target else "")
        )
    return lines


def grid(head: Sequence[str], body: Iterable[Sequence[str]], left: int) -> list[str]:
    """A Markdown table, line by line; the first columns are set to the left."""
    rule = ["---"] * left + ["---:"] * (len(head) - left)
    return ["| " + " | ".join(line) + " |" for line in (head, rule, *body)]


def left_out(measurements: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return lines with all gaps and their reasons."""
    notes: dict[str, list[str]] = {}
    for record in measurements:
        if "reason" in record:
            text = f"{record['rival']} {record['status']}: {record['reason']}"
            notes.setdefault(text, []).append(f"{label(record['case'])} {record['direction']}".strip())
    if not notes:
        return []
    return ["", "Not measured, or not in full:", "", *(f"- {text} ({'; '.join(at)})" for text, at in notes.items())]


def page(result: Mapping[str, Any], tables: Iterable[str], sentences: Iterable[str], title: str = "Targets:") -> str:
    """Return a report as Markdown: circumstances, tables, a sentence for each target, and gaps."""
    said = [f"- {line}" for line in sentences] or [NONE_RUN]
    lines = [result["circumstances"], "", *tables, "", title, "", *said, *left_out(result["measurements"])]
    return "\n".join(lines) + "\n"


def costs(record: Mapping[str, Any] | None) -> str:
    """Seconds to trace and compile, and the memory that XLA allots."""
    if not record or "compile_seconds" not in record or "peak_bytes" not in record:
        return "–"
    return f"{value(record, 'compile'):.1f} / {record['peak_bytes'] / 2**20:,.1f}"


def markdown(
    result: Mapping[str, Any],
    rivals: Mapping[str, str],
    sentences: Callable[[Mapping[str, Any]], list[str]] = target_lines,
    yardsticks: Sequence[str] = (),
) -> str:
    """Return the results as Markdown: times, targets, compilation and memory, and gaps."""
    measurements, first = result["measurements"], next(iter(rivals))
    tables = sections(measurements, list(rivals))

    def each(cells: Callable[[Mapping[str, Any], list[str]], list[str]]) -> list[str]:
        lines: list[str] = []
        for name, names, grouped in tables:
            body = [[label(case), direction, *cells(by_rival, names)] for case, direction, by_rival in grouped]
            lines += [*([f"*{name}*", ""] if name else []), *grid(["case", "direction", *names], body, 2), ""]
        return lines

    about = f"Median ms of a call, and how many times as long as {first}, in bold where a rival is faster:"
    lines = [result["circumstances"], "", about, ""]
    lines += [*each(lambda by_rival, names: cells(by_rival, names, yardsticks)), "Targets:", ""]
    lines += [f"- {line}" for line in sentences(result)] or [NONE_RUN]
    if any("compile_seconds" in record for record in measurements):
        lines += ["", "Seconds to trace and compile / MiB that XLA allots (arguments, results and temporaries):", ""]
        lines += each(lambda by_rival, names: [costs(by_rival.get(name)) for name in names])[:-1]
    lines += left_out(measurements)
    return "\n".join(lines) + "\n"
