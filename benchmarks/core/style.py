"""How the results of a benchmark are shown: as times by default."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.markdown import Markdown

from benchmarks.core import plot as _plot, report as _report, targets as _targets


@dataclass(frozen=True)
class Style:
    """The functions that check, print and draw results.

    Attributes:
        check_targets: maps the targets of the benchmark and the records to the entry `targets` of a result.
        markdown: maps a result and the rivals to a text.
        terminal_table: maps a title, the records and the names of the rivals to a rich table.
        target_lines: maps a result to one sentence for each target.
        plot: draws into a path; takes a result, the names of the rivals, and `panel` and `axis` of the benchmark.
        summary: maps the records to the entry `summary` of a result, if there is one.
    """

    check_targets: Callable[..., list[dict[str, Any]]]
    markdown: Callable[..., str]
    terminal_table: Callable[..., Any]
    target_lines: Callable[..., list[str]]
    plot: Callable[..., None]
    summary: Callable[..., dict[str, Any]] | None = None


TIMES = Style(_targets.check_targets, _report.markdown, _report.terminal_table, _report.target_lines, _plot.plot)


def of_tables(
    tables: Callable[[Sequence[Any]], list[str]], *, target_lines: Callable[..., list[str]], **rest: Any
) -> Style:
    """Return a style whose tables are Markdown, also in the terminal.

    Args:
        tables: maps records to lines of Markdown.
        target_lines: as in `Style`.
        **rest: the other attributes of `Style`.
    """

    def markdown(result: Mapping[str, Any], rivals: Mapping[str, str]) -> str:
        return _report.page(result, tables(result["measurements"]), target_lines(result))

    def terminal_table(title: str, records: Sequence[Any], rivals: Sequence[str]) -> Markdown:
        return Markdown("\n".join([f"**{title}**", "", *tables(records)]))

    return Style(markdown=markdown, terminal_table=terminal_table, target_lines=target_lines, **rest)
