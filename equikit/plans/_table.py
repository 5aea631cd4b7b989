"""Plans as tables, for the terminal and for notebooks."""

from __future__ import annotations

import html
from collections.abc import Mapping
from typing import Any

from equikit.plans._cost import plan_cost, total
from equikit.plans._ir import Plan

HEADER = ("stage", "step", "from", "to", "shape", "FLOPs", "bytes")


def _number(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int) else str(value).replace("**", "^").replace("*", " ")


def plan_rows(plan: Plan, batch: int, n: int | Mapping[str, int] | None) -> list[tuple[str, ...]]:
    """The cells of the table: a row a step, then the total."""
    lines = list(plan_cost(plan, batch=batch, n=n))
    rows = [
        (
            line.stage,
            line.operation,
            line.source,
            line.result,
            " ".join(map(_number, line.shape)),
            _number(line.flops),
            _number(line.bytes),
        )
        for line in lines
    ]
    flops, moved = total(lines)
    return [*rows, ("total", f"{len(lines)} steps", "", "", "", _number(flops), _number(moved))]


def _title(plan: Plan, batch: int) -> str:
    groups = ", ".join(f"{label}={what}" for label, what in plan.signature.bindings)
    channels = " -> ".join(" + ".join(map(str, side)) for side in plan.channels)
    options = f"{plan.normalize}, bias" if plan.bias else plan.normalize
    return f'plan of "{plan.signature}" with {groups or "no labels"}: channels {channels}, batch {batch}, {options}'


def plan_table(plan: Plan, *, batch: int = 1, n: int | Mapping[str, int] | None = None) -> str:
    """The table of a plan as text: steps in order, with shapes, FLOPs and bytes."""
    rows = [HEADER, *plan_rows(plan, batch, n)]
    widths = [max(len(row[i]) for row in rows) for i in range(len(HEADER))]
    left = (True, True, True, True, True, False, False)
    text = [
        "  ".join(cell.ljust(w) if l else cell.rjust(w) for cell, w, l in zip(row, widths, left, strict=True)).rstrip()
        for row in rows
    ]
    rule = "-" * max(map(len, text))
    return "\n".join([_title(plan, batch), rule, text[0], rule, *text[1:-1], rule, text[-1]])


def plan_html(plan: Plan) -> str:
    """The table of a plan as HTML."""
    head, *body = ([html.escape(cell) for cell in row] for row in (HEADER, *plan_rows(plan, 1, None)))
    lines = ["".join(f"<td style='text-align:left'>{cell}</td>" for cell in row) for row in body]
    return (
        f"<table><caption style='text-align:left'>{html.escape(_title(plan, 1))}</caption>"
        f"<tr>{''.join(f'<th>{cell}</th>' for cell in head)}</tr>"
        f"{''.join(f'<tr>{line}</tr>' for line in lines)}</table>"
    )
