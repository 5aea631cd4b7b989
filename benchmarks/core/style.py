"""How the results of a benchmark are shown: as times by default."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from benchmarks.core import plot as _plot, report as _report, targets as _targets


@dataclass(frozen=True)
class Style:
    """The functions that check, print and draw results.

    Attributes:
        check_targets: `TARGETS` of the benchmark and the records, to what goes into the JSON file.
        markdown: a result and the rivals, to a text.
        terminal_table: a title, the records and the names of the rivals, to a rich table.
        target_lines: a result to one sentence a target.
        summary: where the records are summed up, from the records to what goes into the JSON file.
        plot: a path, a result, names of rivals, the entries of a case that settle a panel, and that of its axis.
    """

    check_targets: Callable[..., list[dict[str, Any]]]
    markdown: Callable[..., str]
    terminal_table: Callable[..., Any]
    target_lines: Callable[..., list[str]]
    plot: Callable[..., None]
    summary: Callable[..., dict[str, Any]] | None = None


TIMES = Style(_targets.check_targets, _report.markdown, _report.terminal_table, _report.target_lines, _plot.plot)
