"""Rows of cells as lines of text and as an HTML table."""

from __future__ import annotations

import html
from collections.abc import Sequence


def aligned(rows: Sequence[tuple[str, ...]], left: int) -> list[str]:
    """Return rows as lines of text, with the first columns aligned to the left and all others to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            cell.ljust(width) if i < left else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def html_table(title: str, rows: Sequence[tuple[str, ...]], below: str = "") -> str:
    """Return rows as an HTML table, the first as its header, with a title above and a text below."""
    head, *body = ([html.escape(cell) for cell in row] for row in rows)
    lines = ["".join(f"<td style='text-align:left'>{cell}</td>" for cell in row) for row in body]
    return (
        f"<table><caption style='text-align:left'>{html.escape(title)}</caption>"
        f"<tr>{''.join(f'<th>{cell}</th>' for cell in head)}</tr>"
        f"{''.join(f'<tr>{line}</tr>' for line in lines)}</table>"
        + "".join(f"<p>{html.escape(line)}</p>" for line in below.splitlines())
    )
