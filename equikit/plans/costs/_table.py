"""Plans as tables, for the terminal and for notebooks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from equikit._checks import count_text
from equikit.plans._ir import Plan, Stages
from equikit.plans.costs._cost import plan_cost, total
from equikit.plans.costs._rows import Rows
from equikit.plans.costs._rows_as_text import aligned, html_table
from equikit.plans.costs._sparse import (
    Sizes,
    checked_support,
    other_sizes,
    rows_of,
    sparse_cost as sparse_cost,
    sparse_lines,
)

if TYPE_CHECKING:
    from equikit.supports import Support

HEADER = ("stage", "step", "from", "to", "shape", "FLOPs", "bytes")


def _number(value: Any) -> str:
    return count_text(value) if isinstance(value, int) else str(value).replace("**", "^").replace("*", " ")


def plan_rows(
    plan: Stages, batch: int, n: int | Mapping[str, int] | None, rows: Rows | None = None
) -> list[tuple[str, ...]]:
    """Return the cells of the table: one row for each step, then the total."""
    lines = list(plan_cost(plan, batch=batch, n=n, rows=rows))
    cells = [
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
    count = f"{len(lines)} step{'s' * (len(lines) != 1)}"
    return [*cells, ("total", count, "", "", "", _number(flops), _number(moved))]


def sparse_table(plan: Stages, support: Support, batch: int, n: Sizes) -> str:
    """Return the table of a plan on a support, with the cost of dense arrays below the total."""
    support = checked_support(plan, support)
    cells = plan_rows(plan, batch, other_sizes(plan, support, n), rows_of(support))
    below = sparse_lines(plan, support, batch, n)
    cells += [(stage, text, "", "", "", _number(flops), _number(moved)) for stage, text, flops, moved in below]
    text = aligned([HEADER, *cells], 5)
    rule, last = "-" * max(map(len, text)), -1 - len(below)
    title = f"{_title(plan, batch)}, on {support!r}"
    return "\n".join([title, rule, text[0], rule, *text[1:last], rule, *text[last:]])


def _title(plan: Stages, batch: int) -> str:
    groups = ", ".join(f"{label}={what}" for label, what in plan.signature.bindings)
    text, between, options = plan.heading
    channels = " -> ".join(between.join(map(str, side)) for side in plan.channels)
    return f'plan of "{text}" with {groups or "no labels"}: channels {channels}, batch {batch}, {options}'


def plan_table(plan: Stages, *, batch: int = 1, n: int | Mapping[str, int] | None = None) -> str:
    """Return the table of a plan as text: steps in order, with shapes, FLOPs and bytes."""
    text = aligned([HEADER, *plan_rows(plan, batch, n)], 5)
    rule = "-" * max(map(len, text))
    return "\n".join([_title(plan, batch), rule, text[0], rule, *text[1:-1], rule, text[-1]])


def stages_table(stages: Mapping[str, Plan], *, batch: int = 1, n: int | dict[str, int] | None = None) -> str:
    """Return the cost of a plan before all passes and after each: a row with the number of steps, FLOPs and bytes."""
    rows: list[tuple[str, ...]] = [("after pass", "steps", "FLOPs", "bytes")]
    rows += [(name, f"{plan.steps:,}", *map(_number, plan.cost(batch=batch, n=n))) for name, plan in stages.items()]
    text = aligned(rows, 1)
    rule = "-" * max(map(len, text))
    last = [*stages.values()][-1]
    return "\n".join([_title(last, batch), rule, text[0], rule, *text[1:]])


def plan_html(plan: Stages) -> str:
    """Return the table of a plan as HTML."""
    return html_table(_title(plan, 1), [HEADER, *plan_rows(plan, 1, None)])
